import json
import math

import numpy as np
import polars as pl
import pytest

from workbench.analysis.devices import throttle_shares
from workbench.analysis.metrics import Window, emission_gaps, request_metrics
from workbench.analysis.summary import summarise
from workbench.runs.schema import EMISSIONS, EVENTS, REQUESTS, STEPS

MS = 1_000_000
S = 1000 * MS


def request(scheduled, **changes):
    """A request in ms: 2 ms wait, 8 queue, 40 prefill, then 10 more tokens in 100 ms."""
    stamps = {
        "scheduled": scheduled,
        "admitted": scheduled + 2,
        "started": scheduled + 10,
        "prefilled": scheduled + 50,
        "first_token": scheduled + 50,
        "last_token": scheduled + 150,
        "finished": scheduled + 150,
    }
    counts = {"prompt_tokens": 100, "output_tokens": 11, "first_tokens": 1}
    return stamps | counts | changes


def steps(*rows):
    names = ("kind", "start_ns", "end_ns", "num_seqs", "prefill_tokens", "decode_tokens")
    full = []
    for index, (kind, start, end, seqs, prefill, decode, running, live) in enumerate(rows):
        values = (kind, start * MS, end * MS, seqs, prefill, decode)
        row = dict(zip(names, values, strict=True))
        full.append(row | {"step": index, "running": running, "live_blocks": live})
    return full


def emissions(*rows):
    return [
        {"step": index, "time_ns": at * MS, "request_id": who, "tokens": tokens}
        for index, (at, who, tokens) in enumerate(rows)
    ]


def test_throughputs_are_over_the_window(requests_frame, table_frame):
    tables = {
        "requests": requests_frame(
            request(500),  # of the warm-up, but ends inside the window with its tokens
            request(1000),
            request(1400, status="failed"),
            request(2900),  # scheduled inside, ends outside
            request(3000, status="unfinished", finished=9000),
        ),
        "steps": table_frame(
            STEPS,
            steps(("prefill", 0, 999, 1, 7, 0, 1, 0), ("mixed", 1000, 2000, 3, 300, 2, 1, 0)),
        ),
        "emissions": table_frame(
            EMISSIONS, emissions((999, 0, 5), (1000, 0, 2), (3000, 1, 4), (3001, 1, 9))
        ),
    }
    summary = summarise(tables, Window(1 * S, 3 * S))
    assert summary.window_s == 2
    assert summary.throughput.output_tokens == 6
    assert summary.throughput.output_tokens_per_s == 3
    assert summary.throughput.prompt_tokens_per_s == 150
    assert summary.throughput.requests_per_s == 0.5  # the second alone
    assert summary.requests.recorded == 5 and summary.requests.measured == 4
    assert summary.requests.by_status["ok"] == 2
    assert summary.drain_s == 6
    assert summarise(tables, Window(1 * S, 3 * S), drain_end_ns=4 * S).drain_s == 1


def test_latencies_are_of_the_windows_requests_with_their_number(requests_frame, table_frame):
    tables = {
        "requests": requests_frame(
            request(0, first_token=9000, last_token=9900),  # warm-up
            request(1000),
            request(1100, first_token=1250, prefilled=1250, last_token=1350),
            request(1200, status="rejected", admitted=None, started=None, prefilled=None)
            | {"first_token": None, "last_token": None, "output_tokens": 0},
        ),
        "emissions": table_frame(
            EMISSIONS, emissions((9000, 0, 1), (9900, 0, 1), (1050, 1, 1), (1070, 1, 2))
        ),
    }
    summary = summarise(tables, Window(1 * S, 2 * S))
    ttft = summary.latency["ttft_ms"]
    assert (ttft.n, ttft.p50, ttft.max, ttft.weak) == (2, 100, 150, True)
    assert summary.latency["queue_ms"].mean == 8
    assert summary.latency["transfer_ms"].n == 0
    assert summary.latency["tpot_ms"].p99 == 10
    assert summary.latency["itl_ms"].n == 1 and summary.latency["itl_ms"].p50 == 20
    assert summary.latency["itl_per_token_ms"].p50 == 10
    assert summary.lengths["input_tokens"].n == 3 and summary.lengths["output_tokens"].n == 2
    assert any("Few samples: 3 requests" in note for note in summary.notes)


def test_goodput_keeps_every_request_in_the_denominator(requests_frame, table_frame):
    tables = {
        "requests": requests_frame(
            request(0),
            request(100, first_token=700, prefilled=700, last_token=800),  # TTFT 600
            request(200, status="failed"),
            request(300, last_token=300 + 50 + 600),  # TPOT 60
            request(400, status="unfinished"),
            request(500, output_tokens=1, last_token=550),  # no TPOT; judged by TTFT
            request(600, output_tokens=1, first_token=1200, prefilled=1200, last_token=1200),
            request(1000),
        ),
    }
    window = Window(0, 1 * S)
    both = summarise(tables, window, {"ttft": 500, "tpot": 50, "e2e": None}).objectives
    assert both.met == 3 and both.attainment == 3 / 8 and both.goodput_per_s == 3
    assert both.limits_ms == {"ttft": 500, "tpot": 50}
    ttft, tpot = both.by_limit["ttft"], both.by_limit["tpot"]
    assert (ttft.met, ttft.missed, ttft.undefined) == (4, 4, 0)
    assert (tpot.met, tpot.missed, tpot.undefined) == (3, 3, 2)
    assert both.unjudged == 0


def test_a_one_token_reply_does_not_pass_a_tpot_limit_by_having_none(requests_frame):
    rows = requests_frame(request(0), request(1000, output_tokens=1, last_token=1050))
    summary = summarise({"requests": rows}, Window(0, 1 * S), {"tpot": 50})
    assert (summary.objectives.met, summary.objectives.unjudged) == (1, 1)
    assert summary.objectives.attainment == 0.5
    assert any("no TPOT" in note for note in summary.notes)


def test_an_itl_limit_is_for_a_requests_longest_gap(requests_frame, table_frame):
    tables = {
        "requests": requests_frame(request(0), request(0), request(0, output_tokens=1)),
        "emissions": table_frame(
            EMISSIONS, emissions((50, 0, 1), (90, 0, 1), (50, 1, 1), (60, 1, 1), (50, 2, 1))
        ),
    }
    itl = summarise(tables, Window(0, S), {"itl": 30.0}).objectives.by_limit["itl"]
    assert (itl.met, itl.missed, itl.undefined) == (1, 1, 1)


def test_limits_are_met_by_equality_and_absent_limits_give_no_goodput(requests_frame):
    tables = {"requests": requests_frame(request(0))}
    assert summarise(tables, Window(0, S), {"ttft": 50.0}).objectives.attainment == 1
    without = summarise(tables, Window(0, S), {"ttft": None}).objectives
    assert without.attainment is None and without.goodput_per_s is None
    with pytest.raises(ValueError, match="tfft"):
        summarise(tables, Window(0, S), {"tfft": 1.0})


def test_offered_and_achieved_rate(requests_frame):
    on_time = {"requests": requests_frame(*(request(100 * i) for i in range(11)))}
    load = summarise(on_time, Window(0, S)).load
    assert load.offered_per_s == 11
    assert load.achieved_per_s == pytest.approx(11 / 1.002)
    late = {"requests": requests_frame(*(request(100 * i, admitted=125 * i) for i in range(11)))}
    summary = summarise(late, Window(0, S))
    assert summary.load.achieved_per_s == pytest.approx(11 / 1.25)
    assert summary.load.achieved_share == pytest.approx(0.8)
    assert any(note.startswith("Achieved 8.80 of 11.0") for note in summary.notes)


@pytest.mark.parametrize(
    ("ends_ms", "behind"),
    [
        (lambda i: 10 * i + 150, False),
        (lambda i: 20 * i + 150, True),
        (lambda i: 10 * i + 300, False),  # fills up to 30 in flight, then holds them
        (lambda i: 10 * i + (150 if i < 70 else 1000), False),  # more of them, but only at the end
    ],
)
def test_a_growing_backlog_is_told_from_a_full_one(requests_frame, ends_ms, behind):
    rows = [
        request(10 * i, first_token=(10 * i + ends_ms(i)) / 2, last_token=ends_ms(i),
                finished=ends_ms(i))
        for i in range(101)
    ]  # fmt: skip
    summary = summarise({"requests": requests_frame(*rows)}, Window(0, S))
    assert summary.load.fell_behind is behind
    assert any("fell behind" in note for note in summary.notes) is behind
    assert summary.load.in_flight_start == 1


def test_prefix_hits_and_preemptions(requests_frame, table_frame):
    tables = {
        "requests": requests_frame(
            request(0, cached_tokens=80, preemptions=2, recomputed_tokens=30),
            request(10, cached_tokens=0, prompt_tokens=300),
            request(20, started=None, prompt_tokens=999),
            request(9000, cached_tokens=50),
        ),
        "events": table_frame(
            EVENTS,
            [
                {"time_ns": 5, "kind": "preempt", "detail": "no KV block for request 7"},
                {"time_ns": 6, "kind": "preempt", "detail": "no KV block for request 12"},
                {"time_ns": 7, "kind": "evict", "detail": "full"},
                {"time_ns": 8 * S, "kind": "preempt", "detail": "later"},
            ],
        ),
    }
    cache = summarise(tables, Window(0, S)).cache
    assert (cache.cached_tokens, cache.prompt_tokens, cache.prefix_hit_percent) == (80, 400, 20)
    assert (cache.preemptions, cache.recomputed_tokens) == (2, 30)
    (reason,) = cache.preemption_reasons
    assert (reason.reason, reason.count) == ("no KV block for request …", 2)


def test_steps_and_kv_by_hand(table_frame):
    rows = steps(
        ("prefill", -90, -10, 9, 9, 0, 1, 60),  # before the window; its blocks last into it
        ("prefill", 100, 200, 1, 64, 0, 1, 20),
        ("mixed", 210, 260, 3, 30, 2, 2, 80),
        ("decode", 265, 275, 2, 0, 2, 0, 0),  # nothing left: the engine idles
        ("decode", 900, 1000, 1, 0, 1, 1, 40),
        ("decode", 1005, 1500, 1, 0, 1, 0, 99),
    )
    summary = summarise(
        {"steps": table_frame(STEPS, rows)}, Window(0, S), usable_blocks=100, block_size=16
    )
    figures = summary.steps
    assert figures.count == 4 and figures.by_kind == {"decode": 2, "mixed": 1, "prefill": 1}
    assert figures.duration_ms["all"].mean == 65 and figures.duration_ms["decode"].max == 100
    assert figures.mean_batch == 7 / 4 and figures.tokens_per_step == (64 + 32 + 2 + 1) / 4
    assert (figures.host_gap_ms.n, figures.host_gap_ms.min, figures.host_gap_ms.max) == (3, 5, 10)
    assert figures.in_steps_percent == pytest.approx(26)
    kv = summary.kv
    assert kv.usage_peak_percent == 80 and kv.live_peak_blocks == 80
    lasted = 60 * 200 + 20 * 60 + 80 * 15 + 0 * 725 + 40 * 0
    assert kv.usage_mean_percent == pytest.approx(lasted / 1000)
    unknown = summarise({"steps": table_frame(STEPS, rows)}, Window(0, S)).kv
    assert unknown.usage_peak_percent is None and unknown.live_peak_blocks == 80


def test_devices_means_peaks_and_energy(table_frame):
    times = np.arange(-100, 1200, 100) * MS
    gpu = pl.DataFrame(
        {
            "time_ns": times,
            "device": "gpu0",
            "power_watts": 100 + 100 * times / S,  # 100 W rising to 200 W over the window
            "utilization_percent": np.where(times < 0, 100.0, 50.0),
            "memory_used_bytes": np.linspace(0, 2.0**30, times.size),
            "throttle_reasons": np.where(times < S // 2, 1.0, 4.0),
        }
    )
    host = pl.DataFrame(
        {
            "time_ns": times,
            "device": "host",
            "process_cpu_percent": np.nan,
            "process_rss_bytes": 2.0**31,
        }
    )
    tables = {
        "devices": pl.concat([host, gpu], how="diagonal"),
        "emissions": table_frame(EMISSIONS, emissions((500, 0, 30), (600, 0, 45))),
    }
    figures = summarise(tables, Window(0, S)).devices
    assert list(figures) == ["gpu0", "host"]
    assert figures["gpu0"]["energy_joules"] == pytest.approx(150)
    assert figures["gpu0"]["energy_per_output_token_joules"] == pytest.approx(2)
    assert figures["gpu0"]["utilization_percent"] == 50
    assert figures["gpu0"]["memory_peak_gib"] == pytest.approx(11 / 12)
    assert figures["gpu0"]["throttled_percent"] == pytest.approx(600 / 11)
    assert figures["gpu0"]["throttled_by_software_power_cap_percent"] == pytest.approx(600 / 11)
    assert throttle_shares(figures["gpu0"]) == {"software power cap": pytest.approx(600 / 11)}
    assert figures["gpu0"]["energy_counted"] == 0
    assert figures["host"] == {"samples": 11, "process_rss_peak_gib": 2.0}


def test_energy_needs_samples_over_the_whole_window():
    devices = pl.DataFrame({"time_ns": [0, S], "device": "gpu0", "power_watts": [100.0, 100.0]})
    assert summarise({"devices": devices}, Window(0, S)).devices["gpu0"]["energy_joules"] == 100
    assert "energy_joules" not in summarise({"devices": devices}, Window(0, 2 * S)).devices["gpu0"]


def test_the_energy_counter_goes_before_the_power():
    times = [second * S for second in range(-1, 6)]
    counter = [100.0 * second if second % 2 else None for second in range(-1, 6)]
    devices = pl.DataFrame(
        {"time_ns": times, "device": "gpu0", "power_watts": 90.0, "energy_joules": counter}
    )
    figures = summarise({"devices": devices}, Window(0, 4 * S)).devices["gpu0"]
    assert (figures["energy_joules"], figures["energy_counted"]) == (pytest.approx(400), 1)
    anew = devices.with_columns(energy_joules=pl.Series([500.0, None, 0, None, 200, None, 400]))
    figures = summarise({"devices": anew}, Window(0, 4 * S)).devices["gpu0"]
    assert (figures["energy_joules"], figures["energy_counted"]) == (pytest.approx(360), 0)


def test_the_units_of_a_gpu_have_means_and_absent_ones_are_left_out():
    devices = pl.DataFrame(
        {
            "time_ns": [0, S // 2, S],
            "device": "gpu0",
            "sm_active_percent": [None, 80.0, 90.0],
            "dram_bandwidth_percent": [None, None, None],
        },
        schema_overrides={"dram_bandwidth_percent": pl.Float64},
    )
    figures = summarise({"devices": devices}, Window(0, S)).devices["gpu0"]
    assert figures == {"samples": 3, "sm_active_percent": 85}


def empty(table_frame):
    return {table.name: table_frame(table, []) for table in (REQUESTS, STEPS, EMISSIONS, EVENTS)}


@pytest.mark.parametrize("window", [Window(0, 0), Window(0, S), Window(5, 1)])
@pytest.mark.parametrize("tables", ["missing", "empty", "without columns"])
def test_an_empty_run_has_no_figures_and_says_so(table_frame, window, tables):
    given = {
        "missing": {},
        "empty": empty(table_frame),
        "without columns": {"requests": pl.DataFrame()},
    }
    summary = summarise(given[tables], window, {"ttft": 500.0}, usable_blocks=10)
    assert all(figures.n == 0 for figures in summary.latency.values())
    figures = (summary.throughput, summary.objectives, summary.load, summary.kv)
    for part in figures:
        rates = [name for name in part.__slots__ if name.endswith("_per_s")]
        assert all(getattr(part, name) is None for name in rates)
    assert summary.objectives.attainment is None and summary.drain_s is None
    assert summary.cache.prefix_hit_percent is None and summary.kv.usage_peak_percent is None
    assert any("nothing to measure" in note for note in summary.notes)


def test_when_all_failed_attainment_is_zero_and_latencies_are_null(requests_frame):
    nothing = dict.fromkeys(("admitted", "started", "prefilled", "first_token", "last_token"))
    row = {"status": "failed", "reason": "out of memory", "scheduled": 10, "finished": 20} | nothing
    summary = summarise({"requests": requests_frame(row, row)}, Window(0, S), {"ttft": 500.0})
    assert summary.objectives.attainment == 0 and summary.objectives.goodput_per_s == 0
    assert summary.latency["ttft_ms"].p99 is None and summary.throughput.requests_per_s == 0
    assert summary.load.achieved_per_s == 0
    assert any("Most often: out of memory." in note for note in summary.notes)


def test_figures_are_json_without_nan_and_agree_with_numpy(simulated):
    tables = simulated(count=200, rate=3.0)
    scheduled = tables["requests"]["scheduled_ns"]
    window = Window(5 * S, int(scheduled.max()))
    summary = summarise(tables, window, {"ttft": 300, "tpot": 30}, usable_blocks=900)
    assert summary.requests.stage_sum_errors == 0
    text = json.dumps(summary.as_dict(), allow_nan=False)
    assert json.loads(text)["latency"]["ttft_ms"]["n"] == summary.latency["ttft_ms"].n

    measured = request_metrics(tables["requests"].filter(pl.col("scheduled_ns") >= 5 * S))
    for name in ("ttft_ms", "tpot_ms", "e2e_ms", "prefill_ms"):
        values = measured[name].drop_nulls().to_numpy()
        figures = summary.latency[name]
        expected = np.percentile(values, [50, 90, 95, 99])
        assert [figures.p50, figures.p90, figures.p95, figures.p99] == pytest.approx(expected)
        assert figures.n == values.size
    gaps = emission_gaps(tables["emissions"].join(measured, on="request_id", how="semi"))
    assert summary.latency["itl_ms"].n == gaps.height
    assert math.isclose(summary.latency["itl_ms"].mean, gaps["gap_ns"].mean() / MS)
