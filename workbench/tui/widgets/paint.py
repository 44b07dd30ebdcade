"""From inks to the terminal: theme variables to colours, canvas rows to strips."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color, ColorParseError
from textual.strip import Strip
from textual.widget import Widget

from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import UNICODE, Glyphs

_FALLBACK = {
    "series-1": "ansi_cyan",
    "series-2": "ansi_yellow",
    "series-3": "ansi_magenta",
    "series-4": "ansi_green",
    "series-5": "ansi_blue",
    "series-6": "ansi_red",
    "good": "ansi_green",
    "bad": "ansi_red",
    "warn": "ansi_yellow",
    "muted": "ansi_bright_black",
    "axis": "ansi_bright_black",
    "kv-shared": "ansi_magenta",
    "kv-live": "ansi_cyan",
    "kv-cached": "ansi_blue",
    "kv-free": "ansi_bright_black",
    "prefill": "ansi_yellow",
    "decode": "ansi_cyan",
    "mixed": "ansi_magenta",
    "transfer": "ansi_blue",
    "verify": "ansi_green",
}


def color_of(app: App[object], name: str) -> str:
    """A colour as Textual writes it: of the theme for "$name", else `name` itself.

    A variable that the theme lacks has an ANSI colour of its own; an unknown one is the default.
    """
    if not name.startswith("$"):
        return name
    variable = name[1:]
    return app.theme_variables.get(variable) or _FALLBACK.get(variable, "ansi_default")


def glyphs_of(app: App[object]) -> Glyphs:
    """The signs that the app was started with; Unicode where it says nothing."""
    glyphs = getattr(app, "glyphs", UNICODE)
    return glyphs if isinstance(glyphs, Glyphs) else UNICODE


def paint_rows(widget: Widget, canvas: Canvas) -> list[Strip]:
    """The canvas in the widget's style and theme, one strip a row, each `canvas.width` wide."""
    style_of = _styles(widget, canvas)
    return [
        Strip([Segment(text, style_of(ink)) for text, ink in runs], canvas.width)
        for runs in canvas.rows()
    ]


def opaque(widget: Widget, name: str) -> Color:
    """A colour of the theme, laid over the widget's background where it is translucent.

    "auto 60%", as Textual writes muted text, is the contrasting text colour at 60 %.
    """
    value = color_of(widget.app, name)
    background = widget.background_colors[1]
    if value.startswith("auto"):
        share = value.removeprefix("auto").strip().rstrip("%")
        alpha = float(share) / 100 if share else 1.0
        return background.blend(background.get_contrast_text(1.0), alpha, alpha=1.0)
    try:
        color = Color.parse(value)
    except ColorParseError:
        return Color.parse("ansi_default")
    return color if color.ansi is not None or color.a == 1 else background + color


def _styles(widget: Widget, canvas: Canvas) -> Callable[[Ink], Style]:
    base = widget.rich_style
    made = {ink: base + _style(widget, ink) for ink in canvas.inks}
    return made.__getitem__


def _style(widget: Widget, ink: Ink) -> Style:
    color = opaque(widget, ink.color).rich_color if ink.color is not None else None
    ground = opaque(widget, ink.background).rich_color if ink.background is not None else None
    return Style(color=color, bgcolor=ground, bold=ink.bold or None)
