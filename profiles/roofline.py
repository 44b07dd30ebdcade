"""The least time that a decoder's steps can take: bytes and FLOP of the shapes, over ceilings.

The roofline (Williams et al., CACM 2009) of each step, with nothing counted that a step could do
without: no activations, no copies, no launches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DecoderCost:
    """What bytes and FLOP of a step follow from; a multiplication and an addition are 2 FLOP.

    Attributes:
        layer_bytes: weights of all layers and the last norm, which every step reads once.
        head_bytes: weights of the head, which a step reads once if it samples.
        embedding_row_bytes: read for each token.
        layer_flop: of a token in the layers' matrices that aren't quantised.
        quantised_flop: of a token in those that are.
        head_flop: of a sampled row.
        attention_flop: of a token and a token that it sees, over all layers and heads.
        kv_bytes: keys and values of a token over all layers, scales included.
        sliding_window: tokens that a token sees at most, itself included; None is all.
    """

    layer_bytes: int
    head_bytes: int
    embedding_row_bytes: int
    layer_flop: int
    quantised_flop: int
    head_flop: int
    attention_flop: int
    kv_bytes: int
    sliding_window: int | None = None


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one step computed, by sequence.

    Attributes:
        new_tokens: int64 `[seqs]`; a decode has 1.
        contexts: int64 `[seqs]`, tokens that the sequence's last new token sees, itself included.
        num_samples: sequences whose last token yielded a new one.
    """

    new_tokens: Ints
    contexts: Ints
    num_samples: int


@dataclass(frozen=True, slots=True)
class Demand:
    """Bytes that steps move to and from memory, and FLOP by the units that can do them."""

    bytes: int = 0
    layer_flop: int = 0
    quantised_flop: int = 0
    head_flop: int = 0
    attention_flop: int = 0

    @property
    def flop(self) -> int:
        return self.layer_flop + self.quantised_flop + self.head_flop + self.attention_flop

    def __add__(self, other: Demand) -> Demand:
        return Demand(
            self.bytes + other.bytes,
            self.layer_flop + other.layer_flop,
            self.quantised_flop + other.quantised_flop,
            self.head_flop + other.head_flop,
            self.attention_flop + other.attention_flop,
        )


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that a device does.

    Attributes:
        bytes_per_s: of its memory.
        flop_per_s: in the dtype of the activations.
        quantised_flop_per_s: of quantised matrices; as `flop_per_s` where nothing is quantised.
        source: where the figures are from.
    """

    bytes_per_s: float
    flop_per_s: float
    quantised_flop_per_s: float
    source: str


def demand(cost: DecoderCost, work: StepWork) -> Demand:
    """What one step needs: weights once, each sequence's keys and values once, each new one."""
    tokens = int(work.new_tokens.sum())
    before = work.contexts - work.new_tokens
    if cost.sliding_window is not None:
        before = np.minimum(before, cost.sliding_window - 1)
    head_bytes = cost.head_bytes if work.num_samples else 0
    kv_tokens = int(before.sum()) + tokens
    return Demand(
        bytes=cost.layer_bytes
        + head_bytes
        + tokens * cost.embedding_row_bytes
        + kv_tokens * cost.kv_bytes,
        layer_flop=tokens * cost.layer_flop,
        quantised_flop=tokens * cost.quantised_flop,
        head_flop=work.num_samples * cost.head_flop,
        attention_flop=seen_pairs(work, cost.sliding_window) * cost.attention_flop,
    )


def seen_pairs(work: StepWork, sliding_window: int | None) -> int:
    """Pairs of a new token and a token that it sees, itself included."""
    new, last = work.new_tokens, work.contexts
    first = last - new + 1
    if sliding_window is None:
        return int(((first + last) * new // 2).sum())
    # Contexts grow by one from `first` to `last`, and count as the window from there on.
    growing = np.clip(sliding_window - first + 1, 0, new)
    grown = (2 * first + growing - 1) * growing // 2
    return int((grown + (new - growing) * sliding_window).sum())


def floor_s(need: Demand, ceilings: Ceilings) -> float:
    """Seconds that one step with this demand takes at least: memory or arithmetic alone."""
    arithmetic_s = (
        need.quantised_flop / ceilings.quantised_flop_per_s
        + (need.flop - need.quantised_flop) / ceilings.flop_per_s
    )
    return max(need.bytes / ceilings.bytes_per_s, arithmetic_s)


def total_floor_s(needs: Iterable[Demand], ceilings: Ceilings) -> float:
    """The sum of `floor_s` over steps that follow each other."""
    return sum(floor_s(need, ceilings) for need in needs)
