"""Formats with one request a line: fast by whole chunks, careful where a chunk is not clean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workloads.errors import WorkloadError
from workloads.traces.broken import BrokenRow, Rejects
from workloads.traces.columns import Rows, TraceColumns
from workloads.traces.options import TraceOptions
from workloads.traces.stream import CHUNK_BYTES, Chunk, read_chunks
from workloads.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class Row:
    """One row, as `Rows` has many."""

    stamp_ns: int
    input_tokens: int
    output_tokens: int
    failed: bool = False
    hash_ids: list[int] | None = None
    session: int | None = None
    turn: int | None = None
    parent: int | None = None


class LineFormat(ABC):
    """How one file's lines are understood; may hold what it learnt from the lines so far.

    `rows` and `row` must agree: what `rows` accepts, `row` reads to the same values.
    """

    name: str
    stamp: str
    """The column or key with the stamp."""

    def columns(self, options: TraceOptions) -> TraceColumns:
        """Where the rows go."""
        return TraceColumns(options)

    @abstractmethod
    def header(self, line: str) -> bool:
        """Reads the file's first line that is not blank; False if it is a row already.

        Raises `BrokenRow` if it cannot be understood.
        """

    @abstractmethod
    def rows(self, text: bytes) -> Rows | None:
        """All of these lines at once; None if any might be broken, blank or unusual."""

    @abstractmethod
    def row(self, line: str) -> Row:
        """One line. Raises `BrokenRow`."""

    @abstractmethod
    def locate(self, line: str, name: str) -> tuple[int, str]:
        """Offset and text of the value `name` in a line that `row` can read."""

    def trace(self, path: str, columns: TraceColumns, origin: str, rejects: Rejects) -> Trace:
        """What was read, arrivals counted from the first row; `columns` is not empty. Formats that
        have more than stamps and lengths add it."""
        arrival_ns = columns.take("stamp_ns")
        arrival_ns -= columns.first_ns or 0
        return Trace(
            format=self.name,
            path=path,
            arrival_ns=arrival_ns,
            input_tokens=columns.take("input_tokens"),
            output_tokens=columns.take("output_tokens"),
            failed=columns.take("failed").astype(np.bool_),
            origin=origin,
            skipped=rejects.skipped,
            first_skipped=rejects.first_skipped,
        )

    def is_ordered(self, rows: Rows, last: Row | None) -> bool:
        """Whether no stamp is before the one above it, of which `last` is the first's."""
        before = last.stamp_ns if last is not None else rows.stamp_ns[0]
        return bool((np.diff(rows.stamp_ns, prepend=before) >= 0).all())

    def follows(self, row: Row, last: Row) -> bool:
        """The same for one row."""
        return row.stamp_ns >= last.stamp_ns


def read_lines(
    path: str, form: LineFormat, options: TraceOptions, chunk_bytes: int = CHUNK_BYTES
) -> Trace:
    """Reads `path` as `form`, as far as the options' window and limit need it.

    Raises `WorkloadError` with file, line and column for the first broken row, unless
    `options.skip_bad`.
    """
    return _Reading(path, form, options).run(chunk_bytes)


class _Reading:
    def __init__(self, path: str, form: LineFormat, options: TraceOptions) -> None:
        self._path = path
        self._form = form
        self._rejects = Rejects(path, options.skip_bad)
        self._options = options
        self._columns: TraceColumns | None = None
        self._last: Row | None = None
        self._origin = ""

    def run(self, chunk_bytes: int) -> Trace:
        for chunk in read_chunks(self._path, chunk_bytes):
            body = chunk if self._columns is not None else self._after_header(chunk)
            if self._columns is None or not body.text:
                continue
            rows = self._at_once(body.text)
            if rows is None:
                rows = self._one_by_one(body, self._columns)
            if not self._columns.add(rows):
                break
        if self._columns is None:
            raise WorkloadError(f"{self._path}: the file is empty")
        rejects = self._rejects
        self._columns.check_not_empty(self._path, rejects.skipped, rejects.first_skipped)
        return self._form.trace(self._path, self._columns, self._origin, rejects)

    def _after_header(self, chunk: Chunk) -> Chunk:
        """What follows the header, and the columns set up; all of a chunk of blank lines."""
        at, line = 0, chunk.first_line
        while at < len(chunk.text):
            end = chunk.text.index(b"\n", at) + 1
            if chunk.text[at:end].strip():
                text = chunk.text[at : end - 1].decode("utf-8", "replace")
                try:
                    is_header = self._form.header(text)
                except BrokenRow as broken:
                    Rejects(self._path, skip_bad=False).add(broken, text, line)
                self._columns = self._form.columns(self._options)
                return (
                    Chunk(chunk.text[end:], line + 1) if is_header else Chunk(chunk.text[at:], line)
                )
            at, line = end, line + 1
        return chunk

    def _at_once(self, text: bytes) -> Rows | None:
        rows = self._form.rows(text)
        if rows is None or not len(rows) or not self._form.is_ordered(rows, self._last):
            return None
        if not self._origin:
            first = text[: text.index(b"\n")].decode()
            self._origin = self._form.locate(first, self._form.stamp)[1]
        self._last = _row_at(rows, len(rows) - 1)
        return rows

    def _one_by_one(self, chunk: Chunk, columns: TraceColumns) -> Rows:
        rows: list[Row] = []
        pending = 0
        for number, line in _lines(chunk):
            try:
                row = self._row(line)
            except BrokenRow as broken:
                self._rejects.add(broken, line.decode("utf-8", "replace"), number)
                continue
            if columns.first_ns is None:
                columns.first_ns = row.stamp_ns
            rows.append(row)
            self._last = row
            place = columns.place(row.stamp_ns)
            pending += place == 0
            if place > 0 or columns.is_full(pending):
                break
        return to_rows(rows)

    def _row(self, line: bytes) -> Row:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            at = len(line[: error.start].decode())
            raise BrokenRow(at, "UTF-8 text", f"byte 0x{line[error.start]:02x}") from error
        row = self._form.row(text)
        if self._last is not None and not self._form.follows(row, self._last):
            at, found = self._form.locate(text, self._form.stamp)
            raise BrokenRow(
                at, "a stamp not before the one of the row above", found, self._form.stamp
            )
        if not self._origin:
            self._origin = self._form.locate(text, self._form.stamp)[1]
        return row


def _lines(chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(chunk.text.split(b"\n"), chunk.first_line):
        if line.strip():
            yield number, line


def _row_at(rows: Rows, i: int) -> Row:
    session = None if rows.session is None else int(rows.session[i])
    return Row(int(rows.stamp_ns[i]), 0, 0, session=session)


def to_rows(rows: list[Row]) -> Rows:
    """The same rows as columns; a column is None where no row has it."""

    def ints(name: str, absent: int = -1) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
        values = [getattr(row, name) for row in rows]
        if all(value is None for value in values):
            return None
        return np.array([absent if v is None else v for v in values], dtype=np.int64)

    def whole(name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([getattr(row, name) for row in rows], dtype=np.int64)

    lists = [row.hash_ids for row in rows]
    has_ids = any(ids is not None for ids in lists)
    return Rows(
        stamp_ns=whole("stamp_ns"),
        input_tokens=whole("input_tokens"),
        output_tokens=whole("output_tokens"),
        failed=np.array([row.failed for row in rows], dtype=np.bool_),
        blocks=np.array([len(i or ()) for i in lists], dtype=np.int64) if has_ids else None,
        hash_ids=np.array([i for ids in lists for i in ids or ()], dtype=np.int64)
        if has_ids
        else None,
        session=ints("session"),
        turn=ints("turn", 0),
        parent=ints("parent"),
    )
