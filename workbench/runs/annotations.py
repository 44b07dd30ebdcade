"""What people write on a run: tags, a note, and whether it is marked for comparison.

Kept in `annotations.json` in the run's folder, apart from the record: it may be written while the
run lives, and the runner never touches it.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any

from workbench.errors import StoreError
from workbench.runs.folder import RunFolder

FILE_NAME = "annotations.json"
LONGEST_NOTE = 2000
LONGEST_TAG = 32
MOST_TAGS = 32


@dataclass(frozen=True, slots=True)
class Annotations:
    """What people wrote on a run.

    Attributes:
        tags: short words: letters, digits, and - _ . : / + between them.
        note: at most `LONGEST_NOTE` characters.
        marked: it is one of those to be compared.

    Raises:
        StoreError: a tag or the note is not of this kind.
    """

    tags: frozenset[str] = frozenset()
    note: str = ""
    marked: bool = False

    def __post_init__(self) -> None:
        for tag in self.tags:
            if not _is_tag(tag):
                raise StoreError(
                    f"tag {tag!r:.60}: a tag is one word of at most {LONGEST_TAG} letters, digits "
                    "and - _ . : / +"
                )
        if len(self.tags) > MOST_TAGS:
            raise StoreError(f"{len(self.tags)} tags: a run has at most {MOST_TAGS}")
        if len(self.note) > LONGEST_NOTE:
            raise StoreError(
                f"the note has {len(self.note)} characters; at most {LONGEST_NOTE} are kept"
            )
        if any(not (c.isprintable() or c == "\n") for c in self.note):
            raise StoreError("the note has characters that can't be shown")


def read_annotations(folder: RunFolder) -> Annotations:
    """What is written on the run; nothing where nobody wrote.

    Raises:
        StoreError: the file is broken, or not one of this kind.
    """
    path = folder.path / FILE_NAME
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Annotations()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is broken: {error}; remove it to annotate the run anew") from None
    try:
        return _strict(content)
    except StoreError as error:
        raise StoreError(f"{path}: {error}; remove it to annotate the run anew") from None


def write_annotations(folder: RunFolder, annotations: Annotations) -> None:
    """Replaces what is written on the run, as a whole.

    Raises:
        StoreError: it can't be written.
    """
    path, aside = folder.path / FILE_NAME, folder.path / f".{FILE_NAME}.{os.getpid()}.part"
    content = {
        "tags": sorted(annotations.tags),
        "note": annotations.note,
        "marked": annotations.marked,
    }
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
        aside.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise StoreError(f"{path} can't be written: {error.strerror}") from None


def _strict(content: Any) -> Annotations:
    if not isinstance(content, dict):
        raise StoreError("it holds no annotations")
    unknown = content.keys() - {"tags", "note", "marked"}
    if unknown:
        raise StoreError(f"unknown {', '.join(sorted(unknown))}")
    tags, note = content.get("tags", []), content.get("note", "")
    marked = content.get("marked", False)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise StoreError("its tags are no list of words")
    if not isinstance(note, str) or not isinstance(marked, bool):
        raise StoreError("its note is no text, or marked is neither true nor false")
    return Annotations(frozenset(tags), note, marked)


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= LONGEST_TAG and all(c.isalnum() or c in "-_.:/+" for c in tag)
