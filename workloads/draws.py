"""Random numbers that depend on (seed, request id, purpose) and on nothing else.

A request must stay the same when the rate, the order of hand-out or the number of requests
changes. A generator that is advanced from request to request can't promise that, and one
generator per request costs more than the rest of the request. So every number is a hash of its
coordinates: the output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), taken at the
id-th counter of a key made of seed and purpose, and computed for whole blocks of ids at once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError

_GOLDEN: Final = 0x9E3779B97F4A7C15
_WORD: Final = (1 << 64) - 1


class Purpose(IntEnum):
    """What a number is drawn for. The values enter the hash: renumbering changes every run."""

    INPUT_LENGTH = 1
    OUTPUT_LENGTH = 2
    TEXT_OFFSET = 3
    SAMPLING_SEED = 4
    THINK_TIME = 5
    SESSION_TURNS = 6
    SYSTEM_PROMPT = 7
    DOCUMENT = 8
    SHARED_LENGTH = 9
    TURN_GAP = 10
    TOOL_TURN = 11
    DIALOGUE_ORDER = 12
    PATIENCE = 20


def checked_seed(seed: int) -> int:
    """`seed` itself; raises `WorkloadError` unless it is a whole number from 0 to 2**63 − 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise WorkloadError(f"seed is {seed!r}: give a whole number from 0 to 2**63 - 1")
    if not 0 <= seed < 1 << 63:
        raise WorkloadError(f"seed is {seed}: give a whole number from 0 to 2**63 - 1")
    return int(seed)


def random_bits(
    seed: int, request_ids: npt.NDArray[np.int64], purpose: Purpose
) -> npt.NDArray[np.uint64]:
    """64 uniform bits per id, shape of `request_ids`; raises `WorkloadError` for a bad seed."""
    start = (checked_seed(seed) + _GOLDEN * int(purpose)) & _WORD
    key = _mix(np.array([start], dtype=np.uint64))
    counters = request_ids.astype(np.uint64) + np.uint64(1)
    return _mix(counters * np.uint64(_GOLDEN) + key)


def sampling_seeds(seed: int, request_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The seed that each request samples with. Below 2**63: generators of every library take a
    non-negative int64."""
    return random_bits(seed, request_ids, Purpose.SAMPLING_SEED) >> np.uint64(1)


def uniforms(
    seed: int, request_ids: npt.NDArray[np.int64], purpose: Purpose
) -> npt.NDArray[np.float64]:
    """One uniform number per id, strictly between 0 and 1, shape of `request_ids`."""
    # 52 bits and a half: with 53 the largest value would round to 1, where quantiles are infinite.
    bits = random_bits(seed, request_ids, purpose) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
