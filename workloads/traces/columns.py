"""The columns of a trace while it is being read: they grow, and take only what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from workloads.errors import WorkloadError
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Ints, Prefixes

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a file, in its order.

    Attributes:
        stamp_ns: int64 `[rows]` on the file's own clock.
        input_tokens, output_tokens: int64 `[rows]`.
        failed: bool `[rows]`.
        blocks: int64 `[rows]`, how many of `hash_ids` each row has; None where there are none.
        hash_ids: int64 `[sum(blocks)]`.
        session, turn: int64 `[rows]`, in the file's own numbers.
        parent: int64 `[rows]`, the `session` that a row continues (Bailian).
    """

    stamp_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    failed: Bools
    blocks: Ints | None = None
    hash_ids: Ints | None = None
    session: Ints | None = None
    turn: Ints | None = None
    parent: Ints | None = None

    def __len__(self) -> int:
        return len(self.stamp_ns)


_BY_ROW: Final = ("stamp_ns", "input_tokens", "output_tokens", "blocks", "session", "turn")


class Column:
    """An int64 array that grows in place.

    The allocator moves the pages of a large array instead of copying them (mremap), so that
    growing by what is needed costs neither time nor a second copy.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: Ints = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._values)

    def append(self, values: Ints) -> None:
        n = len(self._values)
        self._values.resize(n + len(values), refcheck=False)
        self._values[n:] = values

    def take(self) -> Ints:
        """The array; the column is empty afterwards."""
        values, self._values = self._values, np.empty(0, dtype=np.int64)
        return values


class TraceColumns:
    """Collects rows in order of arrival, as far as `options.window_s` and `options.limit` go.

    `first_ns` is the stamp that the window counts from; that of the first row where None. With
    `everything`, all rows are taken: for files that are not in order of arrival.
    """

    def __init__(
        self, options: TraceOptions, *, first_ns: int | None = None, everything: bool = False
    ) -> None:
        self.first_ns = first_ns
        self._window_ns: tuple[int, int] | None = None
        if options.window_s is not None and not everything:
            start, end = options.window_s
            self._window_ns = round(start * 1e9), round(end * 1e9)
        self._limit = None if everything else options.limit
        self._columns = {name: Column() for name in (*_BY_ROW, "failed", "parent", "hash_ids")}
        self._seen_to_ns = 0
        self._window_s = options.window_s

    def __len__(self) -> int:
        return len(self._columns["stamp_ns"])

    def place(self, stamp_ns: int) -> int:
        """-1, 0 or 1: the stamp is before the window, in it, or past it."""
        if self._window_ns is None or self.first_ns is None:
            return 0
        start, end = self._window_ns
        since = stamp_ns - self.first_ns
        return (since >= start) + (since >= end) - 1

    def is_full(self, pending: int) -> bool:
        """Whether the limit is reached with `pending` rows that are not added yet."""
        return self._limit is not None and len(self) + pending >= self._limit

    def add(self, rows: Rows) -> bool:
        """Takes what is wanted of `rows`; False when no later row can be."""
        if not len(rows):
            return True
        if self.first_ns is None:
            self.first_ns = int(rows.stamp_ns[0])
        self._seen_to_ns = int(rows.stamp_ns[-1]) - self.first_ns
        start, stop = 0, len(rows)
        if self._window_ns is not None:
            bounds = np.asarray(self._window_ns, dtype=np.int64) + self.first_ns
            start, stop = map(int, np.searchsorted(rows.stamp_ns, bounds))
        if self._limit is not None:
            stop = min(stop, start + self._limit - len(self))
        self._append(rows, start, stop)
        return stop == len(rows) and not self.is_full(0)

    def _append(self, rows: Rows, start: int, stop: int) -> None:
        if rows.blocks is not None and rows.hash_ids is not None:
            first = int(rows.blocks[:start].sum())
            ids = int(rows.blocks[start:stop].sum())
            self._columns["hash_ids"].append(rows.hash_ids[first : first + ids])
        for name in (*_BY_ROW, "failed", "parent"):
            values = getattr(rows, name)
            if values is not None:
                self._columns[name].append(values[start:stop].astype(np.int64, copy=False))

    def take(self, name: str) -> Ints:
        """One column, int64 `[rows]`; asked for once."""
        return self._columns[name].take()

    def take_prefixes(self, block_tokens: int) -> Prefixes:
        """The blocks of all rows; asked for once."""
        blocks = self.take("blocks")
        offsets = np.zeros(len(blocks) + 1, dtype=np.int64)
        np.cumsum(blocks, out=offsets[1:])
        return Prefixes(block_tokens, self.take("hash_ids"), offsets)

    def check_not_empty(self, path: str, skipped: int, first_skipped: str) -> None:
        """Raises `WorkloadError` where nothing was taken, saying why."""
        if len(self):
            return
        if self.first_ns is not None and self._window_s is not None:
            start, end = self._window_s
            raise WorkloadError(
                f"{path}: no row arrives within {start:g}..{end:g} s; the last one before the end "
                f"of that window arrives at {self._seen_to_ns / 1e9:.3f} s: choose another window"
            )
        if skipped:
            raise WorkloadError(
                f"{path}: all {skipped} rows are broken; the first: {first_skipped}"
            )
        raise WorkloadError(f"{path}: has a header but no rows")


def renumbered(ids: Ints) -> Ints:
    """`ids` as numbers from 0 in the order in which they appear first; -1 stays."""
    distinct, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    first = np.where(distinct == -1, -1, first)
    numbers = np.empty(len(distinct), dtype=np.int64)
    alone = int((distinct == -1).sum())
    numbers[np.argsort(first, kind="stable")] = np.arange(len(distinct)) - alone
    renumbered_ids: Ints = numbers[inverse.reshape(ids.shape)]
    return renumbered_ids


def places(session: Ints) -> Ints:
    """How many earlier rows have the same session, int64 `[rows]`; 0 for those of session -1."""
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    sizes = np.diff(np.append(starts, len(ordered)))
    place = np.empty(len(session), dtype=np.int64)
    place[order] = np.arange(len(ordered)) - np.repeat(starts, sizes)
    place[session == -1] = 0
    return place
