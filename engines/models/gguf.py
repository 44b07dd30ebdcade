"""A strict reader of GGUF files, versions 2 and 3, little-endian.

    | magic, version, counts | metadata: key, type, value … | tensor index … | pad | tensor data |

The file is mapped, not read: parsing touches the header and the index alone. Nothing in the file
is believed before it is checked: every count, length and offset is compared with the bytes that
are there before anything is allocated for it. Whatever is wrong ends in one `ModelError`.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from engines.errors import ModelError
from engines.models.quantisation import TENSOR_TYPES, Bytes, Floats, TensorType, dequantise

MetadataValue = bool | int | float | str | npt.NDArray[np.generic] | list["MetadataValue"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS: dict[int, np.dtype[np.generic]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_MAX_ARRAY_DEPTH = 2  # arrays of arrays are allowed by the format, but no known model nests deeper
_MAX_DIMENSIONS = 4
_MAX_NAME_BYTES = 65_535
_MIN_ENTRY_BYTES = 8 + 1 + 4 + 1  # metadata: key length, key, type, value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name length, name, dimensions, one size, type, offset
_MIN_ARRAY_BYTES = 4 + 8  # element type and count, for an array inside an array
_DAMAGED = "the file is damaged or was not downloaded whole; get it again"


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """One entry of the tensor index.

    Attributes:
        shape: outermost dimension first, as torch and numpy have it (the file has it reversed).
        offset: where its data begins, in bytes from the file's start.
        num_bytes: bytes of its data.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """A parsed file: its metadata and tensor index. The data is read where it is asked for."""

    path: Path
    version: int
    metadata: Mapping[str, MetadataValue]
    tensors: Mapping[str, GGUFTensor]
    _data: mmap.mmap

    def raw(self, name: str) -> Bytes:
        """The stored bytes of a tensor, `[num_bytes]`, read-only and not copied.

        Raises:
            ModelError: there is no such tensor.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise ModelError(f"{self.path}: there is no tensor {name!r}; the file is incomplete")
        return np.frombuffer(self._data, np.uint8, tensor.num_bytes, tensor.offset)

    def load(self, name: str) -> Floats:
        """The values of a tensor, as 32-bit floats in its own shape.

        Raises:
            ModelError: there is no such tensor, or its format is not supported.
        """
        data = self.raw(name)
        tensor = self.tensors[name]
        return dequantise(data, tensor.type, f"{self.path.name}:{name}").reshape(tensor.shape)


def read_gguf(path: Path) -> GGUFFile:
    """Parse the header, the metadata and the tensor index of a GGUF file.

    Numeric arrays of the metadata become numpy arrays, arrays of strings become lists.

    Raises:
        ModelError: the file cannot be opened, is no GGUF file of a known version, is truncated
            or contradicts itself; the message names the path and the byte.
    """
    try:
        # Nothing but a regular file can be mapped, and opening a pipe would wait for ever.
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file; check the path")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < len(_MAGIC):
                raise ModelError(f"{path}: byte 0: the file has only {size} bytes; {_DAMAGED}")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); check its permissions") from error
    return _Parser(path, data).parse()


class _Parser:
    """A cursor over the mapped file; every step forward is checked against its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.position = 0

    def parse(self) -> GGUFFile:
        version = self._version()
        num_tensors = self._count(self._u64(), _MIN_TENSOR_BYTES, "tensors")
        num_entries = self._count(self._u64(), _MIN_ENTRY_BYTES, "metadata entries")
        metadata = self._metadata(num_entries)
        alignment = self._alignment(metadata)
        index = [self._index_entry() for _ in range(num_tensors)]
        tensors = self._place(index, -(-self.position // alignment) * alignment, alignment)
        return GGUFFile(self.path, version, metadata, tensors, self.data)

    def _fail(self, what: str, at: int | None = None, remedy: str = _DAMAGED) -> NoReturn:
        byte = self.position if at is None else at
        raise ModelError(f"{self.path}: byte {byte}: {what}; {remedy}")

    def _skip(self, num_bytes: int, what: str) -> int:
        """Claim `num_bytes` bytes and return where they start."""
        start = self.position
        if num_bytes > self.size - start:
            self._fail(f"{what} of {num_bytes} bytes does not fit in the file of {self.size} bytes")
        self.position = start + num_bytes
        return start

    def _u32(self) -> int:
        return int.from_bytes(self.data[self._skip(4, "a number") : self.position], "little")

    def _u64(self) -> int:
        return int.from_bytes(self.data[self._skip(8, "a number") : self.position], "little")

    def _count(self, count: int, min_bytes: int, what: str) -> int:
        """`count`, if so many items of at least `min_bytes` bytes can be in the rest."""
        if count > (self.size - self.position) // min_bytes:
            self._fail(f"{count} {what} cannot fit in the remaining bytes", self.position - 8)
        return count

    def _text(self, what: str) -> str:
        at = self.position
        start = self._skip(self._u64(), what)
        try:
            return str(self.data[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            self._fail(f"{what} is not UTF-8 ({error.reason})", at)

    def _name(self, what: str) -> str:
        at = self.position
        name = self._text(what)
        if not 0 < len(name) <= _MAX_NAME_BYTES:
            self._fail(f"{what} has {len(name)} characters", at)
        return name

    def _version(self) -> int:
        if self.data[:4] != _MAGIC:
            self._fail("the file does not begin with 'GGUF'", remedy="give a GGUF file")
        self.position = 4
        version = self._u32()
        if version not in _VERSIONS:
            big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            what = "the file is big-endian" if big_endian else f"GGUF version {version} is unknown"
            self._fail(what, 4, "use a little-endian file of version 2 or 3")
        return version

    def _metadata(self, num_entries: int) -> dict[str, MetadataValue]:
        metadata: dict[str, MetadataValue] = {}
        for _ in range(num_entries):
            at = self.position
            key = self._name("a metadata key")
            if key in metadata:
                self._fail(f"metadata key {key!r} occurs twice", at)
            metadata[key] = self._value(self._u32(), key)
        return metadata

    def _value(self, kind: int, key: str) -> MetadataValue:
        if kind == _STRING:
            return self._text(f"the value of {key!r}")
        if kind == _ARRAY:
            return self._array(key, depth=1)
        if kind == _BOOL:
            return bool(self._bools(1, key)[0])
        value: MetadataValue = self._numbers(kind, 1, key)[0].item()
        return value

    def _array(self, key: str, depth: int) -> MetadataValue:
        if depth > _MAX_ARRAY_DEPTH:
            self._fail(f"{key!r} nests arrays more than {_MAX_ARRAY_DEPTH} deep")
        kind, count = self._u32(), self._u64()
        if kind == _STRING:
            return self._strings(self._count(count, 8, f"strings in {key!r}"), key)
        if kind == _ARRAY:
            self._count(count, _MIN_ARRAY_BYTES, f"arrays in {key!r}")
            return [self._array(key, depth + 1) for _ in range(count)]
        return self._bools(count, key) if kind == _BOOL else self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> npt.NDArray[np.generic]:
        dtype = _NUMBERS.get(kind)
        if dtype is None:
            self._fail(f"{key!r} has a value of unknown type {kind}")
        start = self._skip(count * dtype.itemsize, f"the value of {key!r}")
        # Copied: values lie at any byte, and a view would not be aligned.
        return np.frombuffer(self.data, dtype, count, start).copy()

    def _bools(self, count: int, key: str) -> npt.NDArray[np.generic]:
        start = self._skip(count, f"the value of {key!r}")
        raw = np.frombuffer(self.data, np.uint8, count, start)
        if count and raw.max() > 1:
            self._fail(f"{key!r} has a truth value that is neither 0 nor 1", start)
        return raw.astype(np.bool_)

    def _strings(self, count: int, key: str) -> MetadataValue:
        """A vocabulary has 10⁵ of them: no call per string but the two that it takes."""
        data, size, position = self.data, self.size, self.position
        unpack_length = struct.Struct("<Q").unpack_from
        strings: list[MetadataValue] = []
        try:
            for _ in range(count):
                start = position + 8
                end = start + unpack_length(data, position)[0]
                if end > size:
                    self._fail(f"a string of {key!r} runs past the end of the file", position)
                strings.append(str(data[start:end], "utf-8"))
                position = end
        except struct.error:
            self._fail(f"{key!r} is cut off after {len(strings)} of {count} strings", position)
        except UnicodeDecodeError as error:
            self._fail(f"a string of {key!r} is not UTF-8 ({error.reason})", position)
        self.position = position
        return strings

    def _alignment(self, metadata: Mapping[str, MetadataValue]) -> int:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            self._fail(f"general.alignment = {alignment!r} is not a power of two")
        return alignment

    def _index_entry(self) -> tuple[GGUFTensor, int]:
        """A tensor whose offset still counts from the start of the data, and where it is named."""
        at = self.position
        name = self._name("a tensor name")
        num_dimensions = self._u32()
        if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
            self._fail(f"tensor {name!r} has {num_dimensions} dimensions, not 1 to 4", at)
        shape = tuple(self._u64() for _ in range(num_dimensions))[::-1]
        number = self._u32()
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            self._fail(f"tensor {name!r} has the unknown type number {number}", at)
        if shape[-1] % kind.block_elements or 0 in shape:
            self._fail(f"tensor {name!r} of shape {shape} has no whole {kind.name} blocks", at)
        num_bytes = prod(shape) // kind.block_elements * kind.block_bytes
        return GGUFTensor(name, shape, kind, self._u64(), num_bytes), at

    def _place(
        self, index: list[tuple[GGUFTensor, int]], data_start: int, alignment: int
    ) -> dict[str, GGUFTensor]:
        """The index by name, with offsets from the file's start, checked against each other."""
        tensors: dict[str, GGUFTensor] = {}
        for tensor, at in index:
            name, offset = tensor.name, data_start + tensor.offset
            if name in tensors:
                self._fail(f"tensor {name!r} occurs twice", at)
            if tensor.offset % alignment:
                self._fail(f"the data of {name!r} is not aligned to {alignment} bytes", at)
            if offset + tensor.num_bytes > self.size:
                self._fail(
                    f"the data of {name!r} ends at byte {offset + tensor.num_bytes}, "
                    f"but the file has {self.size}",
                    at,
                )
            tensors[name] = GGUFTensor(name, tensor.shape, tensor.type, offset, tensor.num_bytes)
        in_order = sorted(tensors.values(), key=lambda tensor: tensor.offset)
        for before, after in pairwise(in_order):
            if before.offset + before.num_bytes > after.offset:
                self._fail(f"tensors {before.name!r} and {after.name!r} overlap", after.offset)
        return tensors
