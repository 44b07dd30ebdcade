"""What the terminal app costs the engine: runs with it attached and without, in turn.

    python -m benchmarks.attached [--repeat 3] [--seconds 20] -- RUN FLAGS

RUN FLAGS go to `workbench run` (a closed loop keeps the batch the same). Every run has the same
seed, so the same requests; the app shows the live screen with all its panels, in a terminal of its
own, 180×50.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.terminal import Terminal

FIGURES = {
    "output_tokens_per_s": ("throughput", "output_tokens_per_s"),
    "decode_step_p50_ms": ("steps", "duration_ms", "decode", "p50"),
    "host_gap_p50_ms": ("steps", "host_gap_ms", "p50"),
    "ttft_p50_ms": ("latency", "ttft_ms", "p50"),
}


def main() -> None:
    """Measures and prints one JSON object: each run's figures, and medians with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--columns", type=int, default=180)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("flags", nargs="*")
    asked = parser.parse_args()
    told: dict[str, list[dict[str, float]]] = {"without": [], "attached": []}
    with tempfile.TemporaryDirectory() as home:
        os.environ["WORKBENCH_HOME"] = home
        for number in range(asked.repeat):
            for side in ("without", "attached") if number % 2 == 0 else ("attached", "without"):
                folder = Path(home) / f"{side}-{number}"
                told[side].append(_run(asked, folder, side == "attached"))
                print(side, told[side][-1], file=sys.stderr, flush=True)
    medians = {
        side: {name: statistics.median(run[name] for run in runs) for name in FIGURES}
        for side, runs in told.items()
    }
    ratios = {name: medians["attached"][name] / medians["without"][name] for name in FIGURES}
    json.dump(
        {"runs": told, "medians": medians, "attached ÷ without": ratios}, sys.stdout, indent=1
    )
    print()


def _run(asked: argparse.Namespace, folder: Path, attached: bool) -> dict[str, float]:
    workbench = [sys.executable, "-m", "workbench"]
    words = [*workbench, "run", "--duration", str(asked.seconds), "--drain", "0"]
    with (folder.with_suffix(".log")).open("w") as log:
        run = subprocess.Popen([*words, "--out", str(folder), *asked.flags], stdout=log, stderr=log)
        if attached:
            while not (folder / "run.json").exists() and run.poll() is None:
                _wait(run, 0.1)
            attach = [*workbench, "attach", str(folder)]
            with Terminal(attach, asked.columns, asked.rows) as terminal:
                painted = 0
                while run.poll() is None:
                    painted += terminal.read_for(0.5)
                if painted < 10_000:
                    raise RuntimeError(f"the app painted {painted} bytes: it did not run")
        run.wait()
    content = json.loads((folder / "run.json").read_text())
    if "summary" not in content:
        raise RuntimeError(f"the run failed: {folder.with_suffix('.log').read_text()[-2000:]}")
    return {name: _at(content["summary"], path) for name, path in FIGURES.items()}


def _wait(run: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _at(data: Any, path: tuple[str, ...]) -> float:
    for key in path:
        data = data[key]
    return float(data)


if __name__ == "__main__":
    main()
