"""The runner's loop with what a spec says of it: the same in the runner and in a load process."""

from __future__ import annotations

from collections.abc import Callable

from workbench.launch.target import Target
from workbench.launch.traffic import TrafficPlan
from workbench.runs.clock import RunClock
from workbench.runs.knobs import Knobs
from workbench.runs.recorder import Recorder
from workbench.runs.runner import LoopEnd, StopRequest, drive
from workbench.spec import RunSpec
from workloads.patience import Patience

INTERRUPT_DRAIN_NS = 10_000_000_000


def run_loop(
    spec: RunSpec,
    target: Target,
    plan: TrafficPlan,
    recorder: Recorder,
    clock: RunClock,
    stop: StopRequest,
    phase: Callable[[str], None],
    knobs: Knobs,
) -> LoopEnd:
    """Drives the target until its traffic and its requests have ended.

    Whatever the engine raises goes through.
    """
    traffic = spec.traffic
    end = drive(
        target.engine,
        plan.traffic,
        recorder,
        clock,
        stop,
        int(traffic.drain * 1e9),
        INTERRUPT_DRAIN_NS,
        phase,
        patience=Patience(traffic.cancel_share, traffic.cancel_after, spec.seed),
        knobs=knobs,
    )
    target.engine.check_integrity()
    return end
