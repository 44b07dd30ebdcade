"""Every screen as text, as it was when somebody last looked at it.

    pytest tests/workbench/tui/test_snapshots.py --update-snapshots

writes the files in `snapshots/` anew; look at the difference before it is kept. Runs, clock, free
memory, time zone and paths are fixed, so nothing has to be masked but what a release changes.
"""

from __future__ import annotations

import difflib
import re
import time
from pathlib import Path

import pytest
from pilots import drive
from recorded import recorded_run

from profiles.errors import ProfileError
from profiles.free_memory import FreeMemory
from workbench.runs.annotations import Annotations, write_annotations
from workbench.runs.folder import RunFolder
from workbench.tui.settings import Settings

SNAPSHOTS = Path(__file__).parent / "snapshots"
WIDE, NORMAL, SMALL = (180, 50), (120, 36), (80, 24)
AT = ("g", "1", "2", "s", "enter")
SCREENS = {
    "launch": ("launch", ()),
    "live": ("live", AT),
    "requests": ("requests", ()),
    "waterfall": ("requests", ("p", "enter")),
    "timeline": ("timeline", ("n", *["up"] * 6, "enter")),
    "runs": ("runs", ()),
    "compare": ("compare", ()),
    "compare-why": ("compare", ("v",)),
    "compare-over-time": ("compare", ("v", "v")),
    "help": ("live", ("question_mark",)),
    "settings": ("runs", ("comma",)),
    "palette": ("runs", ("ctrl+p",)),
}
"""The first screen of each snapshot, and the keys that lead to it."""

PAGES = {
    "live-devices": ("live", (*AT, "v")),
    "live-engine": ("live", (*AT, "v", "v")),
    "waterfall-steps": ("requests", ("p", "enter", "v", "v")),
}
"""What only a small terminal has on pages of their own."""

CHANGING = ((re.compile(r"workbench \d+\.\d+\S*"), "workbench VERSION"),)
"""What isn't the same everywhere, and what stands for it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with `runs/`: one run at a load that the engine keeps up with, and one beyond it."""
    root = tmp_path_factory.mktemp("snapshots")
    (root / "runs").mkdir()
    for day, (name, rate_per_s) in enumerate((("busy", 2.0), ("calm", 1.0)), 1):
        path = root / "runs" / f"2026010{day}-120000-{name}-0000"
        limits = {"ttft": 2000.0, "tpot": 60.0}
        folder = recorded_run(path, rate_per_s=rate_per_s, run_id=path.name, name=name, slo=limits)
        folder.update(created=f"2026-01-0{day}T12:00:00.000+00:00")
        write_annotations(folder, Annotations(marked=True))
    return root


@pytest.fixture(autouse=True)
def fixed(made, monkeypatch):
    """The same paths, memory and time zone on every machine."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("WORKBENCH_HOME", "home")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("workbench.launch.fit.host_memory", lambda: FreeMemory("cpu", 16 << 30))
    monkeypatch.setattr("workbench.launch.fit.gpu_memory", _no_gpu)
    yield
    monkeypatch.undo()
    time.tzset()


def _no_gpu():
    raise ProfileError("no GPU is visible")


@pytest.fixture
def compare_with_snapshot(request):
    """Fails with the difference where a screen isn't that of its file."""
    update = request.config.getoption("--update-snapshots")

    def compare(name: str, shown: str) -> None:
        for pattern, stands_for in CHANGING:
            shown = pattern.sub(stands_for, shown)
        shown += "\n"
        path = SNAPSHOTS / f"{name}.txt"
        if update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(shown, encoding="utf-8")
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = difflib.unified_diff(
            before.splitlines(), shown.splitlines(), path.name, "this screen", lineterm="", n=1
        )
        difference = "\n".join(lines)
        if difference:
            pytest.fail(f"{difference}\n\n--update-snapshots takes the new screen", pytrace=False)

    return compare


def screen_of(start: str, keys: tuple[str, ...], size: tuple[int, int], ascii_only=False) -> str:
    """The screen after the keys, in the run `busy`."""
    shown = []

    async def act(app):
        app.clock.now_ns += 3_000_000_000
        await app.press(*keys)
        app.app.clear_notifications()
        await app.settle()
        shown.append(app.screen())

    folder = None
    if start not in ("launch", "runs", "compare"):
        folder = RunFolder(Path("runs/20260101-120000-busy-0000"))
    settings = Settings(ascii=ascii_only)
    drive(act, Path("runs"), folder=folder, screen=start, size=size, settings=settings)
    lines = shown[0].split("\n")
    assert len(lines) == size[1] and all(len(line) <= size[0] for line in lines)
    return shown[0]


@pytest.mark.parametrize("name", SCREENS)
def test_a_wide_screen(name, compare_with_snapshot):
    compare_with_snapshot(f"{name}-180x50", screen_of(*SCREENS[name], WIDE))


@pytest.mark.parametrize("name", [*SCREENS, *PAGES])
def test_a_small_screen(name, compare_with_snapshot):
    compare_with_snapshot(f"{name}-80x24", screen_of(*(SCREENS | PAGES)[name], SMALL))


@pytest.mark.parametrize("name", ["live", "waterfall", "timeline"])
def test_a_screen_in_ascii(name, compare_with_snapshot):
    shown = screen_of(*SCREENS[name], NORMAL, ascii_only=True)
    assert shown.isascii()
    compare_with_snapshot(f"{name}-ascii-120x36", shown)


def test_a_terminal_that_is_too_small(compare_with_snapshot):
    compare_with_snapshot("too-small-50x12", screen_of("live", (), (50, 12)))
    compare_with_snapshot("too-small-50x12", screen_of("runs", ("3",), (50, 12)))
