"""The GPU's times on the run's clock, with events and clocks that are told what to say."""

from __future__ import annotations

import numpy as np
import pytest

from engines.compute import gpu_clock
from engines.compute.gpu_clock import GpuClock

US = 1_000


class World:
    """Time goes by in ns; the GPU's clock runs faster by `drift`, and its events are float32 ms."""

    def __init__(self, drift: float) -> None:
        self.now_ns = 0
        self.drift = drift

    def event(self) -> Event:
        return Event(self)

    def clock(self) -> int:
        return self.now_ns


class Event:
    def __init__(self, world: World) -> None:
        self.world = world

    def record(self) -> None:
        self.gpu_ms = self.world.now_ns * (1 + self.world.drift) / 1e6

    def synchronize(self) -> None:
        return None

    def elapsed_time(self, later: Event) -> float:
        return float(np.float32(later.gpu_ms - self.gpu_ms))


@pytest.mark.parametrize("drift", [0.0, 2e-5, -2e-5])
def test_steps_of_minutes_keep_within_microseconds(
    monkeypatch: pytest.MonkeyPatch, drift: float
) -> None:
    world = World(drift)
    monkeypatch.setattr(gpu_clock, "timed_event", world.event)
    clock = GpuClock(world.clock)
    draw = np.random.default_rng(0)
    last_end_ns = 0
    for _ in range(20_000):
        world.now_ns += int(draw.integers(5, 50)) * US
        start, end = world.event(), world.event()
        start.record()
        true_start_ns = world.now_ns
        world.now_ns += int(draw.integers(4_000, 9_000)) * US
        end.record()
        true_end_ns = world.now_ns
        world.now_ns += int(draw.integers(10, 200)) * US  # until the host sees it
        start_ns, end_ns = clock.interval(start, end)
        assert abs(start_ns - true_start_ns) < 150 * US and abs(end_ns - true_end_ns) < 150 * US
        assert abs((end_ns - start_ns) - (true_end_ns - true_start_ns)) < 2 * US
        assert last_end_ns < start_ns < end_ns <= world.now_ns
        last_end_ns = end_ns
    assert world.now_ns > 120e9


@pytest.mark.parametrize("drift", [2e-5, -2e-5])
def test_a_step_after_a_pause_of_an_hour_lies_between_its_launch_and_its_collection(
    monkeypatch: pytest.MonkeyPatch, drift: float
) -> None:
    world = World(drift)
    monkeypatch.setattr(gpu_clock, "timed_event", world.event)
    clock = GpuClock(world.clock)
    for pause_s in (0, 3600, 0, 0):
        world.now_ns += pause_s * 1_000_000_000
        start, end, launched_ns = world.event(), world.event(), world.now_ns
        world.now_ns += 20 * US
        start.record()
        world.now_ns += 5_000 * US
        end.record()
        world.now_ns += 15 * US
        start_ns, end_ns = clock.interval(start, end)
        assert launched_ns <= start_ns < end_ns <= world.now_ns
        assert end_ns - start_ns == pytest.approx(5_000 * US, abs=2 * US)
