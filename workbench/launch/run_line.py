"""A running run in one line, for those who run many, one after another."""

from __future__ import annotations

import time

from rich.text import Text

from workbench.analysis.live import LiveSnapshot, LiveState
from workbench.analysis.quantities import milliseconds, number
from workbench.errors import StoreError
from workbench.launch.launcher import Runner
from workbench.spec import RunSpec


def run_line(runner: Runner, spec: RunSpec, state: LiveState, head: Text, width: int) -> Text:
    """`head`, the run's state, and its figures of this moment, in `width` columns.

    `state` is fed with what is new. Empty where the run can't be read just now.
    """
    try:
        content = runner.folder.read()
        for segment in runner.new_segments():
            state.feed(segment)
    except StoreError:
        return Text("")  # it is being replaced, or gone; the next look tells
    line = Text.assemble(head, f"  {content['state']}")
    origin_ns = content.get("clock", {}).get("origin_monotonic_ns")
    if origin_ns is not None:
        now_ns = time.monotonic_ns() - origin_ns
        lasts_s = float(content.get("duration_s") or spec.traffic.duration_s)
        line.append(f" {now_ns / 1e9:.0f}/{lasts_s:.0f} s{_figures(state.snapshot(now_ns))}")
    line.truncate(width, overflow="ellipsis")
    return line


def _figures(snapshot: LiveSnapshot) -> str:
    return (
        f"  running {snapshot.running} waiting {snapshot.waiting}"
        f"  {number(snapshot.output_tokens_per_s)} tok/s"
        f"  TTFT p99 {milliseconds(snapshot.ttft_p99_ms)}"
    )
