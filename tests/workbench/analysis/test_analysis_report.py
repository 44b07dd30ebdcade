import io
import json

import polars as pl
import pytest
from rich.cells import cell_len
from rich.console import Console

from workbench.analysis.device_facts import device_facts
from workbench.analysis.metrics import Window
from workbench.analysis.report import report
from workbench.analysis.report_tables import engine_facts
from workbench.analysis.summary import summarise

S = 1_000_000_000


def rendered(run, tables, width, **options):
    console = Console(file=io.StringIO(), width=width, legacy_windows=False, **options)
    console.print(report(run, tables))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def tables(simulated):
    tables = simulated(count=90, rate=3.0)
    times = [second * S for second in range(40)]
    host = {"device": "host", "process_cpu_percent": 187.0, "process_rss_bytes": 1.4e9}
    gpu = {"device": "gpu0", "power_watts": 412.0, "utilization_percent": 83.0}
    rows = [{"time_ns": at} | device for at in times for device in (host, gpu)]
    return tables | {"devices": pl.DataFrame(rows)}


@pytest.fixture(scope="module")
def run(tables):
    window = Window(2 * S, int(tables["requests"]["scheduled_ns"].max()))
    slo = {"ttft": 500.0, "tpot": 50.0}
    summary = summarise(tables, window, slo, usable_blocks=512, block_size=16)
    return {
        "schema": 1,
        "run_id": "20250611-142501-7f3a",
        "name": "a name with [bold]brackets[/bold]",
        "state": "finished",
        "reason": "",
        "spec": {
            "engine": {"name": "monolithic"},
            "model": {"name": "smollm2-135m-instruct", "device": "cpu", "dtype": "float32"},
            "traffic": {"workload": "chat", "arrival": "poisson", "warmup": 2.0},
            "seed": 7,
        },
        "engine": {"max_num_seqs": 64, "num_blocks": 512, "block_size": 16},
        "environment": {"hardware": {"cpu_model": "A CPU", "usable_cores": 2, "gpus": []}},
        "rate_per_s": 3.0,
        "calibration": None,
        "telemetry": {"reasons": {"gpu1": "NVML: lost", "gpu0.pcie": "not supported"}},
        "summary": json.loads(json.dumps(summary.as_dict())),
    }


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_it_fits_its_width_and_says_everything(run, tables, width):
    text = rendered(run, tables, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for said in (
        "20250611-142501-7f3a",
        "[bold]brackets[/bold]",
        "smollm2-135m-instruct, float32 on cpu",
        "3.00 req/s",
        "TTFT",
        "  queue",
        "TPOT",
        "ITL",
        "E2E",
        "TTFT ≤ 500 ms",
        "Goodput",
        "Prefix hits",
        "Preemptions",
        "Achieved",
        "utilisation 83.0 %",
        "not measured: NVML: lost",
        "Output, tok/s",
        "p99 of fewer than 100 samples",
        "Few samples",
    ):
        assert said in text, said
    assert "…" not in text and "None" not in text and "nan" not in text


def test_stages_that_took_no_time_anywhere_are_left_out(run, tables):
    text = rendered(run, tables, 100)
    assert "  transfer" not in text and "  recompute" not in text


def test_weak_p99_is_marked_and_a_strong_one_is_not(run, tables):
    text = rendered(run, tables, 100)
    (ttft,) = (line for line in text.splitlines() if line.startswith("TTFT  "))
    (itl,) = (line for line in text.splitlines() if line.startswith("ITL "))
    assert "*" in ttft and "*" not in itl


def test_charts_are_at_most_twelve_rows_and_follow_no_color(run, tables, monkeypatch):
    coloured = rendered(run, tables, 100, force_terminal=True, color_system="256", no_color=False)
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert ";5;" not in rendered(run, tables, 100, force_terminal=True, color_system="256")
    lines = rendered(run, tables, 100).splitlines()
    starts = [index for index, line in enumerate(lines) if " per " in line and "s" in line[-1]]
    assert lines.index("", starts[-1]) - starts[-1] <= 12


def test_no_chart_where_there_is_no_data(run, tables):
    text = rendered(run, {"requests": tables["requests"].head(0)}, 100)
    assert "by arrival" not in text and "Output, tok/s" not in text
    assert "TPOT" in text


def test_an_empty_run_is_reported_with_dashes(run):
    summary = summarise({}, Window(0, 0), {"ttft": 500.0}).as_dict()
    text = rendered(run | {"summary": summary, "state": "failed", "reason": "no memory"}, {}, 80)
    assert "failed: no memory" in text and "–" in text
    assert "nothing to measure" in " ".join(text.split())


@pytest.mark.parametrize(
    "missing", [{}, {"summary": {}}, {"summary": {"latency": {}}}, {"spec": None}]
)
def test_missing_keys_are_no_error(missing):
    assert "Run" in rendered(missing, {}, 80)


def test_any_single_missing_key_of_the_summary_is_no_error(run, tables):
    for key in run["summary"]:
        less = {name: value for name, value in run["summary"].items() if name != key}
        assert "Run" in rendered(run | {"summary": less}, tables, 80)


def test_names_cannot_steer_the_terminal(run, tables):
    text = rendered(run | {"name": "a\x1b[2Jb", "state": "fin\rished"}, tables, 80)
    assert "\x1b[2J" not in text and "\r" not in text


def test_a_ttft_of_ten_seconds_and_more_is_drawn_in_seconds(run, tables):
    slow = tables["requests"].with_columns(pl.col("first_token_ns") + 60 * S)
    text = rendered(run, {"requests": slow}, 100)
    assert "TTFT, s, by arrival" in text
    assert "TTFT, ms, by arrival" in rendered(run, tables, 100)


def test_devices_say_what_they_measured_and_what_they_lack():
    figures = {
        "sm_active_percent": 91.5,
        "tensor_active_percent": 61.0,
        "dram_bandwidth_percent": 72.0,
        "power_watts": 540.0,
        "energy_per_output_token_joules": 0.0231,
        "energy_counted": 1.0,
        "throttled_percent": 12.0,
        "throttled_by_software_power_cap_percent": 12.0,
    }
    absent = "Not Supported (NVMLError_NotSupported)"
    reasons = {
        "gpu0.nvlink_rx": absent,
        "gpu0.nvlink_tx": absent,
        "gpu0.power": absent,
        "gpu1.gpm": absent,
        "gpu1.energy": absent,
        "host.process": "no access",
    }
    plain = figures | {"energy_counted": 0.0} | {"sm_active_percent": None}
    facts = dict(device_facts({"gpu0": figures, "gpu1": plain}, reasons))
    assert "SMs active 91.5 %, tensor cores 61.0 %, DRAM bandwidth 72.0 %" in facts["gpu0"]
    assert "J per output token (counted)" in facts["gpu0"]
    assert "software power cap 12.0 %" in facts["gpu0"]
    assert facts["  gpu0 lacks"] == "NVLink in, NVLink out: Not Supported", "power has a stand-in"
    assert "J per output token (from power)" in facts["gpu1"]
    assert facts["  gpu1 lacks"] == (
        "SM, tensor and DRAM activity (GPM), energy counter: Not Supported"
    )
    assert "host" not in facts


def test_the_gpu_time_of_steps_is_told_where_there_is_any():
    def figures(p50, p99):
        return {"n": 4, "p50": p50, "p99": p99}

    gpu = {
        "busy_percent": 97.0,
        "step_ms": {"all": figures(4.0, 6.0)},
        "decode_idle_ms": figures(0.02, 0.4),
        "decode_idle_percent": 1.5,
        "host_ms": figures(0.3, 0.9),
    }
    steps = {"count": 4, "by_kind": {"decode": 4}}
    facts = dict(engine_facts({"steps": steps | {"gpu": gpu}}))
    assert facts["GPU time"] == "p50 4.00 ms, p99 6.00 ms a step; busy 97.0 % of the time"
    assert facts["GPU idle"].endswith("between decode steps: 1.5 % of their time")
    assert facts["Host time"].startswith("p50 0.300 ms")
    assert (
        not {"GPU time", "GPU idle"} & dict(engine_facts({"steps": steps | {"gpu": None}})).keys()
    )
