"""The timeline screen: moving, steps, gaps, the step in full, and a run that lives."""

from __future__ import annotations

from itertools import pairwise

import pilots
import pytest
from recorded import ORIGIN_NS, LiveRun, recorded_run
from textual.widgets import Static

from workbench.runs.store import RunStore
from workbench.tui.screens.timeline import TimelineScreen
from workbench.tui.settings import Settings
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.lanes import Lanes

WIDE, SMALL = (180, 50), (80, 24)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def drive(folder, body, size=WIDE, clock=None, ascii_only=False):
    """Runs `body(app, pilot, keys)` on the timeline of a run; `keys` presses and waits."""

    async def act(driver):
        async def keys(*names):
            await driver.pilot.press(*names)
            await driver.settle()
            await driver.settle()

        await keys()
        await body(driver.app, driver.pilot, keys)

    pilots.drive(
        act,
        RunStore().root,
        folder=folder,
        screen="timeline",
        size=size,
        settings=Settings(ascii=ascii_only),
        clock=clock,
    )


def text_of(app, name):
    return str(app.screen.query_one(name, Static).render())


def picture(app):
    lanes = app.screen.query_one(Lanes)
    rows = range(lanes.size.height)
    return "\n".join("".join(segment.text for segment in lanes.render_line(y)) for y in rows)


def test_without_a_run_it_says_what_to_press():
    async def body(app, pilot, keys):
        assert app.screen.has_class("-empty")
        assert "press" in text_of(app, "#nothing").lower()
        await keys("n", "G", "enter", "up", "left", "y")

    drive(None, body)


@pytest.mark.parametrize("size", [WIDE, SMALL])
def test_the_whole_run_is_shown_first(recorded, size):
    async def body(app, pilot, keys):
        assert isinstance(app.screen, TimelineScreen)
        assert "whole run" in text_of(app, "#span")
        shown = picture(app)
        for word in ("worker 0", "host gap", "batch", "tokens", "KV"):
            assert word in shown
        assert "█" in shown and "▒" in shown
        figures = text_of(app, "#figures")
        assert "prefill" in figures and "host gaps" in figures and "p99" in figures

    drive(recorded, body, size)


def test_zooming_shows_single_steps_with_their_numbers(recorded):
    async def body(app, pilot, keys):
        await keys("n")
        assert "selected" in text_of(app, "#span")
        step = app.screen._chosen
        await keys(*["up"] * 7)
        assert f" {step} " in picture(app)
        assert f"step {step} at" in picture(app)
        assert "zoom" in text_of(app, "#span")
        before = text_of(app, "#span")
        await keys("minus")
        assert text_of(app, "#span") != before
        await keys("0")
        assert "whole run" in text_of(app, "#span")

    drive(recorded, body)


def test_next_and_previous_step_follow_each_other_and_stay_in_sight(recorded):
    async def body(app, pilot, keys):
        await keys("n", *["up"] * 8)
        first = app.screen._chosen
        for _ in range(12):
            await keys("n")
        assert app.screen._chosen == first + 12
        assert f"step {first + 12} at" in picture(app)
        await keys("p", "p")
        assert app.screen._chosen == first + 10
        await keys("escape")
        assert app.screen._chosen is None and "selected" not in text_of(app, "#span")

    drive(recorded, body)


def test_panning_stops_at_the_edges(recorded):
    async def body(app, pilot, keys):
        await keys("up", "up", "home")
        assert text_of(app, "#span").startswith("0.")
        await keys("left")
        assert text_of(app, "#span").startswith("0.")
        start = text_of(app, "#span")
        await keys("right")
        assert text_of(app, "#span") != start
        await keys("end")
        assert app.session.span_s[1] == pytest.approx(app.session.view.now_ns() / 1e9)

    drive(recorded, body)


def test_the_largest_gaps_come_one_after_another(recorded):
    async def body(app, pilot, keys):
        await keys("G")
        screen = app.screen
        gaps = screen._gaps
        assert gaps and screen._chosen == gaps[0].after_step
        assert all(one.duration_ms >= two.duration_ms for one, two in pairwise(gaps))
        start_s, end_s = app.session.span_s
        assert start_s <= gaps[0].start_ns / 1e9 <= end_s
        await keys("G")
        assert screen._chosen == gaps[1].after_step

    drive(recorded, body)


def test_the_legend_has_only_kinds_that_occur(recorded):
    async def body(app, pilot, keys):
        assert text_of(app, "#legend") == "█ prefill   ▒ decode   ▓ mixed   · host gap"

    drive(recorded, body)


@pytest.mark.parametrize("size", [WIDE, SMALL])
def test_the_line_of_keys_says_how_to_leave_a_step(recorded, size):
    async def body(app, pilot, keys):
        def footer():
            return str(app.screen.query_one(KeyFooter).render())

        assert "Close step" not in footer()
        await keys("enter")
        assert "Open request" in footer() and "Close step" in footer()
        await keys("escape")
        assert "Close step" not in footer() and not app.screen._reads

    drive(recorded, body, size)


@pytest.mark.parametrize("size", [WIDE, SMALL])
def test_a_step_in_full_leads_to_its_requests(recorded, size):
    async def body(app, pilot, keys):
        opened = []
        app.open_request = opened.append
        await keys("enter")
        members = app.screen.query_one("#members", BigTable)
        assert members.has_focus and members.row_count > 0
        detail = app.screen._shown.detail
        facts = text_of(app, "#step-facts")
        assert f"Step {detail.step}, {detail.kind}" in facts
        assert members.row_count == len(detail.members)
        assert sum(m.tokens for m in detail.members if m.part == "prefill") == (
            detail.prefill_tokens
        )
        await keys("enter")
        assert opened == [detail.members[0].request_id]
        await keys("n")
        assert app.screen._shown.detail.step == detail.step + 1
        await keys("y")
        await keys("escape")
        assert app.screen.query_one(Lanes).has_focus

    drive(recorded, body, size)


def test_a_click_selects_and_the_wheel_zooms(recorded):
    async def body(app, pilot, keys):
        await pilot.click(Lanes, offset=(80, 2))
        await keys()
        chosen = app.screen._shown.lanes.chosen
        timeline = app.screen._shown.lanes.timeline
        lanes = app.screen.query_one(Lanes)
        at_ns = (80 - 12 + 0.5) / lanes.columns * (timeline.end_ns - timeline.start_ns)
        assert chosen is not None and abs(chosen.start_ns - at_ns) < 2e9
        lanes.post_message(Lanes.Zoomed(at_ns / 1e9, 0.1))
        await keys()
        start_s, end_s = app.session.span_s
        assert start_s < at_ns / 1e9 < end_s
        assert (end_s - start_s) * 1e9 == pytest.approx(timeline.end_ns * 0.1, rel=0.01)

    drive(recorded, body)


def test_kinds_are_told_without_colour(recorded):
    async def body(app, pilot, keys):
        shown = picture(app)
        assert shown.isascii()
        lane = shown.splitlines()[0]
        assert "P" in lane or "M" in lane
        assert "d" in lane

    drive(recorded, body, ascii_only=True)


def test_a_server_has_no_timeline(tmp_path):
    folder = recorded_run(tmp_path / "run", requests=8, remote=True)

    async def body(app, pilot, keys):
        assert "can't be seen from outside" in text_of(app, "#figures")
        await keys("n", "G", "enter", "up")
        assert app.screen._chosen is None

    drive(folder, body)


def test_a_living_run_is_followed_until_it_is_panned(tmp_path):
    run = LiveRun(tmp_path / "run", requests=60)
    while run.left > 40:
        run.advance()
    now = [ORIGIN_NS + 12_000_000_000]

    async def body(app, pilot, keys):
        first = app.session.visible_s, app.screen._shown.lanes.timeline.end_ns
        now[0] += 3_000_000_000
        run.advance(4)
        await keys()
        assert app.screen._shown.lanes.timeline.end_ns > first[1]
        assert app.session.span_s is None
        await keys("left")
        held = app.screen._shown.lanes.timeline
        now[0] += 2_000_000_000
        run.advance(4)
        await keys()
        assert app.screen._shown.lanes.timeline.end_ns == held.end_ns

    drive(run.folder, body, clock=lambda: now[0])
