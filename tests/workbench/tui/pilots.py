"""The app driven by a test: no clock of its own, one question at a time, its screen as text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from recorded import ORIGIN_NS

from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore
from workbench.tui.app import WorkbenchApp
from workbench.tui.settings import Settings


class Clock:
    """The system's monotonic nanoseconds, as a test sets them."""

    def __init__(self, run_ns: int = 0) -> None:
        self.now_ns = ORIGIN_NS + run_ns

    def __call__(self) -> int:
        return self.now_ns


class Driver:
    """An app that runs, and what a user would do with it and see of it."""

    def __init__(self, app: WorkbenchApp, pilot: Any, clock: Any) -> None:
        self.app = app
        self.pilot = pilot
        self.clock = clock

    async def press(self, *keys: str) -> str:
        """Presses keys one after the other; the screen after that."""
        for key in keys:
            await self.pilot.press(key)
            await self.settle()
        return self.screen()

    async def type(self, text: str) -> str:
        """Types a text into whatever has the focus."""
        return await self.press(*("space" if c == " " else c for c in text))

    async def settle(self) -> None:
        """Waits until what was asked for is shown."""
        await self.pilot.pause()
        await self.app.settle()
        await self.pilot.pause()

    def lines(self) -> list[str]:
        """The rows of the screen as text, without what is said in passing."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def screen(self) -> str:
        """The screen as text."""
        return "\n".join(self.lines())

    def said(self) -> str:
        """What was said in passing (notifications)."""
        return "\n".join(note.message for note in self.app._notifications)


def drive(
    act: Callable[[Driver], Awaitable[None]],
    root: Path,
    *,
    folder: RunFolder | None = None,
    screen: str = "live",
    size: tuple[int, int] = (180, 50),
    settings: Settings | None = None,
    clock: Callable[[], int] | None = None,
) -> None:
    """Runs the app on the store in `root`, with a run open if `folder` is given."""

    async def run() -> None:
        ticking = clock or Clock()
        app = WorkbenchApp(RunStore(root), settings or Settings(), ticking, pull=False)
        app.start_screen, app.start_folder = screen, folder
        async with app.run_test(size=size) as pilot:
            driver = Driver(app, pilot, ticking)
            await driver.settle()
            await act(driver)

    asyncio.run(run())


def drive_run(
    act: Callable[[Driver], Awaitable[None]],
    folder: RunFolder,
    screen: str,
    *,
    size: tuple[int, int] = (120, 36),
    settings: Settings | None = None,
    clock: Callable[[], int] | None = None,
) -> None:
    """Opens one run, of whatever store its folder lies in, on a screen."""
    drive(
        act, folder.path.parent,
        folder=folder, screen=screen, size=size, settings=settings, clock=clock,
    )  # fmt: skip


def drive_alone(
    body: Callable[[WorkbenchApp, Callable[..., Awaitable[None]]], Awaitable[None]],
    screen: str,
    *,
    size: tuple[int, int] = (180, 50),
) -> None:
    """Runs `body(app, keys)` on a screen of the user's own store; `keys` presses, three seconds
    pass, and what comes of it is shown. The app gets `reports`, what it complained of; `copied`,
    the names, suffixes and texts that it copied; and `screen_text`."""

    async def act(driver: Driver) -> None:
        app: Any = driver.app
        app.screen_text = driver.screen
        app.reports, app.copied = [], []
        app.report = app.reports.append
        app.copy = lambda text, name, suffix="txt": app.copied.append((name, suffix, text))

        async def keys(*names: str) -> None:
            await driver.pilot.press(*names)
            driver.clock.now_ns += 3_000_000_000
            await driver.settle()
            await driver.settle()

        await keys()
        await body(app, keys)

    drive(act, RunStore().root, screen=screen, size=size)
