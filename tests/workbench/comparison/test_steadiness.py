import numpy as np
import polars as pl
import pytest
from in_memory import record

from workbench.comparison.measured import MeasuredRun
from workbench.comparison.steadiness import unsettled
from workbench.runs.schema import REQUESTS
from workbench.runs.tables import polars_schema

S = 1_000_000_000
N = 600
WARMUP_S = 10.0


def run(ttft_s, *, tpot_s=0.012, gaps_s=0.2, tokens=60, wait_share=0.0, told=True, seed=0):
    """A run of these TTFTs, one for each request; arrivals are Poisson, `gaps_s` apart."""
    rng = np.random.default_rng(seed)
    n = len(ttft_s)
    due = np.cumsum(rng.exponential(gaps_s, n))
    output = rng.integers(tokens // 2, tokens * 3 // 2, n)
    first = due + ttft_s
    last = first + tpot_s * (output - 1)
    stamps = {
        "scheduled": due, "admitted": due, "started": due + wait_share * ttft_s,
        "prefilled": first, "first_token": first, "last_token": last, "finished": last,
    }  # fmt: skip
    columns = {f"{name}_ns": (stamp * S).astype(np.int64) for name, stamp in stamps.items()}
    columns |= {"request_id": np.arange(n), "output_tokens": output, "max_tokens": output}
    plain = {"status": "ok", "reason": "", "first_tokens": 1, "fitted": False}
    frame = pl.DataFrame(
        [
            pl.Series(name, columns.get(name, [plain.get(name)] * n)).cast(kind)
            for name, kind in polars_schema(REQUESTS).items()
        ]
    ).with_columns(pl.lit(0).alias("ttft_recompute_ns"))
    if not told:
        frame = frame.with_columns(pl.lit(None, pl.Int64).alias("started_ns"))
    window = {"start_ns": int(WARMUP_S * S), "end_ns": int(columns["scheduled_ns"][-1])}
    return MeasuredRun(record("a", {"summary": {"window": window}}, {"requests": frame}))


def steady(seed=1, n=N, sigma=0.2):
    return 0.2 * np.exp(sigma * np.random.default_rng(seed).standard_normal(n))


def test_a_run_that_settled_says_nothing():
    assert unsettled(run(steady())) == ()


def test_a_ttft_that_rises_is_said_with_its_ends():
    text = unsettled(run(steady() * np.linspace(1, 3, N), tpot_s=0.002))[0]
    start, rest = text.split(" ms to ")
    assert start.startswith("TTFT never settled: it rose from ")
    assert float(start.rsplit(" ", 1)[1]) == pytest.approx(210, rel=0.1)
    assert float(rest.split(" ", 1)[0]) == pytest.approx(600, rel=0.1)
    assert rest.endswith(" over the window; the run's figures depend on how long it was.")


def test_the_queue_is_named_where_the_wait_grew():
    rising = steady() * np.linspace(1, 3, N)
    waited = unsettled(run(rising, tpot_s=0.002, wait_share=0.8))
    assert "over the window (the queue grew); the run's" in waited[0]
    assert "queue" not in unsettled(run(rising, tpot_s=0.002, wait_share=0.2))[0]
    assert "queue" not in unsettled(run(rising, tpot_s=0.002, wait_share=0.8, told=False))[0]


def test_a_ttft_that_falls_is_said_so():
    text = unsettled(run(steady() * np.linspace(3, 1, N), tpot_s=0.002, wait_share=0.8))[0]
    assert text.startswith("TTFT never settled: it fell from 5") and "queue" not in text


def test_a_tpot_that_changes_level_is_said_with_the_time():
    tpot_s = np.where(np.arange(N) < 300, 0.012, 0.017) * np.exp(
        0.05 * np.random.default_rng(2).standard_normal(N)
    )
    made = run(steady(), tpot_s=tpot_s)
    changed_s = made.requests.filter(pl.col("request_id") >= 300)["scheduled_ns"][0] / S
    (text,) = [each for each in unsettled(made) if each.startswith("TPOT")]
    start, rest = text.split(" s into the run: ")
    assert start.startswith("TPOT changed level ")
    assert float(start.rsplit(" ", 1)[1]) == pytest.approx(changed_s, abs=4)
    assert rest == "12.0 ms before, 16.9 ms after."


def test_traffic_that_grows_shows_in_the_output_rate_and_in_flight():
    gaps_s = np.linspace(0.3, 0.05, N)
    rate, present = unsettled(run(steady(), gaps_s=gaps_s, seed=1))
    assert rate.startswith("The output rate never settled: it rose from ")
    assert " tok/s over the window" in rate
    assert present.startswith("Requests in flight never settled: they rose from ")


def test_requests_of_the_warm_up_count_while_they_are_in_flight():
    """Replies of 12 s, as long as the warm-up: the window starts with as many in flight as it
    ends with, though none of them at first belongs to it."""
    assert unsettled(run(steady(), tpot_s=0.15)) == ()


def test_replies_of_one_token_are_judged_by_e2e():
    made = run(steady() * np.linspace(1, 3, N), tokens=2)
    ones = made.record.tables["requests"].with_columns(
        output_tokens=pl.lit(1, pl.Int64), last_token_ns=pl.col("first_token_ns")
    )
    content = made.record.content
    texts = unsettled(MeasuredRun(record("a", content, {"requests": ones})))
    assert [text.split(" ")[0] for text in texts][:2] == ["TTFT", "E2E"]


def test_few_requests_are_not_judged():
    rising = 0.2 * np.linspace(1, 9, 80)
    made = run(rising, gaps_s=0.2)
    assert 0 < made.requests.height < 40
    assert unsettled(made) == ()


def test_a_run_without_a_window_is_not_judged():
    empty = pl.DataFrame(schema=polars_schema(REQUESTS))
    assert unsettled(MeasuredRun(record("a", {}, {"requests": empty}))) == ()
    point = {"summary": {"window": {"start_ns": 5, "end_ns": 5}}}
    assert unsettled(MeasuredRun(record("a", point, {"requests": empty}))) == ()
