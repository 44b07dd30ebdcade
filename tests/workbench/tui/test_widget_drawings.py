"""The drawn widgets in a small app: what they show, when they draw again, what they post."""

import asyncio
import dataclasses

import numpy as np
import pytest
from textual.app import App
from textual.color import Color
from textual.events import MouseScrollUp
from textual.theme import Theme

from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.chart_data import ChartData
from workbench.tui.drawing.glyphs import ASCII, UNICODE
from workbench.tui.drawing.trace import Trace
from workbench.tui.widgets.block_map import BlockMap, BlockMapData
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.paint import color_of, opaque, paint_rows
from workbench.tui.widgets.sparkline import Sparkline
from workbench.tui.widgets.stacked_bars import StepBar, StepBars, StepBarsData
from workbench.tui.widgets.tile import Tile, TileData

MIXED = StepBar("mixed", 12, 240, 11, 61.2)
POOL = BlockMapData("kv", 16, 832, (0, 12, 30, 78, 340), (4, 8, 20, 24, 40), 276)


@pytest.fixture(autouse=True)
def in_colour(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)


class Wall(App):
    """One widget, and what it posted."""

    CSS = "Screen { background: #101010; }"

    def __init__(self, widget, glyphs=UNICODE):
        super().__init__()
        self.widget, self.glyphs, self.posted = widget, glyphs, []

    def compose(self):
        yield self.widget

    def on_line_chart_zoomed(self, message):
        self.posted.append(("zoomed", message.center_s, message.factor))

    def on_line_chart_picked(self, message):
        self.posted.append(("picked", message.time_s))


def on_wall(widget, act, size=(60, 10), glyphs=UNICODE, fill=True):
    """Runs `act(app, pilot)` with the widget over the whole screen."""

    async def session():
        app = Wall(widget, glyphs)
        async with app.run_test(size=size) as pilot:
            if fill:
                widget.styles.width, widget.styles.height = "100%", "100%"
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(session())


def rows_of(widget):
    strips = [widget.render_line(y) for y in range(widget.size.height)]
    assert all(sum(s.cell_length for s in strip) == widget.size.width for strip in strips)
    assert all(strip.cell_length == widget.size.width for strip in strips)
    return [strip.text.rstrip() for strip in strips]


def shown(widget, data, size=(60, 10), glyphs=UNICODE):
    """The widget's rows after one update."""
    found = []

    async def act(app, pilot):
        widget.update(data)
        await pilot.pause()
        found.extend(rows_of(widget))

    on_wall(widget, act, size, glyphs)
    return found


def chart(values=(1.0, 5.0, 3.0), **more):
    x = np.linspace(0, 120, len(values))
    return ChartData((Trace("p50", x, np.array(values)),), 0.0, 120.0, **more)


def test_a_chart_is_drawn_again_only_when_it_would_look_different():
    widget = LineChart("TTFT")
    drawings = []
    draw = widget.draw

    def counted(*args):
        drawings.append(args)
        return draw(*args)

    widget.draw = counted

    async def act(app, pilot):
        widget.update(chart())
        rows_of(widget)
        count = len(drawings)
        widget.update(chart())
        rows_of(widget)
        assert len(drawings) == count
        widget.update(chart(cursor_s=60.0))
        rows_of(widget)
        assert len(drawings) == count + 1
        await pilot.resize_terminal(80, 12)
        rows_of(widget)
        assert drawings[-1][:2] == (80, 12)
        count = len(drawings)
        app.theme = "textual-light"
        await pilot.pause()
        rows_of(widget)
        assert len(drawings) > count

    on_wall(widget, act)


def test_a_click_picks_its_time_and_the_wheel_zooms_around_it():
    widget = LineChart("TTFT")

    async def act(app, pilot):
        await pilot.click(widget, offset=(37, 3))
        assert app.posted == []
        widget.update(chart())
        await pilot.click(widget, offset=(37, 3))
        await pilot.click(widget, offset=(2, 3))
        await pilot._post_mouse_events([MouseScrollUp], widget, offset=(37, 3))
        await pilot.pause()
        (picked, time_s), (zoomed, center_s, factor) = app.posted
        assert picked == "picked" and time_s == pytest.approx(61.0)
        assert zoomed == "zoomed" and center_s == pytest.approx(61.0) and factor < 1

    on_wall(widget, act, size=(67, 10))


def test_stacked_charts_drop_their_time_axis_while_they_are_shown():
    widget = LineChart("TTFT", show_axis=False)

    async def act(app, pilot):
        widget.update(chart())
        assert not any("└" in row for row in rows_of(widget))
        widget.show_axis = True
        await pilot.pause()
        assert "└┬0 s" in rows_of(widget)[-1]

    on_wall(widget, act)


def test_ascii_charts_are_seven_bit():
    rows = shown(LineChart("TTFT"), chart(cursor_s=30.0, unit="ms"), glyphs=ASCII)
    assert "\n".join(rows).isascii() and "* p50" in rows[0]


def test_a_sparkline_has_its_newest_value_on_the_right():
    assert shown(Sparkline(), np.array([0.0, 4.0, 8.0]), size=(5, 1)) == ["  ▁▅█"]
    assert shown(Sparkline(), np.array([0.0, 8.0]), size=(3, 1), glyphs=ASCII) == [" _#"]


FIGURES = (("p50", "1,876 ms"), ("p99", "4,294 ms"))
TREND = np.arange(40.0)


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        (
            (24, 4),
            [
                "▎ TTFT          ✗ ≤ 2 s",
                "▎ p50 1,876 ms",
                "▎ p99 4,294 ms",
                "▎ ▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▇▇▇██",
            ],
        ),
        ((32, 3), ["▎ TTFT", "▎ p50 1,876 ms  p99 4,294 ms", "▎ ▁▁▁"]),
        ((24, 3), ["▎ TTFT", "▎ p50 1,876 ms", "▎ p99 4,294 ms"]),
        ((32, 2), ["▎ TTFT", "▎ p50 1,876 ms  p99 4,294 ms"]),
        ((22, 2), ["▎ TTFT", "▎ 1,876 ms  4,294 ms"]),
        ((16, 2), ["▎ TTFT", "▎ p99 4,294 ms"]),
        ((16, 4), ["▎ TTFT  ✗ ≤ 2 s", "▎ p50 1,876 ms", "▎ p99 4,294 ms", "▎ ▁▂▂▃▃▄▄▅▆▆▇▇█"]),
    ],
)
def test_tiles_of_every_size_keep_their_figures(size, rows):
    found = shown(Tile(), TileData("TTFT", FIGURES, TREND, "2 s", "missed"), size=size)
    assert len(found) == len(rows)
    assert all(row.startswith(start) for row, start in zip(found, rows, strict=True))


@pytest.mark.parametrize(
    ("verdict", "limit", "unicode", "seven_bit"),
    [
        ("met", "2 s", "✓ ≤ 2 s", "ok <= 2 s"),
        ("missed", "2 s", "✗ ≤ 2 s", "OVER <= 2 s"),
        (None, "", "·", "TTFT"),
    ],
)
def test_a_tile_says_its_verdict_by_a_sign(verdict, limit, unicode, seven_bit):
    data = TileData("TTFT", FIGURES, TREND, limit, verdict)
    assert shown(Tile(), data, size=(30, 4))[0].endswith(unicode)
    rows = shown(Tile(), data, size=(30, 4), glyphs=ASCII)
    assert rows[0].endswith(seven_bit) and "\n".join(rows).isascii()


def test_equal_tiles_are_equal_with_gaps_in_their_trends():
    one = TileData("TTFT", FIGURES, np.array([1.0, np.nan]))
    assert one == TileData("TTFT", FIGURES, np.array([1.0, np.nan]))
    assert one != TileData("TTFT", FIGURES) and one != dataclasses.replace(one, label="ITL")


def test_a_map_without_colour_has_a_sign_per_block_hottest_first():
    rows = shown(BlockMap(), POOL, size=(100, 12), glyphs=ASCII)
    signs = "".join(rows[1:])
    assert signs == "#" * 120 + "=" * 340 + "-" * 96 + "." * 276
    assert rows[0] == (
        "kv, 16 tokens a block  # shared 120  = live 340  - cached 96  . free 276 of 832; "
        "1 block = 1 sign"
    )


def test_a_small_map_shows_every_class_and_the_size_of_a_pixel():
    rows = shown(BlockMap(), dataclasses.replace(POOL, live=(1, 0, 0, 0, 459)), (80, 3))
    assert rows[0].endswith("of 832; 1 pixel = 2.6 blocks")
    assert rows[1:] == ["▀" * 80] * 2
    counts = shown(BlockMap(), POOL, (40, 3))[0]
    assert counts == "■120  ■340  ■96  ■276 of 832"


def test_a_map_says_when_its_pool_was_looked_at():
    data = dataclasses.replace(POOL, sampled_s=76.93)
    assert shown(BlockMap(), data, (120, 3))[0].startswith("kv at 76.9 s, 16 tokens a block  ")
    assert shown(BlockMap(), data, (64, 3))[0].startswith("kv at 76.9 s  ■")


def test_few_blocks_fill_the_map_with_several_pixels_each():
    data = BlockMapData("kv", 16, 30, (0, 0, 0, 0, 10), (0, 0, 0, 0, 0), 20)
    rows = shown(BlockMap(), data, size=(80, 4), glyphs=ASCII)
    assert "".join(rows[1:]).rstrip() == "=" * 80 + "." * 160
    assert rows[0].endswith("of 30; 1 block = 8 signs")


def test_pixels_are_painted_in_the_colours_of_their_classes():
    widget = BlockMap()
    data = BlockMapData("kv", 16, 100, (0, 0, 0, 0, 10), (0, 0, 0, 0, 0), 70)

    async def act(app, pilot):
        app.register_theme(
            Theme("t", primary="#0000ff", variables={"kv-live": "#00ff00", "kv-free": "#333333"})
        )
        app.theme = "t"
        widget.update(data)
        await pilot.pause()
        (first, second), blank = list(widget.render_line(1))[:2], widget.render_line(3)
        assert (first.text, second.text) == ("▀" * 10, "▀" * 10)
        assert first.style.color.name == "#00ff00" and second.style.color.name == "#333333"
        assert {segment.style.bgcolor.name for segment in (first, second)} == {"#333333"}
        assert blank.text.strip() == ""

    on_wall(widget, act, size=(20, 4))


def test_without_colours_the_map_uses_signs(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert set("".join(shown(BlockMap(), POOL, size=(80, 6))[1:])) == set("#=-.")


def test_an_unknown_pool_is_said():
    widget = BlockMap()

    async def act(app, pilot):
        assert rows_of(widget)[0] == "no KV blocks reported"

    on_wall(widget, act)


def test_bars_stack_prefill_on_decode_up_to_the_largest_step():
    steps = (StepBar("prefill", 1, 256, 0, 400.0), StepBar("mixed", 9, 128, 128, 61.2))
    rows = shown(StepBars(), StepBarsData(steps, 512), size=(56, 6), glyphs=ASCII)
    assert rows[0] == "# prefill  = decode" + "highest = 256 of 512 tokens".rjust(37)
    assert [row[-2:] for row in rows[1:5]] == ["##", "##", "#=", "#="]
    assert rows[5] == "mixed: 9 sequences, 128 prefill + 128 decode, 61.2 ms"


def test_a_few_decode_tokens_stay_visible_under_a_large_prefill():
    rows = shown(StepBars(), StepBarsData((MIXED,), 256), size=(60, 8))
    assert rows[-1] == "mixed: 12 sequences, 240 prefill + 11 decode tokens, 61.2 ms"
    assert [row[-1] for row in rows[1:7]] == ["█", "█", "█", "█", "█", "▒"]


@pytest.mark.parametrize(("decode", "prefill"), [(8, 2040), (2040, 8), (1, 2047)])
def test_no_part_of_a_step_is_lower_than_a_cell(decode, prefill):
    data = StepBarsData((StepBar("mixed", 8, prefill, decode, 5.0),), 2048)
    column = [row[-1] for row in shown(StepBars(), data, size=(60, 9))[1:-1]]
    assert column.count("█" if prefill > decode else "▒") == 6
    assert column[-1] == "▒" and column[0] == "█"


def test_decode_steps_are_told_apart_under_a_large_budget():
    steps = tuple(StepBar("decode", tokens, 0, tokens, 5.0) for tokens in (2, 4, 8))
    rows = shown(StepBars(), StepBarsData(steps, 2048), size=(60, 6))
    assert rows[0].endswith("highest = 8 of 2,048 tokens")
    assert [[row[at] for row in rows[1:-1]].count("▒") for at in (-3, -2, -1)] == [1, 2, 4]
    alone = shown(StepBars(), StepBarsData((StepBar("decode", 1, 0, 1, 5.0),), 2048), (60, 6))
    assert alone[-1] == "decode: 1 sequence, 1 decode token, 5.00 ms"


def test_the_newest_steps_are_kept_and_the_caption_shortens():
    steps = tuple(StepBar("decode", 1, 0, tokens, 5.0) for tokens in range(1, 100))
    rows = shown(StepBars(), StepBarsData(steps), size=(20, 3), glyphs=ASCII)
    assert rows == ["=" * 20, "=" * 20, "decode, 5.00 ms"]
    assert shown(StepBars(), StepBarsData(), size=(20, 3))[1].strip() == "no step yet"


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (16, 3), (400, 5)])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_every_size_is_filled_exactly(size, glyphs):
    shown(LineChart("TTFT"), chart(), size, glyphs)
    shown(Tile(), TileData("TTFT", FIGURES, TREND, "2 s", "met"), size, glyphs)
    shown(BlockMap(), POOL, size, glyphs)
    shown(StepBars(), StepBarsData((MIXED,) * 3, 256), size, glyphs)


def test_colours_come_from_the_theme_or_from_the_terminal():
    widget = Sparkline()

    async def act(app, pilot):
        assert color_of(app, "#123456") == "#123456"
        assert color_of(app, "$primary") == app.theme_variables["primary"]
        assert color_of(app, "$series-1") == "ansi_cyan"
        assert color_of(app, "$nobody-knows") == "ansi_default"
        muted = opaque(widget, "$text-muted")
        assert muted.a == 1 and muted not in (Color.parse("#101010"), Color.parse("#ffffff"))

    on_wall(widget, act)


def test_painted_rows_are_as_wide_as_their_canvas():
    widget = Sparkline()

    async def act(app, pilot):
        canvas = Canvas(9, 2)
        canvas.put(0, 1, "ab", Ink("$good", bold=True))
        strips = paint_rows(widget, canvas)
        assert [strip.cell_length for strip in strips] == [9, 9]
        bold = [segment.text for segment in strips[0] if segment.style.bold]
        assert bold == ["ab      "]

    on_wall(widget, act)
