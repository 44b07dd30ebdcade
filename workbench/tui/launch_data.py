"""What the launch screen shows beside its form, made in the loader thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import USER_ERRORS
from workbench.runs.folder import LIVE_STATES
from workbench.runs.store import RunStore
from workbench.spec import RunSpec

if TYPE_CHECKING:
    from workbench.launch.command_line import CommandLine
    from workbench.launch.fit import FitEstimate
    from workbench.launch.preview import Lengths, Preview

_ROWS = 7


@dataclass(frozen=True, slots=True)
class LaunchQuestion:
    """A valid spec, by its content, and the columns that pictures may have."""

    content: str
    columns: int
    spec: RunSpec = field(compare=False)


@dataclass(frozen=True, slots=True)
class LaunchData:
    """What would be run.

    Attributes:
        about: what is sent, and whose figures say so.
        preview: None where `problem` says why there is none.
        histograms: of prompts and of answers, in lines of text without colours.
    """

    command: CommandLine
    about: tuple[str, str]
    preview: Preview | None
    fit: FitEstimate
    problem: str | None
    histograms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a spec can be started now.

    Attributes:
        problem: why it can't; None where it can.
        doubts: what its user should agree to first.
    """

    problem: str | None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recent:
    """The spec of an earlier run, and what it was in a line."""

    said: str
    spec: RunSpec


def launch_data(question: LaunchQuestion) -> LaunchData:
    """The preview, the estimate and the command of a spec."""
    from workbench.launch.command_line import command_line
    from workbench.launch.fit import estimate_fit
    from workbench.launch.preview import preview

    spec, problem = question.spec, None
    try:
        shown = preview(spec)
    except USER_ERRORS as error:
        shown, problem = None, str(error)
    fit = estimate_fit(spec, None if shown is None else shown.lengths)
    histograms: tuple[str, ...] = ()
    if shown is not None and shown.lengths is not None:
        histograms = _histograms(shown.lengths, question.columns)
    return LaunchData(command_line(spec), _about(spec), shown, fit, problem, histograms)


def readiness(spec: RunSpec, store: RunStore) -> Readiness:
    """Looks once more at the files, the memory and the other runs before a start."""
    from workbench.launch.fit import estimate_fit
    from workbench.launch.preview import preview

    try:
        shown = preview(spec)
    except USER_ERRORS as error:
        return Readiness(str(error))
    doubts = []
    fit = estimate_fit(spec, shown.lengths)
    if fit.fits is False:
        doubts.append(f"It seems not to fit: {fit.why}.")
    alive = [run.run_id for run in store.runs()[0] if run.state in LIVE_STATES]
    if alive:
        doubts.append(f"A run is going on ({', '.join(alive)}); both will be slower.")
    return Readiness(None, tuple(doubts))


def recent(store: RunStore) -> tuple[Recent, ...]:
    """The specs of the newest runs, each by its time and its command."""
    from workbench.launch.command_line import command_line
    from workbench.launch.recent import recent_specs

    found = []
    for each in recent_specs(store.root):
        when = each.created[5:16].replace("T", " ")
        words = " ".join(command_line(each.spec).argv[2:]).removeprefix("--workload ")
        found.append(Recent(f"{when}  {words}", each.spec))
    return tuple(found)


def _about(spec: RunSpec) -> tuple[str, str]:
    if spec.trace.file:
        return Path(spec.trace.file).name, spec.trace.file
    from workloads.catalogue import workload

    chosen = workload(spec.traffic.workload)
    return f"{chosen.name}: {chosen.description}", chosen.source


def _histograms(lengths: Lengths, columns: int) -> tuple[str, ...]:
    from workbench.analysis.histogram import Histogram

    drawn = []
    for what, tokens, figures in (
        ("prompts", lengths.input_tokens, lengths.input_figures),
        ("answers", lengths.output_tokens, lengths.output_figures),
    ):
        title = (
            f"{what}, tokens: p50 {figures.p50:,.0f}, mean {figures.mean:,.0f}, "
            f"p99 {figures.p99:,.0f}"
        )
        drawn.append(Histogram(title, tokens, "default", _ROWS).draw(columns, colorless=True))
    return tuple(drawn)
