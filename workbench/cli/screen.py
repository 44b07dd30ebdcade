"""The headless screen: how a run goes, on one updating block or as plain lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from workbench.analysis.live import LiveSnapshot, LiveState
from workbench.errors import StoreError
from workbench.launch.launcher import Runner
from workbench.spec import RunSpec

LIVE_PERIOD_S = 0.5
PLAIN_PERIOD_S = 5.0


class Screen:
    """Watches a runner through its folder; on a terminal it redraws, elsewhere it prints lines."""

    def __init__(self, runner: Runner, spec: RunSpec, stream: TextIO) -> None:
        self.runner = runner
        self.spec = spec
        self.console = Console(file=stream, highlight=False, soft_wrap=False)
        self.state = LiveState()
        self.period_s = LIVE_PERIOD_S
        self._live = (
            Live(console=self.console, auto_refresh=False, transient=True)
            if self.console.is_terminal
            else None
        )
        self._printed_s = -PLAIN_PERIOD_S
        self._last_phase = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def look(self) -> None:
        """Takes in what is new and shows it."""
        try:
            content = self.runner.folder.read()
            self.state.usable_blocks = content.get("engine", {}).get("num_blocks")
            for segment in self.runner.new_segments():
                self.state.feed(segment)
        except StoreError:
            return  # it is being replaced, or gone; the next look tells
        origin = content.get("clock", {}).get("origin_monotonic_ns")
        now_ns = None if origin is None else time.monotonic_ns() - origin
        snapshot = self.state.snapshot(now_ns) if now_ns is not None else None
        if self._live is not None:
            self._live.update(Text("\n").join(self._block(content, snapshot, now_ns)), refresh=True)
        else:
            self._print_line(content, snapshot, now_ns)

    def _block(
        self, content: dict[str, Any], snapshot: LiveSnapshot | None, now_ns: int | None
    ) -> list[Text]:
        lines = [self._head(content, now_ns)]
        if snapshot is not None:
            lines += [Text("  " + part) for part in _figures(snapshot)]
        return lines

    def _head(self, content: dict[str, Any], now_ns: int | None) -> Text:
        phase = _phase(content, now_ns, self._warmup_s(content))
        head = Text.assemble((phase, "bold"), "  ", str(content["run_id"]))
        progress = content.get("progress")
        if now_ns is None and progress:
            head.append(f"  {progress}")
        if now_ns is not None:
            duration = float(content.get("duration_s") or self.spec.traffic.duration_s)
            elapsed = max(0, now_ns) / 1e9
            share = min(1.0, elapsed / duration)
            cells = 20 if self.console.width >= 100 else 10
            filled = round(share * cells)
            left = max(0.0, duration - elapsed) if content["state"] == "running" else 0.0
            head.append(f"  {'━' * filled}{'╌' * (cells - filled)} {elapsed:.0f} s")
            head.append(f", {left:.0f} s of arrivals left" if left else ", arrivals have ended")
        return head

    def _warmup_s(self, content: dict[str, Any]) -> float:
        warmup_s = content.get("warmup_s")
        return self.spec.traffic.warmup_s if warmup_s is None else float(warmup_s)

    def _print_line(
        self, content: dict[str, Any], snapshot: LiveSnapshot | None, now_ns: int | None
    ) -> None:
        phase = _phase(content, now_ns, self._warmup_s(content))
        if now_ns is None and phase in ("starting", "failed"):
            return  # nothing to tell yet, or the command tells why
        now_s = time.monotonic()
        if phase == self._last_phase and now_s - self._printed_s < PLAIN_PERIOD_S:
            return
        self._last_phase, self._printed_s = phase, now_s
        line = self._head(content, now_ns).plain
        if snapshot is not None:
            line += " | " + " | ".join(_figures(snapshot))
        print(line, file=self.console.file, flush=True)


def _phase(content: dict[str, Any], now_ns: int | None, warmup_s: float) -> str:
    state = str(content["state"])
    if state == "running" and now_ns is not None and now_ns < warmup_s * 1e9:
        return "warm-up"
    return state


def _figures(s: LiveSnapshot) -> list[str]:
    """Three short lines of figures; what is not known yet is a dash."""
    return [
        f"rate {_show(s.arrivals_per_s)} req/s  offered {s.offered}  "
        f"ended {sum(s.ended.values())}  running {s.running}  waiting {s.waiting}",
        f"TTFT p50 {_ms(s.ttft_p50_ms)} p99 {_ms(s.ttft_p99_ms)}  "
        f"TPOT p50 {_ms(s.tpot_p50_ms)} p99 {_ms(s.tpot_p99_ms)}",
        f"tok/s in {_show(s.prompt_tokens_per_s)} out {_show(s.output_tokens_per_s)}  "
        f"KV {_show(s.kv_usage_percent)} %  preemptions {s.preemptions}",
    ]


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.2f} s"
