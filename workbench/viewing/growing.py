"""Tables and columns of a run that grow while it lives, ordered by time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SETTLE_SHARE = 8
_FIRST_ROWS = 1024


class GrowingFrame:
    """A table that is ordered by one column; what comes late is put where it belongs.

    Args:
        schema: the table's columns; by: the one that orders it.
    """

    def __init__(self, schema: Mapping[str, pl.DataType], by: str) -> None:
        self.by = by
        self._settled = pl.DataFrame(schema=schema)
        self._tail: list[pl.DataFrame] = []
        self._tail_rows = 0
        self._newest: Any = None
        self._whole: pl.DataFrame | None = self._settled

    def add(self, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        if not rows[self.by].is_sorted():
            rows = rows.sort(self.by, maintain_order=True)
        self._whole = None
        self._tail.append(rows)
        self._tail_rows += rows.height
        first, last = rows[self.by][0], rows[self.by][-1]
        late = self._newest is not None and first < self._newest
        self._newest = max(last, self._newest) if late else last
        if late or self._tail_rows > self._settled.height / _SETTLE_SHARE:
            self._settle(late)

    @property
    def frame(self) -> pl.DataFrame:
        """The whole table."""
        if self._whole is None:
            self._whole = pl.concat([self._settled, *self._tail], rechunk=False)
        return self._whole

    def _settle(self, late: bool) -> None:
        parts = [part for part in (self._settled, *self._tail) if part.height]
        whole = parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=True)
        self._settled = whole.sort(self.by, maintain_order=True) if late else whole
        self._whole, self._tail, self._tail_rows = self._settled, [], 0


class Stamped:
    """Rows in the order of their stamps, as numpy columns.

    Args:
        dtypes: the columns beside the stamp, by name.
    """

    def __init__(self, **dtypes: npt.DTypeLike) -> None:
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.empty(_FIRST_ROWS, dtype) for name, dtype in dtypes.items()
        }
        self._times_ns: Ints = np.empty(_FIRST_ROWS, np.int64)
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def times_ns(self) -> Ints:
        return self._times_ns[self._start : self._end]

    def column(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name][self._start : self._end]

    def add(self, times_ns: Ints, **columns: npt.NDArray[Any]) -> None:
        """Takes in rows; they need not be in order, nor later than those that are there."""
        if not times_ns.size:
            return
        newest = self._times_ns[self._end - 1] if len(self) else times_ns[0]
        self._reserve(times_ns.size)
        end = self._end + times_ns.size
        self._times_ns[self._end : end] = times_ns
        for name, values in columns.items():
            self._columns[name][self._end : end] = values
        self._end = end
        if times_ns[0] < newest or (times_ns[1:] < times_ns[:-1]).any():
            self._sort()

    def upto(self, time_ns: int) -> int:
        """How many rows have stamps up to `time_ns`."""
        return int(np.searchsorted(self.times_ns, time_ns, side="right"))

    def forget_before(self, time_ns: int) -> None:
        """Lets go of rows with stamps before `time_ns`."""
        self._start += int(np.searchsorted(self.times_ns, time_ns, side="left"))

    def clear(self) -> None:
        self._start = self._end = 0

    def _reserve(self, rows: int) -> None:
        if self._end + rows <= self._times_ns.size:
            return
        size = max(_FIRST_ROWS, 2 * (len(self) + rows))
        self._times_ns = _moved(self.times_ns, size)
        self._columns = {name: _moved(self.column(name), size) for name in self._columns}
        self._start, self._end = 0, self._end - self._start

    def _sort(self) -> None:
        order = np.argsort(self.times_ns, kind="stable")
        for name in self._columns:
            self.column(name)[:] = self.column(name)[order]
        self.times_ns[:] = self.times_ns[order]


def _moved(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    grown = np.empty(size, values.dtype)
    grown[: values.size] = values
    return grown
