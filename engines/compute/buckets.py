"""The sizes that steps are padded to, so that a few captured graphs serve every step."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

LEAST_DENSE = 2048
"""Steps with prompts have buckets for every size up to at least so many tokens."""

FLOP_PER_LAUNCHED_LAYER = 4e11
"""What a GPU computes while the host launches the kernels of one layer: on an H200, 500 TFLOP/s in
the 0.4 ms that this takes alone and the 0.8 ms beside a run's other threads."""

LEAST_FILL = 0.9
"""Beyond the dense sizes there is one bucket, for steps that use up the token budget or nearly so.
Others keep the device busy for longer than the host launches them, and padding would only cost."""


def decode_buckets(max_seqs: int) -> list[int]:
    """Batch sizes of captured decode steps: 1, 2, 4, then every 8th (every 16th from 256 on)."""
    sizes = [1, 2, 4, *range(8, min(256, max_seqs), 8), *range(256, max_seqs, 16)]
    return sorted({size for size in sizes if size < max_seqs} | {max_seqs})


def bucket_of(buckets: Sequence[int], size: int) -> int | None:
    """The smallest bucket that holds `size`; None if none does."""
    place = bisect.bisect_left(buckets, size)
    return buckets[place] if place < len(buckets) else None


@dataclass(frozen=True, slots=True)
class MixedBuckets:
    """Token counts of captured steps that have prompts in them.

    Attributes:
        sizes: about an eighth apart up to `dense`, and last the largest step that there can be.
        dense: up to so many tokens every step has a bucket.
    """

    sizes: tuple[int, ...]
    dense: int

    @classmethod
    def up_to(cls, max_tokens: int, parameters_per_layer: int) -> Self:
        """The sizes for steps of at most `max_tokens` of a model with so large layers: every one
        that the host would launch more slowly than the device computes it."""
        flop_per_token = 2 * parameters_per_layer
        dense = max(LEAST_DENSE, int(FLOP_PER_LAUNCHED_LAYER / flop_per_token))
        dense = min(dense, max_tokens)
        sizes, size = {dense, max_tokens}, 32
        while size < dense:
            sizes.add(size)
            size += max(32, 1 << (size.bit_length() - 3))
        return cls(tuple(sorted(sizes)), dense)

    def of(self, tokens: int) -> int | None:
        """The bucket of such a step; None where it is better computed without a graph."""
        bucket = bucket_of(self.sizes, tokens)
        if bucket is None or (bucket > self.dense and tokens < LEAST_FILL * bucket):
            return None
        return bucket
