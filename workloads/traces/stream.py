"""Reading a file of any size as whole lines: plain, gzip or zstd."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from workloads.errors import WorkloadError

CHUNK_BYTES: Final = 8 << 20
MAX_LINE_BYTES: Final = 512 << 20

_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# A zstd file may begin with skippable frames (RFC 8878, section 3.1.2), as parallel writers do.
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive whole lines of a file.

    Attributes:
        text: the lines, each ending in one line feed, whatever the file ends them with.
        first_line: number of the first of them, from 1.
    """

    text: bytes
    first_line: int


def read_chunks(path: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """The lines of `path`, decompressed, in pieces of about `chunk_bytes` bytes.

    A piece is longer only where a single line is. A byte order mark at the start and carriage
    returns at line ends are left out; a last line without an end gets one. Raises `WorkloadError`
    for a file that cannot be read, is cut off, or has a line above `MAX_LINE_BYTES`.
    """
    held: list[bytes] = []
    held_bytes = 0
    line = 1
    with opened(path) as read:
        block = read(max(chunk_bytes, len(_BOM) + 1)).removeprefix(_BOM)
        while block:
            cut = block.rfind(b"\n") + 1
            if cut:
                text = b"".join([*held, block[:cut]])
                yield Chunk(text.replace(b"\r\n", b"\n"), line)
                line += text.count(b"\n")
                held, held_bytes = [], 0
            held.append(block[cut:])
            held_bytes += len(held[-1])
            if held_bytes > MAX_LINE_BYTES:
                raise WorkloadError(
                    f"{path}: line {line} is longer than {MAX_LINE_BYTES >> 20} MiB: no known "
                    "format has such lines"
                )
            block = read(chunk_bytes)
    rest = b"".join(held)
    if rest:
        yield Chunk(rest.removesuffix(b"\r") + b"\n", line)


def read_head(path: str, size: int) -> bytes:
    """The first `size` bytes of `path`, decompressed and without a byte order mark.

    Raises `WorkloadError` for a file that cannot be read.
    """
    with opened(path) as read:
        return read(size).removeprefix(_BOM)


@contextmanager
def opened(path: str) -> Iterator[Read]:
    try:
        with Path(path).open("rb", buffering=0) as file:
            yield _decompressed(file, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WorkloadError(
            f"{path}: the gzip data is cut off or damaged ({error}): fetch the file again"
        ) from error
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror or error}") from error


def _decompressed(file: BinaryIO, path: str) -> Read:
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file).read
    if magic == _ZSTD or (magic[1:] == _ZSTD_SKIPPABLE and magic[0] & 0xF0 == 0x50):
        return _Zstd(file, path).read
    return file.read


class _Zstd:
    """Reads a zstd file of one frame or several, and notices when the last one is cut off."""

    # A frame can expand a thousandfold, so little is fed at a time.
    _FEED_BYTES: Final = 32 << 10

    def __init__(self, file: BinaryIO, path: str) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise WorkloadError(
                f"{path} is compressed with zstd, which needs the package zstandard: "
                "pip install zstandard, or decompress the file"
            ) from error
        self._file = file
        self._path = path
        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()
        self._inside = False
        self._ready = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._ready) < size:
            fed = self._file.read(self._FEED_BYTES)
            if not fed:
                if self._inside:
                    raise self._damaged("the last frame has no end")
                break
            self._feed(fed)
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._ready += self._frame.decompress(data)
            except self._error as error:
                raise self._damaged(str(error)) from error
            self._inside = not self._frame.eof
            if self._inside:
                return
            data = self._frame.unused_data
            self._frame = self._decompressor.decompressobj()

    def _damaged(self, why: str) -> WorkloadError:
        return WorkloadError(
            f"{self._path}: the zstd data is cut off or damaged ({why}): fetch the file again"
        )
