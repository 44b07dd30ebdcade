"""A comparison as Parquet: the rows of the CSV, with types."""

from __future__ import annotations

import io

from workbench.comparison.comparison import Comparison
from workbench.comparison.formats.flat_rows import COLUMNS, flat_rows


def write_parquet(comparison: Comparison) -> bytes:
    """A row for each metric and side, figures unrounded; null where a figure is undefined."""
    import polars as pl

    types = {
        "text": pl.String(),
        "bool": pl.Boolean(),
        "int": pl.Int64(),
        "float": pl.Float64(),
        "floats": pl.List(pl.Float64()),
        "texts": pl.List(pl.String()),
    }
    schema = {column.name: types[column.kind] for column in COLUMNS}
    out = io.BytesIO()
    pl.DataFrame(list(flat_rows(comparison)), schema=schema, orient="row").write_parquet(out)
    return out.getvalue()
