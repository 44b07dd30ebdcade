"""How a run goes, in two lines: its state and time, and what it has come to."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from workbench.analysis.printable import plain
from workbench.runs.folder import LIVE_STATES
from workbench.tui.drawing.clip import clipped

_BAR_CELLS = 20


@dataclass(frozen=True, slots=True)
class HeaderData:
    """What the header says; None where a figure is not known.

    Attributes:
        what: the traffic, in words; facts: names and figures, the gravest first.
        duration_s: seconds of arrivals; left_s: of these still to come.
        attainment_met: whether the required share of the requests keeps the SLOs.
        trouble: what went wrong, empty for nothing.
    """

    state: str
    what: str
    elapsed_s: float
    duration_s: float | None
    left_s: float | None
    facts: tuple[tuple[str, str], ...]
    attainment_met: bool | None
    trouble: str


class RunHeader(Widget):
    """State and time, the facts in as many lines as they take, and what went wrong."""

    DEFAULT_CSS = "RunHeader { height: auto; width: 100%; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._data: HeaderData | None = None

    def show(self, data: HeaderData) -> None:
        """Takes what is to be said."""
        if data != self._data:
            self._data = data
            height = len(self._lines(self.content_size.width))
            self.refresh(layout=height != self.content_size.height)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """See `Widget`."""
        return len(self._lines(width))

    def render(self) -> Text:
        """The lines."""
        return Text("\n", no_wrap=True).join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> list[Text]:
        data = self._data
        if data is None:
            return [Text(), Text()]
        variables = self.app.theme_variables
        lines = [self._first(data, variables, width), *self._facts(data, variables, width)]
        wrapped = textwrap.wrap(plain(data.trouble), max(1, width))
        return lines + [Text(line, variables.get("bad", "")) for line in wrapped]

    def _first(self, data: HeaderData, variables: dict[str, str], width: int) -> Text:
        color = "series-1" if data.state in LIVE_STATES else "muted"
        color = {"finished": "good", "interrupted": "warn"}.get(data.state, color)
        color = "bad" if data.state in ("failed", "killed", "dead") else color
        line = Text.assemble((data.state, f"bold {variables.get(color, '')}"), "  ")
        if data.duration_s:
            share = min(1.0, data.elapsed_s / data.duration_s)
            filled = round(share * _BAR_CELLS)
            line.append("━" * filled, variables.get(color, ""))
            line.append("╌" * (_BAR_CELLS - filled), variables.get("axis", ""))
        line.append(f" {data.elapsed_s:.0f} s")
        if data.left_s:
            line.append(f", {data.left_s:.0f} s of arrivals left")
        elif data.duration_s and data.state == "draining":
            line.append(", arrivals have ended")
        what = clipped(plain(data.what), width - line.cell_len - 2)
        return line.append(f"  {what}", variables.get("muted", ""))

    def _facts(self, data: HeaderData, variables: dict[str, str], width: int) -> list[Text]:
        """Lines that end between two facts."""
        muted = variables.get("muted", "")
        lines = [Text()]
        for name, figure in data.facts:
            fact = Text.assemble((f"{name} ", muted), (figure, "bold"))
            if name == "attainment" and data.attainment_met is not None:
                sign, color = ("✓", "good") if data.attainment_met else ("✗", "bad")
                fact.append(f" {sign}", variables.get(color, ""))
            if lines[-1] and lines[-1].cell_len + 2 + fact.cell_len > width:
                lines.append(Text())
            lines[-1].append("  " if lines[-1] else "").append_text(fact)
        return lines
