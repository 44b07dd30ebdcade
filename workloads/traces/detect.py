"""Which format a file has, by the beginning of its content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from workloads.errors import WorkloadError
from workloads.traces.broken import BrokenRow, shown
from workloads.traces.csv_lines import split_fields
from workloads.traces.stream import read_head
from workloads.traces.weka import session_files

TEXT_FORMATS: Final = frozenset({"sharegpt", "text"})
"""Files of texts, without stamps."""

HEAD_BYTES: Final = 1 << 20

_CSV: Final = {
    "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    "burstgpt": {"Timestamp", "Model", "Request tokens", "Response tokens"},
}

_MOONCAKE: Final = {"timestamp", "input_length", "output_length", "hash_ids"}
# In this order: what a later format asks for may be part of an earlier one.
_JSON: Final = (
    ("native", {"workbench_trace"}),
    ("bailian", _MOONCAKE | {"chat_id", "parent_chat_id"}),
    ("mooncake", _MOONCAKE),
    ("weka", {"block_size", "requests"}),
)
# These may be the elements of one JSON array too.
_TEXTS: Final = (
    ("sharegpt", {"conversations"}),
    ("text", {"messages"}),
    ("text", {"turns"}),
    ("text", {"prompt"}),
    ("text", {"text"}),
)

_KNOWN: Final = (
    "known are azure and burstgpt (CSV with a header), mooncake, bailian and native (JSON Lines), "
    "weka (JSON sessions), and for texts sharegpt and text (JSON or JSON Lines)"
)


def detect_format(path: str | Path) -> str:
    """The name of the format of `path`: a reader of `workloads.traces.formats`, or `sharegpt` or
    `text` for files of texts. A folder is `weka` if its first session file is.

    Raises `WorkloadError` for a file that is empty, unreadable or of no known format.
    """
    if Path(path).is_dir():
        return _folder_format(Path(path))
    head = read_head(str(path), HEAD_BYTES)
    if not head.strip():
        raise WorkloadError(f"{path}: the file is empty")
    name = format_of(head)
    if name is None:
        raise WorkloadError(f"{path}: {_why(head)}")
    return name


def _folder_format(folder: Path) -> str:
    files = session_files(folder)
    found = detect_format(files[0]) if files else "no .json or .jsonl file"
    if found != "weka":
        raise WorkloadError(
            f"{folder}: only folders of weka sessions can be read, and this has {found}: "
            "give a file"
        )
    return found


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with `head`; None for no known one."""
    text = head.decode("utf-8", "ignore").lstrip()
    if text[:1] not in ("{", "["):
        return _csv_format(text.split("\n", 1)[0].rstrip("\r"))
    is_array = text.startswith("[")
    keys = leading_keys(text[1:].lstrip() if is_array else text)
    for name, needed in _TEXTS if is_array else (*_JSON, *_TEXTS):
        if needed <= keys:
            return name
    return None


def leading_keys(text: str) -> set[str]:
    """The keys of the JSON object that `text` begins with, as far as it goes."""
    decoder = json.JSONDecoder()
    keys: set[str] = set()
    at = 1
    try:
        while text[at : at + 64].lstrip()[:1] == '"':
            key, at = decoder.raw_decode(text, text.index('"', at))
            at = text.index(":", at) + 1
            keys.add(key)
            while text[at].isspace():
                at += 1
            _, at = decoder.raw_decode(text, at)
            while text[at].isspace() or text[at] == ",":
                at += 1
    except (ValueError, IndexError, RecursionError):
        pass  # cut off here: the keys so far are what there is to see
    return keys


def _csv_format(line: str) -> str | None:
    try:
        names = {text for _, text in split_fields(line)}
    except BrokenRow:
        return None
    return next((name for name, needed in _CSV.items() if needed <= names), None)


def _why(head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the data: fetch the file itself (git lfs pull)"
    first = head.lstrip().split(b"\n", 1)[0].rstrip(b"\r")
    if b"\0" in first:
        return f"no known format: {_KNOWN}; this one is binary and begins with {first[:16]!r}"
    return (
        f"no known format: {_KNOWN}; this one begins with {shown(first.decode('utf-8', 'replace'))}"
    )
