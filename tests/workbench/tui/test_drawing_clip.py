"""Text that ends early ends between two words, in the room that there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from workbench.tui.drawing.clip import clipped

LOST = "224 tokens lost: no KV block for request 27"


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (43, LOST),
        (42, "224 tokens lost: no KV block for request…"),
        (40, "224 tokens lost: no KV block for…"),
        (34, "224 tokens lost: no KV block for…"),
        (33, "224 tokens lost: no KV block for…"),
        (17, "224 tokens lost…"),
        (1, "…"),
        (0, ""),
    ],
)
def test_it_ends_after_a_whole_word(width, said):
    assert clipped(LOST, width) == said


def test_a_word_longer_than_the_room_is_cut():
    assert clipped("a NVMLError_LibraryNotFound", 10) == "a NVMLErr…"


@given(st.text(), st.integers(0, 40))
def test_it_never_takes_more_room(text, width):
    assert cell_len(clipped(text, width)) <= width
