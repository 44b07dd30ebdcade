"""The event parser, against every way of cutting its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.remote.sse import SseError, SseParser

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def parse(*pieces):
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@st.composite
def streams(draw):
    """A stream's bytes and the data of its events."""
    content, expected = b"\xef\xbb\xbf" if draw(st.booleans()) else b"", []
    end = draw(ENDS)
    for lines in draw(st.lists(st.lists(TEXT, max_size=3), max_size=5)):
        for other in draw(st.lists(st.sampled_from([": ping", "event: e", "id: 1", ":"]))):
            content += other.encode() + end
        for line in lines:
            space = b" " if draw(st.booleans()) or line.startswith(" ") else b""
            content += b"data:" + space + line.encode() + end
        content += end
        if lines:
            expected.append("\n".join(lines).encode())
    return content, expected


@given(streams(), st.data())
def test_any_cut_gives_the_same_events(stream, data):
    content, expected = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert parse(*pieces) == expected
    assert parse(*(content[i : i + 1] for i in range(len(content)))) == expected


def test_mixed_line_ends_and_keep_alives():
    content = b": hello\r\n\r\ndata: a\r\ndata: b\n\n: ping\rdata:c\r\revent: x\ndata\n\n"
    assert parse(content) == [b"a\nb", b"c", b""]


def test_a_last_event_without_its_blank_line_comes_at_the_end():
    parser = SseParser()
    assert parser.feed(b"data: 1\n\ndata: [DONE]") == [b"1"]
    assert parser.close() == [b"[DONE]"]


def test_a_line_without_end_is_refused():
    parser = SseParser()
    with pytest.raises(SseError):
        for _ in range(20):
            parser.feed(b"data: " + b"x" * (1 << 20))
