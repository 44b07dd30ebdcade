"""Runs made by hand: requests by their stages, steps by what they compute, both in ms."""

from __future__ import annotations

import polars as pl
import pytest
from in_memory import record

from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why import explanations
from workbench.runs.schema import REQUESTS, STEPS
from workbench.runs.tables import polars_schema

MS = 1_000_000
TPOT = "TPOT over all tokens"
STAMPS = ("admitted", "started", "prefilled", "transferred", "first_token")


def frame(table, rows):
    empty = {"int64": 0, "bool": False, "text": ""}
    filled = [
        {column.name: None if column.nullable else empty[column.kind] for column in table.columns}
        | row
        for row in rows
    ]
    return pl.DataFrame(filled, schema=polars_schema(table))


def requests_of(rows):
    """Requests, 10 ms apart, whose stages last so many ms: wait, queue, prefill, and by name
    transfer, first_decode, recompute."""
    made = []
    for number, (wait, queue, prefill, more) in enumerate(rows):
        scheduled = number * 10
        admitted, started = scheduled + wait, scheduled + wait + queue
        prefilled = started + prefill + more.get("recompute", 0)
        moved = prefilled + more["transfer"] if "transfer" in more else None
        first = (prefilled if moved is None else moved) + more.get("first_decode", 0)
        stamps = dict(
            zip(STAMPS, (admitted, started, prefilled, moved, first), strict=True),
            scheduled=scheduled, last_token=first + 5_000_000,
        )  # fmt: skip
        made.append(
            {
                "request_id": number,
                "status": "ok",
                **{f"{k}_ns": None if v is None else round(v * MS) for k, v in stamps.items()},
                "prompt_tokens": 100 + number % 7,
                "max_tokens": 11,
                "output_tokens": 11,
                "first_tokens": 1,
                "recompute_ns": round(more.get("recompute", 0) * MS),
                "ttft_recompute_ns": round(more.get("recompute", 0) * MS),
            }
        )
    return frame(REQUESTS, made)


def steps_of(rows):
    """Steps of so many decodes and prompt tokens that last so many ms, and, by name: gap before
    it, prompts that end in it, worker."""
    made, now = [], 0.0
    for number, (decodes, prompts, took, more) in enumerate(rows):
        start = now + more.get("gap", 0)
        now = start + took
        made.append(
            {
                "step": number,
                "kind": "decode" if not prompts else "mixed" if decodes else "prefill",
                "start_ns": round(start * MS),
                "end_ns": round(now * MS),
                "num_seqs": decodes + (prompts > 0),
                "prefill_tokens": prompts,
                "decode_tokens": decodes,
                "emitting": decodes + more.get("ended", 0),
                "worker": more.get("worker", 0),
            }
        )
    return frame(STEPS, made)


def measured(requests=None, steps=None, seed=0, window=True):
    tables = {"requests": requests_of([(1, 1, 1, {})] * 3) if requests is None else requests}
    if steps is not None:
        tables["steps"] = steps
    last = tables["requests"]["scheduled_ns"].max() or 0
    summary = {"window": {"start_ns": 0, "end_ns": last} if window else None}
    return MeasuredRun(record("run", {"spec": {"seed": seed}, "summary": summary}, tables))


def run_of(*stages, count=30, seed=0, **more):
    return measured(requests_of([(*stages, more)] * count), seed=seed)


def run_of_steps(*rows):
    return measured(steps=steps_of([row if len(row) == 4 else (*row, {}) for row in rows]))


def explained(base, other, figure):
    base, other = ([each] if isinstance(each, MeasuredRun) else each for each in (base, other))
    found = {each.figure: each for each in explanations(base, other, 1, "B", "A")}
    explanation = found.get(figure)
    if explanation is not None:
        total = sum(part.difference for part in explanation.parts)
        assert total == pytest.approx(explanation.difference, abs=1e-8)
    return explanation


def parts_in(explanation):
    return {part.name: pytest.approx(part.difference, abs=1e-6) for part in explanation.parts}
