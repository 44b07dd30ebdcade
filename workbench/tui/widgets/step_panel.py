"""One engine step in full: its times, what it held, and the requests that were in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from workbench.analysis.quantities import counted, milliseconds
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.row_list import ListRow, RowList
from workbench.tui.widgets.table_source import Cell, TableColumn

if TYPE_CHECKING:
    from workbench.viewing.step_detail import StepDetail

_COLUMNS = (
    TableColumn("request", "request", 8, align="right", sortable=False),
    TableColumn("part", "part", 8, sortable=False),
    TableColumn("tokens", "tokens", 8, align="right", sortable=False),
    TableColumn("event", "event", 10, flex=1, priority=1, sortable=False),
)
_BLOCKED = {
    "seqs": "as many sequences run as may",
    "tokens": "the step's token budget was spent",
    "blocks": "no KV block was free",
    "batch": "a static batch was not over",
    "preempted": "a sequence had just been preempted",
}


class MembersTable(BigTable):
    """The requests of a step; while it has the focus, its keys come first on the line of keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open request", key_display="enter"),
        Binding("escape", "screen.close_step", "Close step"),
    ]


class StepPanel(Vertical):
    """The panel; Enter on a request, told by the table's `Selected`, is for the screen."""

    DEFAULT_CSS = """
    StepPanel { height: 1fr; }
    StepPanel #step-facts { height: auto; }
    StepPanel BigTable { height: 1fr; min-height: 3; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="step-facts", markup=False)
        yield MembersTable(_COLUMNS, empty_text="nobody was in it", id="members")

    def show(self, detail: StepDetail) -> None:
        """Shows a step."""
        self.query_one("#step-facts", Static).update(step_facts(detail))
        events = {event.request_id: event for event in detail.events}
        rows = []
        for member in detail.members:
            event = events.get(member.request_id)
            words = "" if event is None else f"{event.kind}: {event.detail or event.tokens}"
            cells = (
                Cell(str(member.request_id)),
                Cell(member.part),
                Cell(f"{member.tokens:,}"),
                Cell(words, "warn"),
            )
            rows.append(ListRow((member.request_id, member.part), cells))
        self.query_one(MembersTable).show(RowList(rows))


def _on_the_gpu(detail: StepDetail) -> list[str]:
    """How long the host took to launch it, and the GPU to compute it; nothing where none tells.

    A worker without GPU times computes the step while it launches it.
    """
    if detail.gpu_ms is None:
        return []
    parts = [f"{milliseconds(detail.gpu_ms)} on the GPU"]
    if detail.launch_ms is not None:
        parts.insert(0, f"launched in {milliseconds(detail.launch_ms)}")
    if detail.gpu_idle_ms is not None:
        parts.append(f"idle {milliseconds(detail.gpu_idle_ms)} before")
    return [", ".join(parts)]


def step_facts(detail: StepDetail) -> str:
    """A step in a few lines."""
    unit = "token" if detail.decode_tokens == 1 else "tokens"
    tokens = f"{detail.prefill_tokens:,} prefill + {detail.decode_tokens:,} decode {unit}"
    gap = "first step"
    if detail.gap_before_ms is not None:
        kind = "host gap" if detail.gap_is_host else "idle"
        gap = f"{kind} before it {milliseconds(detail.gap_before_ms)}"
    lines = [
        f"Step {detail.step}, {detail.kind}, worker {detail.worker}: "
        f"{milliseconds(detail.duration_ms)}",
        f"{detail.start_ns / 1e9:.4f} s to {detail.end_ns / 1e9:.4f} s",
        f"scheduled in {milliseconds(detail.schedule_ms)}; {gap}",
        *_on_the_gpu(detail),
        f"{counted(detail.num_seqs, 'sequence')}, {tokens}",
        f"after it: {detail.running:,} running, {detail.waiting:,} waiting, "
        f"{counted(detail.live_blocks, 'KV block')} live, {detail.cached_blocks:,} cached",
    ]
    if detail.blocked:
        lines.append(f"kept out of it: {_BLOCKED.get(detail.blocked, detail.blocked)}")
    members = {member.request_id for member in detail.members}
    for event in detail.events:
        if event.request_id not in members:
            who = "" if event.request_id is None else f" request {event.request_id}"
            lines.append(f"{event.kind}{who}: {event.detail or f'{event.tokens:,}'}")
    return "\n".join(lines)
