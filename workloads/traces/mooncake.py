"""Mooncake traces (FAST '25).

JSON Lines with `timestamp` in whole milliseconds, `input_length`, `output_length` and `hash_ids` of
blocks of 512 tokens, of which the last may be partial: `ceil(input_length / 512)` of them.
Published at github.com/kvcache-ai/Mooncake, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from workloads.traces.broken import BrokenRow, Rejects
from workloads.traces.columns import Rows, TraceColumns
from workloads.traces.fields import INT64_MAX, MAX_TOKENS, tokens_expected, within
from workloads.traces.json_lines import (
    JsonFormat,
    id_list,
    list_column,
    offset,
    parse_object,
    whole,
)
from workloads.traces.lines import Row
from workloads.traces.trace import Trace

BLOCK_TOKENS: Final = 512

_MAX_MS: Final = INT64_MAX // 1_000_000


class Mooncake(JsonFormat):
    """Reads one Mooncake trace."""

    name = "mooncake"
    stamp = "timestamp"

    def rows(self, text: bytes) -> Rows | None:
        import polars as pl

        if b'"chat_id"' in text:
            return None
        frame = self.frame(
            text,
            {
                "timestamp": pl.Int64,
                "input_length": pl.Int64,
                "output_length": pl.Int64,
                "hash_ids": pl.List(pl.Int64),
            },
            full=("timestamp", "input_length", "output_length", "hash_ids"),
        )
        if frame is None:
            return None
        stamp_ms = frame["timestamp"].to_numpy()
        tokens_in = frame["input_length"].to_numpy()
        tokens_out = frame["output_length"].to_numpy()
        ids = list_column(frame["hash_ids"])
        if ids is None or not (
            within(stamp_ms, 0, _MAX_MS)
            and within(tokens_in, 1)
            and within(tokens_out, 0)
            and (ids[0] == -(-tokens_in // BLOCK_TOKENS)).all()
        ):
            return None
        failed = np.zeros(len(frame), dtype=np.bool_)
        return Rows(stamp_ms * 1_000_000, tokens_in, tokens_out, failed, *ids)

    def row(self, line: str) -> Row:
        record = parse_object(line)
        if "chat_id" in record:
            raise BrokenRow(
                offset(line, ("chat_id",)), "a Mooncake row", "one of another format", "chat_id"
            )
        stamp_ms = whole(
            record, line, ("timestamp",), 0, _MAX_MS, "a whole number of milliseconds from 0 up"
        )
        tokens_in = whole(record, line, ("input_length",), 1, MAX_TOKENS, tokens_expected(1))
        tokens_out = whole(record, line, ("output_length",), 0, MAX_TOKENS, tokens_expected(0))
        ids = id_list(record, line, ("hash_ids",))
        check_blocks(line, ("hash_ids",), len(ids), -(-tokens_in // BLOCK_TOKENS), tokens_in)
        return Row(stamp_ms * 1_000_000, tokens_in, tokens_out, hash_ids=ids)

    def trace(self, path: str, columns: TraceColumns, origin: str, rejects: Rejects) -> Trace:
        read = super().trace(path, columns, origin, rejects)
        return replace(read, prefixes=columns.take_prefixes(BLOCK_TOKENS))


def check_blocks(
    text: str, path: tuple[str | int, ...], found: int, expected: int, input_tokens: int
) -> None:
    """Raises `BrokenRow` unless a row has as many block ids as its input has blocks."""
    if found != expected:
        raise BrokenRow(
            offset(text, path),
            f"{expected} block ids for {input_tokens} input tokens",
            str(found),
            "hash_ids",
        )
