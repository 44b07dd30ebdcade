"""The sizes that steps are padded to, so that a few captured graphs serve every step."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

LARGEST_MIXED = 2048
"""Up to so many tokens, steps with prompts have buckets for every size."""

LEAST_FILL = 0.9
"""Beyond it there is one bucket, for steps that use up the token budget or nearly so. Others take
longer on the device than their launches take on the host, and padding would only cost."""


def decode_buckets(max_seqs: int) -> list[int]:
    """Batch sizes of captured decode steps: 1, 2, 4, then every 8th (every 16th from 256 on)."""
    sizes = [1, 2, 4, *range(8, min(256, max_seqs), 8), *range(256, max_seqs, 16)]
    return sorted({size for size in sizes if size < max_seqs} | {max_seqs})


def mixed_buckets(max_tokens: int) -> list[int]:
    """Token counts of captured steps that have prompts in them: about an eighth apart, and last
    the largest step that there can be."""
    sizes, size = [], 32
    while size < min(LARGEST_MIXED, max_tokens):
        sizes.append(size)
        size += max(32, 1 << (size.bit_length() - 3))
    return sorted({*sizes, min(LARGEST_MIXED, max_tokens), max_tokens})


def bucket_of(buckets: Sequence[int], size: int) -> int | None:
    """The smallest bucket that holds `size`; None if none does."""
    place = bisect.bisect_left(buckets, size)
    return buckets[place] if place < len(buckets) else None


def mixed_bucket_of(buckets: Sequence[int], tokens: int) -> int | None:
    """The bucket of a step with prompts; None where it is better computed without a graph."""
    bucket = bucket_of(buckets, tokens)
    if bucket is None or (bucket > LARGEST_MIXED and tokens < LEAST_FILL * bucket):
        return None
    return bucket
