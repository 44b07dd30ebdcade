"""The work lists that are made on the device: complete, bounded and in order."""

from __future__ import annotations

import random

import pytest
import torch
from attention_cases import make_step

from engines.attention.base import AttentionShape, DeviceStep
from engines.attention.triton.configs import DecodeConfig, PrefillConfig

DECODE = DecodeConfig(tile=16, num_warps=4, num_stages=2, programs_per_sm=2, smallest_chunk=32)
PREFILL = PrefillConfig(block_m=32, block_n=16, num_warps=4, num_stages=2)

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="for the interpreter")


def plan(step: DeviceStep, window: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Items of decodes `[items, 6]` and of prompt chunks `[items, 4]`."""
    from engines.attention.paged import TritonAttention

    backend = TritonAttention(
        AttentionShape(4, 2, 32, window), 16, torch.device("cpu"), torch.float32, 64, 2048,
        decode=DECODE, prefill=PREFILL,
    )  # fmt: skip
    planned = backend.begin_step(step)
    decodes, prefills = backend._num_items.tolist()
    assert decodes <= planned.decode_items
    assert prefills <= planned.prefill_items
    return backend._decode_items.T[:decodes], backend._prefill_items.T[:prefills]


MIXES = [
    [1],
    [100_000],
    [1] * 64,
    [1] * 63 + [100_000],
    [700] * 40,
    [31, 32, 33, 64, 65],
    [random.Random(1).choice([1, 50, 3000, 20_000]) for _ in range(50)],
]


@pytest.mark.parametrize("contexts", MIXES)
@pytest.mark.parametrize("window", [None, 100])
def test_items_cover_every_context_once(contexts: list[int], window: int | None) -> None:
    step = make_step(contexts, [1] * len(contexts))
    items, _ = plan(step, window)
    for sequence, context in enumerate(contexts):
        mine = items[items[:, 0] == sequence]
        begin = 0 if window is None else max(0, context - window)
        assert mine[0, 2] == begin
        assert mine[-1, 3] == context
        assert torch.equal(mine[1:, 2], mine[:-1, 3])
        assert (mine[:, 3] > mine[:, 2]).all()
        assert (mine[:, 1] == step.rows[sequence]).all()
        first = int(mine[0, 4])
        assert torch.equal(items[first : first + len(mine)], mine)
        assert (mine[:, 5] == len(mine)).all()


def test_one_long_context_is_spread_over_the_machine() -> None:
    items, _ = plan(make_step([100_000], [1]))
    assert len(items) >= 4
    sizes = items[:, 3] - items[:, 2]
    assert sizes.max() - sizes.min() <= DECODE.tile * len(items)


def test_tiles_cover_every_token_once_longest_context_first() -> None:
    contexts, queries = [20, 400, 33, 90, 900], [1, 130, 33, 1, 64]
    step = make_step(contexts, queries, num_seqs=7, num_tokens=300)
    _, items = plan(step)
    padding = items[:, 3] == -1
    tokens = [range(first, first + size) for _, first, size, _ in items.tolist()]
    assert sorted(token for tile in tokens for token in tile) == list(range(1, 300))
    assert {t for tile, p in zip(tokens, padding, strict=True) if p for t in tile} == set(
        range(229, 300)
    )
    seen = torch.where(padding, 0, items[:, 3] + items[:, 2])
    assert torch.equal(seen, seen.sort(descending=True).values)
    last = items[(items[:, 1] <= 228) & (items[:, 1] + items[:, 2] > 228)]
    assert int(last[0, 3] + last[0, 2]) == 900


def test_prefill_tiles_stay_within_their_bound() -> None:
    draw = random.Random(3)
    for _ in range(20):
        queries = [draw.choice([2, 3, 31, 33, 65]) for _ in range(draw.randint(1, 20))]
        contexts = [new + draw.choice([0, 5, 500]) for new in queries]
        plan(make_step(contexts, queries, num_tokens=sum(queries) + draw.choice([0, 1, 40])))
