"""Azure LLM inference traces of 2023 and 2024.

CSV with `TIMESTAMP,ContextTokens,GeneratedTokens` (the multimodal trace has `NumImages` too, which
is ignored). Stamps of 2023 have 7 fractional digits and no zone; those of 2024 have up to 6 and
`+00:00`, and leave out a fraction of 0. Published at
github.com/Azure/AzurePublicDataset, CC-BY-4.0.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from workloads.traces.broken import BrokenRow, shown
from workloads.traces.columns import Rows
from workloads.traces.csv_lines import CsvFormat
from workloads.traces.fields import MAX_TOKENS, tokens_expected, whole_field, within
from workloads.traces.lines import Row
from workloads.traces.trace import Ints

if TYPE_CHECKING:
    import polars as pl

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_USUAL: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,9})?(?:\+00:00)?$"
)


class Azure(CsvFormat):
    """Reads one Azure trace."""

    name = "azure"
    stamp = "TIMESTAMP"
    needed = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

    def rows(self, text: bytes) -> Rows | None:
        import polars as pl

        frame = self.frame(
            text,
            {"TIMESTAMP": pl.String, "ContextTokens": pl.Int64, "GeneratedTokens": pl.Int64},
            full=self.needed,
        )
        if frame is None:
            return None
        tokens_in = frame["ContextTokens"].to_numpy()
        tokens_out = frame["GeneratedTokens"].to_numpy()
        if not (within(tokens_in, 1) and within(tokens_out, 0)):
            return None
        stamp_ns = _stamps_ns(frame["TIMESTAMP"])
        if stamp_ns is None:
            return None
        return Rows(stamp_ns, tokens_in, tokens_out, np.zeros(len(frame), dtype=np.bool_))

    def row(self, line: str) -> Row:
        fields = self.fields(line)
        at, text = fields["TIMESTAMP"]
        stamp_ns = stamp_to_ns(text)
        if stamp_ns is None:
            raise BrokenRow(at, "a stamp like 2023-11-16 18:15:46.6805900", shown(text), self.stamp)
        at_in, text_in = fields["ContextTokens"]
        at_out, text_out = fields["GeneratedTokens"]
        return Row(
            stamp_ns,
            whole_field(text_in, at_in, "ContextTokens", 1, MAX_TOKENS, tokens_expected(1)),
            whole_field(text_out, at_out, "GeneratedTokens", 0, MAX_TOKENS, tokens_expected(0)),
        )


def stamp_to_ns(text: str) -> int | None:
    """Nanoseconds since 1970 of one stamp, exact; UTC where it names no zone. None for others."""
    match = _STAMP.fullmatch(text)
    if match is None:
        return None
    seconds, fraction, zone = match.groups()
    try:
        since = datetime.fromisoformat(seconds + (zone or "+00:00").replace("Z", "+00:00")) - _EPOCH
    except ValueError:
        return None
    if not 1678 <= int(seconds[:4]) <= 2261:
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(
        (fraction or "").ljust(9, "0")
    )


def _stamps_ns(stamps: pl.Series) -> Ints | None:
    """The same for a column; None unless all are usual."""
    import polars as pl

    if not stamps.str.contains(_USUAL).all():
        return None
    rest = stamps.str.slice(19)
    seconds = stamps.str.slice(0, 19).str.to_datetime(
        "%Y-%m-%d %H:%M:%S", time_unit="us", strict=False, exact=True
    )
    if seconds.null_count() or not seconds.dt.year().is_between(1678, 2261).all():
        return None
    digits = rest.str.strip_suffix("+00:00").str.strip_prefix(".").str.pad_end(9, "0")
    ns: Ints = (seconds.cast(pl.Int64) * 1_000 + digits.cast(pl.Int64)).to_numpy().astype(np.int64)
    return ns
