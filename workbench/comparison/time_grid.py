"""A run's window in cells of equal length, and what flows through them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.metrics import Window
from workbench.comparison.blocks import Floats

Ints = npt.NDArray[np.int64]


class TimeGrid:
    """Cells of equal length; `edges_ns` is one longer than their number."""

    def __init__(self, window: Window, cells: int) -> None:
        self.start_ns = window.start_ns
        self.cell_ns = (window.end_ns - window.start_ns) / cells
        self.since_ns: Floats = self.cell_ns * np.arange(cells + 1, dtype=np.float64)
        self.edges_ns: Floats = self.since_ns + window.start_ns

    def cells_of(self, stamps_ns: npt.NDArray[np.int64]) -> Ints:
        """The cell that each stamp lies in; the nearest of one outside the window."""
        cells = ((stamps_ns - self.start_ns) / self.cell_ns).astype(np.int64)
        return np.clip(cells, 0, self.since_ns.size - 2)

    def output_tokens(self, requests: pl.DataFrame) -> Floats:
        """Output tokens in each cell, if a request's later tokens come evenly until its last."""
        told = requests.filter(
            pl.col("first_token_ns").is_not_null() & pl.col("last_token_ns").is_not_null()
        )
        first, last = self._since(told["first_token_ns"]), self._since(told["last_token_ns"])
        at_first = told["first_tokens"].to_numpy()
        rates = (told["output_tokens"].to_numpy() - at_first) / np.maximum(last - first, 1.0)
        begun = self._places(first)
        so_far = self._rising(first, begun, rates) - self._rising(last, self._places(last), rates)
        tokens: Floats = np.diff(so_far + self._until(begun, at_first))
        return tokens

    def in_flight(self, requests: pl.DataFrame) -> Floats:
        """The mean number of requests in flight in each cell."""
        begun, ended = (self._since(requests[f"{name}_ns"]) for name in ("scheduled", "finished"))
        present = self._rising(begun, self._places(begun)) - self._rising(
            ended, self._places(ended)
        )
        means: Floats = np.diff(present) / self.cell_ns
        return means

    def _since(self, stamps_ns: pl.Series) -> Floats:
        since: Floats = stamps_ns.drop_nulls().to_numpy().astype(np.float64) - self.start_ns
        return since

    def _places(self, since_ns: Floats) -> Ints:
        """The first edge at or after each stamp."""
        places = np.ceil(since_ns / self.cell_ns)
        np.clip(places, 0, self.since_ns.size, out=places)
        return places.astype(np.int64)

    def _until(self, places: Ints, weights: npt.NDArray[np.float64] | None = None) -> Floats:
        """At each edge, the sum of the weights of what lies before it; their number without."""
        sums: Floats = np.cumsum(
            np.bincount(places, weights, self.since_ns.size + 1), dtype=np.float64
        )
        return sums[:-1]

    def _rising(self, since_ns: Floats, places: Ints, rates: Floats | None = None) -> Floats:
        """At each edge, the sum of rate · time since, over what lies before it."""
        begun = since_ns if rates is None else rates * since_ns
        rising: Floats = self._until(places, rates) * self.since_ns - self._until(places, begun)
        return rising
