"""`workbench workloads`: the catalogue with its statistics and whose they are."""

from __future__ import annotations

import argparse

from workbench.errors import EXIT_OK
from workloads.catalogue import workloads
from workloads.fitting import FITTING_RULE
from workloads.workload import Workload


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def execute(_: argparse.Namespace) -> int:
    """Prints every workload."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for workload in workloads():
        console.print(Text.assemble((workload.name, "bold"), f"  {workload.description}"))
        for line in _statistics(workload):
            console.print(Padding(line, (0, 0, 0, 4)))
        console.print(Padding(Text(f"source: {workload.source}", style="dim"), (0, 0, 1, 4)))
    console.print(Text(FITTING_RULE, style="dim"))
    return EXIT_OK


def _statistics(workload: Workload) -> list[str]:
    lines = []
    for name, lengths in (("input", workload.input_tokens), ("output", workload.output_tokens)):
        p50, p90, p99 = lengths.quantile([0.5, 0.9, 0.99])
        lines.append(
            f"{name:6} tokens: mean {lengths.mean():,.0f}  p50 {p50:,}  p90 {p90:,}  p99 {p99:,}"
        )
    return lines
