"""The table of requests on a recorded run: filter, sort, presets, export, and a living run."""

import polars as pl
import pytest
from pilots import drive_run
from recorded import ORIGIN_NS, LiveRun, recorded_run

from workbench.runs.folder import RunFolder
from workbench.tui.settings import Settings


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


def saved(recorded):
    return pl.read_parquet(recorded.parquet("requests"))


@pytest.mark.parametrize("size", [(180, 50), (120, 36), (80, 24), (60, 18)])
def test_every_request_is_there_and_what_is_over_a_limit_has_a_sign(recorded, size):
    async def use(driver):
        assert driver.app.screen.table.row_count == saved(recorded).height
        shown = driver.screen()
        assert "40 requests" in shown and "TTFT" in shown and "✓ ok" in shown
        await driver.press("t")
        slowest = driver.screen().splitlines()[4]
        assert "✗" in slowest
        assert driver.app.screen.table.cursor_row == 0

    drive_run(use, recorded, "requests", size=size)


def test_a_filter_is_typed_and_the_last_valid_one_stays(recorded):
    expected = saved(recorded).filter(pl.col("output_tokens") > 50).height

    async def use(driver):
        await driver.press("slash", *"tokens > 50")
        assert f"{expected} of 40 match tokens > 50" in driver.screen()
        await driver.press(*" and tok")
        lines = driver.screen().splitlines()
        line = next(number for number, text in enumerate(lines) if "^^^" in text)
        assert "did you mean 'tokens'" in lines[line]
        assert lines[line].index("^^^") == lines[line - 1].index("tok", 18)
        assert driver.app.screen.table.row_count == expected
        await driver.press("escape")
        assert driver.app.screen.table.has_focus and "^^^" not in driver.screen()
        assert f"{expected} of 40 match" in driver.screen()
        await driver.press("escape")
        assert driver.app.screen.table.row_count == 40

    drive_run(use, recorded, "requests")


def test_suggestions_are_taken_and_filters_come_back(recorded):
    async def use(driver):
        await driver.press("slash", *"preem")
        assert "preemptions" in driver.screen()
        await driver.press("tab", *">= 1")
        field = driver.app.screen.query_one("FilterInput")
        assert field.value == "preemptions >= 1"
        await driver.press("enter")
        assert driver.app.screen.table.has_focus
        await driver.press("escape", "slash", "up")
        assert field.value == "preemptions >= 1"

    drive_run(use, recorded, "requests")


def test_presets(recorded):
    requests = saved(recorded)

    async def use(driver):
        table = driver.app.screen.table
        await driver.press("x")
        assert table.row_count == requests.filter(pl.col("status") != "ok").height
        await driver.press("x")
        assert table.row_count == requests.height
        await driver.press("p")
        assert table.row_count == requests.filter(pl.col("preemptions") > 0).height > 0
        await driver.press("p", "o")
        assert table.sort == ("tpot_ms", True)
        await driver.press("r")
        assert table.sort == ("tpot_ms", False)
        await driver.press("less_than_sign")
        assert table.sort == ("ttft_ms", False)

    drive_run(use, recorded, "requests")


def test_the_rows_shown_are_exported_and_one_is_copied(recorded, tmp_path):
    async def use(driver):
        await driver.press("p", "Y", "y")

    drive_run(use, recorded, "requests")
    (table,) = (tmp_path / "home" / "exports").glob("*.csv")
    preempted = saved(recorded).filter(pl.col("preemptions") > 0)
    assert pl.read_csv(table)["request_id"].to_list() == preempted["request_id"].to_list()
    (copied,) = (tmp_path / "home" / "exports").glob("*request-*.txt")
    assert f"request_id\t{preempted['request_id'][0]}" in copied.read_text()


def test_enter_opens_the_waterfall_and_escape_comes_back_to_the_row(recorded):
    async def use(driver):
        await driver.press("down", "down", "enter")
        assert type(driver.app.screen).__name__ == "WaterfallScreen"
        await driver.press("right", "escape")
        assert type(driver.app.screen).__name__ == "RequestsScreen"
        assert driver.app.screen.table.cursor_key == 3

    drive_run(use, recorded, "requests")


def test_a_living_run_grows_under_the_cursor(tmp_path):
    run = LiveRun(tmp_path / "20260101-120000-chat-0001", requests=20)
    run.advance(run.left // 2)

    async def use(driver):
        table = driver.app.screen.table
        before = table.row_count
        assert 0 < before < 20
        await driver.press("down", "down")
        key = table.cursor_key
        run.advance(run.left)
        await driver.settle()
        assert table.row_count == 20 and table.cursor_key == key
        assert "▶ running" not in driver.screen()

    drive_run(use, run.folder, "requests", clock=lambda: ORIGIN_NS)
    run.die()


def test_a_server_has_no_stages(tmp_path):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0002", remote=True, requests=12)

    async def use(driver):
        assert driver.app.screen.table.row_count == 12
        await driver.press("enter")
        assert "server" in driver.screen()

    drive_run(use, folder, "requests")


def test_ascii(recorded):
    async def use(driver):
        assert "+ ok" in "\n".join(
            "".join(segment.text for segment in strip)
            for strip in (
                driver.app._ascii.apply(list(s), None)
                for s in driver.app.screen._compositor.render_strips()
            )
        )

    drive_run(use, recorded, "requests", settings=Settings(ascii=True))


def test_without_a_run_it_says_what_to_press(recorded, tmp_path):
    async def use(driver):
        driver.app.session = None
        driver.app.go("live")
        driver.app.go("requests")
        await driver.settle()
        assert "No run is open" in driver.screen()

    drive_run(use, RunFolder(recorded.path), "requests")
