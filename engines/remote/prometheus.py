"""Samples out of Prometheus' text format, as much of it as serving engines write."""

from __future__ import annotations

import math
import re

_SAMPLE = re.compile(
    r"^(?P<name>[A-Za-z_:][\w:]*)\s*"
    r'(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*$'
)
_LABEL = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]
"""By name: the labels and the value of each sample."""


def parse_prometheus(text: str, prefixes: tuple[str, ...]) -> Samples:
    """The samples whose names begin with one of `prefixes`. Lines that can't be read, and values
    that are no numbers, are passed over: one exporter's slip shall not hide the rest."""
    samples: Samples = {}
    for line in text.splitlines():
        if not line.startswith(prefixes):
            continue
        match = _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        if not math.isnan(value):
            labels = dict(_LABEL.findall(match["labels"] or ""))
            samples.setdefault(match["name"], []).append((labels, value))
    return samples
