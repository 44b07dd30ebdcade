import time
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.traces.statistics import describe
from workloads.traces.trace import Prefixes, Trace

S = 1_000_000_000


def trace(arrivals_s, inputs, rows=None, block_tokens=10, **more):
    count = len(inputs)
    prefixes = None
    if rows is not None:
        offsets = np.cumsum([0, *map(len, rows)])
        prefixes = Prefixes(block_tokens, np.array(list(chain(*rows)), np.int64), offsets)
    columns = {
        "format": "native",
        "path": "t.jsonl",
        "arrival_ns": np.array([round(s * S) for s in arrivals_s], np.int64),
        "input_tokens": np.array(inputs, np.int64),
        "output_tokens": np.arange(count, dtype=np.int64) + 1,
        "failed": np.zeros(count, bool),
        "prefixes": prefixes,
    }
    return Trace(**(columns | more))


def hits(inputs, rows):
    return describe(trace(range(len(inputs)), inputs, rows)).prefixes


def test_arrivals_of_stamps_that_were_rounded():
    arrivals = describe(trace([0, 0, 0, 3, 3, 5.999, 5.999, 5.999, 12], [1] * 9)).arrivals
    assert arrivals.span_s == 12 and arrivals.rate_per_s == pytest.approx(8 / 12)
    assert arrivals.largest_gap_s == 6.001
    assert arrivals.stamp_unit_ns == 1_000_000
    assert arrivals.equal_share == pytest.approx(5 / 9)
    assert (arrivals.smallest_gap_s, arrivals.median_gap_s) == (2.999, 3.0)


def test_gap_cv_is_one_for_poisson_and_none_for_constant_arrivals():
    times = np.cumsum(np.random.default_rng(0).exponential(1.0, 20_000))
    assert describe(trace(times, [1] * 20_000)).arrivals.gap_cv == pytest.approx(1.0, abs=0.03)
    assert describe(trace(range(50), [1] * 50)).arrivals.gap_cv == 0


def test_lengths_are_of_requests_that_did_not_fail():
    failed = np.array([False] * 100 + [True])
    facts = describe(trace(range(101), [*range(100), 10**6], failed=failed))
    assert (facts.rows, facts.failed) == (101, 1)
    lengths = facts.input_tokens
    assert (lengths.mean, lengths.p50, lengths.max) == (49.5, 49.5, 99)
    assert lengths.p90 == pytest.approx(89.1) and lengths.p99 == pytest.approx(98.01)
    assert facts.output_tokens.max == 100


def test_what_is_not_there_is_none():
    empty = describe(trace([], []))
    assert empty.rows == 0 and empty.arrivals is None and empty.input_tokens is None
    one = describe(trace([0], [5]))
    assert one.arrivals.rate_per_s is None and one.arrivals.smallest_gap_s is None
    assert one.sessions is None and one.prefixes is None
    own = describe(trace([0, 0], [5, 5], sessions_own_clock=True))
    assert own.arrivals is None
    nothing = hits([5, 5], [[], []])
    assert (nothing.blocks, nothing.hit_share, nothing.token_hit_share) == (0, 0.0, 0.0)


def test_sessions():
    session_id = np.array([0, 1, 0, -1, 0])
    sessions = describe(trace(range(5), [1] * 5, session_id=session_id)).sessions
    assert (sessions.count, sessions.turns_mean, sessions.turns_max, sessions.alone) == (2, 2, 3, 1)


def test_hits_of_shared_beginnings():
    found = hits([30, 25, 40, 7], [[0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [5]])
    assert (found.blocks, found.unique_blocks) == (11, 6)
    # Row 1 finds 0 and 1; so does row 2, but the 3 before it was only half a block.
    assert found.hit_share == pytest.approx(4 / 11)
    assert found.token_hit_share == pytest.approx(40 / 102)
    assert found.ids_name_prefixes


def test_a_partial_block_is_found_in_a_whole_one():
    found = hits([20, 15], [[0, 1], [0, 1]])
    assert found.hit_share == 0.5 and found.token_hit_share == pytest.approx(15 / 35)


def test_tokens_that_no_block_names_are_no_hits():
    found = hits([25, 25], [[0, 1], [0, 1]])
    assert found.hit_share == 0.5 and found.token_hit_share == pytest.approx(20 / 50)


def test_an_id_seen_behind_another_beginning_is_no_hit():
    found = hits([20, 20, 20], [[0, 1], [2, 1], [0, 1]])
    assert not found.ids_name_prefixes
    assert found.unique_blocks == 4
    assert found.hit_share == pytest.approx(2 / 6)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-2, 2), max_size=5), min_size=1, max_size=20), st.booleans())
def test_hits_by_their_definition(rows, spread):
    if spread:
        rows = [[block * 10**15 for block in row] for row in rows]
    seen, expected, unique = set(), 0, set()
    for row in rows:
        beginnings = [tuple(row[: end + 1]) for end in range(len(row))]
        expected += sum(beginning in seen for beginning in beginnings)
        seen.update(beginnings)
        unique.update(beginnings)
    found = hits([10 * len(row) for row in rows], rows)
    total = sum(map(len, rows))
    assert found.hit_share == pytest.approx(expected / max(1, total))
    assert found.token_hit_share == pytest.approx(expected / max(1, total))
    assert found.unique_blocks == len(unique)


def test_a_large_trace_takes_little_time():
    rows, each = 100_000, 24
    ids = np.arange(rows * each) // 3
    large = trace(np.arange(rows) * 0.1, [240] * rows)
    large = Trace(
        large.format, large.path, large.arrival_ns, large.input_tokens, large.output_tokens,
        large.failed, prefixes=Prefixes(10, ids, np.arange(rows + 1) * each),
    )  # fmt: skip
    start = time.perf_counter()
    describe(large)
    assert time.perf_counter() - start < 5
