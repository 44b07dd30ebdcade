"""What a request queued for: the reasons for which the engine left the queue's head waiting."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.analysis.turns import StepTable

QUEUE_CAUSES = {
    "seqs": "the batch was full",
    "tokens": "the token budget was used up",
    "blocks": "there were no KV blocks",
    "batch": "the static batch was closed",
    "preempted": "the engine preempted others",
    "step": "a step was under way or being planned",
    "unknown": "for reasons that the record doesn't tell",
}
"""What `QueueCause.cause` can be: `steps.blocked`, and what is between its moments."""


@dataclass(frozen=True, slots=True)
class QueueCause:
    """A part of the queue time: its cause, ns, and the mean number of requests that ran
    meanwhile (None where no step tells of it)."""

    cause: str
    duration_ns: int
    running: float | None


def queue_causes(
    admitted_ns: int | None, started_ns: int | None, end_ns: int, steps: StepTable
) -> tuple[QueueCause, ...]:
    """The time from admission to the first step (to `end_ns` if there was none) by cause.

    Each plan of a step says why the first of those waiting was left out; that holds for all who
    wait, until the next plan. Before the first plan after the admission a step was under way. The
    parts sum to the queue time exactly; the longest comes first.
    """
    if admitted_ns is None:
        return ()
    until_ns = end_ns if started_ns is None else min(started_ns, end_ns)
    ns: dict[str, int] = {}
    running: dict[str, int] = {}
    cursor_ns, cause, at_once = admitted_ns, "step", 0
    first = int(steps.planned_ns.searchsorted(admitted_ns))
    last = int(steps.planned_ns.searchsorted(until_ns))
    moments = steps.planned_ns[first:last].tolist()
    for row, planned_ns in zip(range(first, last), moments, strict=True):
        _add(ns, running, cause, planned_ns - cursor_ns, at_once)
        cursor_ns = planned_ns
        starts_it = started_ns is not None and int(steps.start_ns[row]) >= started_ns
        cause = "step" if starts_it else _cause(steps.blocked[row])
        at_once = int(steps.running[row])
    _add(ns, running, cause, until_ns - cursor_ns, at_once)
    return tuple(
        QueueCause(name, ns[name], running[name] / ns[name] if name != "step" else None)
        for name in sorted(ns, key=lambda name: -ns[name])
    )


def _cause(blocked: str | None) -> str:
    if blocked is None:
        return "unknown"
    return blocked or "step"


def _add(
    ns: dict[str, int], running: dict[str, int], cause: str, duration_ns: int, at_once: int
) -> None:
    if duration_ns > 0:
        ns[cause] = ns.get(cause, 0) + duration_ns
        running[cause] = running.get(cause, 0) + at_once * duration_ns
