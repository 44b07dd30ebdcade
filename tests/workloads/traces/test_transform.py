from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Prefixes, Trace
from workloads.traces.transform import apply

S = 1_000_000_000


def trace(arrivals_s=(0, 1, 2, 5), inputs=(100, 200, 300, 400), outputs=(10, 20, 30, 40), **more):
    rows = len(arrivals_s)
    columns = {
        "format": "native",
        "path": "t.jsonl",
        "arrival_ns": np.array([round(s * S) for s in arrivals_s], np.int64),
        "input_tokens": np.array(inputs, np.int64),
        "output_tokens": np.array(outputs, np.int64),
        "failed": np.zeros(rows, bool),
    }
    return Trace(**(columns | more))


def prefixes(block_tokens, *rows):
    offsets = np.cumsum([0, *map(len, rows)])
    return Prefixes(block_tokens, np.array(list(chain(*rows)), np.int64), offsets)


def ids(changed):
    p = changed.prefixes
    return [p.hash_ids[a:b].tolist() for a, b in zip(p.offsets, p.offsets[1:], strict=False)]


def test_nothing_asked_changes_nothing():
    given = trace(prefixes=prefixes(64, [1], [1, 2], [], [7]))
    changed, changes = apply(given, TraceOptions())
    assert changed.arrival_ns is given.arrival_ns and changed.input_tokens is not None
    assert changed.input_tokens.tolist() == given.input_tokens.tolist()
    assert changed.output_tokens.tolist() == given.output_tokens.tolist()
    assert changes.sentences() == []


def test_the_replay_begins_where_the_window_does():
    changed, changes = apply(trace(), TraceOptions(window_s=(0.5, 5.0), limit=1))
    assert changed.arrival_ns.tolist() == [S // 2]
    assert changed.input_tokens.tolist() == [200]
    assert (changes.outside_window, changes.beyond_limit) == (2, 1)
    assert changes.sentences() == [
        "2 requests outside the window left out.",
        "1 request beyond the limit left out.",
    ]


def test_a_window_that_the_reader_applied_changes_nothing_more():
    options = TraceOptions(window_s=(0.5, 5.0), limit=2)
    read = trace((1, 2), (200, 300), (20, 30))
    whole, part = apply(trace(), options), apply(read, options)
    assert whole[0].arrival_ns.tolist() == part[0].arrival_ns.tolist()
    assert part[1].sentences() == []


def test_failed_rows_are_left_out_with_their_blocks():
    failed = np.array([False, True, False, False])
    given = trace(failed=failed, prefixes=prefixes(64, [1], [2, 3], [4], [1, 5]),
                  session_id=np.array([0, 0, 1, -1]), turn=np.array([0, 1, 0, -1]))  # fmt: skip
    changed, changes = apply(given, TraceOptions())
    assert changes.failed == 1 and not changed.failed.any()
    assert ids(changed) == [[1], [4], [1, 5]]
    assert changed.session_id.tolist() == [0, 1, -1] and changed.turn.tolist() == [0, 0, -1]


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(WorkloadError, match=r"4 requests outside.*last arrival is at 5\.0 s"):
        apply(trace(), TraceOptions(window_s=(60, 70)))
    with pytest.raises(WorkloadError, match="empty"):
        apply(trace((), (), ()), TraceOptions())


def test_jitter_moves_later_and_keeps_rows_whole():
    rows = 500
    given = trace(
        np.arange(rows) // 50, np.arange(rows) + 1, np.arange(rows) + 2,
        prefixes=prefixes(64, *[[i] for i in range(rows)]),
    )  # fmt: skip
    changed, _ = apply(given, TraceOptions(jitter_s=3.0), seed=4)
    assert (np.diff(changed.arrival_ns) >= 0).all()
    row = changed.input_tokens - 1
    moved = changed.arrival_ns - given.arrival_ns[row]
    assert moved.min() >= 0 and 2.8 * S < moved.max() < 3 * S
    assert 1.35 * S < moved.mean() < 1.65 * S
    assert changed.output_tokens.tolist() == (row + 2).tolist()
    assert ids(changed) == [[int(i)] for i in row]
    assert sorted(row.tolist()) == list(range(rows)) and (np.diff(row) < 0).any()
    again, _ = apply(given, TraceOptions(jitter_s=3.0), seed=4)
    other, _ = apply(given, TraceOptions(jitter_s=3.0), seed=5)
    assert np.array_equal(again.arrival_ns, changed.arrival_ns)
    assert not np.array_equal(other.arrival_ns, changed.arrival_ns)


def test_the_jitter_of_a_row_does_not_depend_on_how_many_follow():
    given = trace(np.arange(100) * 10, [1] * 100, [1] * 100)
    whole, _ = apply(given, TraceOptions(jitter_s=3.0))
    few, _ = apply(given, TraceOptions(jitter_s=3.0, limit=7))
    assert few.arrival_ns.tolist() == whole.arrival_ns[:7].tolist()


def test_speed_divides_the_time():
    changed, _ = apply(trace((0, 1, 2, 5)), TraceOptions(speed=4.0))
    assert changed.arrival_ns.tolist() == [0, S // 4, S // 2, 5 * S // 4]
    assert changed.arrival_ns.dtype == np.int64
    slower, _ = apply(
        trace(
            (0, 1, 2, 5),
        ),
        TraceOptions(speed=0.5, window_s=(1, 9)),
    )
    assert slower.arrival_ns.tolist() == [0, 2 * S, 8 * S]


def test_lengths_are_scaled_and_never_nothing():
    given = trace(inputs=(0, 1, 10, 99), outputs=(0, 0, 15, 3))
    changed, changes = apply(given, TraceOptions(scale_lengths=0.1))
    assert changed.input_tokens.tolist() == [1, 1, 1, 10]
    assert changed.output_tokens.tolist() == [1, 1, 2, 1]
    assert changes.lengthened == 3
    as_published, changes = apply(given, TraceOptions())
    assert as_published.output_tokens.tolist() == [1, 1, 15, 3] and changes.lengthened == 2


def test_whole_blocks_stay_whole():
    given = trace(
        inputs=(1024, 1100, 512 * 3 - 2, 520),
        prefixes=prefixes(512, [0, 1], [0, 1, 2], [0, 1, 3], [0, 4]),
    )
    changed, changes = apply(given, TraceOptions(scale_lengths=1 / 32))
    assert changed.prefixes.block_tokens == 16 and changes.block_stretch == 1.0
    # 76 tokens of a block become 2, 510 a whole one, 8 become none and the id goes with them
    assert changed.input_tokens.tolist() == [32, 34, 48, 16]
    assert ids(changed) == [[0, 1], [0, 1, 2], [0, 1, 3], [0]]


def test_tokens_beyond_the_named_blocks_are_scaled_alone():
    given = trace((0, 1), (64 * 2 + 40, 30), (5, 5), prefixes=prefixes(64, [0, 1], []))
    changed, _ = apply(given, TraceOptions(scale_lengths=0.25))
    assert changed.input_tokens.tolist() == [2 * 16 + 10, 8]
    assert ids(changed) == [[0, 1], []]


def test_a_block_that_does_not_scale_to_whole_tokens_is_told():
    given = trace((0, 1), (32, 48), (5, 5), prefixes=prefixes(16, [0, 1], [0, 1, 2]))
    changed, changes = apply(given, TraceOptions(scale_lengths=0.1))
    assert changed.prefixes.block_tokens == 2
    assert changed.input_tokens.tolist() == [4, 6]
    assert changes.block_stretch == pytest.approx(1.25)
    assert "1.25 times" in changes.sentences()[0]


def test_long_requests_are_fitted_and_their_blocks_with_them():
    given = trace((0, 1), (1000, 100), (200, 20), prefixes=prefixes(64, list(range(16)), [0, 1]))
    changed, changes = apply(given, TraceOptions(max_context=600))
    assert changed.input_tokens.tolist() == [400, 100]
    assert changed.output_tokens.tolist() == [200, 20]
    assert ids(changed) == [list(range(7)), [0, 1]]
    assert changes.shortened == 1 and "1 request shortened" in changes.sentences()[0]


def test_sessions_without_a_common_clock_have_no_window():
    given = replace(trace(), sessions_own_clock=True)
    for options in (TraceOptions(window_s=(0, 9)), TraceOptions(jitter_s=1)):
        with pytest.raises(WorkloadError, match="no common clock"):
            apply(given, options)
    assert len(apply(given, TraceOptions(limit=2, speed=2))[0]) == 2
