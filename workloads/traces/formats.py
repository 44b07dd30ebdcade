"""The readers by name, and the one call that reads a trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from workloads.errors import WorkloadError
from workloads.traces.azure import Azure
from workloads.traces.bailian import Bailian
from workloads.traces.burstgpt import BurstGpt
from workloads.traces.detect import TEXT_FORMATS, detect_format
from workloads.traces.lines import LineFormat, read_lines
from workloads.traces.mooncake import Mooncake
from workloads.traces.native import Native
from workloads.traces.options import TraceOptions
from workloads.traces.stream import CHUNK_BYTES
from workloads.traces.trace import Trace
from workloads.traces.weka import read_weka

Reader = Callable[[str, TraceOptions, int], Trace]


def _read_lines_of(
    form: type[LineFormat], path: str, options: TraceOptions, chunk_bytes: int
) -> Trace:
    return read_lines(path, form(), options, chunk_bytes)


READERS: Final[dict[str, Reader]] = {
    "weka": read_weka,
    **{f.name: partial(_read_lines_of, f) for f in (Azure, BurstGpt, Mooncake, Bailian, Native)},
}


def read_trace(
    path: str | Path, options: TraceOptions | None = None, *, chunk_bytes: int = CHUNK_BYTES
) -> Trace:
    """Reads `path` in the format that its content has.

    Of `options`, `skip_bad` is applied, and `window_s` and `limit` as far as they save reading:
    rows outside of them are left out where the file is in order of arrival, with `arrival_ns` still
    counted from the file's first row, so that applying the window again changes nothing. Nothing
    after the last wanted row is read or checked. Memory is that of the columns, and of about
    `chunk_bytes` of text.

    Raises `WorkloadError` for a file that cannot be read, of no known format, of texts without
    stamps, with a broken row (file, line, column), or with no row at all.
    """
    name = detect_format(str(path))
    if name in TEXT_FORMATS:
        raise WorkloadError(
            f"{path}: a file of texts ({name}) has no stamps, so it cannot be replayed as a trace: "
            "use its prompts with an arrival process instead"
        )
    return READERS[name](str(path), options or TraceOptions(), chunk_bytes)
