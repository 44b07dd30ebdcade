"""How a run goes, in two lines: its state and time, and what it has come to."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.widget import Widget

from workbench.analysis.printable import plain

_LIVE = ("starting", "loading", "calibrating", "running", "draining", "saving")
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
    """Two lines; a third where something went wrong."""

    DEFAULT_CSS = "RunHeader { height: auto; width: 100%; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._data: HeaderData | None = None

    def show(self, data: HeaderData) -> None:
        """Takes what is to be said."""
        if data != self._data:
            taller = self._data is None or bool(data.trouble) != bool(self._data.trouble)
            self._data = data
            self.refresh(layout=taller)

    def render(self) -> Text:
        """The lines."""
        data = self._data
        if data is None:
            return Text("\n")
        variables = self.app.theme_variables
        lines = [self._first(data, variables), self._second(data, variables)]
        if data.trouble:
            lines.append(Text(plain(data.trouble), variables.get("bad", ""), no_wrap=True))
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text

    def _first(self, data: HeaderData, variables: dict[str, str]) -> Text:
        color = "series-1" if data.state in _LIVE else "muted"
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
        return line.append(f"  {plain(data.what)}", variables.get("muted", ""))

    def _second(self, data: HeaderData, variables: dict[str, str]) -> Text:
        muted = variables.get("muted", "")
        line = Text()
        for number, (name, figure) in enumerate(data.facts):
            line.append("  " if number else "")
            line.append(f"{name} ", muted)
            line.append(figure, "bold")
            if name == "attainment" and data.attainment_met is not None:
                sign, color = ("✓", "good") if data.attainment_met else ("✗", "bad")
                line.append(f" {sign}", variables.get(color, ""))
        return line
