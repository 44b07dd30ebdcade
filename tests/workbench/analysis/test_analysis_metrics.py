import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis.metrics import (
    PER_REQUEST,
    STAGES,
    Window,
    inter_token_latencies,
    request_metrics,
    stage_sum_errors,
)
from workbench.runs.schema import EMISSIONS, REQUESTS

WHOLE = {
    "scheduled": 100,
    "admitted": 103,
    "started": 110,
    "prefilled": 150,
    "first_token": 150,
    "last_token": 250,
    "finished": 250,
    "output_tokens": 11,
    "first_tokens": 1,
}


def only(frame: pl.DataFrame) -> dict:
    return frame.row(0, named=True)


def test_a_request_by_hand(requests_frame):
    metrics = only(request_metrics(requests_frame(WHOLE)))
    assert {name: metrics[name] for name in PER_REQUEST} == {
        "ttft_ms": 50,
        "engine_ttft_ms": 47,
        "wait_ms": 3,
        "queue_ms": 7,
        "prefill_ms": 40,
        "transfer_ms": None,
        "first_decode_ms": 0,
        "recompute_ms": 0,
        "tpot_ms": 10,
        "e2e_ms": 150,
        "output_speed": 100,
    }


def test_recompute_is_told_apart_from_prefill_and_transfer_has_its_own_stage(requests_frame):
    row = WHOLE | {"transferred": 155, "first_token": 163, "ttft_recompute_ns": 12_000_000}
    frame = requests_frame(row)
    metrics = only(request_metrics(frame))
    stages = {name: metrics[f"{name}_ms"] for name in STAGES}
    assert stages == {
        "wait": 3,
        "queue": 7,
        "prefill": 28,
        "transfer": 5,
        "first_decode": 8,
        "recompute": 12,
    }
    assert sum(stages.values()) == metrics["ttft_ms"] == 63
    assert stage_sum_errors(frame) == 0


@pytest.mark.parametrize("n_out", [8, 32, 80])
def test_tpot_of_chunks_of_four_tokens_is_true(requests_frame, n_out):
    """4 tokens every 40 ms are 10 ms per token, however many there are.

    Any formula with n - 1 reads low: at 32 tokens 280 / 31 = 9.03 ms.
    """
    last = 150 + 40 * (n_out // 4 - 1)
    row = WHOLE | {"last_token": last, "output_tokens": n_out, "first_tokens": 4}
    metrics = only(request_metrics(requests_frame(row)))
    assert (metrics["tpot_ms"], metrics["output_speed"]) == (10.0, 100.0)


@pytest.mark.parametrize("tokens", [1, 4])
def test_tpot_is_undefined_where_all_tokens_came_at_once(requests_frame, tokens):
    row = WHOLE | {"last_token": 150, "output_tokens": tokens, "first_tokens": tokens}
    metrics = only(request_metrics(requests_frame(row)))
    assert metrics["tpot_ms"] is None and metrics["output_speed"] is None
    assert metrics["e2e_ms"] == 50


def test_a_stage_that_was_not_reached_is_null_and_never_zero(requests_frame):
    rejected = {"status": "rejected", "scheduled": 5, "finished": 6}
    waiting = {"status": "unfinished", "scheduled": 5, "admitted": 6, "finished": 99}
    prefilling = waiting | {"started": 8, "ttft_recompute_ns": 1_000_000}
    frame = request_metrics(requests_frame(rejected, waiting, prefilling))
    reached = [{name for name in PER_REQUEST if row[name] is not None} for row in frame.to_dicts()]
    assert reached == [set(), {"wait_ms"}, {"wait_ms", "queue_ms"}]
    assert stage_sum_errors(frame) == 0


def test_a_request_cut_short_has_ttft_and_tpot_but_no_e2e(requests_frame):
    metrics = only(request_metrics(requests_frame(WHOLE | {"status": "unfinished"})))
    assert (metrics["ttft_ms"], metrics["tpot_ms"], metrics["e2e_ms"]) == (50, 10, None)


def test_stage_errors_are_counted(requests_frame):
    backwards = WHOLE | {"ttft_recompute_ns": 99_000_000}
    holes = (WHOLE | {"started": None}, WHOLE | {"admitted": None})
    assert stage_sum_errors(requests_frame(WHOLE, *holes, backwards, WHOLE)) == 3


def test_stages_that_were_lost_with_a_killed_run_are_no_error(requests_frame):
    recovered = WHOLE | {"status": "unfinished", "started": None, "ttft_recompute_ns": None}
    assert stage_sum_errors(requests_frame(recovered)) == 0


durations = st.integers(0, 2**55)


@given(
    st.lists(
        st.tuples(durations, durations, durations, durations, st.none() | durations, durations),
        min_size=1,
        max_size=30,
    )
)
def test_stages_sum_to_ttft_exactly(rows):
    """In integers, where floats of this size would already be off by nanoseconds."""
    columns = {name: [] for name in REQUESTS.names if name.endswith("_ns")}
    for scheduled, wait, queue, prefill, transfer, decode in rows:
        columns["scheduled_ns"].append(scheduled)
        columns["admitted_ns"].append(scheduled + wait)
        columns["started_ns"].append(scheduled + wait + queue)
        columns["prefilled_ns"].append(columns["started_ns"][-1] + prefill)
        columns["ttft_recompute_ns"].append(prefill // 3)
        transferred = None if transfer is None else columns["prefilled_ns"][-1] + transfer
        columns["transferred_ns"].append(transferred)
        first = (transferred or columns["prefilled_ns"][-1]) + decode
        columns["first_token_ns"].append(first)
        columns["last_token_ns"].append(first)
        columns["finished_ns"].append(first)
        columns["recompute_ns"].append(0)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64)).with_columns(
        status=pl.lit("ok"), output_tokens=pl.lit(1), first_tokens=pl.lit(1)
    )
    assert stage_sum_errors(frame) == 0
    metrics = request_metrics(frame)
    total = metrics.select(pl.sum_horizontal(f"{name}_ms" for name in STAGES)).to_series()
    for stages, ttft in zip(total, metrics["ttft_ms"], strict=True):
        assert math.isclose(stages, ttft, rel_tol=1e-12, abs_tol=1e-9)


def test_itl_pools_gaps_within_requests_alone(table_frame):
    at_ms = [(0, 0, 1), (0, 1, 1), (10, 0, 1), (25, 1, 3), (30, 0, 2), (31, 2, 1)]
    rows = [
        {"step": ms, "time_ns": ms * 1_000_000, "request_id": who, "tokens": tokens}
        for ms, who, tokens in at_ms
    ]
    gaps = inter_token_latencies(table_frame(EMISSIONS, rows))
    assert gaps.select("request_id", "tokens", "itl_ms").rows() == [
        (0, 1, 10),
        (0, 2, 20),
        (1, 3, 25),
    ]
    assert gaps["itl_per_token_ms"].to_list() == [10, 10, pytest.approx(25 / 3)]
    shuffled = inter_token_latencies(table_frame(EMISSIONS, rows[::-1]))
    assert shuffled.equals(gaps)


def test_no_emissions_have_no_gaps(table_frame):
    assert inter_token_latencies(table_frame(EMISSIONS, [])).height == 0


def test_window_holds_both_of_its_ends():
    window = Window(10, 20)
    frame = pl.DataFrame({"at": [9, 10, 20, 21, None]})
    assert frame.filter(window.holds("at"))["at"].to_list() == [10, 20]
    assert Window(0, 2_500_000_000).length_s == 2.5 and Window(5, 1).length_s == 0
