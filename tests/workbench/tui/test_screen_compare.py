"""The compare screen: the marked runs as a table, over time, as distributions, and their front."""

from __future__ import annotations

import json
import shutil

import pilots
import pytest
from recorded import recorded_run
from textual.widgets import ContentSwitcher, Static

from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
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
    runs = (("calm", 2.0, "finished"), ("busy", 4.0, "finished"), ("dead", 2.0, "dead"))
    for number, (name, rate, ending) in enumerate(runs):
        path = root / f"2026010{number + 1}-120000-{name}-0000"
        recorded_run(path, rate_per_s=rate, run_id=path.name, name=name, slo=slo, ending=ending)
    return root


@pytest.fixture
def store(home, made):
    shutil.copytree(made, home / "runs")
    return RunStore(home / "runs")


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
def test_the_table_has_both_runs_and_their_difference(store, size):
    mark(store, "calm", "busy")

    async def body(app, keys):
        table = rows(app)
        values = {run.content["name"]: run.content["summary"] for run in store.runs()[0][:2]}
        calm, busy = (values[name]["latency"]["ttft_ms"]["p50"] for name in ("calm", "busy"))
        ttft = [cell.text for cell in table["TTFT p50"]]
        assert ttft[0] == "  TTFT p50, ms" and "TTFT p50, ms " in app.screen_text()
        assert float(ttft[1].replace(",", "")) == pytest.approx(calm, rel=0.01)
        assert float(ttft[3].replace(",", "")) == pytest.approx(busy, rel=0.01)
        assert ttft[4].startswith("▲" if busy > calm else "▼")
        assert ttft[4].split()[1] in app.screen_text()
        assert float(ttft[5].removesuffix("×")) == pytest.approx(busy / calm, rel=0.02)
        assert "…" in ttft[2] and ttft[7] in ("apart", "overlap")
        assert "Throughput" in table and "KV usage" in table and "Attainment" in table
        assert all(len(cells[0].text) <= 33 for cells in table.values())
        assert "calm" in text_of(app, "#runs-line") and "busy" in text_of(app, "#runs-line")

    drive(body, size)


def test_different_traffic_is_loud(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        assert text_of(app, "#notes").startswith("THE TRAFFIC DIFFERS")
        assert "traffic.rate" in text_of(app, "#settings")
        assert "2 │ 4" in text_of(app, "#settings")

    drive(body)


def test_colours_are_only_given_where_intervals_are_apart(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        for cells in rows(app).values():
            if cells[7].text != "apart":
                assert cells[4].style in ("", "dim")

    drive(body)


def test_the_baseline_can_be_changed(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        before = rows(app)["TTFT p50"]
        await keys("b")
        after = rows(app)["TTFT p50"]
        assert (before[1].text, before[3].text) == (after[3].text, after[1].text)
        assert before[4].text[0] != after[4].text[0]
        assert text_of(app, "#runs-line").find("■ busy baseline") > 0

    drive(body)


def test_the_pages_come_one_after_another(store):
    mark(store, "calm", "busy")

    async def body(app, keys):
        pages = app.screen.query_one("#pages", ContentSwitcher)
        seen = [pages.current]
        for _ in range(4):
            await keys("v")
            seen.append(pages.current)
        assert seen == ["table", "charts", "distributions", "front", "table"]
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


def test_exports_say_where_they_are(store, home):
    mark(store, "calm", "busy")

    async def body(app, keys):
        await keys("e")
        assert isinstance(app.screen, ChoiceDialog)
        await keys("down", "down", "enter")
        (path,) = (home / "exports").glob("*.json")
        content = json.loads(path.read_text())
        assert [run["name"] for run in content["runs"]] == ["calm", "busy"]
        await keys("y")
        name, suffix, text = app.copied[0]
        assert (name, suffix) == ("comparison", "md") and "| TTFT p50 |" in text

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
        assert "calm (base)" in header and "-busy " in header and "difference" in header
        notes = text_of(app, "#notes").splitlines()
        assert notes[0].startswith("THE TRAFFIC DIFFERS") and len(notes) <= 5
        killed = [line for line in notes if "is killed" in line]
        assert len(killed) == 2 and all(len(line) <= 80 for line in killed)
        assert all(line.endswith("why…") for line in killed)

    drive(body, SMALL)
