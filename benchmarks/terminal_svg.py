"""A screen of the app as SVG that looks the same in every browser.

Blocks and braille are drawn as shapes, since fonts that lack them borrow signs of another width;
text has the browser's own monospace font, stretched to its cells. Nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

CELL_WIDTH = 8
CELL_HEIGHT = 16
_FONT_SIZE = 13
_BASELINE = 12
_MARGIN = 8
_FONTS = "ui-monospace, Menlo, 'DejaVu Sans Mono', 'Cascadia Mono', Consolas, monospace"

_EIGHTHS_UP = "▁▂▃▄▅▆▇█"
_EIGHTHS_RIGHT = "▏▎▍▌▋▊▉█"
_QUADRANTS = {
    "▘": (0,), "▝": (1,), "▖": (2,), "▗": (3,), "▀": (0, 1), "▌": (0, 2), "▐": (1, 3),
    "▚": (0, 3), "▞": (1, 2), "▛": (0, 1, 2), "▜": (0, 1, 3), "▙": (0, 2, 3), "▟": (1, 2, 3),
}  # fmt: skip
_SHADES = {"░": 0.25, "▒": 0.5, "▓": 0.75}
_PAUSE = "⏸"
_BRAILLE_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of the dot of each bit."""

_Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Run:
    """Cells side by side in one style; colours as #rrggbb."""

    text: str
    column: int
    row: int
    color: str
    background: str
    bold: bool
    underline: bool


def screen_svg(lines: Iterable[Iterable[Segment]], columns: int, rows: int, title: str) -> str:
    """The lines of a screen as an SVG document; `title` is what screen readers say."""
    runs = [run for row, line in enumerate(lines) for run in _runs(line, row)]
    width, height = columns * CELL_WIDTH + 2 * _MARGIN, rows * CELL_HEIGHT + 2 * _MARGIN
    ground = max((run.background for run in runs), key=[r.background for r in runs].count)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label={quoteattr(title)}>',
            f"<style>text{{font:{_FONT_SIZE}px {_FONTS};white-space:pre}}"
            ".b{font-weight:bold}.u{text-decoration:underline}</style>",
            f'<rect width="{width}" height="{height}" rx="6" fill="{ground}"/>',
            f'<g transform="translate({_MARGIN} {_MARGIN})">',
            *(_ground(run) for run in runs if run.background != ground),
            *_shapes(runs),
            *(text for run in runs for text in _texts(run)),
            "</g>",
            "</svg>\n",
        )
    )


def _runs(line: Iterable[Segment], row: int) -> Iterator[_Run]:
    column = 0
    for segment in line:
        style = segment.style or Style()
        color = style.color.get_truecolor().hex if style.color else "#ffffff"
        ground = style.bgcolor.get_truecolor().hex if style.bgcolor else "#000000"
        if style.reverse:
            color, ground = ground, color
        yield _Run(
            segment.text, column, row, color, ground, bool(style.bold), bool(style.underline)
        )
        column += cell_len(segment.text)


def _ground(run: _Run) -> str:
    x, y = run.column * CELL_WIDTH, run.row * CELL_HEIGHT
    width = cell_len(run.text) * CELL_WIDTH
    return f'<path fill="{run.background}" d="M{x} {y}h{width}v{CELL_HEIGHT}h-{width}z"/>'


def _shapes(runs: Iterable[_Run]) -> Iterator[str]:
    """One path for all shapes of a colour and an opacity."""
    found: dict[tuple[str, float], list[str]] = {}
    for run in runs:
        for number, letter in enumerate(run.text):
            opacity = _SHADES.get(letter, 1.0)
            for left, top, width, height in _rectangles(letter):
                x = (run.column + number) * CELL_WIDTH + left
                y = run.row * CELL_HEIGHT + top
                path = f"M{x:g} {y:g}h{width:g}v{height:g}h-{width:g}z"
                found.setdefault((run.color, opacity), []).append(path)
    for (color, opacity), paths in found.items():
        faint = "" if opacity == 1 else f' fill-opacity="{opacity}"'
        yield f'<path fill="{color}"{faint} d="{"".join(paths)}"/>'


def _rectangles(letter: str) -> Iterator[_Rectangle]:
    """Left, top, width and height in the cell of what `letter` looks like; none for a text."""
    width, height = CELL_WIDTH, CELL_HEIGHT
    if letter in _EIGHTHS_UP:
        filled = height * (_EIGHTHS_UP.index(letter) + 1) / 8
        yield 0, height - filled, width, filled
    elif letter in _EIGHTHS_RIGHT:
        yield 0, 0, width * (_EIGHTHS_RIGHT.index(letter) + 1) / 8, height
    elif letter in _SHADES:
        yield 0, 0, width, height
    elif letter in _QUADRANTS:
        for quadrant in _QUADRANTS[letter]:
            yield quadrant % 2 * width / 2, quadrant // 2 * height / 2, width / 2, height / 2
    elif letter == _PAUSE:
        yield 1, 4, 2, 8
        yield 5, 4, 2, 8
    elif 0x2800 <= ord(letter) <= 0x28FF:
        for bit, (column, row) in enumerate(_BRAILLE_DOTS):
            if (ord(letter) - 0x2800) >> bit & 1:
                yield column * width / 2 + 0.75, row * height / 4 + 0.75, 2.5, 2.5


def _texts(run: _Run) -> Iterator[str]:
    """The words of a run; what is drawn as a shape parts them, and so do wide gaps."""
    shown = "".join(" " if any(_rectangles(letter)) else letter for letter in run.text)
    start = 0
    for part in shown.split("  "):
        words, before = part.strip(), len(part) - len(part.lstrip())
        if words:
            column = run.column + cell_len(shown[: start + before])
            x, y = column * CELL_WIDTH, run.row * CELL_HEIGHT + _BASELINE
            classes = " ".join(name for name, on in (("b", run.bold), ("u", run.underline)) if on)
            named = f' class="{classes}"' if classes else ""
            yield (
                f'<text x="{x}" y="{y}" fill="{run.color}"{named} '
                f'textLength="{cell_len(words) * CELL_WIDTH}" lengthAdjust="spacingAndGlyphs">'
                f"{escape(words)}</text>"
            )
        start += len(part) + 2
