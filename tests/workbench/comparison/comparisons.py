"""Comparisons made by hand: of two sides and of three, with everything that a writer must bear.

Figures are functions of constants; the second side has five runs, a third is stranger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from in_memory import InMemoryTables

from workbench.analysis.metrics import STAGES
from workbench.comparison.compared_metrics import Metric, metrics_of
from workbench.comparison.comparison import (
    Cell,
    Change,
    ComparedRun,
    Comparison,
    Effect,
    Explanation,
    Note,
    Part,
    Row,
    Side,
    Verdict,
)
from workbench.comparison.intervals import Interval
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.records import RunRecord
from workbench.comparison.setting_differences import Setting
from workbench.runs.schema import REQUESTS

MS = 1_000_000
S = 1000 * MS
ODD = 'a|b <x> & "q" $5_%#{~^}\\ `c` *d* é ▲ 中'
"""A name that every format has to escape; it holds no control characters."""

_VERDICTS: dict[str, Verdict] = {
    "ttft_p50": "better",
    "ttft_p99": "better",
    "tpot_p50": "worse",
    "tpot_p99": "no evidence",
    "itl_p99": "too noisy",
    "e2e_p50": "better",
    "output_throughput": "better",
    "goodput": "no evidence",
    "attainment": "worse",
    "queue_p50": "better",
    "queue_mean": "better",
}
_STAGE_MEANS = {
    "wait": 0.2, "queue": 300.0, "prefill": 90.0, "transfer": 0.0, "first_decode": 12.0,
    "recompute": 4.0,
}  # fmt: skip


def two_sides() -> Comparison:
    """A run against five runs of a better spec: every verdict, undefined figures, a weak p99."""
    return _comparison(("A", "B"), (1.0, 0.6), (1, 5))


def three_sides() -> Comparison:
    """As before, with a side of an odd name, and a fourth that failed and has no figures."""
    return _comparison(("A", "B", ODD, "failed"), (1.0, 0.6, 1.3, None), (1, 5, 1, 1))


def measured_sides(comparison: Comparison) -> list[list[MeasuredRun]]:
    """The runs of the sides, with a few hundred requests each; none of a side without figures."""
    sides = []
    for number, side in enumerate(comparison.sides):
        runs = [run for run in side.runs if run.requests is not None]
        sides.append([_measured(run.run_id, number, seed) for seed, run in enumerate(runs)])
    return sides


def _comparison(
    labels: Sequence[str], scales: Sequence[float | None], runs: Sequence[int]
) -> Comparison:
    summaries = [None if scale is None else _summary(scale, n) for n, scale in enumerate(scales)]
    rows = tuple(
        _row(metric, [metric.value(summary) for summary in summaries], runs)
        for metric in metrics_of(summaries)
    )
    sides = tuple(
        Side(label, tuple(_run(label, number, scale) for number in range(size)))
        for label, scale, size in zip(labels, scales, runs, strict=True)
    )
    return Comparison(
        sides=sides,
        settings=_settings(len(labels)),
        rows=rows,
        notes=(
            Note("traffic", "The traffic differs: traffic.rate and seed. Figures of different "
                 "work say little about which side is better.", loud=True),
            Note("run", f"{labels[-1]} has fewer than 100 requests: its p99 is weak."),
            Note("method", "Blocks of 12 s were drawn 2,000 times."),
        ),
        explanations=_explanations(labels[1]),
    )  # fmt: skip


def _run(label: str, number: int, scale: float | None) -> ComparedRun:
    run_id = f"20260101-12000{number}-{'chat' if len(label) > 1 else label}-000{number}"
    if scale is None:
        return ComparedRun(run_id, label, "failed", "is failed and has no figures", None, None)
    return ComparedRun(run_id, label, "finished", "", 240, 119.5)


def _row(metric: Metric, values: Sequence[float | None], runs: Sequence[int]) -> Row:
    base = values[0]
    cells = []
    for side, (value, size) in enumerate(zip(values, runs, strict=True)):
        each = tuple(None if value is None else value * (1 + 0.01 * n) for n in range(size))
        interval = None if value is None else Interval(0.95 * value, 1.06 * value)
        weak = metric.figure == "p99" and side != 1
        change = None
        if side and value is not None and base is not None:
            change = _change(metric, value, base)
        n = 80 if metric.figure == "p99" else 240
        cells.append(Cell(value, each, n, interval, weak, change))
    return Row(metric, tuple(cells))


def _change(metric: Metric, value: float, base: float) -> Change:
    verdict = _VERDICTS.get(metric.name)
    if verdict == "better" and (value > base) == (metric.better == "lower"):
        verdict = "worse"
    ratio = value / base if base else None
    if verdict is None:
        return Change(value - base, ratio)
    if ratio is None:
        return Change(value, None, Interval(0.5 * value, 1.5 * value), basis="counts")
    wide = 0.4 if verdict in ("no evidence", "too noisy") else 0.08
    ratios = Interval(ratio * (1 - wide), ratio * (1 + 2 * wide))
    return Change(
        difference=value - base,
        ratio=ratio,
        interval=Interval((ratios.low - 1) * base, (ratios.high - 1) * base),
        ratio_interval=ratios,
        p=0.0004 if wide < 0.1 else 0.31,
        adjusted_p=0.0052 if wide < 0.1 else 1.0,
        detectable=wide / 2 if verdict != "too noisy" else 0.61,
        basis="runs",
        verdict=verdict,
        effect=Effect(True, float(np.log(ratio)), wide / 2, 4.0),
    )


def _summary(scale: float, number: int) -> dict[str, Any]:
    latency = {
        "ttft_ms": _figures(420 * scale), "tpot_ms": _figures(18 * (2 - scale)),
        "itl_ms": _figures(17.5), "itl_per_token_ms": _figures(17.5),
        "e2e_ms": _figures(2600 * scale), "output_speed": {"n": 240, "p50": 55.0, "mean": 57.25},
    } | {
        f"{stage}_ms": _figures(mean * (scale if stage == "queue" else 1))
        for stage, mean in _STAGE_MEANS.items()
    }  # fmt: skip
    latency["itl_per_token_ms"]["p50"] = None
    return {
        "window": {"start_ns": 0, "end_ns": 120 * S},
        "window_s": 119.5,
        "latency": latency,
        "throughput": {
            "output_tokens_per_s": 1800 / scale, "prompt_tokens_per_s": 9000.0,
            "requests_per_s": 8.25,
        },
        "objectives": {"goodput_per_s": 7.1 / scale, "attainment": 0.86 if number else 0.91},
        "load": {"offered_per_s": 8.5, "achieved_per_s": 8.25, "achieved_share": 0.9706,
                 "in_flight_end": 3},
        "requests": {"measured": 240, "by_status": {"ok": 238, "failed": 2 * number, "rejected": 0,
                     "cancelled": 0, "unfinished": 0}},
        "drain_s": 1.5,
        "steps": {"count": 5321, "duration_ms": {"all": _figures(14.0)}, "mean_batch": 12.5},
        "cache": {"prefix_hit_percent": 0.0004 if number else 0.0, "preemptions": 7},
        "devices": {"gpu0": {"power_watts": 310.5, "energy_per_output_token_joules": 0.21}},
    }  # fmt: skip


def _figures(p50: float) -> dict[str, Any]:
    return {
        "n": 240, "mean": p50 * 1.1, "min": p50 / 4, "max": p50 * 7, "p50": p50, "p90": p50 * 2.5,
        "p95": p50 * 3.5, "p99": p50 * 6.5,
    }  # fmt: skip


def _settings(count: int) -> tuple[Setting, ...]:
    sizes = (2**34, *[2**33] * (count - 1))
    models = ("smollm2-135m", "smollm2-135m", ODD, ODD)[:count]
    found = (
        Setting("traffic.rate", tuple(f"{8.5 + side}" for side in range(count)), "traffic"),
        Setting("model.name", models, "model"),
        Setting("seed", tuple(str(side) for side in range(count)), "seed"),
        Setting("engine.chunked_prefill", ("false", *["true"] * (count - 1)), "engine"),
        Setting("environment.hardware.memory_bytes", tuple(map(str, sizes)), "hardware"),
    )
    return tuple(setting for setting in found if len(set(setting.values)) > 1)


def _explanations(label: str) -> tuple[Explanation, ...]:
    parts = (
        Part("queue", -1014.0, 0.93),
        Part("prefill", -98.5, 0.09),
        Part("first decode", 22.0, -0.02),
    )
    sentence = f"{label}'s TTFT p99 is 40 % lower; 93 % of it is queue time."
    return (Explanation(1, "latency.ttft_ms.p99", "TTFT p99", -1090.5, parts, sentence),)


def _measured(run_id: str, number: int, seed: int) -> MeasuredRun:
    rng = np.random.default_rng(100 * number + seed)
    count = 240
    stages = [rng.lognormal(np.log(mean + 0.1), 0.7, count) for mean in _STAGE_MEANS.values()]
    scheduled = np.arange(count) * S // 2
    names = ("scheduled", "admitted", "started", "prefilled", "transferred", "first_token")
    passed = np.cumsum([np.zeros(count), *stages[: len(names) - 1]], axis=0) * MS
    columns = {
        f"{name}_ns": scheduled + passed[place].astype(np.int64) for place, name in enumerate(names)
    }
    last = columns["first_token_ns"] + (rng.lognormal(6.5, 0.5, count) * MS).astype(np.int64)
    known = columns | {
        "request_id": np.arange(count),
        "status": ["ok"] * count,
        "last_token_ns": last,
        "finished_ns": last,
        "output_tokens": [40] * count,
        "first_tokens": [1] * count,
    }
    frame = pl.DataFrame(
        {
            column.name: known.get(column.name, ["" if column.kind == "text" else 0] * count)
            for column in REQUESTS.columns
        }
    )
    content = {"run_id": run_id, "name": "", "summary": {"window": {"start_ns": 0,
               "end_ns": 120 * S}}}  # fmt: skip
    assert len(stages) == len(STAGES)
    return MeasuredRun(
        RunRecord(run_id, content, "finished", InMemoryTables({REQUESTS.name: frame}))
    )
