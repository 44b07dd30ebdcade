"""Ranges in a captured trace of the GPU, aligned with the recorded steps and their GPU times."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from traced_steps import ProfiledDomain, Trace, Traced, trace_steps

from engines.options import EngineOptions
from engines.registry import build
from profiles.ranges import Ranges

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

SLACK_NS = 1_000_000
"""What the profiler's clock, the events' and the host's may be apart."""

ENGINES = {
    "default": EngineOptions(model="random:smollm2-135m", device="cuda", max_num_seqs=8),
    "eager": EngineOptions(
        model="random:smollm2-135m", device="cuda", max_num_seqs=8, cuda_graphs=False, overlap=False
    ),
    "reference": EngineOptions(
        model="random:smollm2-135m",
        device="cuda",
        max_num_seqs=8,
        attention="reference",
        kernels="reference",
        cuda_graphs=False,
        overlap=False,
    ),
}


@pytest.fixture(scope="module", params=ENGINES)
def trace(request: pytest.FixtureRequest) -> Trace:
    built = build(ENGINES[request.param], time.time_ns, Ranges(ProfiledDomain()))
    try:
        trace_steps(built.engine, prompts=4, prompt_tokens=40, max_tokens=8)  # what compiles, does
        return trace_steps(built.engine, prompts=6, prompt_tokens=300, max_tokens=20)
    finally:
        built.engine.close()


def test_steps_and_their_parts_are_visible(trace: Trace) -> None:
    kinds = {step.kind for step in trace.steps}
    assert "decode" in kinds and kinds & {"prefill", "mixed"}
    for kind in kinds:
        parts = trace.named(kind)
        assert len(parts) == sum(step.kind == kind for step in trace.steps)
        steps = [found for found in trace.ranges if found.name.startswith("step ")]
        assert all(any(whole.holds(part) for whole in steps) for part in parts)


def test_ranges_and_steps_are_on_one_clock(trace: Trace) -> None:
    for step in trace.steps:
        whole = trace.step_range(step.index)
        assert whole.start_ns - SLACK_NS <= step.end_ns <= whole.end_ns + SLACK_NS
    ends = [step.end_ns for step in trace.steps]
    assert ends == sorted(ends)


def test_the_gpus_work_lies_in_the_steps_times_on_the_gpu(trace: Trace) -> None:
    timed = [step for step in trace.steps if step.gpu_start_ns >= 0]
    if not timed:
        pytest.skip("this worker takes no GPU times")
    assert len(timed) == len(trace.steps) and trace.kernels
    spans = [Traced("gpu", step.gpu_start_ns, step.gpu_end_ns) for step in timed]
    for step, span in zip(timed, spans, strict=True):
        assert span.start_ns < span.end_ns <= step.end_ns + SLACK_NS
    inside = sum(any(span.holds(kernel, SLACK_NS) for span in spans) for kernel in trace.kernels)
    assert inside >= 0.98 * len(trace.kernels)
    busy_ns = covered_ns(trace.kernels)
    assert busy_ns <= 1.05 * sum(span.end_ns - span.start_ns for span in spans)


def covered_ns(work: Iterable[Traced]) -> int:
    """Time in which any of it ran: a kernel may begin, and wait, while another still runs."""
    covered, until_ns = 0, 0
    for one in sorted(work, key=lambda one: one.start_ns):
        covered += max(0, one.end_ns - max(one.start_ns, until_ns))
        until_ns = max(until_ns, one.end_ns)
    return covered


def test_a_range_may_be_entered_while_a_graph_is_captured() -> None:
    span = Ranges(ProfiledDomain()).span("decode")
    x = torch.ones(64, device="cuda")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), span.numbered(1):
        torch.cuda.nvtx.range_push("inside")
        y = x * 2 + 1
        torch.cuda.nvtx.range_pop()
    x.fill_(4)
    graph.replay()
    assert y.eq(9).all()


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys is not installed")
def test_nsys_sees_the_ranges_of_the_domain(tmp_path: Path) -> None:
    program = (
        "from profiles.ranges import open_ranges\n"
        "import torch\n"
        "step, decode = (open_ranges('on').span(name) for name in ('step', 'decode'))\n"
        "for number in range(5):\n"
        "    with step.numbered(number), decode:\n"
        "        torch.ones(8, device='cuda').sum().item()\n"
    )
    report = tmp_path / "trace"
    subprocess.run(
        ["nsys", "profile", "--trace=nvtx,cuda", "--output", str(report), sys.executable, "-c",
         program],
        check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    database = tmp_path / "trace.sqlite"
    subprocess.run(
        ["nsys", "export", "--type=sqlite", f"--output={database}", f"{report}.nsys-rep"],
        check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    with sqlite3.connect(database) as connection:
        names = connection.execute(
            "SELECT coalesce(text, (SELECT value FROM StringIds WHERE id = textId)), start, end "
            "FROM NVTX_EVENTS WHERE end IS NOT NULL ORDER BY start"
        ).fetchall()
    seen = [Traced(str(name), start, end) for name, start, end in names]
    steps = [found for found in seen if found.name == "step"]
    decodes = [found for found in seen if found.name == "decode"]
    assert len(steps) == len(decodes) == 5
    assert all(step.holds(decode) for step, decode in zip(steps, decodes, strict=True))
