"""Which rows of a timeline hold what, in the height that there is."""

from __future__ import annotations

from dataclasses import dataclass

BANDS = ("batch", "tokens", "KV")
_MOST_LANE_ROWS, _MOST_BAND_ROWS = 9, 10


@dataclass(frozen=True, slots=True)
class Block:
    """A worker's rows: its steps, the share of time in steps, and in host gaps."""

    rows: range
    busy_row: int | None
    gap_row: int | None


@dataclass(frozen=True, slots=True)
class Band:
    """The rows of something that runs along with the steps."""

    name: str
    rows: range


@dataclass(frozen=True, slots=True)
class Layout:
    """Every part's rows; `left_out`: workers that have no room, told of in `left_out_row`."""

    lanes: tuple[Block, ...]
    bands: tuple[Band, ...]
    left_out: int
    left_out_row: int
    axis_row: int


def lanes_layout(height: int, workers: int) -> Layout:
    """The rows of `workers` lanes in `height` rows, the axis below them.

    With little room, busy rows go first, then bands, then gap rows, then lanes.
    """
    room = height - 1
    with_gaps = room >= 2 * workers
    bands = max(0, min(len(BANDS), room - 2 * workers)) if with_gaps else 0
    with_busy = room >= 3 * workers + bands and bands == len(BANDS)
    shown = min(workers, room)
    if shown < workers:
        shown -= 1
    spare = room - shown * (1 + with_gaps + with_busy) - bands - (shown < workers)
    lane_rows, band_rows = _spread(spare, shown, bands)

    lanes, row = [], 0
    for _ in range(shown):
        rows = range(row, row + lane_rows)
        row = rows.stop
        lanes.append(
            Block(rows, row if with_busy else None, row + with_busy if with_gaps else None)
        )
        row += with_busy + with_gaps
    found = []
    for name in BANDS[:bands]:
        found.append(Band(name, range(row, row + band_rows)))
        row += band_rows
    left_out = workers - shown
    return Layout(tuple(lanes), tuple(found), left_out, row, row + (left_out > 0))


def _spread(spare: int, lanes: int, bands: int) -> tuple[int, int]:
    """Rows of each lane and of each band; lanes grow first, then both in turn."""
    lane_rows = band_rows = 1
    while True:
        lane_fits = lanes > 0 and lane_rows < _MOST_LANE_ROWS and spare >= lanes
        band_fits = bands > 0 and band_rows < _MOST_BAND_ROWS and spare >= bands
        if lane_fits and (lane_rows <= band_rows or not band_fits):
            lane_rows, spare = lane_rows + 1, spare - lanes
        elif band_fits:
            band_rows, spare = band_rows + 1, spare - bands
        else:
            return lane_rows, band_rows
