"""The workbench's own trace format, which keeps all that a `Trace` has.

JSON Lines. The first line is the header:

    {"workbench_trace": 1, "block_tokens": 512, "source_format": "mooncake", "origin": "0",
     "columns": ["session", "turn"], "sessions_own_clock": false}

`workbench_trace` is the version; the other keys may be left out. `block_tokens` is null or absent
where rows have no `hash_ids`; `columns` names which of `session` and `turn` rows have. Then one
object a row, by `arrival_ns`:

    {"arrival_ns": 0, "input_tokens": 1030, "output_tokens": 44, "hash_ids": [0, 1, 2],
     "session": 0, "turn": 0, "failed": true}

Whole numbers throughout. Absent `hash_ids` are none, an absent `session` is -1 (a request that
stands alone), an absent `turn` 0 and an absent `failed` false. With `sessions_own_clock`, only
neighbouring rows of one session need to be in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from workloads.errors import WorkloadError
from workloads.traces.broken import BrokenRow, Rejects
from workloads.traces.columns import Rows, TraceColumns
from workloads.traces.fields import INT64_MAX, MAX_TOKENS, within
from workloads.traces.json_lines import (
    JsonFormat,
    id_list,
    list_column,
    offset,
    parse_object,
    quoted,
    whole,
)
from workloads.traces.lines import Row
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Ints, Trace

VERSION: Final = 1

_OPTIONAL: Final = ("session", "turn")
_LOWEST: Final = {"session": -1, "turn": -INT64_MAX - 1}
_ABSENT: Final = {"session": -1, "turn": 0}
_WRITE_ROWS: Final = 10_000


class Native(JsonFormat):
    """Reads one native trace."""

    name = "native"
    stamp = "arrival_ns"

    def __init__(self) -> None:
        self._block_tokens: int | None = None
        self._origin = ""
        self._columns: list[str] = []
        self._own_clock = False

    def header(self, line: str) -> bool:
        record = parse_object(line)
        whole(record, line, ("workbench_trace",), VERSION, VERSION, f"version {VERSION}")
        if record.get("block_tokens") is not None:
            self._block_tokens = whole(
                record, line, ("block_tokens",), 1, MAX_TOKENS, "the tokens of a block, or null"
            )
        self._origin = _typed(record, line, "origin", str, "a stamp as text", "")
        self._own_clock = _typed(record, line, "sessions_own_clock", bool, "true or false", False)
        self._columns = _typed(record, line, "columns", list, "a list of column names", [])
        for i, name in enumerate(self._columns):
            if name not in _OPTIONAL:
                at = offset(line, ("columns", i))
                raise BrokenRow(at, f"one of {', '.join(_OPTIONAL)}", quoted(name), "columns")
        return True

    def columns(self, options: TraceOptions) -> TraceColumns:
        return TraceColumns(options, first_ns=0, everything=self._own_clock)

    def rows(self, text: bytes) -> Rows | None:
        import polars as pl

        full = ("arrival_ns", "input_tokens", "output_tokens")
        frame = self.frame(
            text,
            dict.fromkeys((*full, *_OPTIONAL), pl.Int64)
            | {"hash_ids": pl.List(pl.Int64), "failed": pl.Boolean},
            full,
        )
        if frame is None:
            return None
        has_ids = self._block_tokens is not None
        announced = {*self._columns, *(("hash_ids",) if has_ids else ())}
        for name in (*_OPTIONAL, "hash_ids"):
            if name not in announced and frame[name].null_count() < len(frame):
                return None
        arrival_ns, tokens_in, tokens_out = (frame[name].to_numpy() for name in full)
        ids = list_column(frame["hash_ids"].fill_null([])) if has_ids else None
        optional: dict[str, Ints] = {
            name: frame[name].fill_null(_ABSENT[name]).to_numpy() for name in self._columns
        }
        if (has_ids and ids is None) or not (
            all(within(values, 0, INT64_MAX) for values in (arrival_ns, tokens_in, tokens_out))
            and all(within(values, _LOWEST[n], INT64_MAX) for n, values in optional.items())
        ):
            return None
        failed = frame["failed"].fill_null(False).to_numpy()
        blocks, hash_ids = ids or (None, None)
        return Rows(arrival_ns, tokens_in, tokens_out, failed, blocks, hash_ids, **optional)

    def row(self, line: str) -> Row:
        record = parse_object(line)
        arrival_ns, tokens_in, tokens_out = (
            whole(record, line, (name,), 0, INT64_MAX, "a whole number from 0 up")
            for name in ("arrival_ns", "input_tokens", "output_tokens")
        )
        ids: list[int] | None = [] if self._block_tokens is not None else None
        if record.get("hash_ids") is not None:
            self._check_announced(line, "hash_ids", ids is not None, "block_tokens")
            ids = id_list(record, line, ("hash_ids",))
        failed = _typed(record, line, "failed", bool, "true or false", False)
        return Row(
            arrival_ns,
            tokens_in,
            tokens_out,
            failed=failed,
            hash_ids=ids,
            session=self._optional(record, line, "session"),
            turn=self._optional(record, line, "turn"),
        )

    def is_ordered(self, rows: Rows, last: Row | None) -> bool:
        if not self._own_clock:
            return super().is_ordered(rows, last)
        back = np.diff(rows.stamp_ns) < 0
        if rows.session is not None:
            back &= np.diff(rows.session) == 0
        first = Row(int(rows.stamp_ns[0]), 0, 0, session=_first(rows.session))
        return not back.any() and (last is None or self.follows(first, last))

    def follows(self, row: Row, last: Row) -> bool:
        if self._own_clock and row.session != last.session:
            return True
        return super().follows(row, last)

    def trace(self, path: str, columns: TraceColumns, origin: str, rejects: Rejects) -> Trace:
        block_tokens = self._block_tokens
        return Trace(
            format=self.name,
            path=path,
            arrival_ns=columns.take("stamp_ns"),
            input_tokens=columns.take("input_tokens"),
            output_tokens=columns.take("output_tokens"),
            failed=columns.take("failed").astype(np.bool_),
            origin=self._origin,
            prefixes=None if block_tokens is None else columns.take_prefixes(block_tokens),
            session_id=columns.take("session") if "session" in self._columns else None,
            turn=columns.take("turn") if "turn" in self._columns else None,
            sessions_own_clock=self._own_clock,
            skipped=rejects.skipped,
            first_skipped=rejects.first_skipped,
        )

    def _optional(self, record: dict[str, Any], line: str, name: str) -> int | None:
        is_announced = name in self._columns
        if record.get(name) is None:
            return _ABSENT[name] if is_announced else None
        self._check_announced(line, name, is_announced, "columns")
        return whole(record, line, (name,), _LOWEST[name], INT64_MAX, "a whole number, or -1")

    def _check_announced(self, line: str, name: str, is_announced: bool, key: str) -> None:
        if not is_announced:
            at = offset(line, (name,))
            raise BrokenRow(at, f'no "{name}", as the header\'s {key} say', "one", name)


def write_native(trace: Trace, path: str | Path) -> None:
    """Writes `trace` to `path` row by row; reading it gives the same columns.

    `Trace.format` becomes the header's `source_format`; what was skipped is not kept. Raises
    `WorkloadError` for a trace without rows and for a file that cannot be written.
    """
    if not len(trace):
        raise WorkloadError(f"{path}: a trace without rows is not written")
    optional = {"session": trace.session_id, "turn": trace.turn}
    header = {
        "workbench_trace": VERSION,
        "block_tokens": None if trace.prefixes is None else trace.prefixes.block_tokens,
        "source_format": trace.format,
        "origin": trace.origin,
        "columns": [name for name, values in optional.items() if values is not None],
        "sessions_own_clock": trace.sessions_own_clock,
    }
    try:
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(header) + "\n")
            for start in range(0, len(trace), _WRITE_ROWS):
                file.writelines(_written(trace, start, min(start + _WRITE_ROWS, len(trace))))
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be written: {error.strerror or error}") from error


def _written(trace: Trace, start: int, stop: int) -> Iterator[str]:
    names = {
        "arrival_ns": trace.arrival_ns,
        "input_tokens": trace.input_tokens,
        "output_tokens": trace.output_tokens,
        "session": trace.session_id,
        "turn": trace.turn,
    }
    columns = {name: v[start:stop].tolist() for name, v in names.items() if v is not None}
    template = ", ".join(f'"{name}": %d' for name in columns)
    failed = trace.failed[start:stop].tolist()
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        ids = ""
        if trace.prefixes is not None:
            first, last = trace.prefixes.offsets[start + i : start + i + 2]
            # A list of whole numbers prints as JSON.
            ids = f', "hash_ids": {trace.prefixes.hash_ids[first:last].tolist()}'
        yield "{" + template % values + ids + (', "failed": true' if failed[i] else "") + "}\n"


def _typed(
    record: dict[str, Any], line: str, name: str, kind: type, expected: str, absent: Any
) -> Any:
    value = record.get(name)
    if value is None:
        return absent
    if type(value) is not kind:
        raise BrokenRow(offset(line, (name,)), expected, quoted(value), name)
    return value


def _first(values: Ints | None) -> int | None:
    return None if values is None else int(values[0])
