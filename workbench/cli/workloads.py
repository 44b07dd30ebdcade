"""`workbench workloads`: the catalogue with its statistics and whose they are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import EXIT_OK
from workloads.catalogue import workloads
from workloads.conversations.gaps import Gap
from workloads.conversations.plan import ConversationPlan, SharedTexts
from workloads.conversations.traffic import CONVERSATION_RULE
from workloads.fitting import FITTING_RULE
from workloads.lengths import LengthDistribution
from workloads.workload import Workload

_PERCENTILES = (50, 90, 99)
_SAMPLE = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def execute(args: argparse.Namespace) -> int:
    """Prints every workload."""
    described = [_described(workload) for workload in workloads()]
    if args.json:
        rules = {"fitting": FITTING_RULE, "conversations": CONVERSATION_RULE}
        json.dump({"workloads": described, "rules": rules}, sys.stdout, indent=1)
        print()
        return EXIT_OK
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for each in described:
        console.print(Text.assemble((each["name"], "bold"), f"  {each['description']}"))
        for line in _lines(each):
            console.print(Padding(line, (0, 0, 0, 4)))
        console.print(Padding(Text(f"source: {each['source']}", style="dim"), (0, 0, 1, 4)))
    for rule in (FITTING_RULE, CONVERSATION_RULE):
        console.print(Text(rule, style="dim"))
    return EXIT_OK


def _described(workload: Workload) -> dict[str, Any]:
    arrivals = workload.arrivals
    return {
        "name": workload.name,
        "description": workload.description,
        "source": workload.source,
        "input_tokens": _of_lengths(workload.input_tokens),
        "output_tokens": _of_lengths(workload.output_tokens),
        "shared_prefix_tokens": workload.shared_prefix_tokens,
        "arrivals": arrivals
        and {
            "process": arrivals.process,
            "options": dict(arrivals.options),
            "modulation": arrivals.modulation,
        },
        "conversation": workload.conversation and _of_plan(workload, workload.conversation),
    }


def _of_plan(workload: Workload, plan: ConversationPlan) -> dict[str, Any]:
    served = workload.served_lengths(0, np.arange(_SAMPLE))
    tools = plan.tool_share > 0 and plan.tool_tokens is not None
    return {
        "turns": _of_lengths(plan.turns),
        "prompt_tokens": _of_sample(served.input_tokens),
        "uncached_tokens": _of_sample(served.uncached_tokens),
        "first_tokens": _of_lengths(plan.first_tokens),
        "user_tokens": _of_lengths(plan.user_tokens),
        "tool_share": plan.tool_share,
        "tool_tokens": _of_lengths(plan.tool_tokens) if tools and plan.tool_tokens else None,
        "user_gap_s": _of_gap(plan.user_gap, plan.gap_scale),
        "tool_gap_s": _of_gap(plan.tool_gap, plan.gap_scale) if tools else None,
        "system_prompts": plan.system_prompts and _of_shared(plan.system_prompts),
        "documents": plan.documents and _of_shared(plan.documents),
    }


def _of_lengths(lengths: LengthDistribution) -> dict[str, float]:
    values = lengths.quantile([p / 100 for p in _PERCENTILES])
    return _named(lengths.mean(), values)


def _of_sample(tokens: npt.NDArray[np.int64]) -> dict[str, float]:
    return _named(float(tokens.mean()), np.percentile(tokens, _PERCENTILES))


def _of_gap(gap: Gap, scale: float) -> dict[str, float]:
    values = gap.quantile_s([p / 100 for p in _PERCENTILES]) * scale
    return _named(gap.mean_s() * scale, values)


def _named(mean: float, percentiles: npt.NDArray[Any]) -> dict[str, float]:
    named = {f"p{p}": value for p, value in zip(_PERCENTILES, percentiles.tolist(), strict=True)}
    return {"mean": mean, **named}


def _of_shared(shared: SharedTexts) -> dict[str, Any]:
    return {
        "count": shared.count,
        "tokens": _of_lengths(shared.tokens),
        "zipf_exponent": shared.exponent,
        "per_session": shared.per_session,
    }


def _lines(each: dict[str, Any]) -> Iterator[str]:
    plan = each["conversation"]
    if plan is None:
        yield _row("input tokens", each["input_tokens"])
        yield _row("output tokens", each["output_tokens"])
    else:
        yield _row("turns", plan["turns"], ",.1f")
        yield _row("first message", plan["first_tokens"])
        yield _row("later messages", plan["user_tokens"])
        if plan["tool_tokens"] is not None:
            yield _row(f"tools ({plan['tool_share']:.0%})", plan["tool_tokens"])
        yield _row("output tokens", each["output_tokens"])
        yield _row("whole prompts", plan["prompt_tokens"])
        yield _row("user's gap, s", plan["user_gap_s"], ".1f")
        if plan["tool_gap_s"] is not None:
            yield _row("tool's gap, s", plan["tool_gap_s"], ".1f")
        for name in ("system_prompts", "documents"):
            if plan[name] is not None:
                yield _shared_line(name.replace("_", " "), plan[name])
    if each["shared_prefix_tokens"]:
        yield f"every prompt begins with the same {each['shared_prefix_tokens']:,} tokens"
    if each["arrivals"] is not None:
        options = "".join(f" {k}={v:g}" for k, v in each["arrivals"]["options"].items())
        modulation = each["arrivals"]["modulation"]
        rate = f", rate {modulation}" if modulation else ""
        yield f"arrivals by default: {each['arrivals']['process']}{options}{rate}"


def _row(label: str, values: dict[str, float], form: str = ",.0f") -> str:
    shown = "  ".join(f"{name} {value:{form}}" for name, value in values.items())
    return f"{label + ':':15} {shown}"


def _shared_line(label: str, shared: dict[str, Any]) -> str:
    mean, count, each = shared["tokens"]["mean"], shared["count"], shared["per_session"]
    if count == 1:
        return f"{label}: the same {mean:,.0f} tokens for all"
    zipf = f"by Zipf's law of exponent {shared['zipf_exponent']:g}"
    return f"{label}: {each} per session of {count:,}, of {mean:,.0f} tokens on average, {zipf}"
