"""Where a request's time went: one line of stacked stages, and one that names them."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from workbench.analysis.quantities import milliseconds
from workbench.tui.drawing.apportion import apportion
from workbench.tui.stage_look import STAGE_NAMES, STAGE_SIGNS


class StageBar(Widget):
    """Shares of the time from arrival to end, by kind of span, in the order in which they came."""

    DEFAULT_CSS = "StageBar { height: 2; width: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._parts: tuple[tuple[str, int], ...] = ()

    def show(self, parts: tuple[tuple[str, int], ...]) -> None:
        """Takes (kind of span, ns), longer than 0."""
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def render(self) -> Text:
        """Bar and names; names that don't fit are left out, the shortest stages first."""
        variables = self.app.theme_variables
        bar = Text(no_wrap=True)
        total = sum(duration_ns for _, duration_ns in self._parts)
        if not total:
            return bar
        width = max(1, self.size.width)
        cells = apportion([duration_ns for _, duration_ns in self._parts], width)
        for (kind, _), count in zip(self._parts, cells, strict=True):
            sign, color = STAGE_SIGNS[kind]
            bar.append(sign * count, variables.get(color, ""))
        return Text.assemble(bar, "\n", self._names(total, width, variables))

    def _names(self, total: int, width: int, variables: dict[str, str]) -> Text:
        named = []
        for kind, duration_ns in self._parts:
            sign, color = STAGE_SIGNS[kind]
            name = STAGE_NAMES.get(kind, kind)
            took = milliseconds(duration_ns / 1e6)
            text = Text.assemble(
                (f"{sign} ", variables.get(color, "")),
                f"{name} {took} ",
                (_share(duration_ns, total), variables.get("muted", "")),
            )
            named.append((duration_ns, text))
        while len(named) > 1 and sum(text.cell_len + 3 for _, text in named) - 3 > width:
            named.remove(min(named, key=lambda part: part[0]))
        line = Text("   ").join([text for _, text in named])
        line.truncate(width)
        return line


def _share(part: int, total: int) -> str:
    percent = 100 * part / total
    return f"{percent:.0f} %" if percent >= 1 else "<1 %"
