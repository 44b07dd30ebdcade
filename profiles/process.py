"""Samples of this process and of the machine that it runs on, through psutil."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from profiles.samples import COLUMN_INDEX, Row


class ProcessSampler:
    """One row, `host`: CPU and memory of this process and of its machine.

    Shares of CPU time are means since the sample before, so the first sample has none. psutil's
    `cpu_percent` is not used: it gives 0 at first, and keeps its last reading per thread.

    Args:
        psutil: the module, or what stands in for it.
        clock: nanoseconds on any clock that does not go back.
        cpu_clock: CPU time of this process in nanoseconds. /proc counts it in steps of 10 ms,
            a tenth of the usual sampling period.
    """

    devices = ("host",)
    poll_period_ns: int | None = None

    def __init__(
        self,
        psutil: Any | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        cpu_clock: Callable[[], int] = time.process_time_ns,
    ) -> None:
        if psutil is None:
            import psutil as installed

            psutil = installed
        self._psutil = psutil
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._process = psutil.Process()
        self._process_before: tuple[int, int] | None = None  # busy, elapsed: nanoseconds
        self._host_before: tuple[float, float] | None = None  # busy, busy and idle: seconds
        self.reasons: dict[str, str] = {}
        self.failures: Counter[str] = Counter()

    def sample(self, rows: Row) -> None:
        row = rows[0]
        row[COLUMN_INDEX["process_cpu_percent"]] = self._process_cpu_percent()
        for name, ask in (("process", self._sample_process), ("machine", self._sample_machine)):
            try:
                ask(row)
            except (self._psutil.Error, OSError) as error:
                self.reasons[f"host.{name}"] = f"{error} ({type(error).__name__})"
                self.failures[f"host.{name}"] += 1

    def poll(self) -> None:
        return None

    def close(self) -> None:
        return None

    def _process_cpu_percent(self) -> float:
        busy_ns, now_ns = self._cpu_clock(), self._clock()
        before, self._process_before = self._process_before, (busy_ns, now_ns)
        if before is None or now_ns <= before[1]:
            return math.nan
        return 100 * (busy_ns - before[0]) / (now_ns - before[1])

    def _sample_process(self, row: Row) -> None:
        with self._process.oneshot():
            row[COLUMN_INDEX["process_rss_bytes"]] = self._process.memory_info().rss
            row[COLUMN_INDEX["process_threads"]] = self._process.num_threads()

    def _sample_machine(self, row: Row) -> None:
        row[COLUMN_INDEX["host_memory_available_bytes"]] = self._psutil.virtual_memory().available
        row[COLUMN_INDEX["host_cpu_percent"]] = self._machine_cpu_percent()

    def _machine_cpu_percent(self) -> float:
        times = self._psutil.cpu_times()
        # Linux counts a guest's time in `user` too, and waiting for a disk keeps no core busy.
        all_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy_s = all_s - times.idle - getattr(times, "iowait", 0.0)
        before, self._host_before = self._host_before, (busy_s, all_s)
        if before is None or all_s <= before[1]:
            return math.nan
        share: float = (busy_s - before[0]) / (all_s - before[1])
        return 100 * min(1.0, max(0.0, share))
