"""From logits to tokens on the device: greedy, or by temperature as `engines.compute.sampling`.

A first kernel takes the largest logit of every chunk of a row and its sum of exponentials; a second
finds the chunk in which the drawn number lies, reads that chunk again and takes the token. Chunks
are the same whatever else the batch holds, so a neighbour can't change a token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

CHUNK = 4096
_LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
_LOWEST_TEMPERATURE: tl.constexpr = tl.constexpr(1e-30)


@triton.jit
def _mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return z ^ (z >> 31)


@triton.jit
def uniform(seed_low, seed_high, position):
    """A float64 in [0, 1) from int32 halves of a seed and a position: splitmix64."""
    low = seed_low.to(tl.uint32, bitcast=True).to(tl.uint64)
    high = seed_high.to(tl.uint32, bitcast=True).to(tl.uint64)
    counter = position.to(tl.uint32, bitcast=True).to(tl.uint64) * 0x9E3779B97F4A7C15
    state = _mix((low | (high << 32)) + 0x9E3779B97F4A7C15) ^ counter
    return (_mix(state + 0x9E3779B97F4A7C15) >> 11).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def _temperature(columns, row, SEQS: tl.constexpr):
    """A row's temperature, and the factor that makes base-2 exponents of its logits."""
    bits = tl.load(columns + 2 * SEQS + row)
    temperature = bits.to(tl.float32, bitcast=True)
    return temperature, _LOG2_E / tl.maximum(temperature, _LOWEST_TEMPERATURE)


@triton.jit
def _summarise(logits, packed, tops, sums, vocab, chunks, SEQS: tl.constexpr, CHUNK: tl.constexpr):
    row, chunk = tl.program_id(0), tl.program_id(1)
    if row >= tl.load(packed + 3):
        return
    ids = chunk * CHUNK + tl.arange(0, CHUNK)
    start = logits + row.to(tl.int64) * vocab
    x = tl.load(start + ids, mask=ids < vocab, other=float("-inf")).to(tl.float32)
    top = tl.max(x, axis=0)
    tl.store(tops + row * chunks + chunk, top)
    temperature, factor = _temperature(packed + 9 + 3 * SEQS, row, SEQS)
    if temperature > 0:
        base = tl.where(top == float("-inf"), 0.0, top)
        total = tl.sum(tl.exp2((x - base) * factor), axis=0)
        tl.store(sums + row * chunks + chunk, total)


@triton.jit
def _first_past(weights, index, target, SIZE: tl.constexpr):
    """The first index at which the cumulated weights pass the target; none of weight 0."""
    passed = (weights > 0) & (tl.cumsum(weights, axis=0) > target)
    last = tl.max(tl.where(weights > 0, index, 0), axis=0)
    return tl.minimum(tl.min(tl.where(passed, index, SIZE), axis=0), last)


@triton.jit
def _drawn_chunk(columns, top, total, chunk, factor, row, SEQS: tl.constexpr, CHUNKS: tl.constexpr):
    """The chunk in which a row's number lies, and where in its sum of exponentials."""
    parameters = columns + 3 * SEQS + row
    number = uniform(
        tl.load(parameters), tl.load(parameters + SEQS), tl.load(parameters + 2 * SEQS)
    )
    weights = (total * tl.exp2((top - tl.max(top, axis=0)) * factor)).to(tl.float64)
    target = number * tl.sum(weights, axis=0)
    choice = _first_past(weights, chunk, target, CHUNKS)
    before = tl.sum(tl.where(chunk < choice, weights, 0.0), axis=0)
    weight = tl.sum(tl.where(chunk == choice, weights, 0.0), axis=0)
    own = tl.sum(tl.where(chunk == choice, total, 0.0), axis=0)
    return choice, (target - before) / weight * own


@triton.jit
def _choose(
    logits, packed, tops, sums, ring, next_token, vocab, chunks, ring_stride,
    SEQS: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    if row >= tl.load(packed + 3):
        return
    chunk = tl.arange(0, CHUNKS)
    places = row * chunks + chunk
    top = tl.load(tops + places, mask=chunk < chunks, other=float("-inf"))
    start = logits + row.to(tl.int64) * vocab
    index = tl.arange(0, CHUNK)
    temperature, factor = _temperature(packed + 9 + 3 * SEQS, row, SEQS)
    if temperature > 0:
        total = tl.load(sums + places, mask=chunk < chunks, other=0.0)
        choice, target = _drawn_chunk(
            packed + 9 + 3 * SEQS, top, total, chunk, factor, row, SEQS, CHUNKS
        )
        ids = choice * CHUNK + index
        x = tl.load(start + ids, mask=ids < vocab, other=float("-inf")).to(tl.float32)
        weights = tl.exp2((x - tl.max(x, axis=0)) * factor).to(tl.float64)
        token = choice * CHUNK + _first_past(weights, index, target, CHUNK)
    else:
        choice = tl.min(tl.where(top == tl.max(top, axis=0), chunk, CHUNKS), axis=0)
        ids = choice * CHUNK + index
        x = tl.load(start + ids, mask=ids < vocab, other=float("-inf")).to(tl.float32)
        token = tl.min(tl.where(x == tl.max(x, axis=0), ids, vocab), axis=0)
    token = tl.minimum(token, vocab - 1)
    tl.store(ring + tl.load(packed + 5) * ring_stride + row, token)
    tl.store(next_token + tl.load(packed + 9 + 3 * SEQS + SEQS + row), token)


def sample_tokens(
    logits: torch.Tensor,
    packed: torch.Tensor,
    max_num_seqs: int,
    ring: torch.Tensor,
    next_token: torch.Tensor,
) -> None:
    """One token for each of the step's samples; rows of logits behind them are left alone.

    Args:
        logits: `[R, vocab]`, any float dtype, contiguous.
        packed: the step's buffer, as `prepare` says with S = max_num_seqs.
        ring: int32 `[slots, n]`; token i goes to `ring[ring_slot, i]`.
        next_token: int32 `[rows]`; token i goes to `next_token[sample_rows[i]]`.
    """
    rows, vocab = logits.shape
    chunks = triton.cdiv(vocab, CHUNK)
    tops, sums = logits.new_empty((2, rows, chunks), dtype=torch.float32).unbind(0)
    _summarise[(rows, chunks)](
        logits, packed, tops, sums, vocab, chunks, max_num_seqs, CHUNK, num_warps=4
    )
    _choose[(rows,)](
        logits, packed, tops, sums, ring, next_token, vocab, chunks, ring.stride(0),
        max_num_seqs, CHUNK, triton.next_power_of_2(chunks), num_warps=8,
    )  # fmt: skip
