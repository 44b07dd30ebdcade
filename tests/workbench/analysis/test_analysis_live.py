import numpy as np
import polars as pl
import pytest

from workbench.analysis.buffers import Samples
from workbench.analysis.live import LiveState
from workbench.analysis.metrics import Window, inter_token_latencies
from workbench.analysis.summary import summarise

MS = 1_000_000
S = 1000 * MS


def segments(tables, period_ns=300 * MS):
    """A recorded run as the segments that were flushed while it happened."""
    steps, arrivals, requests = tables["steps"], tables["arrivals"], tables["requests"]
    end_ns = int(steps["end_ns"].max())
    for start_ns in range(0, end_ns + 1, period_ns):
        flushed = Window(start_ns, start_ns + period_ns - 1)
        emitted = tables["emissions"].filter(flushed.holds("time_ns"))
        yield {
            "arrivals": columns(arrivals.filter(flushed.holds("submitted_ns"))),
            "requests": columns(requests.filter(flushed.holds("finished_ns"))),
            "steps": columns(steps.filter(flushed.holds("end_ns"))),
            "emissions": {
                "request_id": emitted["request_id"].to_numpy(),
                "tokens": emitted["tokens"].cast(pl.Int32).to_numpy(),
            },
        }


def columns(frame):
    return {
        series.name: series.to_list()
        if series.dtype == pl.String
        else series.fill_null(-1).to_numpy()
        if series.dtype == pl.Int64
        else series.to_numpy()
        for series in frame
    }


@pytest.mark.parametrize("tokens_per_emission", [1, 3])
def test_live_equals_offline_on_the_same_data(simulated, tokens_per_emission):
    tables = simulated(count=120, rate=4.0, tokens_per_emission=tokens_per_emission)
    live = LiveState(usable_blocks=500)
    for segment in segments(tables):
        live.feed(segment)
    end_ns = int(tables["steps"]["end_ns"].max())
    seen = live.snapshot(end_ns)
    summary = summarise(tables, Window(0, end_ns))
    ttft, tpot = summary.latency["ttft_ms"], summary.latency["tpot_ms"]
    assert (seen.ttft_p50_ms, seen.ttft_p99_ms) == pytest.approx((ttft.p50, ttft.p99))
    assert (seen.tpot_p50_ms, seen.tpot_p99_ms) == pytest.approx((tpot.p50, tpot.p99))
    assert (seen.ttft_n, seen.tpot_n) == (ttft.n, tpot.n)
    assert seen.offered == 120 and seen.ended == {"ok": 120} and seen.in_flight == 0
    assert seen.steps == tables["steps"].height
    assert seen.output_tokens == tables["emissions"]["tokens"].sum()

    recent = Window(end_ns - 10 * S + 1, end_ns)
    gaps = inter_token_latencies(tables["emissions"]).filter(recent.holds("time_ns"))["itl_ms"]
    assert seen.itl_n == gaps.len() > 100
    assert seen.itl_p99_ms == pytest.approx(gaps.quantile(0.99, "linear"))
    last = Window(end_ns - 5 * S + 1, end_ns)
    tokens = tables["emissions"].filter(last.holds("time_ns"))["tokens"].sum()
    assert seen.output_tokens_per_s == pytest.approx(tokens / 5)
    prompt = tables["steps"].filter(last.holds("end_ns"))["prefill_tokens"].sum()
    assert seen.prompt_tokens_per_s == pytest.approx(prompt / 5)


def test_the_size_of_segments_does_not_matter(simulated):
    tables = simulated(count=60, rate=4.0)
    end_ns = int(tables["steps"]["end_ns"].max())
    snapshots = []
    for period_ns in (50 * MS, 700 * MS, 1000 * S):
        live = LiveState(500)
        for segment in segments(tables, period_ns):
            live.feed(segment)
        snapshots.append(live.snapshot(end_ns))
    assert snapshots[0] == snapshots[1] == snapshots[2]


def test_nothing_is_known_before_the_first_segment():
    snapshot = LiveState(10).snapshot(0)
    assert snapshot.offered == snapshot.in_flight == snapshot.steps == 0
    assert snapshot.ttft_p50_ms is None and snapshot.itl_p99_ms is None
    assert snapshot.arrivals_per_s is None and snapshot.kv_usage_percent is None
    live = LiveState()
    live.feed({})
    live.feed({"steps": {}, "emissions": {}, "requests": {"status": []}})
    assert live.snapshot(3 * S).output_tokens_per_s == 0


def test_ttft_is_known_before_the_request_ends_and_stages_are_counted():
    live = LiveState(usable_blocks=200)
    live.feed({"arrivals": {"request_id": [0, 1, 2], "scheduled_ns": [S, 2 * S, 2 * S]}})
    waiting = live.snapshot(2 * S)
    assert (waiting.offered, waiting.running, waiting.waiting) == (3, 0, 3)
    assert waiting.arrivals_per_s == 1.5
    live.feed(
        {
            "steps": {
                "end_ns": [2 * S + 100 * MS, 2 * S + 150 * MS],
                "emitting": [1, 2],
                "kind": ["prefill", "mixed"],
                "running": [1, 2],
                "waiting": [2, 1],
                "live_blocks": [20, 50],
                "cached_blocks": [0, 7],
                "prefill_tokens": [90, 10],
            },
            "emissions": {"request_id": [0, 0, 1], "tokens": np.array([1, 2, 1], np.int32)},
            "events": {"kind": ["prefill", "preempt"]},
            "devices": {
                "time_ns": [1, 2],
                "device": ["host", "host"],
                "process_cpu_percent": [50.0, 75.0],
                "power_watts": [np.nan, np.nan],
            },
        }
    )
    seen = live.snapshot(2 * S + 200 * MS)
    assert (seen.ttft_n, seen.ttft_p50_ms) == (2, pytest.approx((1100 + 150) / 2))
    assert (seen.itl_n, seen.itl_p50_ms) == (1, 50)
    assert (seen.tpot_n, seen.tpot_p50_ms) == (0, None)
    assert (seen.running, seen.waiting, seen.in_flight) == (2, 1, 3)
    assert seen.kv_usage_percent == 25 and seen.cached_blocks == 7
    assert seen.step_kinds == {"prefill": 1, "mixed": 1} and seen.preemptions == 1
    assert seen.as_of_ns == 2 * S + 150 * MS
    assert seen.output_tokens_per_s == pytest.approx(4 / 2.15)
    assert seen.devices == {"host": {"process_cpu_percent": 75.0}}


def test_rates_fall_to_zero_when_nothing_comes():
    live = LiveState()
    live.feed(
        {
            "arrivals": {"request_id": [0], "scheduled_ns": [0]},
            "steps": {"end_ns": [S], "emitting": [1]},
            "emissions": {"request_id": [0], "tokens": [1]},
        }
    )
    assert live.snapshot(S).output_tokens_per_s == 1
    later = live.snapshot(20 * S)
    assert later.output_tokens_per_s == 0 and later.arrivals_per_s == 0 and later.itl_n == 0


def test_a_rejected_request_ends_without_ever_running():
    live = LiveState()
    live.feed(
        {
            "arrivals": {"request_id": [0, 1], "scheduled_ns": [5, 6]},
            "requests": {
                "request_id": [1],
                "status": ["rejected"],
                "scheduled_ns": [6],
                "finished_ns": [7],
                "first_token_ns": [-1],
                "last_token_ns": [-1],
                "output_tokens": [0],
                "first_tokens": [0],
            },
        }
    )
    seen = live.snapshot(10)
    assert (seen.offered, seen.ended, seen.in_flight, seen.tpot_n) == (2, {"rejected": 1}, 1, 0)


def test_emissions_that_the_steps_do_not_account_for_are_an_error():
    with pytest.raises(ValueError, match="2 emissions, but its steps account for 1"):
        LiveState().feed(
            {
                "steps": {"end_ns": [5], "emitting": [1]},
                "emissions": {"request_id": [0, 1], "tokens": [1, 1]},
            }
        )


def test_saved_emissions_bring_their_own_stamps():
    live = LiveState()
    live.feed({"emissions": {"request_id": [0, 0], "tokens": [1, 1], "time_ns": [MS, 3 * MS]}})
    assert live.snapshot(3 * MS).itl_p50_ms == 2


def test_recent_memory_is_bounded_over_hours():
    live = LiveState()
    rows = 200
    for second in range(0, 3600, 2):
        ends_ns = second * S + np.arange(rows) * 10 * MS
        live.feed(
            {
                "steps": {
                    "end_ns": ends_ns,
                    "emitting": np.ones(rows, int),
                    "kind": ["decode"] * rows,
                },
                "emissions": {"request_id": np.zeros(rows, int), "tokens": np.ones(rows, int)},
            }
        )
    assert len(live._gaps_ms._chunks) <= 7 and len(live._step_kinds._chunks) <= 4
    assert live.snapshot(3600 * S).itl_n == pytest.approx(1000, abs=5)


def test_percentiles_of_many_samples_are_computed_anew_only_as_they_grow():
    samples = Samples()
    samples.add(np.zeros(100_000))
    assert samples.percentiles((50.0,)) == (0,)
    samples.add(np.ones(500))
    assert samples.percentiles((99.9,)) == (1,)
    samples.add(np.ones(200_000))
    assert samples.percentiles((50.0,)) == (1,)
