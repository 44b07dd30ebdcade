"""TTFT's stages, stacked: a bar for each side, as long as the means of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.analysis.metrics import STAGES
from workbench.analysis.quantities import number
from workbench.comparison.comparison import Comparison, Row
from workbench.comparison.formats.svg import (
    Scale,
    chart,
    element,
    line,
    round_ticks,
    shortened,
    text,
)

_WIDTH, _RIGHT = 780.0, 764.0
_BAR, _ROW = 24.0, 54.0
_LEGEND_COLUMNS, _LEGEND_ROW = 6, 24.0
_WIDE_ENOUGH = 44.0


def stage_rows(comparison: Comparison) -> tuple[tuple[str, Row], ...]:
    """The stages that took time, in the order in which they pass, with the rows of their means."""
    rows = ((stage, comparison.row(f"latency.{stage}_ms.mean")) for stage in STAGES)
    return tuple((stage.replace("_", " "), row) for stage, row in rows if row is not None)


def stages(comparison: Comparison) -> str | None:
    """The drawing; None where no side knows its stages."""
    rows = stage_rows(comparison)
    totals = [_total(rows, side) for side in range(len(comparison.sides))]
    if not any(totals):
        return None
    scale = Scale(0, max(total for total in totals if total is not None), 0, _RIGHT)
    y = _LEGEND_ROW + 10
    drawn = [_patterns(), _legend([stage for stage, _ in rows])]
    bars = []
    for side, total in enumerate(totals):
        label = shortened(comparison.sides[side].label, 80)
        said = "no figures" if total is None else f"{number(total)} ms"
        bars.append(text(0, y + 16, f"{label}: {said}"))
        if total is not None:
            bars.append(_bar(rows, side, scale, y + 22))
        y += _ROW
    drawn += [_axis(scale, _LEGEND_ROW + 12, y), *bars]
    title = "Stages of TTFT: means, ms"
    return chart("stages", title, _told(comparison, rows), (_WIDTH, y + 44), "".join(drawn))


def _total(rows: Sequence[tuple[str, Row]], side: int) -> float | None:
    values = [row.cells[side].value for _, row in rows]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _patterns() -> str:
    """A texture for each stage but the first, on its own colour."""
    drawn = []
    for stage, texture in enumerate(_TEXTURES):
        ground = element("rect", class_=f"stage-{stage}", width=8, height=8)
        over = element("path", class_="texture", d=texture) if texture else ""
        drawn.append(
            f'<pattern id="stage-{stage}" width="8" height="8" patternUnits="userSpaceOnUse">'
            f"{ground}{over}</pattern>"
        )
    return f"<defs>{''.join(drawn)}</defs>"


def _legend(names: Sequence[str]) -> str:
    step = _WIDTH / _LEGEND_COLUMNS
    return "".join(
        element("rect", class_="part", x=step * place, y=2, width=18, height=16,
                fill=f"url(#stage-{_place(name)})")
        + text(step * place + 24, 15, name)
        for place, name in enumerate(names)
    )  # fmt: skip


def _bar(rows: Sequence[tuple[str, Row]], side: int, scale: Scale, y: float) -> str:
    drawn, so_far = [], 0.0
    for name, row in rows:
        value = row.cells[side].value
        if value is None or value <= 0:
            continue
        start, end = scale(so_far), scale(so_far + value)
        drawn.append(
            element("rect", class_="part", x=start, y=y, width=max(0.5, end - start), height=_BAR,
                    fill=f"url(#stage-{_place(name)})")
        )  # fmt: skip
        if end - start > _WIDE_ENOUGH:
            drawn.append(_on_bar((start + end) / 2, y, number(value)))
        so_far += value
    return "".join(drawn)


def _on_bar(x: float, y: float, said: str) -> str:
    width = 7.5 * len(said) + 8
    plate = element("rect", class_="plate", x=x - width / 2, y=y + 4, width=width, height=16, rx=3)
    return plate + text(x, y + 16, said, "ink", "middle")


def _axis(scale: Scale, top: float, bottom: float) -> str:
    drawn = []
    for tick in round_ticks(0, scale.high, 8):
        drawn.append(line(scale(tick), top, scale(tick), bottom, "grid"))
        anchor = "middle" if tick else "start"
        drawn.append(text(scale(tick), bottom + 18, f"{tick:,g}", "muted", anchor))
    drawn.append(text(_RIGHT / 2, bottom + 38, "ms", "muted", "middle"))
    return "".join(drawn)


def _place(name: str) -> int:
    return STAGES.index(name.replace(" ", "_"))


def _told(comparison: Comparison, rows: Sequence[tuple[str, Row]]) -> str:
    return "; ".join(
        f"{side.label}: "
        + ", ".join(f"{name} {number(row.cells[place].value)}" for name, row in rows)
        for place, side in enumerate(comparison.sides)
    )


_TEXTURES = (
    "",
    "M0 8L8 0M-2 2L2 -2M6 10L10 6",
    "M0 0L8 8M-2 6L2 10M6 -2L10 2",
    "M0 4H8",
    "M4 0V8",
    "M0 4H8M4 0V8",
)
"""Lines over each stage's colour; the first has none."""
