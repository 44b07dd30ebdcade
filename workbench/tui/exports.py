"""What leaves the app: text to the clipboard and to a file, pictures of the screen."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import StoreError
from workbench.runs.store import home


def export_path(name: str, suffix: str) -> Path:
    """A new file for something called `name`, in the folder `exports` of the user's data."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = home() / "exports"
    path = folder / f"{now}-{plain[:80]}.{suffix}"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{now}-{plain[:80]}-{number}.{suffix}"
    return path


def write_export(name: str, suffix: str, content: str | bytes) -> Path:
    """Saves `content` where only its owner can read it; returns where.

    Raises:
        StoreError: the disk is full or can't be written.
    """
    path = export_path(name, suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode(errors="replace") if isinstance(content, str) else content)
    except OSError as error:
        raise StoreError(f"can't write {path}: {error.strerror or error}") from None
    return path
