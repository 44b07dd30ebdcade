"""The compare screen: the marked runs as a table, why they differ, over time, as distributions, and
their front."""

from __future__ import annotations

import shutil

import pilots
import pytest
from recorded import LiveRun, recorded_run
from textual.widgets import ContentSwitcher, Static

from workbench.comparison import compare as comparing
from workbench.comparison.formats.every import FORMATS
from workbench.errors import StoreError
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.groups import GroupMember
from workbench.runs.store import RunStore
from workbench.tui.screens.dialogs import ChoiceDialog
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.scatter import Scatter

WIDE, SMALL = (180, 50), (80, 24)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three runs: `calm` and `busy` of 40 requests at different rates, and one that died."""
    root = tmp_path_factory.mktemp("made")
    slo = {"ttft": 2000.0}
    runs = (("calm", 0.7, "finished"), ("busy", 4.0, "finished"), ("dead", 2.0, "dead"))
    for number, (name, rate, ending) in enumerate(runs):
        path = root / f"2026010{number + 1}-120000-{name}-0000"
        recorded_run(path, rate_per_s=rate, run_id=path.name, name=name, slo=slo, ending=ending)
    return root


@pytest.fixture
def store(home, made):
    shutil.copytree(made, home / "runs")
    return RunStore(home / "runs")


@pytest.fixture
def comparisons(monkeypatch):
    """The labels of the sides of each comparison that was made."""
    made, compare = [], comparing.compare

    def noted(sides, **options):
        made.append([side.side.label for side in sides])
        return compare(sides, **options)

    monkeypatch.setattr(comparing, "compare", noted)
    return made


def group(store, name, runs):
    """Makes the run the first of a group, with others that did the same."""
    (first,) = [run.folder for run in store.runs()[0] if run.content["name"] == name]
    group_id = first.read()["run_id"]
    for number in range(1, runs + 1):
        path = store.root / f"{group_id}-{number}"
        shutil.copytree(first.path, path)
        member = GroupMember(group_id, number, runs)
        RunFolder(path).update(run_id=member.run_id, group=member.as_dict())
    shutil.rmtree(first.path)


def mark(store, *names):
    for run in store.runs()[0]:
        if run.content["name"] in names:
            write_annotations(run.folder, Annotations(marked=True))


def drive(body, size=WIDE):
    pilots.drive_alone(body, "compare", size=size)


def rows(app):
    """The table's rows by their first cell."""
    source = app.screen.query_one(BigTable).source
    found = {}
    for cells in source.cells(0, source.row_count):
        found.setdefault(cells[0].text.strip().partition(",")[0], cells)
    return found


def text_of(app, name):
    return str(app.screen.query_one(name, Static).render())


def test_without_marks_it_says_how_to_mark(store):
    async def body(app, keys):
        assert "Press 5, then Space" in text_of(app, "#nothing")
        await keys("v", "b", "e", "y", "p")
        mark(store, "calm")
        await keys()
        assert "Marked so far: calm" in text_of(app, "#nothing")
        mark(store, "busy")
        await keys()
        assert not app.screen.has_class("-empty")

    drive(body)


@pytest.mark.parametrize("size", [WIDE, SMALL])
def test_the_table_has_both_runs_their_change_and_the_verdict(store, size):
    mark(store, "calm", "busy")

    async def body(app, keys):
        table = rows(app)
        values = {run.content["name"]: run.content["summary"] for run in store.runs()[0][:2]}
        calm, busy = (values[name]["latency"]["tpot_ms"]["p50"] for name in ("calm", "busy"))
        tpot = [cell.text for cell in table["TPOT p50"]]
        assert tpot[0] == " TPOT p50, ms" and "TPOT p50, ms " in app.screen_text()
        assert float(tpot[1].replace(",", "")) == pytest.approx(calm, rel=0.01)
        assert float(tpot[3].replace(",", "")) == pytest.approx(busy, rel=0.01)
        assert tpot[4].startswith("▲") and busy > calm
        assert float(tpot[4].split()[1]) == pytest.approx(100 * (busy / calm - 1), abs=0.6)
        assert tpot[6] == "✗ worse" and "…" in tpot[2] and "…" in tpot[5] and "%" in tpot[7]
        line = next(line for line in app.screen_text().splitlines() if "TPOT p50, ms" in line)
        assert all(tpot[place].split()[-1] in line for place in (1, 3, 4, 6))
        assert (tpot[5] in line and tpot[7] in line) == (size == WIDE)
        assert "Throughput" in table and "KV usage" in table and "Attainment" in table
        assert "calm" in text_of(app, "#runs-line") and "busy" in text_of(app, "#runs-line")

    drive(body, size)


def test_different_traffic_is_loud(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        assert text_of(app, "#notes").startswith("THE TRAFFIC DIFFERS")
        assert "traffic.rate" in text_of(app, "#settings")
        assert "0.7 │ 4" in text_of(app, "#settings")

    drive(body)


def test_colours_are_only_given_where_a_word_says_the_same(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        styles = {"✓ better": {"good"}, "✗ worse": {"bad"}}
        shown = [cells for cells in rows(app).values() if cells[6].text]
        assert {cells[6].text for cells in shown} >= {"✗ worse", "? too noisy", "–"}
        for cells in shown:
            assert {cells[4].style, cells[6].style} <= styles.get(cells[6].text, {"", "dim"})

    drive(body)


def test_why_they_differ_is_told_with_its_parts(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        await keys("v")
        said = text_of(app, "#reasons")
        assert said.startswith("busy against calm: ") and " worse" in said.splitlines()[0]
        assert "busy's TTFT p50 is" in said and "busy's TPOT" in said
        queue = next(line for line in said.splitlines() if line.startswith("  queue"))
        assert "▲" in queue and " ms " in queue and "%" in queue and "█" in queue
        assert "THE TRAFFIC DIFFERS" in said and "traffic.rate" in said and "Holm" in said
        assert not app.screen.query_one("#notes").display
        lines = app.screen_text().splitlines()
        assert all(line.count("█") < 60 for line in lines)
        await keys("end")
        assert "traffic.rate" in app.screen_text()

    drive(body, SMALL)


def test_repeated_runs_are_one_side(store):
    group(store, "calm", 3)
    mark(store, "calm", "busy")

    async def body(app, keys):
        line = text_of(app, "#runs-line")
        assert "calm baseline, 3 runs" in line and "busy" in line
        assert len(rows(app)["TTFT p50"]) == 8
        await keys("v", "v")
        names = [trace.name for trace in app.screen.query_one("#over-ttft", LineChart).data.traces]
        assert names == ["calm", "busy"] and "median of its runs" in app.screen_text()
        share = app.screen.query_one("#share-ttft_ms", LineChart).data
        assert [trace.name for trace in share.traces] == ["calm", "busy"]
        await keys("b")
        assert "busy baseline" in text_of(app, "#runs-line")

    drive(body)


def test_runs_of_one_group_alone_are_compared_with_each_other(store):
    group(store, "calm", 3)
    mark(store, "calm")

    async def body(app, keys):
        assert "calm baseline" in text_of(app, "#runs-line")
        assert len(rows(app)["TTFT p50"]) == 13
        await keys("b")
        assert "calm (2) baseline" in text_of(app, "#runs-line")

    drive(body)


def test_ended_runs_are_compared_once(store, comparisons):
    mark(store, "calm", "busy")

    async def body(app, keys):
        for _ in range(3):
            await keys()
        await keys("p")
        assert len(comparisons) == 1
        await keys("b")
        assert len(comparisons) == 2
        assert comparisons[0] == comparisons[1][::-1]

    drive(body)


def test_living_runs_are_compared_every_few_seconds(store, comparisons):
    live = LiveRun(store.root / "20260109-120000-live-0000", name="live", requests=40)
    write_annotations(live.folder, Annotations(marked=True))
    mark(store, "calm")
    live.advance(live.left // 2)

    async def body(app, keys):
        assert "live is running and has no summary" in text_of(app, "#notes")
        before, counted = rows(app)["In the window"][3].text, len(comparisons)
        for _ in range(6):
            live.advance(live.left // 4)
            await keys()
        assert 2 <= len(comparisons) - counted <= 5
        assert float(rows(app)["In the window"][3].text) > float(before)
        live.finish()
        await keys()
        await keys()
        counted = len(comparisons)
        assert "live is running" not in text_of(app, "#notes")
        await keys()
        assert len(comparisons) == counted

    drive(body)


def test_a_comparison_that_fails_says_so_once(store, monkeypatch):
    mark(store, "calm", "busy")
    tried = []

    def fail(sides, **options):
        tried.append(sides)
        raise StoreError("emissions.parquet can't be read")

    monkeypatch.setattr(comparing, "compare", fail)

    async def body(app, keys):
        await keys()
        assert "emissions.parquet can't be read" in text_of(app, "#nothing")
        assert len(tried) == 1

    drive(body)


def test_the_baseline_can_be_changed(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        before = rows(app)["TTFT p50"]
        table = app.screen.query_one(BigTable)
        table.go_to_key("latency.tpot_ms.p50")
        await keys("b")
        assert app.screen.query_one(BigTable) is not table
        assert app.screen.query_one(BigTable).cursor_key == "latency.tpot_ms.p50"
        after = rows(app)["TTFT p50"]
        assert (before[1].text, before[3].text) == (after[3].text, after[1].text)
        assert before[4].text[0] != after[4].text[0]
        assert "busy baseline" in text_of(app, "#runs-line")

    drive(body)


def test_the_pages_come_one_after_another(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        pages = app.screen.query_one("#pages", ContentSwitcher)
        seen = [pages.current]
        for _ in range(5):
            await keys("v")
            seen.append(pages.current)
        assert seen == ["table", "why", "charts", "distributions", "front", "table"]
        for name in ("over-ttft", "over-tpot", "over-tokens", "share-ttft_ms", "share-tpot_ms"):
            chart = app.screen.query_one(f"#{name}", LineChart)
            assert [trace.name for trace in chart.data.traces] == ["calm", "busy"]
        share = app.screen.query_one("#share-ttft_ms", LineChart).data.traces[0]
        assert share.y[-1] == 100 and (share.x[1:] >= share.x[:-1]).all()
        points = app.screen.query_one(Scatter).data.points
        assert {point.label for point in points} == {"calm", "busy"}
        assert any(point.on_front for point in points)

    drive(body)


def test_the_percentile_of_curves_can_be_changed(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        chart = app.screen.query_one("#over-ttft", LineChart)
        before = chart.data
        await keys("p")
        assert chart.data != before

    drive(body)


def test_every_format_is_exported(store, home):
    mark(store, "calm", "busy")
    expected = {
        "md": "calm", "html": "<svg", "csv": "latency.ttft_ms.p99", "json": '"rows"',
        "parquet": "PAR1", "tex": "longtable", "txt": "TTFT p99",
    }  # fmt: skip

    async def body(app, keys):
        for down in range(len(FORMATS)):
            await keys("e")
            assert isinstance(app.screen, ChoiceDialog)
            await keys(*["down"] * down, "enter")
        assert app.reports == []
        found = {path.suffix[1:]: path.read_bytes() for path in (home / "exports").iterdir()}
        assert set(found) == set(expected) and len(found) == len(FORMATS)
        assert all(words.encode() in found[suffix] for suffix, words in expected.items())
        await keys("y")
        name, suffix, text = app.copied[0]
        assert (name, suffix) == ("comparison", "md") and "| TTFT p50" in text

    drive(body)


def test_a_dead_run_is_compared_as_far_as_possible(store):
    mark(store, "calm", "busy", "dead")

    async def body(app, keys):
        assert "dead is dead and has no summary" in text_of(app, "#notes")
        ttft = [cell.text for cell in rows(app)["TTFT p50"]]
        assert len(ttft) == 13 and ttft[8] != "–"

    drive(body)


def test_a_marked_run_that_breaks_is_told_of(store):
    mark(store, "calm", "busy", "dead")
    folder = next(run.folder for run in store.runs()[0] if run.content["name"] == "dead")
    RunFolder(folder.path).run_json.write_text("{")

    async def body(app, keys):
        assert "broken" in text_of(app, "#notes")
        assert len(rows(app)["TTFT p50"]) == 8

    drive(body)


def test_long_names_and_long_settings_are_shortened_in_a_small_terminal(store):
    """Both ends of a name are kept: `…-fcfs` and `…-lpm` are told apart; the baseline says so."""
    for run in store.runs()[0][:2]:
        name = f"a-name-that-begins-alike-{run.content['name']}"
        spec = run.content["spec"]
        spec["model"]["name"] = f"{'/models' * 20}/{run.content['name']}"
        run.folder.update(name=name, spec=spec, reason="why " * 2000, state="killed")
        write_annotations(run.folder, Annotations(marked=True))

    async def body(app, keys):
        lines = app.screen_text().splitlines()
        header = next(line for line in lines if line.startswith("metric"))
        assert "calm " in header and "busy " in header and "verdict" in header
        notes = text_of(app, "#notes").splitlines()
        assert notes[0].startswith("THE TRAFFIC DIFFERS") and len(notes) <= 4
        assert all(len(line) <= 80 for line in notes[1:])
        assert notes[-1].endswith("more; v shows them all")
        assert lines[-2].strip()  # the table has the rest of the screen
        await keys("v")
        assert text_of(app, "#reasons").count("is killed: why why") == 2

    drive(body, SMALL)
