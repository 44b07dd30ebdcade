"""What charts in SVG are put together from: elements, scales, ticks, marks and dashes.

Colours are classes (`side-0`, `ink`, …) whose values the page's style has, for light and dark.
Sides differ by shape and dash as well, so that nobody has to tell colours apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from workbench.analysis.printable import plain

SERIES = 6
_DASHES = ("", "8 3", "2 3", "10 3 2 3", "5 5", "12 4")
_LONGEST_LABEL = 44
_LEGEND_ROW = 20
_FEWEST_TICKS, _MOST_TICKS = 3, 8


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places; `log`: by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of `value`, kept within the ends."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        here = (math.log(max(value, self.low)) if self.log else value) - low
        share = min(1.0, max(0.0, here / (high - low))) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def chart(name: str, title: str, description: str, size: tuple[float, float], body: str) -> str:
    """A whole drawing; `name` is unique in the page, `size` its width and height."""
    width, height = size
    heads = f'<title id="{name}-title">{words(title)}</title>'
    heads += f'<desc id="{name}-desc">{words(description)}</desc>'
    return (
        f'<svg class="{name}" role="img" aria-labelledby="{name}-title {name}-desc" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">'
        f"{heads}{body}</svg>"
    )


def words(text: str) -> str:
    """Text that means nothing but itself in HTML and SVG, in quotes too."""
    return escape(plain(text))


def element(name: str, **attributes: object) -> str:
    """An element without content; `stroke_width` becomes `stroke-width`, `class_` `class`."""
    told = " ".join(
        f'{key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name} {told}/>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def text(x: float, y: float, content: str, kind: str = "ink", anchor: str = "start") -> str:
    """A line of text; `y` is that of its baseline."""
    place = f'x="{_attribute(x)}" y="{_attribute(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{words(content)}</text>'


def mark(side: int, x: float, y: float, hollow: bool = False, radius: float = 5) -> str:
    """The side's shape around a point."""
    kind = f"side-{side % SERIES} {'hollow' if hollow else 'full'}"
    shape = side % SERIES
    if shape == 0:
        return element("circle", class_=kind, cx=x, cy=y, r=radius)
    corners = _CORNERS[shape - 1]
    points = " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in corners)
    return element("polygon", class_=kind, points=points)


def dash(side: int) -> str:
    """The dashes of the side's line, as `stroke-dasharray` has them."""
    return _DASHES[side % SERIES] or "none"


def path(points: Sequence[tuple[float, float]], side: int) -> str:
    """The side's line through these points."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", class_=f"curve side-{side % SERIES}", d=f"M{steps}",
                   stroke_dasharray=dash(side))  # fmt: skip


def legend_height(labels: Sequence[str]) -> float:
    """What `legend` takes."""
    return _LEGEND_ROW * len(labels)


def legend(labels: Sequence[tuple[int, str]], x: float, y: float, lines: bool) -> str:
    """The sides' marks, or dashed lines, with their labels below each other from `y` down."""
    drawn = []
    for place, (side, label) in enumerate(labels):
        middle = y + _LEGEND_ROW * (place + 0.5)
        if lines:
            drawn.append(path([(x, middle), (x + 26, middle)], side))
        else:
            drawn.append(mark(side, x + 13, middle))
        drawn.append(text(x + 34, middle + 4, shortened(label)))
    return "".join(drawn)


def shortened(label: str, longest: int = _LONGEST_LABEL) -> str:
    """A label whose middle gives way where it is longer than that."""
    if len(label) <= longest:
        return label
    half = (longest - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values within the ends, at most so many."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(each * power for each in (1, 2, 5, 10, 20) if (high - low) / (each * power) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * count for count in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the ends; powers alone where those are many, and other
    round values where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [each * 10.0**power for power in powers for each in (1, 2, 5)]
    found = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
    if len(found) < _FEWEST_TICKS:
        return round_ticks(low, high, 5)
    if len(found) <= _MOST_TICKS:
        return found
    return [tick for tick in found if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]


def _attribute(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))


_CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
    ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
     (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
)  # fmt: skip
"""Square, triangle, diamond, triangle on its head, cross; the first side has a circle."""
