"""`workbench top`: waits for a run, shows it on one screen, and goes on to the next one."""

from __future__ import annotations

import pytest
from pilots import Clock, drive
from recorded import LiveRun, recorded_run
from textual.widgets import Static

from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.log_pane import LogPane

S = 1_000_000_000
SIZES = [(180, 50), (120, 36), (80, 24)]


def live_run(root, number):
    run_id = f"20260101-12000{number}-live-0000"
    return LiveRun(root / run_id, run_id=run_id, slo={"ttft": 2000.0})


async def look(app):
    """What its own clock does every two seconds."""
    app.app.screen.look()
    await app.settle()
    await app.settle()


@pytest.mark.parametrize("size", SIZES)
def test_it_waits_for_a_run_and_follows_the_next_one(tmp_path, size):
    clock = Clock()

    async def act(app):
        assert "No run is going on" in app.screen()
        first = live_run(tmp_path, 1)
        first.advance(first.left // 2)
        clock.now_ns += 18 * S
        await look(app)
        assert app.app.session.view.folder.path == first.folder.path
        assert "running" in app.lines()[0] and "TTFT" in app.screen()
        second = live_run(tmp_path, 2)
        second.advance(5)
        await look(app)
        assert app.app.session.view.folder.path == first.folder.path, "it stays while it lives"
        first.finish()
        await app.settle()
        await app.settle()
        assert "finished" in app.lines()[0] and "35 ok" in app.screen()
        await look(app)
        assert app.app.session.view.folder.path == second.folder.path
        second.die()
        await app.settle()
        assert "its runner is gone" in app.screen()
        await look(app)
        assert app.app.session.view.folder.path == second.folder.path, "there is no other"

    drive(act, tmp_path, screen="top", size=size, clock=clock)


@pytest.mark.parametrize("size", SIZES)
def test_everything_has_its_place(tmp_path, size):
    run = live_run(tmp_path, 1)
    run.advance(run.left // 2)
    clock = Clock(18 * S)

    async def act(app):
        await look(app)
        screen = app.app.screen
        charts = [chart for chart in screen.query(LineChart) if chart.display]
        assert len(charts) == 4
        heights = [chart.size.height for chart in charts]
        assert max(heights) - min(heights) <= 1
        assert charts[0].size.height >= 4 and charts[0].size.width >= size[0] // 2 - 2
        tiles, body = screen.query_one("#tiles").region, screen.query_one("#body").region
        assert charts[0].region.y == body.y == tiles.bottom, "nothing is left empty"
        assert body.bottom == size[1] - 1
        assert screen.query_one(LogPane).region.bottom == body.bottom
        assert screen.query_one(LogPane).size.height >= 3
        assert screen.query_one("#pools").size.height == 3
        assert all(len(line) <= size[0] for line in app.lines())
        run.die()

    drive(act, tmp_path, screen="top", size=size, clock=clock)


def test_a_run_that_was_named_is_stayed_with(tmp_path):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0001")

    async def act(app):
        assert "finished" in app.lines()[0]
        assert not app.app.screen.query_one("#nothing", Static).display

    drive(act, tmp_path, folder=folder, screen="top")
