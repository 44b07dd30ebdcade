"""The sampling thread: devices looked at ten times a second, without the run noticing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from profiles.errors import ProfileError
from profiles.gpu import GpuSampler
from profiles.nvml import Gpus
from profiles.process import ProcessSampler
from profiles.samples import COLUMNS, VALUE_COLUMNS, Row, Sampler

V = TypeVar("V")

DEFAULT_PERIOD_NS = 100_000_000

_JOIN_SECONDS = 2.0  # a driver that hangs must not hang the end of the run


class Telemetry:
    """Samples its sources at a steady period and keeps the rows until they are drained.

    Use it as a context manager, or call `start` and `close`; or leave the thread out and call
    `tick`. Nothing that a source does reaches the run: a value that can't be had is NaN, and
    `reasons` says why.

    Args:
        samplers: sources; their devices have distinct names. Closed with the telemetry.
        clock: nanoseconds since the start of the run.
        period_ns: time between ticks.

    Raises:
        ProfileError: the period is not positive, or two sources share a device name.
    """

    def __init__(
        self,
        samplers: Sequence[Sampler],
        clock: Callable[[], int],
        period_ns: int = DEFAULT_PERIOD_NS,
    ) -> None:
        if period_ns <= 0:
            raise ProfileError(f"the sampling period is {period_ns} ns; it must be positive")
        self.devices: tuple[str, ...] = tuple(name for each in samplers for name in each.devices)
        if len(set(self.devices)) < len(self.devices):
            raise ProfileError(f"two telemetry sources share a device name: {self.devices}")
        self.period_ns = period_ns
        self.missed_ticks = 0
        self._samplers = tuple(samplers)
        self._clock = clock
        self._own_reasons: dict[str, str] = {}
        self._own_failures: dict[str, int] = {}
        self._ticks: list[tuple[int, Row]] = []
        self._lock = threading.Lock()  # around the two handovers of _ticks
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def reasons(self) -> dict[str, str]:
        """Why values are missing: by `gpu` or `host`, by device, or by `device.query`."""
        return _merged([each.reasons for each in self._samplers] + [self._own_reasons])

    @property
    def failures(self) -> dict[str, int]:
        """How often a query failed in the course of the run, by the same keys."""
        return _merged([each.failures for each in self._samplers] + [self._own_failures])

    def tick(self) -> None:
        """Take one sample of every device, now."""
        time_ns = self._clock()
        rows = np.full((len(self.devices), len(VALUE_COLUMNS)), np.nan)
        first = 0
        for sampler in self._samplers:
            end = first + len(sampler.devices)
            try:
                sampler.sample(rows[first:end])
            except Exception as error:  # a defect of a source must not end a run
                self._note_defect(sampler, error)
            first = end
        with self._lock:
            self._ticks.append((time_ns, rows))

    def poll(self) -> None:
        """Let the sources look at what would be gone by the next tick; makes no row."""
        for sampler in self._samplers:
            if sampler.poll_period_ns is not None:
                try:
                    sampler.poll()
                except Exception as error:  # the same promise as in tick
                    self._note_defect(sampler, error)

    def drain(self) -> dict[str, npt.NDArray[Any]]:
        """The samples since the last drain as `COLUMNS`, one array each, oldest first.

        `time_ns` and `period_ns` int64, `device` str, the others float64 with NaN for null; all
        of one length, 0 where there is nothing new.
        """
        with self._lock:
            ticks, self._ticks = self._ticks, []
        per_tick = len(self.devices)
        rows = len(ticks) * per_tick
        values = np.concatenate([np.empty((0, len(VALUE_COLUMNS))), *(row for _, row in ticks)])
        columns: dict[str, npt.NDArray[Any]] = {
            "time_ns": np.repeat(np.array([at for at, _ in ticks], dtype=np.int64), per_tick),
            "device": np.array(self.devices * len(ticks), dtype=np.str_),
            "period_ns": np.full(rows, self.period_ns, dtype=np.int64),
        }
        for index, name in enumerate(VALUE_COLUMNS):
            columns[name] = np.ascontiguousarray(values[:, index])
        assert tuple(columns) == COLUMNS
        return columns

    def start(self) -> None:
        """Start the thread. The first tick is at once.

        Raises:
            ProfileError: it was started or closed before.
        """
        if self._thread is not None or self._closed:
            raise ProfileError("this telemetry was started or closed before; open a new one")
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close the sources; what was sampled can still be drained."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
            if self._thread.is_alive():
                self._own_reasons["telemetry"] = "a query did not return when the run ended"
                return  # the sources are still in use; the thread dies with the process
        for sampler in self._samplers:
            try:
                sampler.close()
            except Exception as error:  # the same promise as in tick
                self._own_reasons["telemetry"] = f"closing failed: {error!r}"

    def __enter__(self) -> Telemetry:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _note_defect(self, sampler: Sampler, error: Exception) -> None:
        for device in sampler.devices:
            self._own_reasons[device] = f"sampling failed: {error!r}"
            self._own_failures[device] = self._own_failures.get(device, 0) + 1

    def _run(self) -> None:
        deadline_ns = self._clock()
        while not self._stop.is_set():
            self.tick()
            deadline_ns, missed = next_deadline(deadline_ns, self._clock(), self.period_ns)
            self.missed_ticks += missed
            self._wait_until(deadline_ns)

    def _wait_until(self, deadline_ns: int) -> None:
        """Wait for a deadline or the end, and poll in even steps on the way."""
        periods = [each.poll_period_ns for each in self._samplers]
        poll_ns = min((period for period in periods if period is not None), default=self.period_ns)
        while True:
            remaining_ns = max(0, deadline_ns - self._clock())
            steps = max(1, -(-remaining_ns // poll_ns))
            if self._stop.wait(remaining_ns / steps / 1e9) or steps == 1:
                return
            self.poll()


def next_deadline(deadline_ns: int, now_ns: int, period_ns: int) -> tuple[int, int]:
    """The next deadline after the tick due at `deadline_ns` ended at `now_ns`, and ticks missed.

    Deadlines lie on one grid, so a late tick moves no later one, and those that are past are
    left out, not caught up with.
    """
    periods = max(1, -(-(now_ns - deadline_ns) // period_ns))
    return deadline_ns + periods * period_ns, periods - 1


def open_telemetry(
    clock: Callable[[], int], *, period_ns: int = DEFAULT_PERIOD_NS, gpus: Gpus = "visible"
) -> Telemetry:
    """Telemetry of this process, its machine and `gpus`; without NVML, the first two alone.

    Raises:
        ProfileError: the period is not positive.
    """
    return Telemetry(
        [GpuSampler.open(gpus, clock=clock), ProcessSampler(clock=clock)], clock, period_ns
    )


def _merged(parts: Sequence[Mapping[str, V]]) -> dict[str, V]:
    merged: dict[str, V] = {}
    for part in parts:
        merged.update(dict(part))  # dict() copies in one go, while the thread may add a key
    return merged
