"""What the live screen shows of a run, made in the loader thread from one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from workbench.analysis.lookup import at
from workbench.analysis.quantities import count, counted, milliseconds, number, percent, quantity
from workbench.tui.drawing.chart_data import ChartData, Limit, Mark
from workbench.tui.drawing.trace import Trace
from workbench.tui.gpu_facts import gpu_lines
from workbench.tui.widgets.block_map import BlockMapData
from workbench.tui.widgets.log_pane import LogLine
from workbench.tui.widgets.run_header import HeaderData
from workbench.tui.widgets.stacked_bars import StepBar, StepBarsData
from workbench.tui.widgets.tile import TileData, Verdict

if TYPE_CHECKING:
    from workbench.tui.drawing.trace import Floats
    from workbench.viewing.history import Line
    from workbench.viewing.snapshot import LogEntry, PoolMap, Snapshot
    from workbench.viewing.view import RunView

_TREND_VALUES = 60


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: its title with the unit, and what its value axis ends in."""

    name: str
    title: str
    unit: str = ""
    y_top: float | None = None


PANELS = (
    Panel("ttft", "TTFT", "ms"),
    Panel("tpot", "TPOT", "ms"),
    Panel("tokens", "Tokens/s", "tok/s"),
    Panel("queue", "Requests", ""),
    Panel("kv", "KV blocks", "%", 100.0),
    Panel("gpu", "GPU", "%", 100.0),
    Panel("power", "GPU power", "W"),
    Panel("cpu", "CPU", "%"),
)


@dataclass(frozen=True, slots=True)
class LiveQuestion:
    """What the live screen asks of a run.

    Attributes:
        at_ns: the moment; start_s, end_s: the span of the charts; columns: of the widest chart.
        panels: the charts that are visible; following: the moment is the newest one.
    """

    at_ns: int
    start_s: float
    end_s: float
    columns: int
    panels: tuple[str, ...]
    following: bool
    log_rows: int


@dataclass(frozen=True, slots=True, eq=False)
class LiveData:
    """Everything that the live screen draws; a chart that has no data says why.

    `absent_panels` are those of a GPU where none was measured; `no_gpu` says why, else it is "".
    `gpu_facts` has a line for each of the first GPUs.
    """

    header: HeaderData
    tiles: tuple[TileData, ...]
    charts: dict[str, ChartData]
    pools: tuple[BlockMapData, ...]
    steps: StepBarsData
    step_facts: tuple[tuple[str, str], ...]
    log: tuple[LogLine, ...]
    absent_panels: frozenset[str]
    no_gpu: str
    gpu_facts: tuple[str, ...]


def live_data(view: RunView, question: LiveQuestion) -> LiveData:
    """The answer to `question`."""
    snapshot = view.snapshot(question.at_ns)
    lines = view.charts(question.at_ns, question.start_s, question.end_s, question.columns)
    charts = {
        panel.name: _chart(panel, lines.get(panel.name, ()), view, snapshot, question)
        for panel in PANELS
        if panel.name in question.panels
    }
    has_gpu = bool(lines["gpu"] or lines["power"])
    return LiveData(
        _header(view, snapshot),
        _tiles(snapshot, lines, view.usable_blocks),
        charts,
        tuple(_block_map(pool) for pool in snapshot.pools),
        _step_bars(view, snapshot),
        _step_facts(snapshot),
        _log(snapshot.events)[-question.log_rows :],
        frozenset() if has_gpu else frozenset(("gpu", "power")),
        "" if has_gpu else view.why_absent("gpu"),
        tuple(gpu_lines(snapshot.figures.devices, view.content)),
    )


def _block_map(pool: PoolMap) -> BlockMapData:
    """The pool with its hottest blocks first."""
    one, two, four, eight, more = pool.live
    never, once, twice, often, most = pool.cached
    return BlockMapData(
        pool.pool,
        pool.block_size,
        pool.usable,
        (more, eight, four, two, one),
        (most, often, twice, once, never),
        pool.free,
        pool.sampled_ns / 1e9,
    )


def _chart(
    panel: Panel,
    lines: tuple[Line, ...],
    view: RunView,
    snapshot: Snapshot,
    question: LiveQuestion,
) -> ChartData:
    traces = tuple(
        Trace(line.name, line.x_s, line.y, line.style, f"$series-{1 + index % 6}")
        for index, line in enumerate(lines)
    )
    limit = snapshot.limits.get(panel.name)
    limits = () if limit is None else (Limit(limit, "SLO"),)
    marks = tuple(
        Mark(entry.time_ns / 1e9, entry.kind[0].upper())
        for entry in snapshot.events
        if entry.kind in ("knob", "mark")
    )
    return ChartData(
        traces=traces,
        x0_s=question.start_s,
        x1_s=question.end_s,
        y_top=panel.y_top,
        limits=limits,
        marks=marks,
        cursor_s=None if question.following else question.at_ns / 1e9,
        unit=panel.unit,
        shaded_until_s=snapshot.warmup_s,
        empty=view.why_absent(panel.name) if not traces else "",
    )


def _header(view: RunView, snapshot: Snapshot) -> HeaderData:
    figures = snapshot.figures
    ended = ", ".join(f"{n:,} {status}" for status, n in figures.ended.items() if n) or "none"
    offered, achieved = snapshot.offered_per_s, snapshot.achieved_per_s
    facts = [
        ("offered", quantity(offered, "req/s")),
        ("achieved", quantity(achieved, "req/s")),
        ("ended", ended),
        ("in flight", count(figures.in_flight)),
    ]
    required = at(view.content, "spec", "slo", "require_attainment")
    verdict = None
    if snapshot.limits:
        share = snapshot.attainment
        facts.append(("attainment", percent(None if share is None else 100 * share)))
        facts.append(("goodput", quantity(snapshot.goodput_per_s, "req/s")))
        if share is not None and required is not None:
            verdict = share >= required
    if figures.preemptions:
        facts.append(("preemptions", count(figures.preemptions)))
    traffic = view.content.get("traffic") or {}
    spec = at(view.content, "spec", "traffic") or {}
    what = ", ".join(
        str(part)
        for part in (traffic.get("what") or spec.get("workload"), traffic.get("arrival"))
        if part
    )
    return HeaderData(
        state=snapshot.state,
        what=what,
        elapsed_s=max(0.0, snapshot.at_ns / 1e9),
        duration_s=snapshot.duration_s,
        left_s=snapshot.left_s,
        facts=tuple(facts),
        attainment_met=verdict,
        trouble="; ".join(_trouble(view, snapshot)),
    )


def _trouble(view: RunView, snapshot: Snapshot) -> list[str]:
    """What went wrong with the run, or with its record."""
    told = []
    if view.state == "dead":
        told.append("its runner is gone without ending the run; R on the Runs screen recovers it")
    elif snapshot.reason and snapshot.state in ("failed", "killed", "interrupted"):
        told.append(snapshot.reason)
    elif snapshot.progress and snapshot.state in ("starting", "loading"):
        told.append(snapshot.progress)
    return [*told, *view.problems]


def _tiles(
    snapshot: Snapshot, lines: dict[str, tuple[Line, ...]], usable_blocks: int | None
) -> tuple[TileData, ...]:
    figures = snapshot.figures
    cached = figures.cached_blocks
    cached_percent = 100 * cached / usable_blocks if cached is not None and usable_blocks else None
    latencies = (
        ("TTFT", "ttft", figures.ttft_p50_ms, figures.ttft_p99_ms),
        ("TPOT", "tpot", figures.tpot_p50_ms, figures.tpot_p99_ms),
        ("ITL", "itl", figures.itl_p50_ms, figures.itl_p99_ms),
    )
    tiles = [
        TileData(
            label=label,
            figures=(("p50", milliseconds(p50)), ("p99", milliseconds(p99))),
            trend=snapshot.trends.get(name),
            limit_text=_limit_text(snapshot, name),
            verdict=_verdict(p99, snapshot.limits.get(name)),
        )
        for label, name, p50, p99 in latencies
    ]
    tiles.append(
        TileData(
            label="Tokens/s",
            figures=(
                ("out", number(figures.output_tokens_per_s)),
                ("in", number(figures.prompt_tokens_per_s)),
            ),
            trend=_tail(lines["tokens"]),
        )
    )
    tiles.append(
        TileData(
            label="Requests",
            figures=(("running", count(figures.running)), ("waiting", count(figures.waiting))),
            trend=_tail(lines["queue"]),
        )
    )
    tiles.append(
        TileData(
            label="KV usage",
            figures=(
                ("live", percent(figures.kv_usage_percent)),
                ("cached", percent(cached_percent)),
            ),
            trend=_tail(lines["kv"]),
        )
    )
    return tuple(tiles)


def _tail(lines: tuple[Line, ...]) -> Floats | None:
    """The last values of a panel's first line."""
    return lines[0].y[-_TREND_VALUES:] if lines else None


def _limit_text(snapshot: Snapshot, name: str) -> str:
    limit = snapshot.limits.get(name)
    return "" if limit is None else milliseconds(limit)


def _verdict(p99_ms: float | None, limit_ms: float | None) -> Verdict | None:
    """Whether the p99 keeps the limit; None where either is not known."""
    if p99_ms is None or limit_ms is None:
        return None
    return "met" if p99_ms <= limit_ms else "missed"


def _step_bars(view: RunView, snapshot: Snapshot) -> StepBarsData:
    tail = snapshot.steps
    budget = (view.content.get("engine") or {}).get("max_num_batched_tokens")
    steps = tuple(
        StepBar(kind, seqs, prefill, decode, (end_ns - start_ns) / 1e6)
        for kind, seqs, prefill, decode, start_ns, end_ns in zip(
            tail.kind,
            tail.num_seqs.tolist(),
            tail.prefill_tokens.tolist(),
            tail.decode_tokens.tolist(),
            tail.start_ns.tolist(),
            tail.end_ns.tolist(),
            strict=True,
        )
    )
    return StepBarsData(steps, budget if isinstance(budget, int) else None)


_BLOCKED = {
    "seqs": "the batch is full (max_num_seqs)",
    "tokens": "the step's token budget is used up",
    "blocks": "no KV blocks are free",
    "batch": "the static batch is closed",
    "preempted": "a step that preempts admits nothing",
}


def _step_facts(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """What the engine's last step tells: host time, the gap, and why the queue waits."""
    tail = snapshot.steps
    if not len(tail.step):
        return ()
    facts = [("scheduling", quantity(float(tail.schedule_ns[-1]) / 1e6, "ms"))]
    if len(tail.step) > 1:
        gap_ms = max(0.0, float(tail.start_ns[-1] - tail.end_ns[-2]) / 1e6)
        facts.append(("gap before", quantity(gap_ms, "ms")))
    if tail.gpu_start_ns[-1] >= 0:
        gpu_ms = float(tail.gpu_end_ns[-1] - tail.gpu_start_ns[-1]) / 1e6
        facts.append(("GPU", quantity(gpu_ms, "ms")))
    if len(tail.step) > 1 and min(tail.gpu_start_ns[-1], tail.gpu_end_ns[-2]) >= 0:
        idle_ms = max(0.0, float(tail.gpu_start_ns[-1] - tail.gpu_end_ns[-2]) / 1e6)
        facts.append(("idle before", quantity(idle_ms, "ms")))
    if tail.blocked[-1]:
        facts.append(("queue waits:", _BLOCKED.get(tail.blocked[-1], tail.blocked[-1])))
    return tuple(facts)


def _log(entries: tuple[LogEntry, ...]) -> tuple[LogLine, ...]:
    """The events as lines; evictions that follow each other are one."""
    lines = []
    for kind, group in groupby(entries, key=lambda entry: entry.kind):
        if kind == "evict":
            several = tuple(group)
            blocks = sum(entry.tokens for entry in several)
            times = f" in {counted(len(several), 'step')}" if len(several) > 1 else ""
            said = f"{counted(blocks, 'cached KV block')} evicted{times}"
            lines.append(LogLine(several[-1].time_ns, kind, said))
        else:
            lines += [_log_line(entry) for entry in group]
    return tuple(lines)


def _log_line(entry: LogEntry) -> LogLine:
    request = "" if entry.request_id is None else f"request {entry.request_id}: "
    said = f"{request}{entry.detail}"
    if entry.kind == "preempt":
        said = f"{request}preempted, {counted(entry.tokens, 'token')} lost: {entry.detail}"
    return LogLine(entry.time_ns, entry.kind, said, _GRAVE.get(entry.kind, ""))


_GRAVE = {"error": "bad", "preempt": "warn"}
