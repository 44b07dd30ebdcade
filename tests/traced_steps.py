"""Ranges as a torch.profiler trace has them, next to the steps that an engine recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from engines.base import Engine, StepResult
from workloads.request import Request


class ProfiledDomain:
    """Stands in for an NVTX domain: what a tool would receive goes into torch's trace."""

    def __init__(self) -> None:
        self._open: list[Any] = []

    def get_event_attributes(self, message: str, color: str) -> Any:
        return SimpleNamespace(message=message, color=color, payload=None)

    def push_range(self, attributes: Any) -> None:
        payload = "" if attributes.payload is None else f" {attributes.payload}"
        record = record_function(f"workbench.{attributes.message}{payload}")
        record.__enter__()
        self._open.append(record)

    def pop_range(self) -> None:
        self._open.pop().__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Traced:
    """Something in a trace; stamps on the clock of the run, ns."""

    name: str
    start_ns: int
    end_ns: int

    def holds(self, other: Traced, slack_ns: int = 0) -> bool:
        """Whether the other one lies inside this one."""
        return self.start_ns - slack_ns <= other.start_ns and other.end_ns <= self.end_ns + slack_ns


@dataclass(frozen=True, slots=True)
class Trace:
    """Steps as recorded; ranges and the GPU's kernels as traced; all on one clock."""

    steps: list[StepResult]
    ranges: list[Traced]
    kernels: list[Traced]

    def named(self, name: str) -> list[Traced]:
        """The ranges of a name, by start."""
        return sorted((r for r in self.ranges if r.name == name), key=lambda r: r.start_ns)

    def step_range(self, index: int) -> Traced:
        """The range of a step."""
        (found,) = self.named(f"step {index}")
        return found


def trace_steps(engine: Engine, prompts: int, prompt_tokens: int, max_tokens: int) -> Trace:
    """Runs the engine until it is empty, under torch's profiler. Its clock is `time.time_ns`, so
    that the trace, which counts from the epoch, needs no translation."""
    draw = np.random.default_rng(0)
    steps: list[StepResult] = []
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for request_id in range(prompts):
            tokens = draw.integers(0, 256, prompt_tokens).astype(np.int32)
            assert engine.submit(Request(request_id, time.time_ns(), tokens, max_tokens)) is None
        while engine.has_work:
            result = engine.step()
            if result is not None:
                steps.append(result)
    return Trace(steps, *_events(profiler))


def _events(profiler: Any) -> tuple[list[Traced], list[Traced]]:
    begin_ns = profiler.profiler.kineto_results.trace_start_ns()
    ranges: list[Traced] = []
    kernels: list[Traced] = []
    for event in profiler.events():
        start_ns = begin_ns + round(event.time_range.start * 1000)
        traced = Traced(
            event.name.removeprefix("workbench."),
            start_ns,
            start_ns + round(event.time_range.elapsed_us() * 1000),
        )
        if event.device_type == DeviceType.CPU and event.name.startswith("workbench."):
            ranges.append(traced)
        elif event.device_type == DeviceType.CUDA and not event.name.startswith("workbench."):
            kernels.append(traced)
    return ranges, kernels
