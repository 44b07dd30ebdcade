import subprocess
import sys

import numpy as np
import pytest

from workbench.tui.drawing.canvas import Canvas, Ink
from workbench.tui.drawing.glyphs import ASCII, UNICODE, plain
from workbench.tui.drawing.raster import DOTS, Raster


def text_of(raster, marks="*+x"):
    return ["".join(map(chr, row)) for row in raster.codes(marks).tolist()]


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("column", "row", "sign"),
    [(0, 0, "⠁"), (1, 0, "⠈"), (0, 1, "⠂"), (1, 2, "⠠"), (0, 3, "⡀"), (1, 3, "⢀")],
)
def test_each_braille_dot_has_its_place(column, row, sign):
    raster = Raster(1, 1, "braille")
    raster.points(ints(column), ints(row), 0)
    assert text_of(raster) == [sign]


def test_quadrants_cover_every_combination():
    signs = set()
    for combination in range(16):
        raster = Raster(1, 1, "block")
        for bit in range(4):
            if combination >> bit & 1:
                raster.points(ints(bit % 2), ints(bit // 2), 0)
        signs.add(text_of(raster)[0])
    assert signs == set(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")


def test_ascii_draws_each_curve_in_its_own_mark_and_the_last_one_wins():
    raster = Raster(3, 2, "ascii")
    everywhere = np.ones(3, bool)
    raster.spans(ints(0, 0, 0), ints(0, 0, 0), everywhere, 0)
    raster.spans(ints(0, 1, 1), ints(1, 1, 1), everywhere, 1)
    assert text_of(raster) == ["+**", "+++"]
    assert raster.curves().tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("kind", DOTS)
def test_a_span_fills_its_column_from_top_to_bottom_and_no_other(kind):
    raster = Raster(2, 3, kind)
    drawn = np.arange(raster.width) == 0
    zeros = np.zeros(raster.width, np.int64)
    raster.spans(zeros, zeros + raster.height - 1, drawn, 0)
    assert (raster.curves() == [[0, -1]] * 3).all()
    assert [row[1] for row in text_of(raster)] == [" "] * 3


def test_the_canvas_cuts_what_lies_outside_and_keeps_rows_whole():
    canvas = Canvas(6, 2)
    canvas.put(0, -2, "abcd", Ink("red"))
    canvas.put(1, 4, "wxyz")
    canvas.put(5, 0, "nowhere")
    assert canvas.text() == "cd\n    wx"
    assert [[text for text, _ in row] for row in canvas.rows()] == [["cd    "], ["    wx"]]


def test_wide_and_control_characters_take_one_cell():
    canvas = Canvas(8, 1)
    canvas.put(0, 0, "a漢b\n\u0301é✓")
    (row,) = canvas.rows()
    assert "".join(text for text, _ in row) == "a?b??é✓ "


def test_a_background_ends_where_it_was_put():
    canvas = Canvas(5, 1)
    canvas.put(0, 1, "▀▀", Ink("red", background="blue"))
    (row,) = canvas.rows()
    assert [(text, ink.background) for text, ink in row] == [
        (" ", None),
        ("▀▀", "blue"),
        ("  ", None),
    ]


def test_free_cells_are_found_and_filled_without_touching_others():
    canvas = Canvas(10, 1)
    canvas.put(0, 2, "ab")
    assert canvas.free_run(0, range(1, 10), 4) == 4
    assert canvas.free_run(0, range(1, 10), 7) is None
    canvas.fill(slice(0, 1), slice(0, 10, 2), "-")
    assert canvas.text() == "- ab- - -"


def test_both_sets_of_signs_are_one_cell_each_and_ascii_is_seven_bit():
    for glyphs in (UNICODE, ASCII):
        for name in ("vertical", "horizontal", "corner", "tick", "limit", "playhead", "ellipsis"):
            assert len(getattr(glyphs, name)) == 1
        assert len(glyphs.fills) == 2
    words = [getattr(ASCII, name) for name in ASCII.__slots__]
    assert all(word.isascii() for word in words)
    assert plain("p50 – 2 µs…", ASCII) == "p50 - 2 ?s~"
    assert plain("p50 –", UNICODE) == "p50 –"


def test_drawing_needs_numpy_alone():
    heavy = "{'textual', 'rich', 'plotext', 'polars', 'torch'}"
    code = (
        "import sys, workbench.tui.drawing.line_picture;"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
