"""What the compare screen shows, made in the loader thread: the marked runs, compared once for each
version of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.runs.annotations import read_annotations
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.scatter_picture import ScatterData

if TYPE_CHECKING:
    from workbench.comparison.compare import MeasuredSide
    from workbench.comparison.comparison import Comparison
    from workbench.comparison.measured import MeasuredRun
    from workbench.runs.store import RunStore
    from workbench.tui.compare_sides import MarkedSide
    from workbench.viewing.view import RunView

SERIES = 6
OVERLAID = (("ttft", "TTFT", "ms"), ("tpot", "TPOT", "ms"), ("tokens", "Output", "tok/s"))
DISTRIBUTIONS = (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "E2E"))

_LEAST_REST_NS = 4_000_000_000
_REST = 10
"""Living runs are compared again after at least so many times as long as it took."""

Versions = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CompareQuestion:
    """What is asked: at which moment of the system's clock (in parts of a few seconds), the first
    run of the side that is the baseline, the percentile of overlaid latencies, and the columns of
    a chart."""

    moment: int
    baseline: str | None
    percentile: str
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class CompareData:
    """The answer; `comparison` is None while there are fewer than two sides.

    Attributes:
        marked: names of the marked runs; problems: why some of them can't be read.
        measured: the runs of each side of the comparison.
    """

    marked: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    comparison: Comparison | None = None
    measured: tuple[tuple[MeasuredRun, ...], ...] = ()
    overlaid: dict[str, ChartData] = field(default_factory=dict)
    distributions: dict[str, ChartData] = field(default_factory=dict)
    front: ScatterData = field(default_factory=ScatterData)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What is compared, apart from how far living runs have come."""

    sides: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]


class CompareLoader:
    """Compares the marked runs of a store, and keeps what it has read. Loader thread only."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._views: dict[str, RunView] = {}
        self._measured: dict[tuple[str, Versions], MeasuredSide] = {}
        self._compared_for: tuple[_Setup, Versions] | None = None
        self._again_ns = 0
        self._drawn_for: tuple[str, int] | None = None
        self._made = CompareData()

    def load(self, store: RunStore, question: CompareQuestion) -> CompareData:
        """The marked runs side by side.

        Of ended runs nothing is computed twice; living ones are compared anew once they and the
        screen have had some rest.
        """
        from workbench.errors import StoreError
        from workbench.tui.compare_sides import sides_of

        views, problems = self._marked(store)
        sides = sides_of(views, question.baseline)
        setup = _Setup(tuple((side.label, *map(_path, side.views)) for side in sides), problems)
        try:
            self._compare_anew(views, sides, setup)
            self._draw_anew(sides, question)
        except StoreError as error:
            # A table that is broken now is no better a moment later: it is said, and left alone.
            self._made = CompareData(_names(views), (*problems, str(error)))
            self._compared_for = setup, _versions(views)
        return self._made

    def _compare_anew(
        self, views: Sequence[RunView], sides: Sequence[MarkedSide], setup: _Setup
    ) -> None:
        """Unless nothing is new, or living runs were compared a moment ago."""
        versions, begun_ns = _versions(views), self._clock()
        known, known_versions = self._compared_for or (None, ())
        if known == setup and (known_versions == versions or begun_ns < self._again_ns):
            return
        self._made = self._compared(views, sides, setup.problems)
        self._compared_for, self._drawn_for = (setup, versions), None
        now_ns = self._clock()
        self._again_ns = now_ns + max(_LEAST_REST_NS, _REST * (now_ns - begun_ns))

    def _draw_anew(self, sides: Sequence[MarkedSide], question: CompareQuestion) -> None:
        """Unless they would be the same pictures."""
        drawn_for = question.percentile, question.columns
        if self._made.comparison is not None and self._drawn_for != drawn_for:
            self._made = _drawn(self._made, self._made.comparison, sides, question)
            self._drawn_for = drawn_for

    def _compared(
        self, views: Sequence[RunView], sides: Sequence[MarkedSide], problems: tuple[str, ...]
    ) -> CompareData:
        if len(sides) < 2:
            self._measured = {}
            return CompareData(_names(views), problems)
        from workbench.comparison.compare import compare, measure

        known = self._measured
        keys = [(side.label, _versions(side.views)) for side in sides]
        self._measured = {
            key: known.get(key) or measure(side.records())
            for key, side in zip(keys, sides, strict=True)
        }
        measured = [self._measured[key] for key in keys]
        comparison = compare(measured, problems=problems)
        runs = tuple(side.runs for side in measured)
        return CompareData(_names(views), problems, comparison, runs)

    def _marked(self, store: RunStore) -> tuple[list[RunView], tuple[str, ...]]:
        from workbench.errors import StoreError
        from workbench.runs.folder import RunFolder
        from workbench.viewing.view import open_view

        views: dict[str, RunView] = {}
        problems = []
        try:
            paths = sorted(path for path in store.root.iterdir() if path.is_dir())
        except FileNotFoundError:
            paths = []
        except OSError as error:
            raise StoreError(f"{store.root} can't be read: {error.strerror or error}") from None
        for path in paths:
            try:
                if not read_annotations(RunFolder(path)).marked:
                    continue
                key = str(path)
                view = self._views.get(key) or open_view(RunFolder(path), self._clock)
                view.refresh()
                views[key] = view
            except StoreError as error:
                problems.append(str(error))
        self._views = views
        return list(views.values()), tuple(problems)


def side_color(place: int) -> str:
    """The colour of the side in a place of the comparison."""
    return f"$series-{place % SERIES + 1}"


def _drawn(
    data: CompareData,
    comparison: Comparison,
    sides: Sequence[MarkedSide],
    question: CompareQuestion,
) -> CompareData:
    from workbench.tui.compare_charts import distributions, front, overlaid

    return dataclasses.replace(
        data,
        overlaid=overlaid(sides, question.percentile, question.columns),
        distributions=distributions([side.label for side in sides], data.measured),
        front=front(comparison),
    )


def _names(views: Sequence[RunView]) -> tuple[str, ...]:
    return tuple(str(view.content.get("name") or view.content["run_id"]) for view in views)


def _path(view: RunView) -> str:
    return str(view.folder.path)


def _versions(views: Sequence[RunView]) -> Versions:
    return tuple((_path(view), view.version) for view in views)
