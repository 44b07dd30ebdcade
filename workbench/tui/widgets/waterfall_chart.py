"""A request's spans as bars under one time axis, with its tokens as dots above them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment as Piece
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.analysis.quantities import milliseconds
from workbench.tui.drawing.axis import time_ticks
from workbench.tui.drawing.clip import clipped
from workbench.tui.stage_look import STAGE_SIGNS
from workbench.tui.waterfall_rows import WaterfallRow
from workbench.tui.widgets.paint import opaque

_LABEL = 15
_TOOK = 9
_BARS = _LABEL + _TOOK + 2
_HEADER = 2
_DOTS = ((1, "·"), (2, "•"), (4, "●"))


@dataclass(frozen=True, slots=True)
class WaterfallData:
    """What is drawn: rows over start_ns to end_ns, times told from `origin_ns` on; and when
    tokens came: (ns, how many)."""

    rows: tuple[WaterfallRow, ...]
    start_ns: int
    end_ns: int
    origin_ns: int
    tokens: tuple[tuple[int, int], ...]


class WaterfallChart(ScrollView, can_focus=True):
    """The rows scroll under the axis; up and down choose one."""

    DEFAULT_CSS = """
    WaterfallChart {
        height: auto; min-height: 4; max-height: 100%; width: 100%;
        overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Span before", show=False),
        Binding("down", "move(1)", "Span after", show=False),
        Binding("pageup", "move(-10)", "Ten spans up", show=False),
        Binding("pagedown", "move(10)", "Ten spans down", show=False),
        Binding("home", "move(-1000000)", "First span", show=False),
        Binding("end", "move(1000000)", "Last span", show=False),
    ]

    class Highlighted(Message):
        """Another row was chosen."""

        def __init__(self, row: WaterfallRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__()
        self._data: WaterfallData | None = None
        self._cursor = 0

    @property
    def chosen(self) -> WaterfallRow | None:
        """The row at the cursor."""
        if self._data is None or not self._data.rows:
            return None
        return self._data.rows[min(self._cursor, len(self._data.rows) - 1)]

    def show(self, data: WaterfallData, keep_cursor: bool) -> None:
        """Takes another picture; unless the cursor is kept, it goes to the longest row that is no
        decode, which tells least of what held a request up."""
        self._data = data
        last = max(0, len(data.rows) - 1)
        if keep_cursor:
            self._cursor = min(self._cursor, last)
        else:
            lengths = [row.duration_ns * (row.label != "decode") for row in data.rows]
            self._cursor = lengths.index(max(lengths)) if lengths else 0
            self.scroll_to(y=0, animate=False, force=True)
        self.virtual_size = Size(self.size.width, len(data.rows) + _HEADER)
        self.refresh(layout=True)
        self.call_after_refresh(self._bring_into_sight)

    def action_move(self, rows: int) -> None:
        """Chooses another row."""
        if self._data is not None and self._data.rows:
            self._cursor = max(0, min(self._cursor + rows, len(self._data.rows) - 1))
            self._bring_into_sight()
            self.refresh()
            self.post_message(self.Highlighted(self._data.rows[self._cursor]))

    def on_click(self, event: events.Click) -> None:
        """Chooses the row that was clicked."""
        offset = event.get_content_offset(self)
        if offset is not None and offset.y >= _HEADER:
            self.action_move(self.scroll_offset.y + offset.y - _HEADER - self._cursor)

    def on_resize(self) -> None:
        """As wide as there is room."""
        rows = 0 if self._data is None else len(self._data.rows)
        self.virtual_size = Size(self.size.width, rows + _HEADER)
        self._bring_into_sight()

    def render_line(self, y: int) -> Strip:
        """The axis, the tokens, or a row."""
        width, data = self.scrollable_content_region.width, self._data
        if data is None:
            return Strip.blank(width, self.rich_style)
        if y == 0:
            return self._axis(data, width)
        if y == 1:
            return self._tokens(data, width)
        number = self.scroll_offset.y + y - _HEADER
        if number >= len(data.rows):
            return Strip.blank(width, self.rich_style)
        return self._row(data, data.rows[number], width, number == self._cursor)

    def _axis(self, data: WaterfallData, width: int) -> Strip:
        cells = [" "] * width
        start_s = (data.start_ns - data.origin_ns) / 1e9
        end_s = (data.end_ns - data.origin_ns) / 1e9
        for tick in time_ticks(start_s, end_s, max(0, width - _BARS)):
            for place, letter in enumerate(f"│{tick.label}", _BARS + tick.column):
                if place < width:
                    cells[place] = letter
        head = "since arrival".ljust(_BARS)[:_BARS]
        text = head + "".join(cells[_BARS:])
        return Strip([Piece(text[:width], self.rich_style + self._style("axis"))], width)

    def _tokens(self, data: WaterfallData, width: int) -> Strip:
        room = max(1, width - _BARS)
        counts = [0] * room
        for time_ns, tokens in data.tokens:
            if data.start_ns <= time_ns <= data.end_ns:
                counts[self._cell(data, time_ns, room)] += tokens
        dots = "".join(
            next((dot for least, dot in reversed(_DOTS) if count >= least), " ") for count in counts
        )
        head = f"{'tokens':<{_LABEL}}{sum(counts):>{_TOOK},}  "
        styles = (self.rich_style + self._style(name) for name in ("muted", "decode"))
        pieces = [Piece(text, style) for text, style in zip((head, dots), styles, strict=True)]
        return Strip(pieces).crop(0, width)

    def _row(self, data: WaterfallData, row: WaterfallRow, width: int, chosen: bool) -> Strip:
        base = self._chosen_style() if chosen else self.rich_style
        room = max(1, width - _BARS)
        took = milliseconds(row.duration_ns / 1e6)
        head = f"{row.label:<{_LABEL}.{_LABEL}}{took:>{_TOOK}}  "
        signs, colors = [" "] * room, [""] * room
        for segment in row.segments:
            if segment.end_ns < data.start_ns or segment.start_ns > data.end_ns:
                continue
            sign, color = STAGE_SIGNS[segment.kind]
            first = self._cell(data, segment.start_ns, room)
            last = max(first, self._cell(data, segment.end_ns - 1, room))
            for place in range(first, last + 1):
                if segment.kind == "stall" or colors[place] != "bad":
                    signs[place], colors[place] = sign, color
        self._remark(row.remark, signs, colors)
        pieces = [Piece(head, base)]
        for sign, color in zip(signs, colors, strict=True):
            pieces.append(Piece(sign, base + self._style(color) if color else base))
        return Strip(pieces, width).simplify().crop(0, width)

    @staticmethod
    def _remark(remark: str, signs: list[str], colors: list[str]) -> None:
        """Puts the remark right of the bar, or left of it, or into it, where it has room."""
        painted = [place for place, color in enumerate(colors) if color]
        first, after = (painted[0], painted[-1] + 1) if painted else (0, 0)
        right, left = len(signs) - after - 1, first - 1
        style, start = "muted", after + 1
        if right < len(remark) and left >= len(remark):
            start = left - len(remark)
        elif right < len(remark) and after - first >= len(remark) + 4:
            remark, start, style = f" {remark} ", first + 1, "foreground"
        elif right < len(remark):
            room = max(right, left)
            remark = clipped(remark, room) if room > 4 else ""
            start = after + 1 if right >= left else left - len(remark)
        for place, letter in enumerate(remark, start):
            signs[place], colors[place] = letter, style

    @staticmethod
    def _cell(data: WaterfallData, time_ns: int, room: int) -> int:
        length_ns = max(1, data.end_ns - data.start_ns)
        return max(0, min((time_ns - data.start_ns) * room // length_ns, room - 1))

    def _style(self, name: str) -> Style:
        return Style(color=opaque(self, f"${name}").rich_color)

    def _chosen_style(self) -> Style:
        ground = opaque(self, "$panel").rich_color
        return self.rich_style + Style(bgcolor=ground, bold=True)

    def _bring_into_sight(self) -> None:
        page = max(1, self.size.height - _HEADER)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False, force=True)
