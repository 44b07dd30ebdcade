"""What the live screen says of the GPUs: their units, what slows them, and what they lack."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from recorded import recorded_run

from workbench.runs.folder import RunFolder
from workbench.tui.gpu_facts import gpu_lines
from workbench.tui.live_data import LiveQuestion, live_data
from workbench.tui.runs_table import run_lines
from workbench.viewing.library import LibraryRow
from workbench.viewing.view import open_view

S = 1_000_000_000


def test_a_line_for_each_gpu_with_what_slows_it_down():
    devices = {
        "gpu0": {"sm_active_percent": 91.5, "tensor_active_percent": 61.0, "throttle_reasons": 5.0},
        "gpu1": {"dram_bandwidth_percent": 0.0, "throttle_reasons": 1.0},
        "gpu2": {"power_watts": 80.0},
        "host": {"process_cpu_percent": 90.0},
    }
    assert list(gpu_lines(devices, {})) == [
        "gpu0: SMs 91.5 %, tensor 61.0 %; software power cap",
        "gpu1: DRAM 0 %",
    ]


def test_what_a_gpu_lacks_is_one_line():
    content = {
        "summary": {"devices": {"gpu0": {"power_watts": 80.0}}},
        "telemetry": {"reasons": {"gpu0.gpm": "Not Supported (NVMLError_NotSupported)"}},
    }
    lines = list(gpu_lines({"gpu0": {}}, content))
    assert lines == ["gpu0 lacks SM, tensor and DRAM activity (GPM): Not Supported"]


@pytest.fixture
def measured(tmp_path) -> RunFolder:
    """A run whose steps were timed on its GPU, which tells how busy its units are."""
    folder = recorded_run(tmp_path / "20260101-120000-chat-0007", gpus=1)
    path = folder.parquet("devices")
    gpu = pl.col("device") == "gpu0"
    pl.read_parquet(path).with_columns(
        tensor_active_percent=pl.when(gpu).then(60.0),
        dram_bandwidth_percent=pl.when(gpu).then(70.0),
    ).write_parquet(path)
    path = folder.parquet("steps")
    pl.read_parquet(path).with_columns(
        gpu_start_ns=pl.col("start_ns") + 1_000_000, gpu_end_ns=pl.col("end_ns") - 2_000_000
    ).write_parquet(path)
    return folder


def test_the_live_screen_draws_and_names_them(measured):
    view = open_view(measured)
    question = LiveQuestion(view.end_ns, 0, 30, 60, ("gpu",), False, 10)
    data = live_data(view, question)
    gpu = {trace.name: trace.y for trace in data.charts["gpu"].traces}
    assert list(gpu) == ["gpu0", "memory", "tensor", "DRAM"]
    assert np.allclose(gpu["DRAM"], 70)
    assert data.gpu_facts == ("gpu0: tensor 60.0 %, DRAM 70.0 %",)
    facts = dict(data.step_facts)
    step = load_last_step(measured)
    assert facts["GPU"].startswith(f"{(step['gpu_end_ns'] - step['gpu_start_ns']) / 1e6:.3g}")
    assert float(facts["idle before"].split()[0]) >= 3


def load_last_step(folder):
    return pl.read_parquet(folder.parquet("steps")).sort("end_ns").row(-1, named=True)


def test_without_a_gpu_there_is_no_word_of_it(tmp_path):
    view = open_view(recorded_run(tmp_path / "20260101-120000-chat-0008", gpus=0))
    data = live_data(view, LiveQuestion(view.end_ns, 0, 30, 60, (), False, 10))
    assert data.gpu_facts == () and "GPU" not in dict(data.step_facts)


def test_the_preview_of_a_run_says_what_its_engine_is_made_of():
    engine = {"device": "cuda", "attention": "triton", "cuda_graphs": True, "kv_dtype": "fp8"}
    row = LibraryRow(
        Path("run"), "run", "finished", "–", engine="monolithic", content={"engine": engine}
    )
    assert "Engine   monolithic, triton attention, CUDA graphs, fp8 KV" in run_lines(row)
