"""Bytes, FLOP and floors of steps, against counting by hand."""

import numpy as np
import pytest

from profiles.roofline import (
    Ceilings,
    DecoderCost,
    Demand,
    StepWork,
    demand,
    floor_s,
    seen_pairs,
    total_floor_s,
)

COST = DecoderCost(
    layer_bytes=1000,
    head_bytes=300,
    embedding_row_bytes=8,
    layer_flop=2000,
    quantised_flop=1000,
    head_flop=600,
    attention_flop=4,
    kv_bytes=16,
)


def work(*seqs: tuple[int, int], samples: int = 0) -> StepWork:
    new, contexts = zip(*seqs, strict=True)
    return StepWork(np.array(new), np.array(contexts), samples)


def test_decodes_read_weights_once_and_each_context():
    # Two decodes: contexts of 10 and 5, so 9 + 4 tokens are read and 2 written.
    need = demand(COST, work((1, 10), (1, 5), samples=2))
    assert need == Demand(
        bytes=1000 + 300 + 2 * 8 + (13 + 2) * 16,
        layer_flop=2 * 2000,
        quantised_flop=2 * 1000,
        head_flop=2 * 600,
        attention_flop=15 * 4,
    )
    assert need.flop == 4000 + 2000 + 1200 + 60


def test_a_chunk_that_samples_nothing_reads_no_head():
    # Tokens 6, 7 and 8 of a prompt: each sees all before it and itself.
    need = demand(COST, work((3, 8)))
    assert need.bytes == 1000 + 3 * 8 + (5 + 3) * 16
    assert need.head_flop == 0
    assert need.attention_flop == (6 + 7 + 8) * 4


@pytest.mark.parametrize("window", [None, 1, 2, 4, 7, 100])
def test_pairs_are_those_that_a_mask_would_have(window):
    for context in range(1, 12):
        for new in range(1, context + 1):
            counted = sum(
                min(position + 1, window or position + 1)
                for position in range(context - new, context)
            )
            assert seen_pairs(work((new, context)), window) == counted


def test_a_window_bounds_what_is_read():
    windowed = DecoderCost(0, 0, 0, 0, 0, 0, 0, kv_bytes=1, sliding_window=4)
    assert demand(windowed, work((1, 100), (1, 3))).bytes == (3 + 2) + 2


def test_a_step_takes_as_long_as_the_slower_of_memory_and_arithmetic():
    ceilings = Ceilings(100.0, 10.0, 20.0, "made up")
    memory_bound = Demand(bytes=500, layer_flop=20, head_flop=5, attention_flop=5)
    compute_bound = Demand(
        bytes=100, layer_flop=10, quantised_flop=40, head_flop=10, attention_flop=10
    )
    assert floor_s(memory_bound, ceilings) == 5.0
    assert floor_s(compute_bound, ceilings) == 40 / 20 + 30 / 10
    assert total_floor_s([memory_bound, compute_bound], ceilings) == 10.0
