import gzip
import sys

import pytest

from workloads.errors import WorkloadError
from workloads.traces import stream
from workloads.traces.stream import Chunk, read_chunks, read_head

zstandard = pytest.importorskip("zstandard")

LINES = b"".join(b"line %d\n" % i for i in range(2000))


def skippable(payload):
    return b"\x53\x2a\x4d\x18" + len(payload).to_bytes(4, "little") + payload


COMPRESSED = {
    "plain": LINES,
    "gzip": gzip.compress(LINES),
    "gzip of two members": gzip.compress(LINES[:700]) + gzip.compress(LINES[700:]),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(LINES),
    "zstd of two frames": zstandard.compress(LINES[:700]) + zstandard.compress(LINES[700:]),
    "zstd after a skippable frame": skippable(b"index") + zstandard.compress(LINES),
}


def written(tmp_path, data):
    path = tmp_path / "any.name"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 100, 1 << 20])
def test_pieces_are_whole_lines_and_make_up_the_file(tmp_path, kind, chunk_bytes):
    chunks = list(read_chunks(written(tmp_path, COMPRESSED[kind]), chunk_bytes))
    assert b"".join(chunk.text for chunk in chunks) == LINES
    line = 1
    for chunk in chunks:
        assert chunk.text.endswith(b"\n")
        assert chunk.first_line == line
        line += chunk.text.count(b"\n")


@pytest.mark.parametrize("chunk_bytes", [1, 3, 4, 5, 1 << 20])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_byte_order_mark_and_line_ends_are_left_out(tmp_path, chunk_bytes, end):
    path = written(tmp_path, b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree" + end)
    text = b"".join(chunk.text for chunk in read_chunks(path, chunk_bytes))
    assert text == b"one\ntwo\n\nthree\n"
    assert read_head(path, 6) == b"one"


def test_an_empty_file_has_no_chunks(tmp_path):
    assert list(read_chunks(written(tmp_path, b""))) == []
    assert list(read_chunks(written(tmp_path, b"\xef\xbb\xbf"))) == []


def test_a_line_longer_than_a_chunk_is_one_chunk(tmp_path):
    path = written(tmp_path, b"a\n" + b"x" * 1000 + b"\nb")
    assert list(read_chunks(path, 10))[1] == Chunk(b"x" * 1000 + b"\n", 2)


def test_a_line_above_the_limit_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "MAX_LINE_BYTES", 100)
    with pytest.raises(WorkloadError, match="line 2 is longer than"):
        list(read_chunks(written(tmp_path, b"a\n" + b"x" * 1000), 10))


@pytest.mark.parametrize(
    ("kind", "cut"), [("gzip", -1), ("gzip", -12), ("zstd", -1), ("zstd of two frames", -3)]
)
def test_a_cut_off_file_is_an_error(tmp_path, kind, cut):
    with pytest.raises(WorkloadError, match="cut off or damaged"):
        list(read_chunks(written(tmp_path, COMPRESSED[kind][:cut])))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_damaged_file_is_an_error(tmp_path, kind):
    data = bytearray(COMPRESSED[kind])
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(WorkloadError, match="cut off or damaged"):
        list(read_chunks(written(tmp_path, bytes(data))))


def test_zstd_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(WorkloadError, match="pip install zstandard"):
        list(read_chunks(written(tmp_path, COMPRESSED["zstd"])))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(WorkloadError, match="No such file"):
        read_head(str(tmp_path / "absent"), 10)
