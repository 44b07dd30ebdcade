"""Padded sizes: every step finds one, and none is padded to much more than it needs."""

from __future__ import annotations

import pytest

from engines.compute.buckets import (
    LEAST_DENSE,
    LEAST_FILL,
    MixedBuckets,
    bucket_of,
    decode_buckets,
)
from engines.models.shapes import SHAPES

SMALL, LARGE = (SHAPES[name].parameters_per_layer for name in ("qwen3-0.6b", "llama-3.1-8b"))

LIMITS = [1, 2, 3, 8, 9, 31, 32, 33, 100, 255, 256, 257, 500, 2047, 2048, 2049, 8192]


@pytest.mark.parametrize(
    "buckets_up_to", [decode_buckets, lambda limit: list(MixedBuckets.up_to(limit, LARGE).sizes)]
)
@pytest.mark.parametrize("limit", LIMITS)
def test_sizes_rise_to_the_largest_and_hold_every_step(buckets_up_to, limit):
    buckets = buckets_up_to(limit)
    assert buckets == sorted(set(buckets)) and buckets[0] >= 1
    assert buckets[-1] == limit
    for size in range(1, limit + 1):
        bucket = bucket_of(buckets, size)
        smaller = [one for one in buckets if one < size]
        assert bucket is not None and bucket >= size
        assert buckets.index(bucket) == len(smaller), "it is the smallest that holds it"
    assert bucket_of(buckets, limit + 1) is None


def test_decodes_are_padded_by_less_than_a_tile():
    buckets = decode_buckets(512)
    assert buckets[:6] == [1, 2, 4, 8, 16, 24]
    padding = [bucket_of(buckets, size) - size for size in range(1, 513)]
    assert max(padding[:256]) == 7 and max(padding) == 15


def test_steps_with_prompts_are_padded_by_a_quarter_at_most():
    buckets = MixedBuckets.up_to(8192, SMALL)
    assert buckets.dense == 8192 and len(buckets.sizes) < 60
    assert all(size <= buckets.of(size) <= 1.25 * size for size in range(128, 8193))
    assert buckets.of(8193) is None


def test_a_step_that_keeps_the_device_busy_has_a_bucket_only_if_it_nearly_fills_it():
    buckets = MixedBuckets.up_to(8192, LARGE)
    least = round(LEAST_FILL * 8192)
    assert buckets.dense == LEAST_DENSE == buckets.of(LEAST_DENSE)
    assert buckets.of(LEAST_DENSE + 1) is None
    assert buckets.of(least - 1) is None
    assert buckets.of(least) == buckets.of(8192) == 8192
    assert buckets.of(8193) is None
