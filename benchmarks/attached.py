"""What the terminal app costs the engine: one run, the app attached in every other window of it.

    python -m benchmarks.attached [--pairs 8] [--window 6] -- RUN FLAGS

RUN FLAGS go to `workbench run`; a closed loop keeps the batch the same. The app shows the live
screen with all its panels, in a terminal of its own. Each window with the app is compared with the
mean of the two beside it, so that a slow drift of the machine is no difference; the first seconds
of a window are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.terminal import Terminal
from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.store import load_run

FIGURES = ("output_tokens_per_s", "decode_step_p50_ms", "decode_step_mean_ms", "host_gap_p50_ms")
SETTLE_S = 1.5


def main() -> None:
    """Measures and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--window", type=float, default=6.0, help="seconds")
    parser.add_argument("--warmup", type=float, default=10.0, help="seconds before the first")
    parser.add_argument("--columns", type=int, default=180)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("flags", nargs="*")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["WORKBENCH_HOME"] = home
        folder = Path(home) / "run"
        windows = _run(asked, folder)
        figures = [_figures(folder, began_ns, ended_ns) for began_ns, ended_ns in windows]
    json.dump(
        {
            "without": figures[::2],
            "attached": figures[1::2],
            "attached ÷ without": {name: _ratio(figures, name) for name in FIGURES},
        },
        sys.stdout,
        indent=1,
    )
    print()


def _run(asked: argparse.Namespace, folder: Path) -> list[tuple[int, int]]:
    """The windows, monotonic nanoseconds; the app is attached in those of odd number."""
    workbench = [sys.executable, "-m", "workbench"]
    seconds = asked.warmup + (2 * asked.pairs + 1) * (asked.window + SETTLE_S) + 10
    words = [*workbench, "run", "--duration", str(seconds), "--drain", "0", "--out", str(folder)]
    log_path = folder.with_suffix(".log")
    with log_path.open("w") as log:
        run = subprocess.Popen([*words, *asked.flags], stdout=log, stderr=log)
        while run.poll() is None and not _is_running(folder):
            time.sleep(0.1)
        time.sleep(asked.warmup)
        windows = []
        for number in range(2 * asked.pairs + 1):
            if number % 2:
                attach = [*workbench, "attach", str(folder)]
                with Terminal(attach, asked.columns, asked.rows) as terminal:
                    terminal.wait_for("TTFT")
                    terminal.read_for(SETTLE_S)
                    began_ns = time.monotonic_ns()
                    painted = terminal.read_for(asked.window)
                    windows.append((began_ns, time.monotonic_ns()))
                if painted < 1_000:
                    raise RuntimeError(f"the app painted {painted} bytes: it did not run")
            else:
                time.sleep(SETTLE_S)
                began_ns = time.monotonic_ns()
                time.sleep(asked.window)
                windows.append((began_ns, time.monotonic_ns()))
        is_over = run.poll() is not None
        run.wait()
    if is_over:
        raise RuntimeError(f"the run ended early: {log_path.read_text()[-2000:]}")
    return windows


def _is_running(folder: Path) -> bool:
    try:
        return load_run(RunFolder(folder)).state == "running"
    except StoreError:
        return False


def _figures(folder: Path, began_ns: int, ended_ns: int) -> dict[str, float]:
    import numpy as np
    import polars as pl

    origin_ns = RunFolder(folder).read()["clock"]["origin_monotonic_ns"]
    began_ns, ended_ns = began_ns - origin_ns, ended_ns - origin_ns
    steps = pl.read_parquet(folder / "steps.parquet").sort("start_ns")
    steps = steps.with_columns(gap_ns=pl.col("start_ns") - pl.col("end_ns").shift(1))
    steps = steps.filter(pl.col("start_ns").is_between(began_ns, ended_ns))
    decodes = steps.filter(pl.col("kind") == "decode")
    durations_ms = (decodes["end_ns"] - decodes["start_ns"]).to_numpy() / 1e6
    gaps_ms = steps["gap_ns"].drop_nulls().to_numpy() / 1e6
    return {
        "output_tokens_per_s": float(steps["emitting"].sum() / ((ended_ns - began_ns) / 1e9)),
        "decode_step_p50_ms": float(np.median(durations_ms)),
        "decode_step_mean_ms": float(durations_ms.mean()),
        "host_gap_p50_ms": float(np.median(gaps_ms)),
    }


def _ratio(figures: list[dict[str, float]], name: str) -> dict[str, float]:
    """The mean of the pairs' ratios, and its standard error."""
    ratios = [
        attached[name] / ((before[name] + after[name]) / 2)
        for before, attached, after in zip(
            figures[:-1:2], figures[1::2], figures[2::2], strict=True
        )
    ]
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    return {"mean": round(statistics.mean(ratios), 5), "standard error": round(error, 5)}


if __name__ == "__main__":
    main()
