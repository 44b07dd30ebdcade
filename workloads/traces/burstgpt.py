"""BurstGPT traces (arXiv 2401.17644).

CSV; the columns are found by name, since later files have `Session ID` and `Elapsed time` between
`Timestamp` and `Model`. Stamps are seconds and do not begin at 0; `Response tokens` of 0 marks a
request that failed. Published at github.com/HPMLL/BurstGPT, CC-BY-4.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from workloads.traces.broken import BrokenRow, Rejects, shown
from workloads.traces.columns import Rows, TraceColumns, places, renumbered
from workloads.traces.csv_lines import CsvFormat
from workloads.traces.fields import (
    INT64_MAX,
    MAX_TOKENS,
    decimal_ns,
    tokens_expected,
    whole_field,
    within,
)
from workloads.traces.lines import Row
from workloads.traces.trace import Ints, Trace

if TYPE_CHECKING:
    import polars as pl

_USUAL_STAMP: Final = r"^[0-9]{1,9}(?:\.[0-9]{1,9})?$"


class BurstGpt(CsvFormat):
    """Reads one BurstGPT trace."""

    name = "burstgpt"
    stamp = "Timestamp"
    needed = ("Timestamp", "Model", "Request tokens", "Response tokens")

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, int] = {}

    def rows(self, text: bytes) -> Rows | None:
        import polars as pl

        types: dict[str, type[pl.DataType]] = {
            "Timestamp": pl.String,
            "Request tokens": pl.Int64,
            "Response tokens": pl.Int64,
        }
        full = tuple(types)
        if self._has_sessions():
            types["Session ID"] = pl.String
        frame = self.frame(text, types, full)
        if frame is None:
            return None
        tokens_in = frame["Request tokens"].to_numpy()
        tokens_out = frame["Response tokens"].to_numpy()
        stamp_ns = _stamps_ns(frame["Timestamp"])
        if stamp_ns is None or not (within(tokens_in, 0) and within(tokens_out, 0)):
            return None
        failed = tokens_out == 0
        if not (failed | (tokens_in > 0)).all():
            return None
        session = self._numbers(frame["Session ID"]) if self._has_sessions() else None
        return Rows(stamp_ns, tokens_in, tokens_out, failed, session=session)

    def row(self, line: str) -> Row:
        fields = self.fields(line)
        at, text = fields["Timestamp"]
        stamp_ns = decimal_ns(text.strip())
        if stamp_ns is None:
            raise BrokenRow(at, "a number of seconds from 0 up", shown(text), self.stamp)
        at_out, text_out = fields["Response tokens"]
        tokens_out = whole_field(
            text_out, at_out, "Response tokens", 0, MAX_TOKENS, tokens_expected(0)
        )
        # Only a request that failed can have asked for nothing.
        low = 1 if tokens_out else 0
        at_in, text_in = fields["Request tokens"]
        tokens_in = whole_field(
            text_in, at_in, "Request tokens", low, MAX_TOKENS, tokens_expected(low)
        )
        session = self._number(fields["Session ID"][1]) if self._has_sessions() else None
        return Row(stamp_ns, tokens_in, tokens_out, failed=tokens_out == 0, session=session)

    def trace(self, path: str, columns: TraceColumns, origin: str, rejects: Rejects) -> Trace:
        read = super().trace(path, columns, origin, rejects)
        if not self._has_sessions():
            return read
        session = renumbered(columns.take("session"))
        return replace(read, session_id=session, turn=places(session))

    def _has_sessions(self) -> bool:
        return "Session ID" in self.names

    def _number(self, session: str) -> int:
        return self._sessions.setdefault(session, len(self._sessions)) if session else -1

    def _numbers(self, sessions: pl.Series) -> Ints:
        import polars as pl

        distinct = sessions.drop_nulls().unique()
        numbers = [self._number(session) for session in distinct.to_list()]
        named: Ints = (
            sessions.replace_strict(distinct, numbers, default=-1, return_dtype=pl.Int64)
            .to_numpy()
            .astype(np.int64, copy=False)
        )
        return named


def _stamps_ns(stamps: pl.Series) -> Ints | None:
    """Nanoseconds of a column of seconds, exact; None unless all are usual decimals."""
    import polars as pl

    if not stamps.str.contains(_USUAL_STAMP).all():
        return None
    parts = stamps.str.split_exact(".", 1).struct
    whole = parts.field("field_0").cast(pl.Int64)
    fraction = parts.field("field_1").fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    ns: Ints = (whole * 1_000_000_000 + fraction).to_numpy().astype(np.int64, copy=False)
    return ns if within(ns, 0, INT64_MAX) else None
