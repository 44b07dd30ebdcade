"""Bailian (Qwen) traces (arXiv 2506.02634).

JSON Lines with `chat_id`, `parent_chat_id` (-1 for the first of a conversation), `timestamp` in
seconds, `input_length`, `output_length`, `type`, `turn` from 1, and `hash_ids` of blocks of 16
tokens, of which the last may be partial. Published at
github.com/alibaba-edu/qwen-bailian-usagetraces-anon, Apache-2.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from workloads.traces.broken import BrokenRow, Rejects
from workloads.traces.columns import Rows, TraceColumns, renumbered
from workloads.traces.fields import (
    FLOAT_EXACT_S,
    INT64_MAX,
    MAX_TOKENS,
    float_text_ns,
    tokens_expected,
    within,
)
from workloads.traces.json_lines import (
    Decimals,
    JsonFormat,
    id_list,
    list_column,
    offset,
    parse_object,
    present,
    quoted,
    whole,
)
from workloads.traces.lines import Row
from workloads.traces.mooncake import check_blocks
from workloads.traces.trace import Ints, Trace

BLOCK_TOKENS: Final = 16

_CHAT: Final = "a chat's number from 0 up"
_PARENT: Final = "a chat's number, or -1"
_TURN: Final = "a turn from 1 up"
_SECONDS: Final = "a number of seconds from 0 up"


class Bailian(JsonFormat):
    """Reads one Bailian trace."""

    name = "bailian"
    stamp = "timestamp"

    def rows(self, text: bytes) -> Rows | None:
        import polars as pl

        numbers = ("chat_id", "parent_chat_id", "input_length", "output_length", "turn")
        frame = self.frame(
            text,
            dict.fromkeys(numbers, pl.Int64)
            | {"timestamp": pl.Float64, "hash_ids": pl.List(pl.Int64)},
            full=(*numbers, "timestamp", "hash_ids"),
        )
        if frame is None:
            return None
        chat, parent, tokens_in, tokens_out, turn = (frame[name].to_numpy() for name in numbers)
        seconds = frame["timestamp"].to_numpy()
        ids = list_column(frame["hash_ids"])
        if ids is None or not (
            within(chat, 0, INT64_MAX)
            and within(parent, -1, INT64_MAX)
            and within(turn, 1)
            and within(tokens_in, 1)
            and within(tokens_out, 0)
            and ((seconds >= 0) & (seconds < FLOAT_EXACT_S)).all()
            and (ids[0] == -(-tokens_in // BLOCK_TOKENS)).all()
        ):
            return None
        whole_s = np.floor(seconds)
        stamp_ns = whole_s.astype(np.int64) * 1_000_000_000
        stamp_ns += np.rint((seconds - whole_s) * 1e9).astype(np.int64)
        failed = np.zeros(len(frame), dtype=np.bool_)
        return Rows(
            stamp_ns, tokens_in, tokens_out, failed, *ids, session=chat, turn=turn, parent=parent
        )

    def row(self, line: str) -> Row:
        record = parse_object(line)
        stamp_ns = _seconds_ns(record, line)
        tokens_in = whole(record, line, ("input_length",), 1, MAX_TOKENS, tokens_expected(1))
        ids = id_list(record, line, ("hash_ids",))
        check_blocks(line, ("hash_ids",), len(ids), -(-tokens_in // BLOCK_TOKENS), tokens_in)
        return Row(
            stamp_ns,
            tokens_in,
            whole(record, line, ("output_length",), 0, MAX_TOKENS, tokens_expected(0)),
            hash_ids=ids,
            session=whole(record, line, ("chat_id",), 0, INT64_MAX, _CHAT),
            turn=whole(record, line, ("turn",), 1, MAX_TOKENS, _TURN),
            parent=whole(record, line, ("parent_chat_id",), -1, INT64_MAX, _PARENT),
        )

    def trace(self, path: str, columns: TraceColumns, origin: str, rejects: Rejects) -> Trace:
        read = super().trace(path, columns, origin, rejects)
        return replace(
            read,
            prefixes=columns.take_prefixes(BLOCK_TOKENS),
            session_id=conversations(columns.take("session"), columns.take("parent")),
            turn=columns.take("turn") - 1,
        )


def conversations(chat: Ints, parent: Ints) -> Ints:
    """The conversation of each chat, int64 `[rows]`, from 0 in order of appearance.

    A chat belongs to the conversation of its parent, which is the first row above it with that
    number; it begins one if there is none (-1, or a parent before the file or window begins).
    """
    rows = np.arange(len(chat))
    order = np.argsort(chat, kind="stable")
    ordered = chat[order]
    found = np.minimum(np.searchsorted(ordered, parent), len(chat) - 1)
    above = order[found]
    is_child = (ordered[found] == parent) & (above < rows)
    root = np.where(is_child, above, rows)
    # Links only point upward, so that following them twice as far each time ends.
    while (further := root[root]).tobytes() != root.tobytes():
        root = further
    return renumbered(root)


def _seconds_ns(record: dict[str, Any], line: str) -> int:
    value = present(record, line, ("timestamp",), _SECONDS)
    if type(value) is int or type(value) is Decimals:
        stamp_ns = float_text_ns(str(value))
        if stamp_ns is not None:
            return stamp_ns
    raise BrokenRow(offset(line, ("timestamp",)), _SECONDS, quoted(value), "timestamp")
