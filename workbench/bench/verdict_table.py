"""The figures of `workbench.bench.verdicts` as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMN = 15


def verdict_table(result: Mapping[str, Any]) -> str:
    """A line a metric, a column a series; bars below, with whether they are met."""
    series: Sequence[Mapping[str, Any]] = result["series"]
    metrics = list(dict.fromkeys(name for each in series for name in each["metrics"]))
    coverage: Mapping[str, Mapping[str, float]] = result["coverage"]
    width = max(len(name) for name in [*metrics, "any metric"])
    lines = [
        "Share of comparisons with a false verdict (A/A, better or worse) and share in which the "
        "slower side is found worse (A/B), %.",
        "In 95 %: single runs whose interval holds the mean over all runs, where most have one.",
        "",
    ]
    titles = [each["name"].split(", ") for each in series]
    lines += [
        _line("", [title[0] for title in titles] + ["in 95 %"], width),
        _line("", [title[1] for title in titles] + ["1 run"], width),
        _line("", [f"n {each['comparisons']}" for each in series] + [""], width),
    ]
    for name in metrics:
        shares = [_share(each, name) for each in series]
        lines.append(_line(name, [*shares, _inside(coverage.get(name))], width))
    any_false = [_percent(each.get("any_false_percent")) for each in series]
    lines += [_line("any metric", [*any_false, ""], width), ""]
    for bar in result["bars"]:
        met = "met" if bar["met"] else "NOT met"
        lines.append(
            f"{bar['series']}: {bar['metric']} {bar['percent']:.1f} % {bar['what']} "
            f"{bar['bar_percent']:g} %: {met}"
        )
    runs = f"about {result['requests']} requests a run, {result['seconds']:.0f} s"
    return "\n".join([*lines, runs])


def _share(series: Mapping[str, Any], metric: str) -> str:
    shares = series["metrics"].get(metric)
    if shares is None:
        return "–"
    false = shares["better_percent"] if series["slower"] == 1.0 else 0.0
    return _percent(shares["worse_percent"] + false)


def _inside(coverage: Mapping[str, float] | None) -> str:
    if coverage is None or coverage["known_percent"] <= 50:
        return _percent(None)
    return _percent(coverage["inside_percent"])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return (name.ljust(width) + "".join(cell.rjust(_COLUMN) for cell in cells)).rstrip()
