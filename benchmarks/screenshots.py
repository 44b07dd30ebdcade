"""The README's pictures of the terminal app, from real runs.

    python -m benchmarks.screenshots --out docs/images [RUN …]

RUN are folders of runs; without any, two runs of the embedded model are made first (two minutes): a
KV pool that is too small for the load, and one of twice as many blocks. The first run is shown on
the live, waterfall and timeline screens at its fullest moment, all of them on the compare screen.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.terminal_svg import screen_svg
from workbench.errors import StoreError
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore, load_run
from workbench.tui.app import WorkbenchApp
from workbench.tui.settings import Settings

if TYPE_CHECKING:
    from workbench.viewing.view import RunView

COLUMNS, ROWS = 160, 46
RUN_FLAGS = (
    "--workload chat --rate 0.9 --duration 45 --seed 3 --input-tokens 40..300 "
    "--output-tokens 20..90 --shared-prefix 64 --max-num-seqs 8 --max-num-batched-tokens 256 "
    "--slo ttft=2s,tpot=120ms"
)
POOL_BLOCKS = (90, 180)
_LIVE_SPAN_S = 30.0
_TIMELINE_SPAN_S = 1.0
_NEAR_NS = 5_000_000_000


def main() -> None:
    """Writes live.svg, waterfall.svg, timeline.svg and, of two runs or more, compare.svg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["WORKBENCH_HOME"] = home
        store = RunStore(Path(home) / "runs")
        store.root.mkdir()
        if asked.runs:
            folders = [_copied(path, store, place) for place, path in enumerate(asked.runs)]
        else:
            folders = [_made(store, blocks, place) for place, blocks in enumerate(POOL_BLOCKS)]
        asked.out.mkdir(parents=True, exist_ok=True)
        asyncio.run(_take_pictures(store, folders, asked.out))


def _copied(path: Path, store: RunStore, place: int) -> RunFolder:
    """A copy of the run, so that marking it changes nothing of its own; compared in their order."""
    try:
        load_run(RunFolder(path))
    except StoreError as error:
        sys.exit(str(error))
    copied = store.root / f"{place:02}"
    shutil.copytree(path, copied)
    return RunFolder(copied)


def _made(store: RunStore, blocks: int, place: int) -> RunFolder:
    name = f"{blocks}-blocks"
    folder = store.root / f"{place:02}"
    print(f"a run with a KV pool of {blocks} blocks …", file=sys.stderr)
    words = [sys.executable, "-m", "workbench", "run", "--name", name, "--out", str(folder)]
    words += [*RUN_FLAGS.split(), "--num-blocks", str(blocks)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return RunFolder(folder)


async def _take_pictures(store: RunStore, folders: list[RunFolder], out: Path) -> None:
    for folder in folders:
        write_annotations(folder, Annotations(marked=True))
    app = WorkbenchApp(store, Settings(), pull=False)
    app.start_screen, app.start_folder = "live", folders[0]
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:

        async def press(*keys: str) -> None:
            await pilot.press(*keys)
            for _ in range(3):
                await app.settle()
                await pilot.pause()

        await press()
        session = app.session
        if session is None:
            sys.exit(f"{folders[0].path} can't be opened")
        fullest_ns = await app.in_loader(lambda: _fullest_ns(session.view))
        session.seek(fullest_ns)
        fullest_s = fullest_ns / 1e9
        session.span_s = (max(0.0, fullest_s - _LIVE_SPAN_S), fullest_s + 1)
        await press()
        _write(app, out, "live")
        session.follow()
        await press("3")
        request_id = await app.in_loader(lambda: _most_delayed(session.view))
        app.open_request(request_id)
        await press()
        _write(app, out, "waterfall")
        await press("escape", "4")
        middle_s = await app.in_loader(lambda: _mixed_ns(session.view, fullest_ns)) / 1e9
        session.span_s = (middle_s - _TIMELINE_SPAN_S / 2, middle_s + _TIMELINE_SPAN_S / 2)
        await press("n")
        await press("enter")
        _write(app, out, "timeline")
        if len(folders) > 1:
            await press("6")
            _write(app, out, "compare")


def _fullest_ns(view: RunView) -> int:
    """The end of the step with the most requests waiting, then running, on the run's clock."""
    steps = view.frames.steps.sort("waiting", "running", "end_ns")
    return int(steps["end_ns"][-1])


def _mixed_ns(view: RunView, near_ns: int) -> int:
    """The middle of the mixed step that prefills most within some seconds of a moment."""
    steps = view.frames.steps
    near = (steps["start_ns"] - near_ns).abs() < _NEAR_NS
    mixed = steps.filter(near & (steps["kind"] == "mixed")).sort("prefill_tokens")
    return int(mixed["start_ns"][-1] + mixed["end_ns"][-1]) // 2 if mixed.height else near_ns


def _most_delayed(view: RunView) -> int:
    """The request with the slowest first token; of those that were preempted, if there are any."""
    requests = view.requests(view.end_ns).drop_nulls("ttft_ms")
    preempted = requests.filter(requests["preemptions"] > 0)
    among = preempted if preempted.height else requests
    return int(among.sort("ttft_ms")["request_id"][-1])


def _write(app: WorkbenchApp, out: Path, name: str) -> None:
    strips: list[Any] = app.screen._compositor.render_strips()
    path = out / f"{name}.svg"
    path.write_text(screen_svg(strips, COLUMNS, ROWS, f"the {name} screen"), encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
