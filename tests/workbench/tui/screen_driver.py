"""Driving the app on a recorded run, without its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from workbench.runs.folder import RunFolder
from workbench.runs.store import RunStore
from workbench.tui.app import WorkbenchApp
from workbench.tui.settings import Settings


class Driver:
    """The app with a pilot; `keys` are pressed one after the other, each answered."""

    def __init__(self, app: WorkbenchApp, pilot: Any) -> None:
        self.app, self.pilot = app, pilot

    async def keys(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def settle(self) -> None:
        await self.pilot.pause()
        await self.app.settle()
        await self.pilot.pause()

    @property
    def screen(self) -> Any:
        return self.app.screen

    def text(self) -> str:
        """What stands on the screen."""
        width, height = self.app.size
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(
            "".join(segment.text for segment in strip)[:width] for strip in lines[:height]
        )


def drive(
    folder: RunFolder,
    screen: str,
    use: Callable[[Driver], Awaitable[None]],
    size: tuple[int, int] = (120, 36),
    ascii_only: bool = False,
    clock: Callable[[], int] = lambda: 0,
) -> None:
    """Opens `folder` on `screen` and lets `use` have it."""

    async def run() -> None:
        store = RunStore(folder.path.parent)
        app = WorkbenchApp(store, Settings(ascii=ascii_only), clock=clock, pull=False)
        app.start_screen = screen
        async with app.run_test(size=size) as pilot:
            driver = Driver(app, pilot)
            app.open_run(folder, screen)
            await driver.settle()
            await driver.settle()
            await use(driver)

    asyncio.run(run())
