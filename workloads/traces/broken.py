"""Rows that cannot be used: where they are, what is wrong, and what is done about them."""

from __future__ import annotations

from workloads.errors import WorkloadError


class BrokenRow(Exception):  # noqa: N818 - what is wrong is the row
    """A row cannot be used.

    `at` is the offset of the wrong character in the text that is read, from 0; `name` the column
    or key it belongs to.
    """

    def __init__(self, at: int, expected: str, found: str, name: str = "") -> None:
        super().__init__(expected, found)
        self.at = at
        self.expected = expected
        self.found = found
        self.name = name


class Rejects:
    """Decides on broken rows: the first ends the reading, or all are counted (`skip_bad`)."""

    def __init__(self, path: str, skip_bad: bool) -> None:
        self._path = path
        self._skip_bad = skip_bad
        self.skipped = 0
        self.first_skipped = ""

    def add(self, broken: BrokenRow, text: str, first_line: int) -> None:
        """Records a broken row of `text`, which begins at line `first_line` of the file.

        Raises `WorkloadError` unless broken rows are left out.
        """
        line = first_line + text.count("\n", 0, broken.at)
        column = broken.at - text.rfind("\n", 0, broken.at)
        name = f" ({broken.name})" if broken.name else ""
        message = (
            f"{self._path}: line {line}, column {column}{name}: "
            f"expected {broken.expected}, found {broken.found}"
        )
        if not self._skip_bad:
            raise WorkloadError(message)
        self.skipped += 1
        self.first_skipped = self.first_skipped or message


def shown(text: str) -> str:
    """Text of a file as an error message quotes it, on one line and cut short."""
    return shortened(repr(text if len(text) < 100 else text[:100]))


def shortened(text: str, width: int = 48) -> str:
    """`text` cut to `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"
