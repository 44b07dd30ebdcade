"""The playhead and the span of an open run, with a clock and a view made by hand."""

from __future__ import annotations

import pytest

from workbench.tui.session import RunSession

S = 1_000_000_000


class View:
    """A run of 100 s whose steps end at every second."""

    def __init__(self, live: bool = False, end_ns: int = 100 * S) -> None:
        self.live = live
        self.end_ns = end_ns

    def now_ns(self) -> int:
        return self.end_ns

    def step_end(self, at_ns: int, places: int) -> int | None:
        step = at_ns // S + places
        return step * S if 0 <= step <= self.end_ns // S else None


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


def session(clock, **view):
    return RunSession(View(**view), clock)


def test_an_ended_run_is_shown_whole_and_plays_from_its_start(clock):
    opened = session(clock)
    assert opened.at_ns == 100 * S
    opened.toggle()
    assert opened.at_ns == 0
    clock.now_ns = 10 * S
    assert opened.at_ns == 10 * S
    opened.change_speed(4)  # 1 → 20
    assert opened.playhead.speed == 20
    clock.now_ns += 2 * S
    assert opened.at_ns == 50 * S
    opened.toggle()
    clock.now_ns += 99 * S
    assert (opened.playhead.mode, opened.at_ns) == ("paused", 50 * S)


def test_a_replay_that_reaches_the_end_stops_there(clock):
    opened = session(clock)
    opened.seek(99 * S)
    opened.play()
    clock.now_ns = 5 * S
    opened.settle_playhead()
    assert (opened.playhead.mode, opened.at_ns) == ("follow", 100 * S)


def test_space_freezes_a_living_run_while_it_goes_on(clock):
    opened = session(clock, live=True, end_ns=30 * S)
    opened.toggle()
    opened.view.end_ns = 60 * S
    assert opened.at_ns == 30 * S
    opened.toggle()
    assert (opened.playhead.mode, opened.at_ns) == ("follow", 60 * S)


def test_steps_go_from_one_step_end_to_the_next(clock):
    opened = session(clock)
    opened.seek(int(41.5 * S))
    opened.step(1)
    assert opened.at_ns == 42 * S
    opened.step(-1)
    assert opened.at_ns == 41 * S
    opened.seek(0)
    opened.step(-1)
    assert opened.at_ns == 0


def test_speed_stays_within_its_range(clock):
    opened = session(clock)
    assert opened.change_speed(-50) == 0.1
    assert opened.change_speed(50) == 60


def test_zoom_keeps_the_moment_under_the_cursor(clock):
    opened = session(clock)
    opened.zoom(0.5, center_s=20.0)
    assert opened.visible_s() == (10.0, 60.0)
    opened.zoom(0.5, center_s=20.0)
    assert opened.visible_s() == (15.0, 40.0)
    opened.zoom(100)
    assert opened.visible_s() == (0.0, 100.0)


def test_pan_stays_inside_the_run(clock):
    opened = session(clock)
    opened.zoom(0.2, center_s=50.0)
    start_s, end_s = opened.visible_s()
    opened.pan(0.5)
    assert opened.visible_s() == (start_s + 10, end_s + 10)
    for _ in range(20):
        opened.pan(0.5)
    assert opened.visible_s() == (80.0, 100.0)
    for _ in range(20):
        opened.pan(-1)
    assert opened.visible_s() == (0.0, 20.0)


def test_a_living_run_shows_its_last_two_minutes(clock):
    opened = session(clock, live=True, end_ns=300 * S)
    assert opened.visible_s() == (180.0, 300.0)
    opened.follow()
    opened.view.end_ns = 301 * S
    assert opened.visible_s() == (181.0, 301.0)
