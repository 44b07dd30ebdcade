"""Weka traces of coding agents (kv-cache-tester).

One JSON object a session, alone in a file or one a line; a folder of such files is read as one
trace, in the order of their names. A session has `block_size` and `requests`, of which each is

- a request: `t` in seconds since the session began, `in` and `out` in tokens, `hash_ids` of its
  full blocks: `floor(in / block_size)` of them; or
- `{"type": "subagent", "t": ..., "requests": [...]}`, which may nest. Their stamps are the
  session's in the published captures, and relative to the sub-agent's own `t` in others: relative
  is what begins before it.

Sub-agents are read as rows of their session, merged by time. Ids are local to the session unless
`hash_id_scope` is `global`. Published at github.com/callanjfox/kv-cache-tester, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from workloads.errors import WorkloadError
from workloads.traces.broken import BrokenRow, Rejects
from workloads.traces.columns import Rows, TraceColumns
from workloads.traces.fields import MAX_TOKENS, decimal_ns, tokens_expected
from workloads.traces.json_lines import (
    Decimals,
    id_list,
    offset,
    parse_object,
    present,
    quoted,
    whole,
)
from workloads.traces.mooncake import check_blocks
from workloads.traces.options import TraceOptions
from workloads.traces.stream import CHUNK_BYTES, MAX_LINE_BYTES, Chunk, read_chunks
from workloads.traces.trace import Ints, Trace

_SECONDS: Final = "a number of seconds from 0 up"

KeyPath = tuple[str | int, ...]


def read_weka(path: str, options: TraceOptions, chunk_bytes: int = CHUNK_BYTES) -> Trace:
    """Reads a file of one session or of several, or a folder of such files.

    Sessions have their own clocks and no order among them, so that only `options.skip_bad` counts
    here. Raises `WorkloadError` with file, line and column for the first broken session or request.
    """
    columns = TraceColumns(options, everything=True)
    reading = _Sessions(columns)
    skipped, first_skipped = 0, ""
    for file in _files(path):
        rejects = Rejects(file, options.skip_bad)
        for text, line in _documents(file, chunk_bytes):
            reading.add(text, line, rejects)
        skipped += rejects.skipped
        first_skipped = first_skipped or rejects.first_skipped
    columns.check_not_empty(path, skipped, first_skipped)
    return Trace(
        format="weka",
        path=path,
        arrival_ns=columns.take("stamp_ns"),
        input_tokens=columns.take("input_tokens"),
        output_tokens=columns.take("output_tokens"),
        failed=columns.take("failed").astype(np.bool_),
        prefixes=columns.take_prefixes(reading.block_tokens),
        session_id=columns.take("session"),
        turn=columns.take("turn"),
        sessions_own_clock=True,
        skipped=skipped,
        first_skipped=first_skipped,
    )


def session_files(folder: Path) -> list[Path]:
    """The files of a folder that can be sessions, by name."""
    return sorted(p for p in folder.iterdir() if ".json" in p.suffixes or ".jsonl" in p.suffixes)


def _files(path: str) -> list[str]:
    if not Path(path).is_dir():
        return [path]
    files = session_files(Path(path))
    if not files:
        raise WorkloadError(f"{path}: the folder has no .json or .jsonl files")
    return [str(file) for file in files]


def _documents(path: str, chunk_bytes: int) -> Iterator[tuple[str, int]]:
    """Text and first line of each session of a file."""
    chunks = read_chunks(path, chunk_bytes)
    first = next(chunks, None)
    if first is None:
        return
    opening = first.text.lstrip().split(b"\n", 1)[0].rstrip()
    if not opening.endswith(b"}"):
        # One object over many lines.
        yield _joined(path, first, chunks), first.first_line
        return
    while first is not None:
        for number, line in enumerate(first.text.split(b"\n"), first.first_line):
            if line.strip():
                yield line.decode("utf-8", "replace"), number
        first = next(chunks, None)


def _joined(path: str, first: Chunk, rest: Iterator[Chunk]) -> str:
    texts, size = [first.text], len(first.text)
    for chunk in rest:
        texts.append(chunk.text)
        size += len(chunk.text)
        if size > MAX_LINE_BYTES:
            raise WorkloadError(
                f"{path}: its one session is longer than {MAX_LINE_BYTES >> 20} MiB: put one "
                "session in each file or on each line"
            )
    return b"".join(texts).rstrip().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Request:
    stamp_ns: int
    input_tokens: int
    output_tokens: int
    hash_ids: list[int]


@dataclass(slots=True)
class _Document:
    """One session's text, and where its broken requests go."""

    text: str
    first_line: int
    rejects: Rejects
    block_tokens: int = 0
    requests: list[_Request] = field(default_factory=list)

    def walk(self, entries: Any, path: KeyPath, began_ns: int) -> None:
        """Collects the requests of a list, and those of the sub-agents in it."""
        if type(entries) is not list:
            at = offset(self.text, path)
            raise BrokenRow(at, "a list of requests", quoted(entries), "requests")
        for i, entry in enumerate(entries):
            try:
                self._entry(entry, (*path, i), began_ns)
            except BrokenRow as broken:
                self.rejects.add(broken, self.text, self.first_line)

    def _entry(self, entry: Any, path: KeyPath, began_ns: int) -> None:
        if type(entry) is not dict:
            raise BrokenRow(offset(self.text, path), "a request (an object)", quoted(entry))
        stamp_ns = began_ns + self._stamp_ns(entry, path)
        if entry.get("type") == "subagent":
            inner = present(entry, self.text, (*path, "requests"), "a list of requests")
            relative = self._begins_before(inner, stamp_ns - began_ns)
            self.walk(inner, (*path, "requests"), stamp_ns if relative else began_ns)
            return
        text = self.text
        tokens = whole(entry, text, (*path, "in"), 1, MAX_TOKENS, tokens_expected(1))
        ids = id_list(entry, text, (*path, "hash_ids"))
        check_blocks(text, (*path, "hash_ids"), len(ids), tokens // self.block_tokens, tokens)
        output = whole(entry, text, (*path, "out"), 0, MAX_TOKENS, tokens_expected(0))
        self.requests.append(_Request(stamp_ns, tokens, output, ids))

    def _stamp_ns(self, entry: dict[str, Any], path: KeyPath) -> int:
        value = present(entry, self.text, (*path, "t"), _SECONDS)
        stamp_ns = decimal_ns(str(value)) if type(value) in (int, Decimals) else None
        if stamp_ns is None:
            raise BrokenRow(offset(self.text, (*path, "t")), _SECONDS, quoted(value), "t")
        return stamp_ns

    def _begins_before(self, entries: Any, stamp_ns: int) -> bool:
        """Whether a sub-agent's first stamp is before `stamp_ns`, hence relative to it."""
        stamps = [
            decimal_ns(str(entry["t"]))
            for entry in (entries if type(entries) is list else ())
            if type(entry) is dict and type(entry.get("t")) in (int, Decimals)
        ]
        return any(stamp is not None and stamp < stamp_ns for stamp in stamps)


class _Sessions:
    """Adds sessions to the columns, with ids that no two of them share by accident."""

    def __init__(self, columns: TraceColumns) -> None:
        self.block_tokens = 0
        self._columns = columns
        self._sessions = 0
        self._ids = 0
        self._global_ids: dict[int, int] = {}

    def add(self, text: str, first_line: int, rejects: Rejects) -> None:
        document = _Document(text, first_line, rejects)
        try:
            record = parse_object(text)
            document.block_tokens = self._block_tokens(record, text)
            scope = record.get("hash_id_scope", "local")
            if scope not in ("local", "global"):
                at = offset(text, ("hash_id_scope",))
                raise BrokenRow(at, '"local" or "global"', quoted(scope), "hash_id_scope")
            entries = present(record, text, ("requests",), "a list of requests")
            document.walk(entries, ("requests",), 0)
        except BrokenRow as broken:
            rejects.add(broken, text, first_line)
            return
        if document.requests:
            self.block_tokens = document.block_tokens
            self._columns.add(self._rows(document.requests, scope == "global"))
            self._sessions += 1

    def _block_tokens(self, record: dict[str, Any], text: str) -> int:
        path = ("block_size",)
        tokens = whole(record, text, path, 1, MAX_TOKENS, "the tokens of a block")
        if self.block_tokens not in (0, tokens):
            raise BrokenRow(
                offset(text, path),
                f"{self.block_tokens}, as in the sessions before",
                str(tokens),
                "block_size",
            )
        return tokens

    def _rows(self, requests: list[_Request], are_global: bool) -> Rows:
        requests = sorted(requests, key=lambda request: request.stamp_ns)
        n = len(requests)
        stamp_ns = np.array([r.stamp_ns for r in requests], dtype=np.int64)
        ids = np.array([i for r in requests for i in r.hash_ids], dtype=np.int64)
        return Rows(
            stamp_ns=stamp_ns - stamp_ns[0],
            input_tokens=np.array([r.input_tokens for r in requests], dtype=np.int64),
            output_tokens=np.array([r.output_tokens for r in requests], dtype=np.int64),
            failed=np.zeros(n, dtype=np.bool_),
            blocks=np.array([len(r.hash_ids) for r in requests], dtype=np.int64),
            hash_ids=self._unique(ids, are_global),
            session=np.full(n, self._sessions, dtype=np.int64),
            turn=np.arange(n, dtype=np.int64),
        )

    def _unique(self, ids: Ints, are_global: bool) -> Ints:
        distinct, inverse = np.unique(ids, return_inverse=True)
        if not are_global:
            numbers = self._ids + np.arange(len(distinct), dtype=np.int64)
            self._ids += len(distinct)
        else:
            known = self._global_ids
            for value in distinct.tolist():
                if value not in known:
                    known[value] = self._ids
                    self._ids += 1
            numbers = np.array([known[value] for value in distinct.tolist()], dtype=np.int64)
        unique: Ints = numbers[inverse.reshape(ids.shape)]
        return unique
