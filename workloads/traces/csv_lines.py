"""CSV files whose columns are found by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from workloads.traces.broken import BrokenRow, shown
from workloads.traces.lines import LineFormat

if TYPE_CHECKING:
    import polars as pl

_FIELD: Final = re.compile(r'"(?:[^"]|"")*"|[^,"][^,]*|')


class CsvFormat(LineFormat):
    """A header line with at least the columns `needed`, then one request a line."""

    needed: tuple[str, ...]

    def __init__(self) -> None:
        self.names: list[str] = []

    def header(self, line: str) -> bool:
        self.names = [text for _, text in split_fields(line)]
        for name in self.needed:
            if self.names.count(name) != 1:
                raise BrokenRow(
                    0, f"a header with one column {name!r}", shown(", ".join(self.names)), name
                )
        return True

    def fields(self, line: str) -> dict[str, tuple[int, str]]:
        """Offset and text of each column's field. Raises `BrokenRow` for a wrong number of them."""
        fields = split_fields(line)
        if len(fields) != len(self.names):
            at = fields[min(len(fields), len(self.names) + 1) - 1][0]
            raise BrokenRow(
                at, f"{len(self.names)} fields ({', '.join(self.names)})", f"{len(fields)}"
            )
        return dict(zip(self.names, fields, strict=True))

    def locate(self, line: str, name: str) -> tuple[int, str]:
        return self.fields(line)[name]

    def frame(
        self, text: bytes, types: dict[str, type[pl.DataType]], full: Sequence[str]
    ) -> pl.DataFrame | None:
        """The columns of `types`, those of `full` without nulls; None where the careful reader is
        needed."""
        import polars as pl

        if b'"' in text:
            return None
        schema = {name: types.get(name, pl.String) for name in self.names}
        try:
            frame = pl.read_csv(
                text,
                has_header=False,
                schema=schema,
                columns=[i for i, name in enumerate(self.names) if name in types],
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        if len(frame) != text.count(b"\n") or any(frame[name].null_count() for name in full):
            return None
        return frame if (_commas(text) == len(self.names) - 1).all() else None


def split_fields(line: str) -> list[tuple[int, str]]:
    """Offset and text of each field of one CSV line (RFC 4180). Raises `BrokenRow`."""
    fields: list[tuple[int, str]] = []
    at = 0
    while True:
        match = _FIELD.match(line, at)
        end = match.end() if match else at
        if end < len(line) and line[end] != ",":
            raise BrokenRow(end, "a comma or the line's end", shown(line[end:]))
        text = line[at:end]
        fields.append((at, text[1:-1].replace('""', '"') if text.startswith('"') else text))
        if end == len(line):
            return fields
        at = end + 1


def _commas(text: bytes) -> npt.NDArray[np.int64]:
    """How many commas each line has: polars fills up short rows and cuts long ones."""
    characters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    counts: npt.NDArray[np.int64] = np.add.reduceat(characters == ord(","), starts, dtype=np.int64)
    return counts
