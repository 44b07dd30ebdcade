"""The live screen on recorded runs: what it says, how time moves on it, and its knobs."""

from __future__ import annotations

import pytest
from pilots import Clock, drive
from recorded import LiveRun, recorded_run

from workbench.analysis.quantities import milliseconds, percent, quantity
from workbench.runs import control
from workbench.tui.settings import Settings
from workbench.viewing.view import open_view

S = 1_000_000_000


@pytest.fixture
def calls(monkeypatch):
    """What the app asks the runner; the runner agrees to everything."""
    asked = []

    def send(folder, command, **fields):
        asked.append((command, fields))
        return {"ok": True, "said": f"did {command}", "paused": False}

    monkeypatch.setattr(control, "send", send)
    return asked


def test_an_ended_run_shows_its_figures_and_verdicts(recorded, tmp_path):
    view = open_view(recorded)
    figures = view.snapshot(view.end_ns).figures

    async def act(app):
        shown = app.screen()
        assert "finished" in shown and "35 ok, 4 cancelled, 1 rejected" in shown
        assert milliseconds(figures.ttft_p50_ms) in shown
        assert milliseconds(figures.tpot_p99_ms) in shown
        missed = figures.tpot_p99_ms > 60
        assert ("✗ ≤ 60.0 ms" if missed else "✓ ≤ 60.0 ms") in shown
        for title in ("TTFT ms", "TPOT ms", "Tokens/s", "Requests", "KV blocks", "GPU"):
            assert title in shown
        assert "prefill" in shown and "preempt" in shown

    drive(act, tmp_path, folder=recorded)


def test_time_moves_and_figures_are_those_of_the_moment(recorded, tmp_path):
    view = open_view(recorded)

    async def act(app):
        shown = await app.press("g", *"5s", "enter")
        assert "⏸ 5.000 s" in shown and "running" in shown
        offered = view.snapshot(5 * S).figures.offered
        ended = view.snapshot(5 * S).figures.ended.get("ok", 0)
        assert f"{ended} ok" in shown and offered < 40
        stepped_ns = view.step_end(5 * S, 1)
        shown = await app.press("right_square_bracket")
        assert f"⏸ {stepped_ns / 1e9:.3f} s" in shown
        await app.press("space")
        app.clock.now_ns += 2 * S
        await app.settle()
        assert f"▶ {stepped_ns / 1e9 + 2:.1f} s at 1×" in app.screen()
        shown = await app.press("f")
        assert "35 ok, 4 cancelled, 1 rejected" in shown

    drive(act, tmp_path, folder=recorded)


def test_a_replay_runs_to_the_end_and_stays(recorded, tmp_path):
    async def act(app):
        await app.press("space")
        assert "▶ 0.0 s" in app.screen()
        app.clock.now_ns += 1000 * S
        await app.settle()
        await app.settle()
        assert "35 ok, 4 cancelled, 1 rejected" in app.screen() and "▶" not in app.lines()[0]

    drive(act, tmp_path, folder=recorded)


def test_zoom_shows_less_time(recorded, tmp_path):
    async def act(app):
        await app.press("g", *"8", "enter", "plus", "plus", "plus")
        start_s, end_s = app.app.session.visible_s()
        assert start_s <= 8 <= end_s
        assert end_s - start_s == pytest.approx(app.app.session.view.end_ns / 8e9)
        await app.press("0")
        assert app.app.session.visible_s()[0] == 0

    drive(act, tmp_path, folder=recorded)


def test_a_living_run_grows_freezes_and_dies(tmp_path):
    run = LiveRun(tmp_path / "20260101-120000-live-0000")
    clock = Clock()

    async def act(app):
        assert "no request has a first token yet" in app.screen()
        run.advance(run.left // 2)
        clock.now_ns += 18 * S
        await app.settle()
        grown = app.screen()
        assert "● 18 s" in grown and "no request has a first token yet" not in grown
        frozen = await app.press("space", "g", *"12", "enter")
        assert "⏸ 12.000 s" in frozen.splitlines()[0]
        run.advance(run.left)
        clock.now_ns += 20 * S
        await app.settle()
        assert app.lines()[1:8] == frozen.splitlines()[1:8]
        await app.press("f")
        run.die()
        await app.settle()
        assert "its runner is gone without ending the run" in app.screen()

    drive(act, tmp_path, folder=run.folder, clock=clock)


def test_a_run_that_ends_under_the_viewer_goes_on_as_a_saved_one(tmp_path):
    run = LiveRun(tmp_path / "20260101-120000-live-0000")
    clock = Clock()

    async def act(app):
        run.advance(5)
        clock.now_ns += 3 * S
        await app.settle()
        run.finish()
        await app.settle()
        await app.settle()
        assert "finished" in app.screen() and "35 ok, 4 cancelled, 1 rejected" in app.screen()

    drive(act, tmp_path, folder=run.folder, clock=clock)


def test_knobs_reach_the_runner(tmp_path, calls):
    run = LiveRun(tmp_path / "20260101-120000-live-0000")

    async def act(app):
        run.advance(4)
        await app.press("k", "j", "p")
        assert calls == [
            ("rate", {"by": 1.25}),
            ("rate", {"by": 0.8}),
            ("status", {}),
            ("pause", {}),
        ]
        assert "did pause" in app.said()
        await app.press("m")
        await app.type("a new index")
        await app.press("enter")
        assert calls[-1] == ("mark", {"text": "a new index"})
        await app.press("s", "n")
        assert calls[-1][0] == "mark"
        await app.press("s", "y")
        assert calls[-1] == ("stop", {})

    drive(act, tmp_path, folder=run.folder)


def test_an_ended_run_has_no_knobs(recorded, tmp_path, calls):
    async def act(app):
        await app.press("k", "p", "m", "s")
        assert not calls
        assert "this run has ended: there is nothing to control" in app.said()

    drive(act, tmp_path, folder=recorded)


def test_a_gpu_that_is_not_measured_costs_no_room_where_it_is_scarce(tmp_path):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0005", gpus=0)
    reason = open_view(folder).why_absent("gpu")

    async def wide(app):
        assert f"GPU not measured: {reason}" in app.screen()

    async def small(app):
        assert reason in await app.press("v")
        assert "GPU" not in await app.press("v")

    drive(wide, tmp_path, folder=folder)
    drive(small, tmp_path, folder=folder, size=(80, 24))


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_header_and_the_tiles_split_no_figure(recorded, tmp_path, width):
    view = open_view(recorded)
    figures = view.snapshot(view.end_ns)

    async def act(app):
        shown = app.screen()
        assert f"goodput {quantity(figures.goodput_per_s, 'req/s')}" in shown
        assert f"achieved {quantity(figures.achieved_per_s, 'req/s')}" in shown
        assert "in flight 0" in shown and all(len(line) <= width for line in app.lines())
        if width >= 100:
            cached = 100 * figures.figures.cached_blocks / view.usable_blocks
            assert f"cached {percent(cached)}" in shown

    drive(act, tmp_path, folder=recorded, size=(width, 30))


def test_the_map_says_when_it_was_looked_at(recorded, tmp_path):
    view = open_view(recorded)

    async def act(app):
        (pool,) = view.snapshot(5 * S).pools
        assert pool.sampled_ns <= 5 * S
        assert f"kv at {pool.sampled_ns / 1e9:.1f} s" in await app.press("g", *"5s", "enter")

    drive(act, tmp_path, folder=recorded)


@pytest.mark.parametrize("screen", ["live", "requests", "timeline", "launch"])
def test_the_top_line_cuts_no_word(recorded, tmp_path, screen):
    run = open_view(recorded).content["run_id"]

    async def act(app):
        words = app.lines()[0].split()
        assert run in words and "finished" in words and screen.capitalize() in words
        assert not {"Lau", "Liv", "Req", "Tim", "Com"} & set(words)

    drive(act, tmp_path, folder=recorded, screen=screen, size=(80, 24))


def test_a_small_terminal_shows_page_after_page(recorded, tmp_path):
    async def act(app):
        first = app.screen()
        assert "TTFT ms" in first and "KV blocks" not in first
        second = await app.press("v")
        assert "KV blocks" in second and "TTFT ms" not in second
        third = await app.press("v")
        assert "prefill" in third and "preempt" in third
        assert await app.press("v") == first
        assert all(len(line) <= 80 for line in app.lines())

    drive(act, tmp_path, folder=recorded, size=(80, 24))


@pytest.mark.parametrize(
    ("ending", "said"),
    [("failed", "failed"), ("dead", "its runner is gone"), ("interrupted", "interrupted")],
)
def test_a_run_that_did_not_finish_says_so(tmp_path, ending, said):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0001", ending=ending)

    async def act(app):
        assert said in app.screen()

    drive(act, tmp_path, folder=folder)


def test_a_server_has_no_blocks_and_says_why(tmp_path):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0002", remote=True)

    async def act(app):
        assert "no step yet" in app.screen()
        assert "TTFT ms" in app.screen()

    drive(act, tmp_path, folder=folder)


def test_seven_bits_are_enough(recorded, tmp_path):
    async def act(app):
        filtered = [
            segment.text
            for strip in app.app.screen._compositor.render_strips()
            for segment in app.app._ascii.apply(list(strip), None)
        ]
        assert "".join(filtered).isascii() and "TTFT" in "".join(filtered)

    drive(act, tmp_path, folder=recorded, settings=Settings(ascii=True))


def test_without_a_run_the_screen_says_what_to_press(tmp_path):
    async def act(app):
        assert "Press 1 to launch one, or 5 to choose one" in app.screen()

    drive(act, tmp_path)


def test_a_run_opens_from_a_screen_that_came_first(recorded, tmp_path):
    async def act(app):
        app.app.open_run(recorded)
        await app.settle()
        await app.settle()
        assert "35 ok" in app.screen()

    drive(act, tmp_path, screen="launch")
