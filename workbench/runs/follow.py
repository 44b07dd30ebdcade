"""Following a run while it lives: the segments that have come since the last look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.segments import SegmentTables, decode_segment, list_segments


class SegmentFollower:
    """Gives each segment of a run once, in the order of its load process.

    A run that ends meanwhile takes its segments away: then nothing more comes, and `load_tables`
    has the whole.

    Attributes:
        broken: what was wrong with the segments that could not be read; they are passed over.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.broken: list[str] = []
        self._last: dict[Path, int] = {}

    def new(self) -> Iterator[SegmentTables]:
        """Segments that have come since the last call."""
        for _, tables in self.new_paths():
            yield tables

    def new_paths(self) -> Iterator[tuple[Path, SegmentTables]]:
        """The same, each with its file, which stays as it is until the run has ended."""
        for segments in self.folder.segment_folders:
            for path in list_segments(segments, self._last.get(segments, -1)):
                try:
                    tables = decode_segment(path.read_bytes(), str(path))
                except FileNotFoundError:
                    break
                except (StoreError, OSError) as error:
                    self.broken.append(str(error))
                    tables = None
                self._last[segments] = int(path.name[:8])
                if tables is not None:
                    yield path, tables
