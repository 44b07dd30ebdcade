"""Rates from counters of bytes, also from those that come round too soon."""

from __future__ import annotations

import math


class RateCounter:
    """The mean rate of a counter between two takes, however often it is read in between.

    NVML's PCIe counters have 32 bits on some GPUs (an H200 is one): at 60 GB/s they come round
    every 72 ms. What was counted is sure only if the counter can't have come round twice
    between two readings, even at the fastest rate that the link has.

    Args:
        fastest_per_s: the most that can be counted in a second.
    """

    def __init__(self, fastest_per_s: float) -> None:
        self._fastest_per_s = fastest_per_s
        self._last: tuple[int, int] | None = None  # value, microseconds
        self._since_us = 0
        self._counted = 0
        self._is_sure = True

    def longest_gap_ns(self, bits: int) -> int:
        """The longest time between readings that leaves the count of `bits` bits sure."""
        return int((1 << bits) / self._fastest_per_s * 1e9)

    def read(self, value: int, time_us: int, bits: int) -> None:
        """Note that a counter of `bits` bits said `value` at `time_us`, on any clock.

        A reading that is not newer than the last is left out: drivers repeat readings.
        """
        if self._last is None:
            self._last = (value, time_us)
            self._since_us = time_us
            return
        elapsed_us = time_us - self._last[1]
        if elapsed_us <= 0:
            return
        if elapsed_us * 1000 >= self.longest_gap_ns(bits):
            self._is_sure = False
        self._counted += (value - self._last[0]) % (1 << bits)
        self._last = (value, time_us)

    @property
    def is_sure(self) -> bool:
        """Whether every reading since the last take came soon enough."""
        return self._is_sure

    def take(self) -> float:
        """Counted per second since the last take; NaN if unsure, or without a newer reading."""
        if self._last is None or self._last[1] <= self._since_us:
            return math.nan
        rate = self._counted / (self._last[1] - self._since_us) * 1e6
        sure, self._is_sure = self._is_sure, True
        self._since_us, self._counted = self._last[1], 0
        # A counter that started anew looks like one that came round: too much was counted.
        return rate if sure and rate <= self._fastest_per_s else math.nan
