"""What an experiment came to: the comparison, each claim judged, and whether it is as recorded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from profiles.expected import Expectation
from workbench.analysis.lookup import at
from workbench.comparison.compare import compare
from workbench.comparison.compared_metrics import metrics_of
from workbench.comparison.comparison import Comparison
from workbench.comparison.gate import Condition, Judgement, judge, parse_condition
from workbench.comparison.loading import folder_record
from workbench.comparison.records import SideRecords
from workbench.lab.drift import Drift, drifts, ratios_of
from workbench.lab.execute import Execution
from workbench.lab.plan import BASELINE, LEAST_RECORDED, OPTIMISED
from workbench.launch.repeats import EndedRun
from workbench.runs.store import load_run

ClaimVerdict = Literal["confirmed", "refuted", "not shown"]

LEAST_INTERRUPTED = 2
"""So many runs of each side make a comparison of what an interrupted experiment left."""

HEADLINES = ("output_throughput", "ttft_p50", "ttft_p99", "tpot_p50", "itl_p99", "e2e_p50")
"""What is looked at beside the metrics of the claims."""

_VERSIONS = ("workbench", "torch")
_VERDICTS: dict[str, ClaimVerdict] = {"yes": "confirmed", "no": "refuted"}


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """A claim, the word for it, and a sentence with the figures."""

    claim: str
    verdict: ClaimVerdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """An experiment that has ended.

    Attributes:
        comparison: None where too few runs finished; then there are no claims and no drifts.
        measured: what could be recorded; None where there are too few runs, or no interval.
        unchecked: why nothing was compared with what is recorded; "" where it was.
    """

    execution: Execution
    hardware_key: str
    comparison: Comparison | None
    claims: tuple[JudgedClaim, ...]
    measured: Expectation | None
    drifts: tuple[Drift, ...]
    unchecked: str

    @property
    def claimed(self) -> tuple[str, ...]:
        """The names of the metrics that the claims are about, each once."""
        return claimed_metrics(self.execution.plan.claims)

    @property
    def refuted(self) -> bool:
        """Whether the evidence is against a claim."""
        return any(claim.verdict == "refuted" for claim in self.claims)

    @property
    def drifted(self) -> bool:
        """Whether something is not what was recorded, beyond doubt."""
        return any(drift.verdict == "drifted" for drift in self.drifts)


def _looked_at(sides: Sequence[SideRecords], claims: Sequence[str]) -> list[str]:
    """The metrics that a report shows, as far as the runs have them: the fewer are tested together,
    the smaller a difference is found."""
    summaries = [record.content.get("summary") for side in sides for record in side.records]
    wanted = {*HEADLINES, *claimed_metrics(claims)}
    return [metric.name for metric in metrics_of(summaries) if metric.name in wanted]


def outcome_of(
    execution: Execution, hardware_key: str, recorded: tuple[Expectation, ...]
) -> Outcome:
    """Compares the runs that finished on both sides, and judges.

    Args:
        recorded: what is known of this hardware.

    Raises:
        StoreError: a run's tables are broken.
    """
    sides = execution.complete()
    least = LEAST_INTERRUPTED if execution.ending == "interrupted" else 1
    if len(sides[BASELINE]) < least:
        return Outcome(execution, hardware_key, None, (), None, (), "too few runs finished")
    labels = execution.plan.labels
    records = [_records(label, runs) for label, runs in zip(labels, sides, strict=True)]
    comparison = compare(records, only=_looked_at(records, execution.plan.claims))
    measured = _measured(execution, comparison, sides[OPTIMISED])
    drifted: tuple[Drift, ...] = ()
    known = [each for each in recorded if each.identity == _identity(execution, sides[OPTIMISED])]
    unchecked = _unchecked(measured, known)
    if measured is not None and not unchecked:
        drifted = drifts(known[0], measured.ratios)
    claims = _claims(execution.plan.claims, comparison)
    return Outcome(execution, hardware_key, comparison, claims, measured, drifted, unchecked)


def claimed_metrics(claims: Sequence[str]) -> tuple[str, ...]:
    """The names of the metrics that they are about, each once."""
    return tuple(dict.fromkeys(parse_condition(claim).metric for claim in claims))


def _records(label: str, runs: tuple[EndedRun, ...]) -> SideRecords:
    return SideRecords(label, tuple(folder_record(load_run(run.folder)) for run in runs))


def _claims(claims: tuple[str, ...], comparison: Comparison) -> tuple[JudgedClaim, ...]:
    conditions = [parse_condition(claim) for claim in claims]
    there = [each for each in conditions if comparison.row(each.metric) is not None]
    judgements = {each.condition: each for each in judge(there, comparison)}
    return tuple(_judged(condition, judgements.get(condition)) for condition in conditions)


def _judged(condition: Condition, judgement: Judgement | None) -> JudgedClaim:
    if judgement is None:
        sentence = f"{condition.text}: no run has a figure of {condition.metric}."
        return JudgedClaim(condition.text, "not shown", sentence)
    verdict = _VERDICTS.get(judgement.holds, "not shown")
    return JudgedClaim(condition.text, verdict, judgement.sentence)


# -- what is recorded ---------------------------------------------------------------------------


def _identity(execution: Execution, runs: tuple[EndedRun, ...]) -> tuple[str, str, str]:
    engine = at(runs[0].content, "engine")
    model, dtype = at(engine, "model"), at(engine, "dtype")
    return execution.plan.experiment.name, str(model), str(dtype)


def _measured(
    execution: Execution, comparison: Comparison, runs: tuple[EndedRun, ...]
) -> Expectation | None:
    if len(runs) < LEAST_RECORDED:
        return None
    ratios = ratios_of(comparison, claimed_metrics(execution.plan.claims))
    if not ratios:
        return None
    environment = at(runs[0].content, "environment")
    packages = at(environment, "packages") or {}
    versions = {name: str(packages[name]) for name in _VERSIONS if name in packages}
    commit = at(environment, "commit")
    name, model, dtype = _identity(execution, runs)
    return Expectation(
        experiment=name,
        model=model,
        dtype=dtype,
        date=date.today().isoformat(),
        command=command_of(execution),
        commit=None if commit is None else str(commit),
        versions=versions | {"python": str(at(environment, "python"))},
        settings=dict(zip(("baseline", "optimised"), execution.plan.settings, strict=True)),
        ratios=ratios,
    )


def command_of(execution: Execution) -> str:
    """What makes these runs again."""
    plan = execution.plan
    words = ["workbench", "lab", "run", plan.experiment.name, *plan.given_words]
    return shlex.join([*words, "--repeat", str(plan.repeats)])


def _unchecked(measured: Expectation | None, known: list[Expectation]) -> str:
    if not known:
        return "nothing is recorded for this hardware, model and dtype"
    if measured is None:
        return f"a check takes {LEAST_RECORDED} runs of each side and an interval between them"
    other = _differing(measured, known[0])
    return f"what is recorded was run with other settings: {other}" if other else ""


def _differing(one: Expectation, other: Expectation) -> str:
    """ "optimised traffic.duration 10, recorded 60": the first few settings that differ."""
    told = []
    for side in ("baseline", "optimised"):
        now, was = (_flat(each.settings.get(side)) for each in (one, other))
        for key in dict.fromkeys([*now, *was]):
            if now.get(key) != was.get(key):
                told.append(f"{side} {key} {now.get(key, '–')}, recorded {was.get(key, '–')}")
    return "; ".join(told[:3]) + ("; …" if len(told) > 3 else "")


def _flat(settings: object) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": each for name, each in value.items()}
        else:
            flat[key] = value
    return flat
