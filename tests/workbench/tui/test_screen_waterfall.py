"""The waterfall on a recorded run: the sentence, rows, neighbours, copies, and the way back."""

import polars as pl
import pytest
from pilots import drive_run
from recorded import ORIGIN_NS, LiveRun, recorded_run

from workbench.tui.screens.waterfall import WaterfallScreen
from workbench.tui.widgets.waterfall_chart import WaterfallChart


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def preempted(recorded):
    """The request that lost most to preemptions."""
    requests = pl.read_parquet(recorded.parquet("requests"))
    return requests.sort("recompute_ns", descending=True)["request_id"][0]


def open_request(use, request_id):
    async def opened(driver):
        driver.app.open_request(request_id)
        await driver.settle()
        await use(driver)

    return opened


@pytest.mark.parametrize("size", [(180, 50), (120, 36), (80, 24), (60, 18)])
def test_a_preempted_request_is_told_at_any_size(recorded, preempted, size):
    async def use(driver):
        shown = driver.screen()
        assert f"request {preempted}" in shown
        assert "TTFT" in shown and "since arrival" in shown
        labels = [row.label for row in driver.app.screen.query_one(WaterfallChart)._data.rows]
        assert "preempted" in labels and "recompute" in labels and "decode" in labels

    drive_run(open_request(use, preempted), recorded, "requests", size=size)


def test_rows_cover_the_life_and_the_cursor_is_on_the_longest(recorded, preempted):
    async def use(driver):
        chart = driver.app.screen.query_one(WaterfallChart)
        rows, story = chart._data.rows, driver.app.screen._shown.story
        assert rows[0].start_ns == story.life.scheduled_ns
        assert max(row.end_ns for row in rows) == story.life.end_ns
        waits = [row.duration_ns for row in rows if row.label != "decode"]
        assert chart.chosen.duration_ns == max(waits)
        await driver.press("home")
        assert chart.chosen == rows[0]
        await driver.press("end", "up")
        assert chart.chosen == rows[-2]
        await driver.press("z")
        assert chart._data.end_ns == story.life.first_token_ns
        assert all(row.start_ns < story.life.first_token_ns for row in chart._data.rows)

    drive_run(open_request(use, preempted), recorded, "requests")


def test_in_a_small_terminal_the_chart_has_a_page_of_its_own(recorded, preempted):
    async def use(driver):
        screen = driver.app.screen
        assert screen.query_one("#chart").display and not screen.query_one("#below").display
        await driver.press("v")
        assert screen.query_one("#details").display and not screen.query_one("#chart").display
        await driver.press("v", "v", "v")
        assert screen.query_one("#chart").display

    drive_run(open_request(use, preempted), recorded, "requests", size=(60, 18))


def test_neighbours_follow_the_order_of_the_table(recorded):
    async def use(driver):
        await driver.press("p", "enter")
        order = driver.app.session.order
        assert len(order) > 2 and driver.app.session.request_id == order[0]
        await driver.press("j", "right")
        assert driver.app.session.request_id == order[2]
        assert f"3 of {len(order)}" in driver.screen()
        await driver.press("k")
        assert driver.app.session.request_id == order[1]
        await driver.press("k", "k", "k")
        assert driver.app.session.request_id == order[0]

    drive_run(use, recorded, "requests")


def test_the_explanation_is_copied(recorded, preempted, tmp_path):
    async def use(driver):
        await driver.press("y")
        assert driver.app.clipboard.startswith(f"request {preempted}")

    drive_run(open_request(use, preempted), recorded, "requests")
    (copied,) = (tmp_path / "home" / "exports").glob("*why-request*.txt")
    assert "TTFT" in copied.read_text() and "• Preempted at" in copied.read_text()


def test_the_chosen_span_is_shown_on_the_timeline(recorded, preempted):
    async def use(driver):
        await driver.press("home", "down")
        chosen = driver.app.screen.query_one(WaterfallChart).chosen
        await driver.press("l")
        start_s, end_s = driver.app.session.span_s
        assert start_s <= chosen.start_ns / 1e9 and chosen.end_ns / 1e9 <= end_s
        assert type(driver.app.screen).__name__ == "TimelineScreen"

    drive_run(open_request(use, preempted), recorded, "requests")


def test_pages_below_and_a_companion_opens(recorded, preempted):
    async def use(driver):
        screen = driver.app.screen
        assert screen.query_one("#details").display
        await driver.press("v")
        assert screen.query_one("#company").display and not screen.query_one("#details").display
        table = screen.query_one("#company")
        other = table.source.key_of(0)
        table.focus()
        await driver.press("enter")
        assert driver.app.session.request_id == other and f"request {other}" in driver.screen()
        await driver.press("v")
        assert screen.query_one("#steps").display
        assert screen.query_one("#steps").row_count == len(screen._shown.story.turns)

    drive_run(open_request(use, preempted), recorded, "requests", size=(80, 24))


def test_a_rejected_one_says_why(recorded):
    requests = pl.read_parquet(recorded.parquet("requests"))
    rejected = requests.filter(pl.col("status") == "rejected")["request_id"][0]

    async def use(driver):
        assert "Rejected: " in driver.screen() and "exceed max_model_len" in driver.screen()

    drive_run(open_request(use, rejected), recorded, "requests")


def test_a_server_tells_nothing_more(tmp_path):
    folder = recorded_run(tmp_path / "20260101-120000-chat-0003", remote=True, requests=12)

    async def use(driver):
        details = driver.app.screen._shown.explanation.details
        assert "of a server only what its client saw is known" in details[0]
        assert "No step of it is known" in driver.screen()

    drive_run(open_request(use, 3), folder, "requests", size=(180, 50))


def test_one_in_flight_grows_until_it_ends(tmp_path):
    run = LiveRun(tmp_path / "20260101-120000-chat-0004", requests=20)
    run.advance(3)

    async def use(driver):
        view = driver.app.session.view
        running = pl.DataFrame()
        while running.is_empty():
            run.advance()
            view.refresh()
            running = view.requests(view.end_ns).filter(pl.col("state") == "running")
        driver.app.open_request(running["request_id"][0])
        await driver.settle()
        assert isinstance(driver.app.screen, WaterfallScreen)
        assert driver.app.screen._shown.story.in_flight
        run.advance(run.left)
        await driver.settle()
        assert not driver.app.screen._shown.story.in_flight

    drive_run(use, run.folder, "requests", clock=lambda: ORIGIN_NS)
    run.die()
