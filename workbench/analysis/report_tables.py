"""The tables of the end report, from a summary as JSON holds it; what is missing is a dash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from workbench.analysis.lookup import at
from workbench.analysis.metrics import STAGES
from workbench.analysis.printable import plain
from workbench.analysis.quantities import (
    MISSING,
    count,
    counted,
    milliseconds,
    number,
    percent,
    quantity,
    seconds,
)

Facts = list[tuple[str, str]]

_WEAK_SIGN = "*"
_FIGURES = ("p50", "p90", "p95", "p99", "mean")


def facts_table(title: str, facts: Facts) -> Table:
    """Names and what there is to say on each, under a title; long texts wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(Text(title, "bold"), no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts:
        table.add_row(Text(name), Text(fact))
    return table


def latency_table(latency: Mapping[str, Any]) -> Table:
    """TTFT with its stages, TPOT, ITL and E2E; a stage that took no time anywhere is left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(Text("Latency", "bold"), no_wrap=True)
    for name in (*_FIGURES, "n"):
        table.add_column(name, justify="right", no_wrap=True)
    stages = [f"{stage}_ms" for stage in STAGES if at(latency, f"{stage}_ms", "max")]
    rows = [("ttft_ms", "TTFT"), *((name, _stage_label(name)) for name in stages)]
    rows += [("tpot_ms", "TPOT"), ("itl_ms", "ITL")]
    if at(latency, "itl_per_token_ms") != at(latency, "itl_ms"):
        rows.append(("itl_per_token_ms", "ITL/token"))
    rows.append(("e2e_ms", "E2E"))
    for name, label in rows:
        _add_distribution(table, label, at(latency, name), milliseconds, dim=name in stages)
    _add_distribution(table, "Speed tok/s/user", at(latency, "output_speed"), number)
    return table


def has_weak_p99(latency: Mapping[str, Any]) -> bool:
    """Whether a p99 in the table stands on fewer than 100 samples."""
    return any(at(figures, "weak") and at(figures, "n") for figures in latency.values())


def weak_footnote() -> Text:
    return Text(f"{_WEAK_SIGN} p99 of fewer than 100 samples", "dim")


def _stage_label(name: str) -> str:
    return "  " + name.removesuffix("_ms").replace("_", " ")


def _add_distribution(table: Table, label: str, figures: Any, say: Any, dim: bool = False) -> None:
    cells = [say(at(figures, name)) for name in _FIGURES]
    weak = bool(at(figures, "weak")) and at(figures, "p99") is not None
    cells[_FIGURES.index("p99")] += _WEAK_SIGN if weak else " "
    row = [label, *cells, count(at(figures, "n"))]
    table.add_row(*(Text(cell) for cell in row), style="dim" if dim else "")


def throughput_facts(summary: Mapping[str, Any]) -> Facts:
    """Throughputs, goodput, offered against achieved."""
    rates, load = at(summary, "throughput"), at(summary, "load")
    facts = [
        ("Output", quantity(at(rates, "output_tokens_per_s"), "tok/s")),
        ("Prompt", quantity(at(rates, "prompt_tokens_per_s"), "tok/s computed")),
        ("Requests", quantity(at(rates, "requests_per_s"), "req/s ended ok")),
        *_objective_facts(summary),
        ("Offered", quantity(at(load, "offered_per_s"), "req/s")),
    ]
    share = at(load, "achieved_share")
    achieved = quantity(at(load, "achieved_per_s"), "req/s")
    facts.append(("Achieved", achieved + ("" if share is None else f" ({percent(100 * share)})")))
    if load is not None:
        start, end = (count(at(load, f"in_flight_{when}")) for when in ("start", "end"))
        facts.append(("In flight", f"{start} at the window's start, {end} at its end"))
    return facts


def _objective_facts(summary: Mapping[str, Any]) -> Facts:
    objectives = at(summary, "objectives")
    limits = at(objectives, "limits_ms") or {}
    if not limits:
        return [("Goodput", f"{MISSING} (no SLO was set)")]
    attainment, measured = at(objectives, "attainment"), at(summary, "requests", "measured")
    said = ", ".join(f"{name.upper()} ≤ {limit:,g} ms" for name, limit in limits.items())
    facts = [
        ("Goodput", quantity(at(objectives, "goodput_per_s"), "req/s")),
        (
            "Attainment",
            f"{percent(None if attainment is None else 100 * attainment)} of {count(measured)} "
            f"requests: {said}",
        ),
    ]
    by_limit = at(objectives, "by_limit") or {}
    if len(by_limit) > 1 and measured:
        alone = (
            f"{name.upper()} {percent(100 * (at(verdicts, 'met') or 0) / measured)}"
            for name, verdicts in by_limit.items()
        )
        facts.append(("  each alone", ", ".join(alone)))
    return facts


def engine_facts(summary: Mapping[str, Any]) -> Facts:
    """The prefix cache, preemptions, KV blocks and steps."""
    cache, kv, steps = at(summary, "cache"), at(summary, "kv"), at(summary, "steps")
    hits = percent(at(cache, "prefix_hit_percent"))
    preemptions = count(at(cache, "preemptions"))
    if at(cache, "preemptions"):
        preemptions += f", {counted(at(cache, 'recomputed_tokens'), 'token')} recomputed"
        reasons = at(cache, "preemption_reasons") or []
        if reasons:
            preemptions += f": {plain(at(reasons[0], 'reason'))}"
    facts = [
        ("Prefix hits", f"{hits} of {count(at(cache, 'prompt_tokens'))} prompt tokens"),
        ("Preemptions", preemptions),
        ("KV usage", _kv_fact(kv)),
        ("KV cached", f"{counted(at(kv, 'cached_peak_blocks'), 'block')} at the peak"),
    ]
    if at(steps, "count"):
        kinds = at(steps, "by_kind") or {}
        listed = ", ".join(f"{count(n)} {plain(kind)}" for kind, n in kinds.items())
        facts += [
            ("Steps", f"{count(at(steps, 'count'))}: {listed}"),
            ("Step time", _two(at(steps, "duration_ms", "all"))),
            (
                "Batch",
                f"{number(at(steps, 'mean_batch'))} sequences, "
                f"{number(at(steps, 'tokens_per_step'))} tokens per step",
            ),
            (
                "Host gap",
                f"{_two(at(steps, 'host_gap_ms'))}; "
                f"{percent(at(steps, 'in_steps_percent'))} of the time inside steps",
            ),
            *_gpu_time_facts(at(steps, "gpu")),
        ]
    return facts


def _gpu_time_facts(gpu: Any) -> Facts:
    """What the GPU did of the steps; nothing where none was timed there."""
    if gpu is None:
        return []
    busy = f"busy {percent(at(gpu, 'busy_percent'))} of the time"
    facts = [("GPU time", f"{_two(at(gpu, 'step_ms', 'all'))} a step; {busy}")]
    if at(gpu, "decode_idle_ms", "n"):
        idle = _two(at(gpu, "decode_idle_ms"))
        share = percent(at(gpu, "decode_idle_percent"))
        facts.append(("GPU idle", f"{idle} between decode steps: {share} of their time"))
    if at(gpu, "host_ms", "n"):
        facts.append(("Host time", f"{_two(at(gpu, 'host_ms'))} to plan and launch a step"))
    return facts


def server_facts(summary: Mapping[str, Any]) -> Facts:
    """What a remote server told of itself."""
    server, cache = at(summary, "server"), at(summary, "cache")
    facts = []
    if at(cache, "cached_tokens"):
        hits = percent(at(cache, "prefix_hit_percent"))
        said = f"{hits} of {count(at(cache, 'prompt_tokens'))} prompt tokens, told per request"
        facts.append(("Prefix hits", said))
    if server is None:
        return facts
    rows = (
        ("Running", _mean_and_peak(server, "running", number, "requests")),
        ("Waiting", _mean_and_peak(server, "waiting", number, "requests")),
        ("KV usage", _mean_and_peak(server, "kv_usage", percent, "", "_percent")),
        ("Queue", _mean_of(at(server, "queue_ms"))),
        ("Its own TTFT", _mean_of(at(server, "ttft_ms"))),
        ("Prefix cache", _told(percent(at(server, "prefix_hit_percent")), " of tokens hit")),
        ("Preemptions", _told(count(at(server, "preemptions")), "")),
        ("Prompt", _told(quantity(at(server, "prompt_tokens_per_s"), "tok/s"), "")),
        ("Output", _told(quantity(at(server, "output_tokens_per_s"), "tok/s"), "")),
    )
    told = [(name, fact) for name, fact in rows if fact]
    samples = at(server, "samples")
    times = "once" if samples == 1 else f"{count(samples)} times"
    return [*facts, *told, ("Read", f"{times} in the window")]


def _mean_and_peak(server: Any, name: str, say: Any, unit: str, end: str = "") -> str:
    mean, peak = (at(server, f"{name}_{which}{end}") for which in ("mean", "peak"))
    return "" if mean is None else f"mean {say(mean)}, peak {say(peak)} {unit}".strip()


def _mean_of(value: float | None) -> str:
    return "" if value is None else f"mean {milliseconds(value)}"


def _told(said: str, more: str) -> str:
    return "" if said.startswith(MISSING) else said + more


def _kv_fact(kv: Any) -> str:
    pool = count(at(kv, "usable_blocks")) + " blocks"
    if at(kv, "block_size"):
        pool += f" of {count(at(kv, 'block_size'))} tokens"
    peak, mean = (percent(at(kv, f"usage_{which}_percent")) for which in ("peak", "mean"))
    return f"peak {peak}, mean {mean} of {pool}"


def _two(figures: Any) -> str:
    p50, p99 = (milliseconds(at(figures, name)) for name in ("p50", "p99"))
    return f"p50 {p50}, p99 {p99}"


def duration(value_s: Any) -> str:
    """Seconds, or a dash for what is no number."""
    return seconds(value_s) if isinstance(value_s, int | float) else MISSING
