"""What a comparison holds: sides, their figures, how they differ from the baseline's, how sure that
is, and what a reader must know. Made by `comparison.compare`, read by every table and screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.comparison.compared_metrics import Metric
from workbench.comparison.intervals import Interval
from workbench.comparison.setting_differences import Setting

Verdict = Literal["better", "worse", "no evidence", "too noisy"]
Basis = Literal["requests", "paired requests", "runs", "paired runs", "counts"]
NoteKind = Literal["traffic", "run", "fairness", "steady", "method"]

CONFIDENCE = 0.95
TOO_NOISY_ABOVE = 0.25
"""A minimum detectable difference above this share of the baseline's figure is too noisy to say
"no evidence": a difference that matters could hide in it."""

BASIS_TEXT: dict[Basis, str] = {
    "requests": "blocks of requests within one run of each side",
    "paired requests": "blocks of the same requests in one run of each side",
    "runs": "repeated runs",
    "paired runs": "repeated runs, paired by seed",
    "counts": "counts of one run of each side",
}


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run of a side; `problem` says why its figures are not those of a finished run, "" if they
    are. `requests` of the window; its length, s."""

    run_id: str
    name: str
    state: str
    problem: str
    requests: int | None
    window_s: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """A column of the comparison: one run, or several runs of the same spec.

    `label` is unique in its comparison.
    """

    label: str
    runs: tuple[ComparedRun, ...]

    @property
    def requests(self) -> int | None:
        """Requests of all its runs' windows; None where no run has figures."""
        counts = [run.requests for run in self.runs if run.requests is not None]
        return sum(counts) if counts else None


@dataclass(frozen=True, slots=True)
class Effect:
    """How a figure changed against the baseline, on the scale on which it was tested.

    Attributes:
        log: `estimate` is the logarithm of the ratio; otherwise the difference in the unit.
        error: its standard error; degrees: degrees of freedom of that.
        weight: its share of the probability of error, where it is one of two tests that were tried
            and the clearer one counts (weighted Bonferroni): probabilities are divided by it.
    """

    log: bool
    estimate: float
    error: float
    degrees: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """A figure against the baseline's; None where something is undefined or can't be known.

    Attributes:
        difference, ratio: value - baseline, in the unit; value ÷ baseline.
        interval, ratio_interval: 95 % intervals of the two.
        p: of no difference at all, two-sided; adjusted_p: after Holm, over the metric's family.
        detectable: minimum detectable difference, as a share of the baseline's figure: one so
            large would be found with a probability of 80 %.
        basis: what the evidence stands on.
        verdict: None of metrics that have no better direction, and where there is no evidence to
            judge by, such as a single run's energy.
        effect: what `p` and the intervals were made from.
    """

    difference: float
    ratio: float | None
    interval: Interval | None = None
    ratio_interval: Interval | None = None
    p: float | None = None
    adjusted_p: float | None = None
    detectable: float | None = None
    basis: Basis | None = None
    verdict: Verdict | None = None
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one side; None where it is undefined.

    Attributes:
        value: of several runs their mean: geometric where all are above 0.
        values: of each run.
        n: samples that it stands on, of all runs, where these are requests, gaps or steps.
        interval: 95 %: within the run of a single run, between runs of several.
        weak: a p99 of fewer than 100 samples.
        change: against the baseline; None of the baseline itself, and where one has no figure.
    """

    value: float | None
    values: tuple[float | None, ...]
    n: int | None
    interval: Interval | None
    weak: bool
    change: Change | None


@dataclass(frozen=True, slots=True)
class Row:
    """A metric and its cells, one of each side, the baseline first."""

    metric: Metric
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader must know, in a sentence; `loud`: the comparison may mislead without it."""

    kind: NoteKind
    text: str
    loud: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a difference: what it is called, how much of the difference it is, in the
    explanation's unit, and its share of it (of parts that go the other way below 0)."""

    name: str
    difference: float
    share: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a side's figure differs from the baseline's.

    Attributes:
        side: which, from 1; metric: the metric's key; figure: such as "TTFT p99".
        difference: what the parts sum to, in `unit`.
        parts: the largest first.
        sentence: all of it in words.
    """

    side: int
    metric: str
    figure: str
    difference: float
    parts: tuple[Part, ...]
    sentence: str
    unit: str = "ms"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides or more; the first is the baseline.

    Attributes:
        settings: what differs in the way they were set up, the weightiest first.
        rows: every metric that one of them has.
        notes: the weightiest first.
        explanations: why TTFT and TPOT differ, side by side of the table.
    """

    sides: tuple[Side, ...]
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...]
    explanations: tuple[Explanation, ...]

    @property
    def traffic_differs(self) -> bool:
        """Whether the sides were asked for different work."""
        return any(setting.traffic for setting in self.settings)

    def row(self, key: str) -> Row | None:
        """The row of a metric by its key or its short name; None where no side has it."""
        found = (row for row in self.rows if key in (row.metric.key, row.metric.name))
        return next(found, None)
