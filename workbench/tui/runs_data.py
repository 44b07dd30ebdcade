"""What the Runs screen asks of the library, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.viewing.library import LibraryRow


@dataclass(frozen=True, slots=True)
class RunsQuestion:
    """What is asked: at which moment (in parts of a few seconds; `edits` counts changes made
    here), the words that rows must hold, and their order."""

    moment: int
    edits: int
    words: tuple[str, ...]
    sort: str
    descending: bool


@dataclass(frozen=True, slots=True, eq=False)
class RunsData:
    """The rows that match, in order; `total`: of the store, `marked`: for comparison."""

    rows: tuple[LibraryRow, ...]
    total: int
    marked: int
