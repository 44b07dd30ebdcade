"""How long `workbench compare` takes over two runs of a million requests, and its memory.

    python -m benchmarks.large_compare [--folder FOLDER] [--requests 1000000] [--steps 1000000]
        [--times 3]

Makes two synthetic runs (benchmarks/large_run.py) of the same requests, the second of which starts
each request up to three steps later and takes 4 % longer a step, and a third of other requests.
Then compares the first with each of the two, as a command on at most two cores. Runs that are
there already are used again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.large_run import Story, draw, make
from workbench.runs.folder import RunFolder

MEAN_OUTPUT = 20
SECONDS_BAR = 3.0
GIB_BAR = 2.0
_CORES = 2
_LATER_STEPS = 4
_SLOWER = 1.04


@dataclass(frozen=True, slots=True)
class Cost:
    """A command's: wall time, s, processor time, s, and the most memory it held, GiB."""

    wall_s: float
    cpu_s: float
    peak_gib: float


def delayed(story: Story, seed: int) -> Story:
    """The same requests over slower steps, each begun a few steps later."""
    random = np.random.default_rng(seed)
    later = random.integers(0, _LATER_STEPS, story.first_step.size)
    room = story.end_ns.size - story.output_tokens
    lengths_ns = ((story.end_ns - story.start_ns) * _SLOWER).astype(np.int64)
    end_ns = np.cumsum(lengths_ns + 200_000)
    start_ns = end_ns - lengths_ns
    arrives = np.searchsorted(start_ns, story.scheduled_ns)
    begun = np.searchsorted(story.start_ns, story.scheduled_ns)
    first_step = np.minimum(arrives + story.first_step - begun + later, room)
    return dataclasses.replace(story, start_ns=start_ns, end_ns=end_ns, first_step=first_step)


def made(folder: Path, requests: int, steps: int) -> tuple[Path, Path, Path]:
    """A run, one of the same requests, and one of others."""
    paths = folder / "base", folder / "delayed", folder / "other"
    for number, path in enumerate(paths):
        if path.exists():
            continue
        story = draw(requests, steps, number // 2, MEAN_OUTPUT)
        make(path, delayed(story, 1) if number == 1 else story, number)
    return paths


def measured(command: list[str]) -> Cost:
    """Runs it to its end.

    Raises:
        SystemExit: it fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        told = process.stderr.read().decode() if process.stderr is not None else ""
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{told}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / (1 << 30))


def report(name: str, runs: tuple[Path, Path], output: Path, times: int) -> bool:
    """Prints what comparing them costs; whether the median run is within the bars."""
    command = [sys.executable, "-m", "workbench", "compare", *map(str, runs)]
    command += ["--format", "json", "--output", str(output)]
    costs = []
    for _ in range(times):
        output.unlink(missing_ok=True)
        costs.append(measured(command))
    wall_s = statistics.median(cost.wall_s for cost in costs)
    cpu_s = statistics.median(cost.cpu_s for cost in costs)
    peak_gib = max(cost.peak_gib for cost in costs)
    met = wall_s <= SECONDS_BAR and peak_gib <= GIB_BAR
    walls = ", ".join(f"{cost.wall_s:.2f}" for cost in costs)
    print(
        f"{name}: {wall_s:.2f} s ({walls}; bar {SECONDS_BAR:g} s), {cpu_s:.2f} s of processor "
        f"time, {peak_gib:.2f} GiB (bar {GIB_BAR:g} GiB): {'met' if met else 'NOT met'}"
    )
    return met


def main() -> None:
    """Makes what isn't there, measures, and ends with 1 where a bar isn't met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the runs are; a temporary one if absent")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3, help="how often each is measured")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        base, same, other = made(folder, asked.requests, asked.steps)
        for path in (base, same, other):
            counts = RunFolder(path).read()["summary"]["requests"]
            mib = sum(file.stat().st_size for file in path.iterdir()) / (1 << 20)
            print(f"{path}: {counts['recorded']:,} requests, {mib:,.0f} MiB")
        output = Path(temporary) / "comparison.json"
        results = [
            report("the same requests", (base, same), output, asked.times),
            report("other requests", (base, other), output, asked.times),
        ]
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
