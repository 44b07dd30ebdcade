"""Segment files: what a run appends while it lives, readable by any other process.

    8 bytes   magic "WBSEG1\\n\\0"
    8 bytes   little-endian: length of the header
    4 bytes   little-endian: CRC-32 of header and body
    header    JSON: {"sequence": n, "tables": {table: {column: [kind, offset, count]}},
                     "text": {table: {column: [values]}}}
    body      the columns' little-endian values, one after the other

A segment is written aside and renamed, so a reader sees a whole one or none. A column is numbers
or text; nothing in it can run code.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import StoreError

MAGIC = b"WBSEG1\n\0"
_FIXED = struct.Struct("<QI")
DTYPES = {"int64": "<i8", "int32": "<i4", "float64": "<f8", "bool": "|b1"}
_KINDS = {np.dtype(dtype).str: kind for kind, dtype in DTYPES.items()}

_SEGMENT_NAME = re.compile(r"[0-9]{8}\.seg")

ColumnData = npt.NDArray[Any] | Sequence[str]
SegmentTables = dict[str, dict[str, Any]]


def encode_segment(sequence: int, tables: Mapping[str, Mapping[str, ColumnData]]) -> bytes:
    """One segment's bytes. Numeric columns are numpy arrays, text columns sequences of str."""
    numbers: dict[str, dict[str, list[Any]]] = {}
    text: dict[str, dict[str, list[str]]] = {}
    body: list[bytes] = []
    offset = 0
    for table, columns in tables.items():
        for name, values in columns.items():
            if isinstance(values, np.ndarray) and values.dtype.kind != "U":
                kind = _KINDS[values.dtype.newbyteorder("<").str]
                data = np.ascontiguousarray(values, DTYPES[kind]).tobytes()
                numbers.setdefault(table, {})[name] = [kind, offset, len(values)]
                body.append(data)
                offset += len(data)
            else:
                plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
                text.setdefault(table, {})[name] = plain
    described = {"sequence": sequence, "tables": numbers, "text": text}
    header = json.dumps(described, separators=(",", ":")).encode()
    payload = header + b"".join(body)
    return MAGIC + _FIXED.pack(len(header), zlib.crc32(payload)) + payload


def decode_segment(data: bytes, where: str) -> SegmentTables:
    """The tables of a segment; numeric columns are read-only numpy arrays, text ones lists.

    Raises:
        StoreError: it is not a whole segment; the message says what is wrong.
    """
    start = len(MAGIC) + _FIXED.size
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise StoreError(f"{where}: not a segment of a run, or cut off in its first bytes")
    length, checksum = _FIXED.unpack_from(data, len(MAGIC))
    if zlib.crc32(memoryview(data)[start:]) != checksum:
        raise StoreError(f"{where}: its checksum does not match; it is torn or was changed")
    try:
        described = json.loads(data[start : start + length])
        tables: SegmentTables = {}
        for table, columns in described["tables"].items():
            for name, (kind, offset, count) in columns.items():
                values = np.frombuffer(data, DTYPES[kind], count, start + length + offset)
                tables.setdefault(table, {})[name] = values
        for table, columns in described["text"].items():
            for name, values in columns.items():
                tables.setdefault(table, {})[name] = [str(value) for value in values]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{where}: its header is broken ({error})") from None
    return tables


def segment_path(folder: Path, sequence: int) -> Path:
    return folder / f"{sequence:08d}.seg"


def write_segment(folder: Path, sequence: int, data: bytes, fsync: bool) -> None:
    """Puts a segment in place: written aside, then renamed.

    Raises:
        OSError: the disk is full or can't be written.
    """
    aside = folder / f".{sequence:08d}.part"
    with aside.open("wb") as file:
        file.write(data)
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    aside.rename(segment_path(folder, sequence))


def list_segments(folder: Path, after: int = -1) -> list[Path]:
    """Segments whose sequence number is above `after`, in order."""
    last = segment_path(folder, after).name if after >= 0 else ""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name > last]
    except OSError:
        return []  # the run has ended, and its segments are tables now
    return [folder / name for name in sorted(names) if _SEGMENT_NAME.fullmatch(name)]


def read_segments(paths: Iterable[Path]) -> tuple[list[SegmentTables], list[str]]:
    """All readable segments, and what was wrong with the others."""
    tables, broken = [], []
    for path in paths:
        try:
            tables.append(decode_segment(path.read_bytes(), str(path)))
        except (StoreError, OSError) as error:
            broken.append(str(error))
    return tables, broken
