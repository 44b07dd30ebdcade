"""From a spec to traffic: what is sent, when, and at which rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import SpecError
from workbench.launch.content import Content
from workbench.launch.sources import content_of
from workbench.launch.target import Target
from workbench.spec import RunSpec
from workloads.arrivals import arrival_process
from workloads.catalogue import workload
from workloads.fitting import fit_to_context
from workloads.modulated_arrivals import ModulatedArrivals
from workloads.modulation import Modulation, Steady
from workloads.modulation_text import modulation
from workloads.rate_file import read_rate_file
from workloads.thinking import ThinkTime
from workloads.traffic import Shard, Traffic
from workloads.workload import DefaultArrivals

Ints = npt.NDArray[np.int64]

CALIBRATION_REQUESTS = 512
_NS_PER_S = 1_000_000_000
_SHORT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """The traffic of a run, and what its record says of it.

    Attributes:
        duration_s: seconds of arrivals; warmup_s: the first part of them, not measured.
        rate_per_s: mean requests per second that are offered; None of a closed loop and where a
            trace's own stamps are replayed.
        arrival: when requests come, in words.
        calibration: how the rate was found; None where it was given.
        notes: sentences on when requests come that a reader must know.
    """

    content: Content
    traffic: Traffic
    duration_s: float
    warmup_s: float
    rate_per_s: float | None
    arrival: str
    calibration: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The fields of `run.json`."""
        notes = [*self.notes, *self.content.closing_notes(self.traffic)]
        return {
            "duration_s": self.duration_s,
            "warmup_s": self.warmup_s,
            "rate_per_s": self.rate_per_s,
            "calibration": self.calibration,
            "traffic": {"what": self.content.what, "arrival": self.arrival, "notes": notes},
        }


def plan_traffic(
    spec: RunSpec, target: Target, calibrating: Callable[[], None], shard: Shard
) -> TrafficPlan:
    """The traffic that the spec asks for, in the target's own tokens.

    Args:
        calibrating: called before the capacity is measured, if it has to be.

    Raises:
        SpecError: there would be no request, or nothing after warm-up.
        WorkloadError: a part of the spec is impossible, or a file can't be read.
        EngineError: the capacity can't be measured.
    """
    content = content_of(spec, target)
    if spec.traffic.concurrency is not None:
        return _closed(spec, content, shard)
    if content.stamps_ns is not None and not has_own_arrivals(spec):
        return _replayed(spec, content, content.stamps_ns, shard)
    return _at_rate(spec, target, content, calibrating, shard)


def has_own_arrivals(spec: RunSpec) -> bool:
    """Whether the spec says when requests are to come, whatever the trace has."""
    traffic = spec.traffic
    chosen = (traffic.arrival, traffic.modulation, traffic.rate_file)
    return traffic.rate != "auto" or any(each is not None for each in chosen)


def _closed(spec: RunSpec, content: Content, shard: Shard) -> TrafficPlan:
    traffic = spec.traffic
    assert traffic.concurrency is not None
    think = ThinkTime(traffic.think, traffic.think_kind, spec.seed)
    loop = content.closed_loop(traffic.concurrency, traffic.duration_s, think, shard)
    said = f"closed loop of {traffic.concurrency}"
    if traffic.think:
        said += f", {traffic.think_kind} think time of {traffic.think:g} s"
    warmup_s = traffic.warmup_of(traffic.duration_s)
    if content.most is not None and traffic.warmup is None and traffic.duration is None:
        warmup_s = 0.0  # nobody knows how long so many requests take
    return TrafficPlan(content, loop, traffic.duration_s, warmup_s, None, said, None)


def _replayed(spec: RunSpec, content: Content, stamps_ns: Ints, shard: Shard) -> TrafficPlan:
    traffic = spec.traffic
    if traffic.duration is not None:
        stamps_ns = stamps_ns[stamps_ns < traffic.duration * _NS_PER_S]
    if not len(stamps_ns):
        raise SpecError(f"{content.what}: no request in {traffic.duration:g} s; raise --duration")
    duration_s = (int(stamps_ns[-1]) + 1) / _NS_PER_S
    loop = content.open_loop(stamps_ns, duration_s, shard)
    said = "its own stamps" if spec.trace.speed == 1 else f"its own stamps, {spec.trace.speed:g} x"
    warmup_s = _warmup(spec, duration_s)
    return TrafficPlan(content, loop, duration_s, warmup_s, None, said, None)


def _at_rate(
    spec: RunSpec,
    target: Target,
    content: Content,
    calibrating: Callable[[], None],
    shard: Shard,
) -> TrafficPlan:
    traffic = spec.traffic
    arrivals, said = arrivals_of(spec)
    rate, calibration = 1.0, None
    if traffic.rate_file is None:
        rate, calibration = _rate(spec, target, content, calibrating)
    starts_per_s = rate if traffic.rate_file is not None else rate / content.requests_per_start
    duration_s = traffic.duration_s
    rng = np.random.default_rng(spec.seed)
    times_ns = arrivals.times_ns(starts_per_s, duration_s, rng)
    if not len(times_ns):
        raise SpecError(
            f"a rate of {rate:.3g} requests/s gives no arrival in {duration_s:g} s; "
            "raise --duration or --rate"
        )
    duration_s = content.ends_s(times_ns, duration_s)
    offered = starts_per_s * arrivals.mean_factor(duration_s) * content.requests_per_start
    loop = content.open_loop(times_ns, duration_s, shard)
    notes = _slow_start(content, duration_s, offered)
    warmup_s = _warmup(spec, duration_s)
    return TrafficPlan(content, loop, duration_s, warmup_s, offered, said, calibration, notes)


def _slow_start(content: Content, duration_s: float, rate_per_s: float) -> tuple[str, ...]:
    """A note where the later turns of conversations come too late for a run of this length."""
    if content.lasts_s < _SHORT_SHARE * duration_s:
        return ()
    return (
        f"Conversations last {content.lasts_s:.3g} s on average besides their answers, and the "
        f"run {duration_s:.3g} s: the rate of {rate_per_s:.3g} requests per second is reached only "
        "in one that is much longer.",
    )


def arrivals_of(spec: RunSpec) -> tuple[ModulatedArrivals, str]:
    """The arrival process that the spec asks for, and its name with what modulates it.

    Raises:
        WorkloadError: it is impossible, or the file of rates can't be read.
    """
    traffic = spec.traffic
    own = None if spec.trace.file else workload(traffic.workload).arrivals
    if own is None or traffic.arrival is not None:
        own = DefaultArrivals(traffic.arrival or "poisson")
    name, options = own.process, dict(own.options)
    for option in ("burstiness", "shape"):
        value = getattr(traffic, option)
        if value is not None:
            options[option] = value
    how: Modulation = Steady()
    said = " ".join([name, *(f"{option} {value:g}" for option, value in options.items())])
    if traffic.rate_file is not None:
        how = read_rate_file(Path(traffic.rate_file))
        said += f", rates of {Path(traffic.rate_file).name}"
    elif asked := traffic.modulation or own.modulation:
        how = modulation(asked)
        said += f", {asked}"
    return ModulatedArrivals(arrival_process(name, **options), how), said


def _rate(
    spec: RunSpec, target: Target, content: Content, calibrating: Callable[[], None]
) -> tuple[float, dict[str, Any] | None]:
    """Requests per second, and how they were calibrated.

    A given rate is taken as it is. "auto" measures the target's capacity for the lengths of this
    run's first requests and offers the spec's share of it.
    """
    traffic = spec.traffic
    if traffic.rate != "auto":
        return float(traffic.rate), None
    if target.capacity is None:
        raise SpecError(
            f"{content.what} has no stamps of its own, and a remote server's capacity isn't "
            "measured: give --rate or --concurrency"
        )
    calibrating()
    asked = content.lengths(CALIBRATION_REQUESTS)
    inputs, outputs, _ = fit_to_context(*asked, target.max_model_len)
    capacity = target.capacity(inputs, outputs, traffic.calibration)
    rate = traffic.share * capacity.requests_per_s
    return rate, capacity.as_dict() | {"share": traffic.share}


def _warmup(spec: RunSpec, duration_s: float) -> float:
    """Seconds of warm-up.

    Raises:
        SpecError: nothing would be left to measure.
    """
    warmup_s = spec.traffic.warmup_of(duration_s)
    if warmup_s >= duration_s:
        raise SpecError(
            f"warmup {warmup_s:g} s leaves nothing of the traffic's {duration_s:.3g} s to measure"
        )
    return warmup_s
