"""How fast the terminal app is: first paint, key to paint, processor time, memory.

    python -m benchmarks.app_speed RUN [--seconds 30] [--size 180x50] [--replay-minutes 3]

RUN is a run's folder, live or ended. The app runs in a pseudo-terminal of its own, as a user has
it: a key's time goes from writing the key to reading the text that it paints.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from benchmarks.terminal import Terminal

MIB = 1 << 20
KEYS = {
    "freeze or play (space)": (" ", ("⏸", "▶"), "f"),
    "help (?)": ("?", ("Everywhere",), "?"),
    "requests (3)": ("3", ("sorted by",), "2"),
    "timeline (4)": ("4", ("worker 0",), "2"),
}
"""By what they do: the key, what it paints, and the key that takes it back."""


def main() -> None:
    """Measures and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--size", default="180x50")
    parser.add_argument("--keys", type=int, default=40, help="presses of each key")
    parser.add_argument("--replay-minutes", type=float, default=0.0)
    asked = parser.parse_args()
    result: dict[str, object] = {"size": asked.size}
    result["first_paint_s"] = [round(_first_paint(asked), 3) for _ in range(5)]
    with _open(asked) as terminal:
        result["first_figures_s"] = round(terminal.wait_for("TTFT") - terminal.started, 3)
        terminal.read_for(3)
        before_s, began_s = sum(terminal.process.cpu_times()[:2]), time.perf_counter()
        painted = terminal.read_for(asked.seconds)
        spent_s = sum(terminal.process.cpu_times()[:2]) - before_s
        passed_s = time.perf_counter() - began_s
        result["cpu_percent_of_a_core"] = round(100 * spent_s / passed_s, 1)
        result["painted_kib_per_s"] = round(painted / 1024 / passed_s, 1)
        result["rss_mib"] = round(terminal.process.memory_info().rss / MIB, 1)
        result["key_to_paint_ms"] = _keys(terminal, asked.keys)
        result["rss_after_keys_mib"] = round(terminal.process.memory_info().rss / MIB, 1)
        if asked.replay_minutes:
            result["rss_of_replay_at_20x_mib"] = _replay(terminal, asked.replay_minutes)
        terminal.type("q")
    json.dump(result, sys.stdout, indent=1)
    print()


def _open(asked: argparse.Namespace) -> Terminal:
    columns, _, rows = asked.size.partition("x")
    words = [sys.executable, "-m", "workbench", "attach", str(asked.run.resolve())]
    return Terminal(words, int(columns), int(rows))


def _first_paint(asked: argparse.Namespace) -> float:
    """Seconds from starting the process to the first line of tabs."""
    with _open(asked) as terminal:
        return terminal.wait_for("Timeline") - terminal.started


def _keys(terminal: Terminal, presses: int) -> dict[str, dict[str, float]]:
    """Milliseconds from a key to the text that it paints."""
    told = {}
    for name, (key, texts, back) in KEYS.items():
        times_ms = []
        for _ in range(presses):
            pressed_s = terminal.type(key)
            times_ms.append(1000 * (terminal.wait_for(*texts, limit_s=10) - pressed_s))
            terminal.read_for(0.3)
            terminal.type(back)
            terminal.read_for(0.5)
        told[name] = {
            "first": round(times_ms[0], 1),
            "p50": round(statistics.median(times_ms), 1),
            "p95": round(statistics.quantiles(times_ms, n=20, method="inclusive")[-1], 1),
        }
    return told


def _replay(terminal: Terminal, minutes: float) -> list[float]:
    """Resident memory, MiB, each half minute of a replay at 20 times the speed, begun again."""
    terminal.type("}}}}")
    sizes = []
    for _ in range(int(minutes * 2)):
        terminal.type("g")
        terminal.read_for(0.5)
        terminal.type("0\r")
        terminal.read_for(0.5)
        terminal.type(" ")
        terminal.read_for(29)
        sizes.append(round(terminal.process.memory_info().rss / MIB, 1))
    return sizes


if __name__ == "__main__":
    main()
