"""What the waterfall screen shows of a request, made in the loader thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.analysis.quantities import milliseconds
from workbench.tui.waterfall_rows import WaterfallRow, waterfall_rows
from workbench.tui.widgets.row_list import ListRow, RowList
from workbench.tui.widgets.table_source import Cell, TableColumn

if TYPE_CHECKING:
    from workbench.analysis.baseline import Baseline
    from workbench.analysis.explain import Explanation
    from workbench.analysis.story import Story
    from workbench.viewing.view import RunView

COMPANION_COLUMNS = (
    TableColumn("request", "request", 8, align="right", sortable=False),
    TableColumn("steps", "steps shared", 12, align="right", sortable=False),
    TableColumn("prefill", "its prefill", 11, align="right", sortable=False),
    TableColumn("decode", "its decode", 10, align="right", sortable=False),
)
STEP_COLUMNS = (
    TableColumn("step", "step", 7, align="right", sortable=False),
    TableColumn("kind", "kind", 8, sortable=False),
    TableColumn("start", "start", 10, align="right", sortable=False, priority=1),
    TableColumn("took", "took", 9, align="right", sortable=False),
    TableColumn("own", "its part", 13, sortable=False),
    TableColumn("batch", "batch", 6, align="right", sortable=False),
    TableColumn("tokens", "tokens", 7, align="right", sortable=False, priority=1),
)


@dataclass(frozen=True, slots=True)
class WaterfallQuestion:
    """Whose story, as of which moment (None: now)."""

    request_id: int
    at_ns: int | None


@dataclass(frozen=True, slots=True, eq=False)
class RequestPicture:
    """A story with its explanation, and what the widgets show of it."""

    story: Story
    explanation: Explanation
    rows: tuple[WaterfallRow, ...]
    parts: tuple[tuple[str, int], ...]
    companions: RowList
    steps: RowList


def request_picture(
    view: RunView, question: WaterfallQuestion, usual: Baseline
) -> RequestPicture | None:
    """The answer to `question`; None if the request had not arrived."""
    from workbench.analysis.explain import why_slow
    from workbench.viewing.reading import limits_of

    at_ns = view.now_ns() if question.at_ns is None else question.at_ns
    story = view.story(question.request_id, at_ns)
    if story is None:
        return None
    return RequestPicture(
        story,
        why_slow(story, limits_of(view.content), usual),
        waterfall_rows(story),
        _parts(story),
        _companions(story),
        _steps(story),
    )


def usual_of(view: RunView) -> Baseline:
    """The medians of everything that is known of the run."""
    from workbench.analysis.baseline import run_baseline

    return run_baseline(view.requests(view.end_ns), view.frames.steps)


def _parts(story: Story) -> tuple[tuple[str, int], ...]:
    sums: dict[str, int] = {}
    for span in story.spans:
        sums[span.kind] = sums.get(span.kind, 0) + span.duration_ns
    return tuple(sums.items())


def _companions(story: Story) -> RowList:
    return RowList(
        [
            ListRow(
                other.request_id,
                tuple(
                    Cell(f"{figure:,}", "dim" if figure == 0 else "")
                    for figure in (
                        other.request_id,
                        other.steps,
                        other.prefill_steps,
                        other.decode_steps,
                    )
                ),
            )
            for other in story.companions
        ]
    )


def _steps(story: Story) -> RowList:
    return RowList(
        [
            ListRow(
                turn.step,
                (
                    Cell(f"{turn.step:,}"),
                    Cell(turn.kind),
                    Cell(f"{turn.start_ns / 1e9:,.3f} s", "dim"),
                    Cell(milliseconds((turn.end_ns - turn.start_ns) / 1e6)),
                    Cell(f"{turn.part} {turn.tokens:,}"),
                    Cell(f"{turn.batch:,}"),
                    Cell(f"{turn.prefill_tokens + turn.decode_tokens:,}"),
                ),
            )
            for turn in story.turns
        ]
    )


def headline(story: Story, place: int | None, of: int) -> str:
    """Who the request is, in a line."""
    cached = f" ({story.cached_tokens:,} cached)" if story.cached_tokens else ""
    figures = [
        f"request {story.request_id:,}",
        story.status,
        f"prompt {story.prompt_tokens:,}{cached}",
        f"output {story.output_tokens:,} of {story.max_tokens:,}",
        f"arrived {story.life.scheduled_ns / 1e9:,.2f} s",
    ]
    if place is not None:
        figures.append(f"{place + 1:,} of {of:,}")
    return " · ".join(figures)
