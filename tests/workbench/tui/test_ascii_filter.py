"""7-bit drawing: nothing else gets through, and nothing moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from workbench.tui.ascii_filter import AsciiFilter, as_ascii


def test_known_signs_keep_their_sense():
    assert as_ascii("│─┌┐└┘├┤═ ✓ ✗ ▲ ≤ 4.2×") == "|-++++++= + ! ^ < 4.2x"
    assert as_ascii("⠀⠃") == " :"


@given(st.text(max_size=40))
def test_the_result_is_ascii_and_as_wide(text):
    plain = as_ascii(text)
    assert plain.isascii()
    assert cell_len(plain) == cell_len(text) or not text.isprintable()


def test_styles_stay():
    segments = [Segment("abc"), Segment("█", None)]
    assert [s.text for s in AsciiFilter().apply(segments, Color(0, 0, 0))] == ["abc", "#"]
