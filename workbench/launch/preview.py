"""What a spec would send, before anything is started: how long requests are, and when they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.launch.sources import workload_of
from workbench.launch.traffic import arrivals_of, has_own_arrivals
from workbench.spec import RunSpec
from workloads.traces.detect import TEXT_FORMATS, detect_format
from workloads.traces.formats import read_trace
from workloads.traces.trace import Trace
from workloads.traces.transform import apply

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SAMPLE_REQUESTS = 2_000
TRACE_ROWS = 20_000
BINS = 60
_MOST_ARRIVALS = 200_000
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """p50, mean and p99 of some lengths, in tokens."""

    p50: float
    mean: float
    p99: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of a sample of requests, before they are fitted to a context.

    Attributes:
        what: whose they are: a workload or a file.
        input_tokens, output_tokens: int64 `[requests]`; prompts with their history.
    """

    what: str
    input_tokens: Ints
    output_tokens: Ints

    @property
    def input_figures(self) -> LengthFigures:
        """Of the prompts."""
        return _figures(self.input_tokens)

    @property
    def output_figures(self) -> LengthFigures:
        """Of the answers."""
        return _figures(self.output_tokens)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When requests come, in bins of equal length.

    Attributes:
        said: the process in words.
        begins: what begins at an arrival: "requests" or "conversations".
        duration_s: seconds of arrivals.
        per_s: float64 `[bins]`, arrivals per second.
        shape_only: the rate is yet to be measured; these are drawn at 1 per second.
    """

    said: str
    begins: str
    duration_s: float
    per_s: Floats
    shape_only: bool

    @property
    def middle_s(self) -> Floats:
        """The middle of each bin, float64 `[bins]`, in seconds."""
        edges_s = np.linspace(0.0, self.duration_s, len(self.per_s) + 1)
        middle_s: Floats = (edges_s[:-1] + edges_s[1:]) / 2
        return middle_s


@dataclass(frozen=True, slots=True)
class Preview:
    """A spec's traffic; None is what can't be told before the run, and `notes` say why."""

    lengths: Lengths | None
    arrivals: Arrivals | None
    notes: tuple[str, ...]


def preview(spec: RunSpec) -> Preview:
    """The traffic that the spec asks for, from a sample: milliseconds for a workload, for a trace
    as long as its first `TRACE_ROWS` requests take to read.

    Raises:
        SpecError: the spec's parts don't go together.
        WorkloadError: a file can't be read, or a part of the spec is impossible.
    """
    if spec.trace.file:
        return _of_file(spec, Path(spec.trace.file))
    chosen = workload_of(spec)
    inputs, outputs = chosen.lengths(spec.seed, np.arange(SAMPLE_REQUESTS))
    lengths = Lengths(chosen.name, inputs, outputs)
    begins = "requests" if chosen.conversation is None else "conversations"
    arrivals, notes = _drawn(spec, begins, chosen.requests_per_session())
    return Preview(lengths, arrivals, notes)


def _of_file(spec: RunSpec, path: Path) -> Preview:
    if detect_format(str(path)) in TEXT_FORMATS:
        arrivals, notes = _drawn(spec, "conversations", None)
        told = f"{path.name} holds texts: their lengths show once the model's tokenizer reads them."
        return Preview(None, arrivals, (told, *notes))
    options = spec.trace_options()
    most = min(options.limit or TRACE_ROWS, TRACE_ROWS)
    options = replace(options, limit=most)
    raw = read_trace(path, options)
    trace, changes = apply(raw, options, spec.seed)
    notes = tuple(changes.sentences())
    is_cut = len(raw) >= most and most != spec.trace.limit
    if is_cut:
        notes = (f"Only its first {most:,} requests were read for this preview.", *notes)
    lengths = Lengths(path.name, trace.input_tokens, trace.output_tokens)
    if spec.traffic.concurrency is None and not (
        trace.sessions_own_clock or has_own_arrivals(spec)
    ):
        return Preview(lengths, _replayed(spec, trace), notes)
    sessions = trace.session_id if trace.sessions_own_clock else None
    per_start = 1.0 if sessions is None else len(trace) / max(1, len(np.unique(sessions)))
    begins = "requests" if sessions is None else "conversations"
    arrivals, more = _drawn(spec, begins, per_start)
    return Preview(lengths, arrivals, (*notes, *more))


def _replayed(spec: RunSpec, trace: Trace) -> Arrivals:
    times_s = trace.arrival_ns / _NS_PER_S
    if spec.traffic.duration is not None:
        times_s = times_s[times_s < spec.traffic.duration]
    duration_s = max(float(times_s.max(initial=0.0)), 1e-3)
    said = "its own stamps" if spec.trace.speed == 1 else f"its own stamps, {spec.trace.speed:g} x"
    return Arrivals(said, "requests", duration_s, _per_s(times_s, duration_s), shape_only=False)


def _drawn(
    spec: RunSpec, begins: str, requests_per_start: float | None
) -> tuple[Arrivals | None, tuple[str, ...]]:
    """Arrivals drawn as the run will draw them, or at 1 per second where only their shape is known;
    fewer, and counted for more, where they would be very many."""
    traffic = spec.traffic
    if traffic.concurrency is not None:
        told = f"Closed loop of {traffic.concurrency:,}: requests come as answers end."
        return None, (told,)
    process, said = arrivals_of(spec)
    shape_only = False
    if traffic.rate_file is not None:
        starts_per_s = 1.0  # the file has the rates
    elif traffic.rate == "auto" or requests_per_start is None:
        starts_per_s, shape_only = 1.0, True
    else:
        starts_per_s = float(traffic.rate) / requests_per_start
    duration_s = traffic.duration_s
    expected = starts_per_s * process.mean_factor(duration_s) * duration_s
    counts_for = max(1.0, expected / _MOST_ARRIVALS)
    rng = np.random.default_rng(spec.seed)
    times_ns = process.times_ns(starts_per_s / counts_for, duration_s, rng)
    per_s = _per_s(times_ns / _NS_PER_S, duration_s) * counts_for
    return Arrivals(said, begins, duration_s, per_s, shape_only), ()


def _per_s(times_s: Floats, duration_s: float) -> Floats:
    counts, _ = np.histogram(times_s, bins=BINS, range=(0.0, duration_s))
    return counts / (duration_s / BINS)


def _figures(tokens: Ints) -> LengthFigures:
    p50, p99 = np.percentile(tokens, (50, 99)).tolist()
    return LengthFigures(p50, float(tokens.mean()), p99)
