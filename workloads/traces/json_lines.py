"""JSON Lines files with one flat object a request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from workloads.traces.broken import BrokenRow, shortened, shown
from workloads.traces.fields import INT64_MAX
from workloads.traces.lines import LineFormat
from workloads.traces.trace import Ints

if TYPE_CHECKING:
    import polars as pl

_SPACE: Final = re.compile(r"[ \t\n\r]*")


class Decimals(str):
    """A JSON number with a point or an exponent, as it is written."""

    __slots__ = ()


class JsonFormat(LineFormat):
    """One object a line; other keys than those asked for are ignored."""

    def header(self, line: str) -> bool:
        return False

    def locate(self, line: str, name: str) -> tuple[int, str]:
        start = offset(line, (name,))
        _, end = json.JSONDecoder().raw_decode(line, start)
        return start, line[start:end]

    def frame(
        self, text: bytes, schema: Mapping[str, Any], full: Sequence[str]
    ) -> pl.DataFrame | None:
        """The keys of `schema`, those of `full` without nulls; None where the careful reader is
        needed."""
        import polars as pl

        try:
            frame = pl.read_ndjson(text, schema=schema)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        if len(frame) != text.count(b"\n") or any(frame[name].null_count() for name in full):
            return None
        return frame


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object; numbers that are not whole become `Decimals`. Raises `BrokenRow`."""
    try:
        value = json.loads(text, parse_float=Decimals, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        found = shown(text[error.pos :]) if error.pos < len(text) else "the end"
        raise BrokenRow(error.pos, f"JSON ({error.msg.lower()})", found) from error
    except (ValueError, RecursionError) as error:
        raise BrokenRow(0, "JSON with finite, usual numbers", str(error)) from error
    if not isinstance(value, dict):
        raise BrokenRow(offset(text, ()), "a JSON object", shown(text.strip()))
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def offset(text: str, path: Sequence[str | int]) -> int:
    """Offset of the value at `path` in valid JSON; of the innermost one that is there."""
    at = _skip(text, 0)
    for step in path:
        found = _member(text, at, step)
        if found is None:
            return at
        at = found
    return at


def whole(
    record: dict[str, Any], text: str, path: tuple[str | int, ...], low: int, high: int, what: str
) -> int:
    """The whole number under the last step of `path`, which leads to `record`'s key in `text`.

    Raises `BrokenRow`, which asks for `what`.
    """
    name = str(path[-1])
    value = present(record, text, path, what)
    if type(value) is not int or not low <= value <= high:
        raise BrokenRow(offset(text, path), what, quoted(value), name)
    return value


def present(record: dict[str, Any], text: str, path: tuple[str | int, ...], what: str) -> Any:
    """The value under the last step of `path`. Raises `BrokenRow` where the key is absent."""
    name = str(path[-1])
    if name not in record:
        found = f"only the keys {shortened(', '.join(record))}" if record else "no keys"
        raise BrokenRow(offset(text, path), f'the key "{name}" with {what}', found)
    return record[name]


def id_list(record: dict[str, Any], text: str, path: tuple[str | int, ...]) -> list[int]:
    """The list of block ids under the last step of `path`. Raises `BrokenRow`."""
    what = "a list of block ids (whole numbers)"
    ids = present(record, text, path, what)
    if type(ids) is not list:
        raise BrokenRow(offset(text, path), what, quoted(ids), str(path[-1]))
    low, high = -INT64_MAX - 1, INT64_MAX
    if not set(map(type, ids)) <= {int} or (ids and not low <= min(ids) <= max(ids) <= high):
        i = next(i for i, v in enumerate(ids) if type(v) is not int or not low <= v <= high)
        raise BrokenRow(offset(text, (*path, i)), what, quoted(ids[i]), str(path[-1]))
    return ids


def quoted(value: Any) -> str:
    """A parsed value as an error message shows it: as JSON, cut short."""
    text = value if isinstance(value, Decimals) else json.dumps(value)
    return shortened(text)


def list_column(lists: pl.Series) -> tuple[Ints, Ints] | None:
    """Length of each list, int64 `[rows]`, and all their values; None if any value is null."""
    lengths = lists.list.len().to_numpy().astype(np.int64)
    values = lists.filter(lists.list.len() > 0).explode()
    if values.null_count():
        return None
    return lengths, values.to_numpy().astype(np.int64, copy=False)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _member(text: str, at: int, step: str | int) -> int | None:
    """Offset of the value `step` of the object or array that begins at `at`."""
    decode = json.JSONDecoder().raw_decode
    is_object, found, index = text[at] == "{", None, 0
    if not is_object and text[at] != "[":
        return None
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        key: str | int = index
        if is_object:
            key, at = decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        if key == step:
            found = at
        _, at = decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1
    return found
