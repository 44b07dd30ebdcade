"""What the timeline shows, made in the loader thread; the steps are indexed once for each version
of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.options import REMOTE
from workbench.analysis.lookup import at
from workbench.tui.drawing.lanes_picture import Chosen, LanesData

if TYPE_CHECKING:
    import polars as pl

    from workbench.viewing.step_detail import StepDetail
    from workbench.viewing.timeline import StepIndex
    from workbench.viewing.view import RunView


@dataclass(frozen=True, slots=True)
class TimelineQuestion:
    """What is to be shown: a span in so many cells, as of a moment, and a step in full."""

    at_ns: int
    start_ns: int
    end_ns: int
    columns: int
    step: int | None
    in_full: bool


@dataclass(frozen=True, slots=True)
class TimelineData:
    """The answer; `steps` and `kinds`: of the whole run so far; `remote`: a server computes, and
    tells no step."""

    lanes: LanesData
    steps: int
    kinds: tuple[str, ...]
    remote: bool
    length_ns: int
    detail: StepDetail | None


class TimelineLoader:
    """Answers for one run, and keeps its index; `load` is for the loader thread.

    Attributes:
        index: of the steps as of the last answer; None before the first one.
    """

    def __init__(self, view: RunView) -> None:
        self.index: StepIndex | None = None
        self._view = view
        self._indexed: pl.DataFrame | None = None

    def load(self, question: TimelineQuestion) -> TimelineData:
        """The answer to `question`."""
        from workbench.viewing.step_detail import step_detail

        index = self._fresh_index()
        chosen = detail = None
        place = None if question.step is None else index.place(question.step)
        if question.step is not None and place is not None:
            lane, row = place
            start_ns, end_ns = int(lane.start_ns[row]), int(lane.end_ns[row])
            chosen = Chosen(question.step, lane.worker, start_ns, end_ns)
            if question.in_full:
                detail = step_detail(self._view, index, question.step)
        known_ns = index.told_until_ns(question.at_ns) if self._view.live else question.at_ns
        timeline = index.timeline(question.start_ns, question.end_ns, question.columns, known_ns)
        return TimelineData(
            lanes=LanesData(timeline, chosen, self._view.usable_blocks),
            steps=index.count,
            kinds=index.kinds,
            remote=at(self._view.content, "engine", "name") == REMOTE,
            length_ns=max(1, self._view.now_ns()),
            detail=detail,
        )

    def _fresh_index(self) -> StepIndex:
        from workbench.viewing.timeline import StepIndex

        steps = self._view.frames.steps
        if self.index is None or steps is not self._indexed:
            self.index, self._indexed = StepIndex(steps), steps
        return self.index
