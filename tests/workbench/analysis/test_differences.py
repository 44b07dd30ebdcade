import csv
import io
import json

import numpy as np
import polars as pl
import pytest

from workbench.analysis.differences import RunRecord, compare
from workbench.analysis.differences_text import (
    difference_text,
    interval_text,
    to_csv,
    to_json,
    to_markdown,
    value_text,
)
from workbench.analysis.intervals import (
    Interval,
    mean_interval,
    percentile_interval,
    share_interval,
)
from workbench.analysis.metrics import Window
from workbench.analysis.pareto import pareto
from workbench.analysis.settings_differences import setting_differences
from workbench.analysis.summary import summarise

MS = 1_000_000
S = 1000 * MS


@pytest.fixture
def record(requests_frame):
    """Builds a run whose requests have these TTFTs, ms, one a second."""

    def build(name, ttfts, *, state="finished", summed=True, slo=None, reason="", **spec):
        requests = requests_frame(
            *(
                {
                    "scheduled": 1000 * index,
                    "admitted": 1000 * index,
                    "started": 1000 * index,
                    "prefilled": 1000 * index + ttft,
                    "first_token": 1000 * index + ttft,
                    "last_token": 1000 * index + ttft + 500,
                    "finished": 1000 * index + ttft + 500,
                    "output_tokens": 11,
                    "first_tokens": 1,
                }
                for index, ttft in enumerate(ttfts)
            )
        )
        window = Window(0, (len(ttfts) - 1) * S)
        content = {
            "run_id": f"run-{name}",
            "name": name,
            "state": state,
            "reason": reason,
            "spec": {"seed": 0, "traffic": {"rate": 1.0}, "slo": slo or {}} | spec,
        }
        if summed:
            content["summary"] = summarise({"requests": requests}, window, slo).as_dict()
        return RunRecord(f"run-{name}", content, state, {"requests": requests})

    return build


def row_of(comparison, key):
    return next(row for row in comparison.rows if row.metric.key == key)


def test_percentile_intervals_are_order_statistics():
    values = np.arange(1, 101)
    # Ranks 40 and 61 of 100: what tables of the median's interval say (Conover).
    assert percentile_interval(values, 50) == Interval(40, 61)
    assert percentile_interval(np.arange(1, 11)[::-1], 50) == Interval(2, 9)
    assert percentile_interval(np.arange(6), 50) == Interval(0, 5)


@pytest.mark.parametrize(("q", "least"), [(50, 6), (90, 36), (99, 368)])
def test_too_few_samples_have_no_interval(q, least):
    assert percentile_interval(np.arange(least - 1), q) is None
    assert percentile_interval(np.arange(least), q) is not None
    assert percentile_interval([], q) is None


@pytest.mark.parametrize("q", [50, 90, 99])
def test_percentile_intervals_hold_the_truth_as_often_as_they_say(q):
    rng = np.random.default_rng(7)
    truth = -np.log(1 - q / 100)
    held = 0
    for _ in range(400):
        interval = percentile_interval(rng.exponential(size=500), q)
        held += interval.low <= truth <= interval.high
    assert held / 400 > 0.93


def test_a_large_sample_has_a_narrow_interval():
    values = np.arange(1_000_000) / 1e6
    interval = percentile_interval(values, 99)
    assert 0.9895 < interval.low < 0.99 < interval.high < 0.9905


def test_intervals_of_means_and_shares():
    values = [10.0, 14.0] * 50
    interval = mean_interval(values)
    factor = np.exp(1.959964 * (2 * (100 / 99) ** 0.5) / 10 / 12)
    assert (interval.low, interval.high) == pytest.approx((12 / factor, 12 * factor))
    assert mean_interval(values[:29]) is None
    assert mean_interval([0.0] * 30) == Interval(0, 0)
    assert mean_interval([-1.0] + [5.0] * 40) is None
    share = share_interval(9, 10)  # Wilson: 0.5958 to 0.9821
    assert (share.low, share.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert share_interval(10, 10).high == 1 and share_interval(0, 0) is None


def test_the_interval_of_a_mean_stays_above_0_and_holds_it():
    """One slow request of 30 made ± 1.96 standard errors reach below 0. Of 400 draws each, at
    least 92 % hold the mean of exponential times; the percentile bootstrap does no better."""
    one_slow = mean_interval([1.0] * 29 + [1000.0])
    assert 0 < one_slow.low < 1029 / 30 < one_slow.high
    draws = np.random.default_rng(5).exponential(1.0, (400, 60))
    intervals = [mean_interval(draw) for draw in draws]
    held = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert 0.92 <= held <= 0.98


def test_differences_are_against_the_first_run(record):
    base, other = record("base", [100] * 50 + [200] * 50), record("other", [150] * 50 + [400] * 50)
    comparison = compare([base, other])
    mean = row_of(comparison, "latency.ttft_ms.mean")
    assert [cell.value for cell in mean.cells] == [150, 275]
    first, second = mean.cells
    assert first.difference is None and first.ratio is None and first.apart is None
    assert second.difference == 125 and second.ratio == pytest.approx(275 / 150)
    assert second.n == 100 and second.apart is True
    factor = np.exp(1.959964 * 50 * (100 / 99) ** 0.5 / 10 / 150)
    assert first.interval.low == pytest.approx(150 / factor)
    median = row_of(comparison, "latency.ttft_ms.p50")
    assert median.cells[0].interval == Interval(100, 200)
    assert median.cells[1].interval == Interval(150, 400) and median.cells[1].apart is False
    assert row_of(comparison, "latency.ttft_ms.p99").cells[1].interval is None
    assert row_of(comparison, "latency.ttft_ms.p99").cells[1].apart is None
    assert difference_text(second) == "▲ +125"


def test_a_p99_of_few_samples_is_marked(record):
    comparison = compare([record("a", [100] * 99), record("b", [200] * 100)])
    p99, p50 = (row_of(comparison, f"latency.ttft_ms.{name}") for name in ("p99", "p50"))
    assert [value_text(p99, cell) for cell in p99.cells] == ["100*", "200"]
    assert value_text(p50, p50.cells[0]) == "100"
    assert any(note.startswith("* p99") for note in comparison.notes)
    calm = compare([record("a", [100] * 100), record("b", [200] * 100)])
    assert not any(note.startswith("* p99") for note in calm.notes)


def test_only_metrics_that_a_run_has_get_a_row(record):
    comparison = compare([record("a", [100] * 3), record("b", [100] * 3)])
    keys = {row.metric.key for row in comparison.rows}
    assert "latency.ttft_ms.p99" in keys and "latency.prefill_ms.mean" in keys
    assert not any(key.startswith(("latency.transfer_ms", "latency.queue_ms")) for key in keys)
    assert not any(key.startswith(("devices", "objectives", "kv")) for key in keys)


def test_attainment_has_an_interval_of_a_share(record):
    slo = {"ttft": 150.0}
    comparison = compare(
        [record("a", [100] * 9 + [200], slo=slo), record("b", [200] * 10, slo=slo)]
    )
    attainment = row_of(comparison, "objectives.attainment")
    assert [cell.value for cell in attainment.cells] == [90, 0]
    assert attainment.cells[0].interval.low == pytest.approx(59.58, abs=0.01)
    assert attainment.cells[1].apart is True
    assert row_of(comparison, "objectives.goodput_per_s").metric.better == "higher"


def test_different_traffic_is_said_first(record):
    comparison = compare([record("a", [1] * 3), record("b", [1] * 3, traffic={"rate": 2.0})])
    assert comparison.traffic_differs
    assert comparison.notes[0].startswith("THE TRAFFIC DIFFERS (traffic.rate)")
    assert comparison.settings[0].values == ("1", "2")
    assert not compare([record("a", [1] * 3), record("b", [1] * 3)]).traffic_differs


def test_settings_that_differ():
    contents = [
        {
            "name": "a",
            "spec": {"name": "a", "engine": {"prefix_caching": True, "max_num_seqs": None}},
            "engine": {"max_num_seqs": 16, "prefix_caching": True},
            "environment": {"packages": {"torch": "2.13"}, "load_average": [1.0]},
            "rate_per_s": 1.5,
        },
        {
            "name": "b",
            "spec": {"name": "b", "engine": {"prefix_caching": False, "max_num_seqs": 32}},
            "engine": {"max_num_seqs": 32, "prefix_caching": False},
            "environment": {"packages": {"torch": "2.12"}, "load_average": [2.0]},
        },
    ]
    found = setting_differences(contents)
    assert [(setting.key, setting.values, setting.traffic) for setting in found] == [
        ("rate_per_s", ("1.5", "–"), True),
        ("engine.prefix_caching", ("true", "false"), False),
        ("engine.max_num_seqs", ("16", "32"), False),
        ("environment.packages.torch", ("2.13", "2.12"), False),
    ]


def test_bytes_are_shown_as_people_read_them():
    def shown(**engine):
        contents = [
            {"engine": {key: values[place] for key, values in engine.items()}} for place in (0, 1)
        ]
        return [setting.shown for setting in setting_differences(contents)]

    assert shown(kv_bytes=(51609600, 5 << 30)) == [("49.2 MiB", "5 GiB")]
    assert shown(kv_memory=(None, 2 << 30)) == [("–", "2 GiB")]
    assert shown(kv_bytes=(51609600, 51609601)) == [("51609600", "51609601")]
    assert shown(num_blocks=(4096, 70)) == [("4096", "70")]


def test_long_lists_of_traffic_are_counted(record):
    other = record("b", [1] * 3, traffic={"rate": 2.0, "share": 1, "think": 1, "drain": 1})
    note = compare([record("a", [1] * 3), other]).notes[0]
    assert note.startswith("THE TRAFFIC DIFFERS (traffic.rate, traffic.share, traffic.think and 1")


def test_runs_without_a_summary_are_compared_as_far_as_possible(record):
    dead = record("dead", [300] * 40, state="dead", summed=False)
    empty = RunRecord("run-empty", {"reason": "no memory", "spec": {}}, "failed", {})
    comparison = compare([record("a", [100] * 40), dead, empty])
    assert [cell.value for cell in row_of(comparison, "latency.ttft_ms.p50").cells] == [
        100,
        300,
        None,
    ]
    assert comparison.runs[0].problem == ""
    assert "no summary: figures of the 40 requests" in comparison.runs[1].problem
    assert comparison.runs[2].problem == "is failed and has no figures: no memory"
    assert any("no memory" in note for note in comparison.notes)
    with pytest.raises(ValueError, match="two runs"):
        compare([dead])


def test_exports_agree(record):
    slow = record("slow|er", [250] * 40)
    comparison = compare([record("a", [100] * 40), slow])
    markdown = to_markdown(comparison)
    line = next(line for line in markdown.splitlines() if line.startswith("| TTFT p50"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "TTFT p50", "ms", "100", "100 … 100", "250", "250 … 250", "▲ +150", "2.50×", "apart",
    ]  # fmt: skip
    assert "slow\\|er" in markdown
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    found = [row for row in rows if row["metric"] == "latency.ttft_ms.p50"]
    assert [(row["run"], row["baseline"], row["value"]) for row in found] == [
        ("run-a", "yes", "100.0"),
        ("run-slow|er", "no", "250.0"),
    ]
    assert found[0]["difference"] == "" and found[1]["intervals"] == "apart"
    content = json.loads(to_json(comparison))
    cell = next(row for row in content["rows"] if row["metric"] == "latency.ttft_ms.p50")["cells"]
    assert cell[1]["difference"] == 150 and cell[0]["difference"] is None
    assert interval_text(None) == "–"


def test_the_front_is_what_no_run_beats(record):
    # Output tok/s falls with the window's length; TTFT p99 is given.
    runs = [record("fast", [100] * 3), record("slow", [300] * 3), record("dear", [100] * 4)]
    runs.append(RunRecord("none", {"spec": {}}, "dead", {"requests": pl.DataFrame()}))
    contents = [run.content.get("summary") for run in runs]
    for summary, rate in zip(contents, (10.0, 20.0, 5.0, None), strict=True):
        if summary is not None:
            summary["throughput"]["output_tokens_per_s"] = rate
    front = pareto(compare(runs))
    assert [(point.label, point.on_front) for point in front.points] == [
        ("fast", True),
        ("slow", True),
        ("dear", False),
    ]
    assert front.left_out == ("none",)
    assert pareto(compare(runs), x="devices.gpu0.power_watts") is None
