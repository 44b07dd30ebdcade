import time

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.request import SamplingParams
from workloads.text import TokenStream, byte_encoder
from workloads.traces.replay import TraceRequests
from workloads.traces.trace import Prefixes, Trace
from workloads.traffic import OpenLoop

STREAM = TokenStream.encoded(byte_encoder(256))


def trace(inputs, rows=None, block_tokens=16, outputs=None, **more):
    prefixes = None
    if rows is not None:
        offsets = np.cumsum([0, *map(len, rows)])
        flat = np.concatenate([np.array(row, np.int64) for row in rows])
        prefixes = Prefixes(block_tokens, flat, offsets)
    count = len(inputs)
    return Trace(
        format="native",
        path="t.jsonl",
        arrival_ns=np.arange(count, dtype=np.int64) * 1000,
        input_tokens=np.array(inputs, np.int64),
        output_tokens=np.full(count, 5, np.int64) if outputs is None else np.array(outputs),
        failed=np.zeros(count, bool),
        prefixes=prefixes,
        **more,
    )


def prompts(given, stream=STREAM, **options):
    source = TraceRequests(given, stream, **options)
    return [source.build(row, 0).prompt_token_ids for row in range(len(given))]


def test_equal_ids_are_equal_tokens_and_others_are_not():
    a, b, c = prompts(trace([48, 48, 40], [[5, 6, 7], [5, 9, 7], [5, 6, 7]]))
    assert np.array_equal(a[:16], b[:16]) and np.array_equal(a[32:], b[32:])
    assert not np.array_equal(a[16:32], b[16:32])
    assert np.array_equal(c, a[:40])
    assert all(prompt.dtype == np.int32 for prompt in (a, b, c))


@pytest.mark.parametrize("block_tokens", [2, 3, 64])
@pytest.mark.parametrize("spread", [1, 10**13])
def test_no_two_of_very_many_ids_have_the_same_block(block_tokens, spread):
    count, per_row = 10_000, 100
    ids = np.arange(count).reshape(-1, per_row) * spread - 5
    made = prompts(trace([per_row * block_tokens] * len(ids), ids.tolist(), block_tokens))
    blocks = np.concatenate(made).reshape(-1, block_tokens)
    assert len(np.unique(blocks, axis=0)) == count


def test_blocks_too_short_to_differ_are_refused():
    stream = TokenStream(np.array([3, 4] * 50))
    given = trace([8], [[0, 1, 2, 3]], block_tokens=2)
    assert len(set(map(tuple, prompts(given, stream)[0].reshape(4, 2).tolist()))) == 4
    with pytest.raises(WorkloadError, match="can't tell 5 contents apart"):
        TraceRequests(trace([10], [[0, 1, 2, 3, 4]], block_tokens=2), stream)
    same = TokenStream(np.zeros(9, np.int64))
    with pytest.raises(WorkloadError, match="1 different"):
        TraceRequests(given, same)
    assert prompts(trace([30], [[7, 7]]), same)[0].tolist() == [0] * 30


def test_text_beyond_the_blocks_is_the_rows_own():
    a, b = prompts(trace([48, 48], [[1, 2], [1, 2]]))
    assert np.array_equal(a[:32], b[:32])
    assert not np.array_equal(a[32:], b[32:])


def test_rows_without_blocks_have_text_of_their_own():
    stream = TokenStream(np.arange(50_000))
    for given in (trace([64] * 200), trace([64] * 200, [[]] * 200)):
        made = prompts(given, stream, seed=3)
        assert all(len(prompt) == 64 for prompt in made)
        assert len({int(prompt[0]) for prompt in made}) == 200
        assert np.array_equal(made[7], np.arange(made[7][0], made[7][0] + 64))


def test_blocks_longer_than_the_stream_go_round():
    stream = TokenStream(np.arange(10))
    prompt = prompts(trace([100], [[0, 1]], block_tokens=64), stream)[0]
    assert len(prompt) == 100 and np.array_equal(np.diff(prompt[2:64]) % 10, np.ones(61))


def test_a_request_is_the_same_in_any_order_and_after_a_cut():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 300, n).tolist() for n in rng.integers(0, 9, 200)]
    lengths = [max(1, 16 * len(row) - int(rng.integers(0, 16))) for row in rows]
    given = trace(lengths, rows)
    source = TraceRequests(given, STREAM, seed=8)
    forwards = [source.build(row, row) for row in range(200)]
    cut = TraceRequests(given, STREAM, seed=8, max_model_len=60)
    for row in reversed(range(200)):
        request, short = source.build(row, 9), cut.build(row, 9)
        assert request.scheduled_ns == 9 and request.prompt_tokens == lengths[row]
        assert np.array_equal(request.prompt_token_ids, forwards[row].prompt_token_ids)
        assert request.sampling == forwards[row].sampling
        assert not request.fitted and short.fitted == (lengths[row] > 55)
        assert short.prompt_tokens == min(lengths[row], 55)
        start = request.prompt_token_ids[: short.prompt_tokens]
        assert np.array_equal(short.prompt_token_ids, start)


def test_what_a_request_carries():
    given = trace([20, 30], session_id=np.array([4, -1]), turn=np.array([2, -1]), outputs=[7, 8])
    sampling = SamplingParams(temperature=0.5, top_k=3, top_p=0.9, seed=1, ignore_eos=False)
    source = TraceRequests(given, STREAM, sampling=sampling)
    first, second = source.build(0, 11), source.build(1, 12)
    assert (first.request_id, first.scheduled_ns, first.max_tokens) == (0, 11, 7)
    assert (first.session_id, first.turn) == (4, 2) and (second.session_id, second.turn) == (-1, -1)
    asked = first.sampling
    assert (asked.temperature, asked.top_k, asked.top_p, asked.ignore_eos) == (0.5, 3, 0.9, False)
    assert asked.seed != second.sampling.seed
    for value in (first.max_tokens, asked.seed, first.session_id, first.turn):
        assert type(value) is int
    with pytest.raises(IndexError):
        source.build(2, 0)


def test_open_loop_traffic_replays_it():
    given = trace([16, 32, 16], [[0], [0, 1], [2]])
    traffic = OpenLoop(TraceRequests(given, STREAM), given.arrival_ns)
    assert [request.request_id for request in traffic.due(1000)] == [0, 1]
    assert traffic.next_due_ns() == 2000
    assert [request.scheduled_ns for request in traffic.due(5000)] == [2000]
    assert traffic.exhausted and traffic.offered == 3


def test_rows_without_tokens_are_refused():
    for bad in (trace([0, 5]), trace([5, 5], outputs=[1, 0])):
        with pytest.raises(WorkloadError, match="no prompt or output tokens"):
            TraceRequests(bad, STREAM)


def test_building_is_quick():
    rows = [[0, 2 * i + 1, 2 * i + 2] for i in range(4_000)]
    source = TraceRequests(trace([1_500] * 4_000, rows, block_tokens=512), STREAM)
    start = time.perf_counter()
    for row in range(4_000):
        source.build(row, 0)
    assert 4_000 / (time.perf_counter() - start) > 5_000
