"""What `workbench lab list` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from workbench.lab.drift import recorded_text
from workbench.lab.live import minutes_text
from workbench.lab.plan import Plan
from workbench.lab.shelf import Shelf
from workbench.launch.command_line import command_line

_INDENT = (0, 0, 0, 4)


def listing(plans: Sequence[Plan], shelf: Shelf) -> RenderableType:
    """Every experiment: its claim and source, what it runs, how long, and what is recorded."""
    parts: list[RenderableType] = []
    for plan in plans:
        parts.append(Text.assemble((plan.experiment.name, "bold"), f"  {plan.experiment.title}"))
        parts += [Padding(line, _INDENT) for line in _lines(plan, shelf)]
        parts.append(Text(""))
    parts.append(Text(f"Recorded figures are those of {shelf.key}: optimised ÷ baseline.", "dim"))
    return Group(*parts)


def listed(plan: Plan, shelf: Shelf) -> dict[str, Any]:
    """The same of one experiment as plain data; times in seconds."""
    experiment = plan.experiment
    return {
        "name": experiment.name,
        "title": experiment.title,
        "claim": experiment.claim,
        "claims": list(plan.claims),
        "source": experiment.source,
        "device": plan.device,
        "needs_gpu": not plan.experiment.runs_on("cpu"),
        "sides": dict(zip(plan.labels, _commands(plan), strict=True)),
        "repeats": plan.repeats,
        "about_s": plan.about_s,
        "recorded": [
            {
                "model": each.model,
                "dtype": each.dtype,
                "date": each.date,
                "command": each.command,
                "ratios": {
                    name: {"ratio": ratio.ratio, "interval": [ratio.low, ratio.high]}
                    for name, ratio in each.ratios.items()
                },
            }
            for each in shelf.of(plan)
        ],
    }


def _lines(plan: Plan, shelf: Shelf) -> list[Text]:
    experiment = plan.experiment
    lines = [
        Text(experiment.claim),
        Text(f"source: {experiment.source}", "dim"),
        Text(f"claims: {', '.join(plan.claims)}"),
    ]
    for label, command in zip(plan.labels, _commands(plan), strict=True):
        lines.append(Text(f"{label}: {command}"))
    if not experiment.runs_on("cpu"):
        lines.append(Text("needs a GPU"))
    lines.append(Text(f"{plan.repeats} × 2 runs, about {minutes_text(plan.about_s)}"))
    recorded = shelf.of(plan)
    for each in recorded:
        lines.append(Text(f"recorded, {each.model} {each.dtype}: {recorded_text(each)}"))
    if not recorded:
        lines.append(Text("recorded: nothing yet"))
    return lines


def _commands(plan: Plan) -> tuple[str, ...]:
    """What runs each side once."""
    return tuple(command_line(spec.model_copy(update={"name": ""})).text for spec in plan.specs)
