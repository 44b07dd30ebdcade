"""Where an export goes: files that are written aside, then renamed, for their owner alone."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from workbench.errors import StoreError


class Files:
    """The files of one export; they appear together once all are written, or not at all.

    Args:
        paths: where they go, by what the export calls them.
        force: existing files are replaced.
    """

    def __init__(self, paths: dict[str, Path], force: bool) -> None:
        """Raises `StoreError` where one can't be: it exists, or has no folder."""
        self._paths = paths
        for path in paths.values():
            if path.is_dir():
                raise StoreError(f"{path} is a folder; name a file in it with --output")
            if path.exists() and not force:
                raise StoreError(f"{path} exists; --force overwrites it, --output names another")
            if not path.parent.is_dir():
                raise StoreError(f"{path} cannot be written: {path.parent} is not a folder")
        self._asides: dict[str, Path] = {}

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """The file called `name`, to be written. Raises `StoreError`: the disk takes no more."""
        path = self._paths[name]
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._asides[name] = aside
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:
                yield file
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror or error}; free space, or choose "
                "another --output"
            ) from None

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Renames what was written; where an error ended it, nothing is left behind."""
        try:
            if kind is None:
                for name, aside in self._asides.items():
                    aside.rename(self._paths[name])
        except OSError as error:
            raise StoreError(f"{self._paths[name]} cannot be written: {error.strerror}") from None
        finally:
            for aside in self._asides.values():
                with suppress(OSError):
                    aside.unlink(missing_ok=True)


def folder_of_files(output: Path) -> Path:
    """The folder that several files go to; it is made, for its owner alone, where it is missing.

    Raises:
        StoreError: it is a file, or can't be made.
    """
    if output.exists() and not output.is_dir():
        raise StoreError(f"{output} is a file; several files need a folder as --output")
    try:
        output.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{output} cannot be made: {error.strerror}") from None
    return output


@contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    """Standard output as bytes, after all text that was printed.

    Raises:
        StoreError: it takes no more, since the disk behind it is full.
        BrokenPipeError: whoever read it has gone.
    """
    sys.stdout.flush()
    try:
        yield sys.stdout.buffer
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in its buffer would be tried once more when the program ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StoreError(
            f"standard output cannot be written: {error.strerror or error}; free space, or name "
            "a file elsewhere with --output"
        ) from None
