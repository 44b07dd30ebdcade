"""The end of a run: segments become Parquet files and a summary, whatever the way it ended."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from engines.options import REMOTE
from workbench.analysis.metrics import Window
from workbench.analysis.notes import notes_on_knobs
from workbench.analysis.summary import summarise
from workbench.runs.control_socket import discard_socket
from workbench.runs.folder import RESERVES, RunFolder
from workbench.runs.segments import SegmentTables, list_segments, read_segments
from workbench.runs.tables import (
    Tables,
    complete_requests,
    from_segments,
    load_tables,
    write_parquet,
)
from workbench.spec import RunSpec


def finish_run(
    folder: RunFolder,
    state: str,
    reason: str,
    unwritten: Sequence[SegmentTables] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Builds tables and summary, saves both, and sets the run's last state.

    Args:
        unwritten: segments that are only in memory, since the disk took no more.
        extra: further fields of `run.json`.

    Where the disk takes no tables, the run ends as "failed", with its summary; the segments that
    the disk took stay, and `recover` can try again.

    Raises:
        OSError: the disk doesn't even take `run.json`.
    """
    content = folder.read() | dict(extra or {})
    discard_socket(folder, content.pop("control", None))
    paths = [path for segments in folder.segment_folders for path in list_segments(segments)]
    segments, broken = read_segments(paths)
    if segments or unwritten:
        tables = from_segments([*segments, *unwritten])
        tables = complete_requests(tables, _last_ns(tables), reason or "the run ended first")
    else:
        tables = load_tables(folder)
    spec, ended_ns = RunSpec.model_validate(content["spec"]), _last_ns(tables)
    engine = content.get("engine") or {}
    knobs = _knobs(tables)
    warmup_s = content.get("warmup_s")
    window = _window(tables, spec.traffic.warmup_s if warmup_s is None else float(warmup_s))
    summary = summarise(
        tables,
        window,
        slo=spec.slo.limits,
        usable_blocks=engine.get("num_blocks"),
        block_size=engine.get("block_size"),
        drain_end_ns=ended_ns,
        remote=engine.get("name") == REMOTE,
        notes=[*notes_on_knobs(knobs), *((content.get("traffic") or {}).get("notes") or ())],
    )
    content |= {
        "state": state,
        "reason": reason,
        "window": dataclasses.asdict(window),
        "drain_end_ns": ended_ns,
        "knobs": knobs,
        "summary": summary.as_dict(),
    }
    if broken:
        content["broken_segments"] = broken
    try:
        write_parquet(folder, tables, fsync=spec.record.fsync != "never")
    except OSError as error:
        saving = (
            f"its tables can't be saved ({error.strerror or error}); free space, then recover it"
        )
        content |= {"state": "failed", "reason": "; ".join(filter(None, (reason, saving)))}
        folder.give_up("reserve-end")
        folder.write(content)
        return content
    folder.write(content)
    if not broken:
        for path in folder.segment_folders:
            shutil.rmtree(path, ignore_errors=True)
    for reserve in RESERVES:
        folder.give_up(reserve)
    return content


def _window(tables: Tables, warmup_s: float) -> Window:
    """From the end of warm-up to the last scheduled arrival."""
    start_ns = int(warmup_s * 1e9)
    scheduled = tables["requests"]["scheduled_ns"]
    last = scheduled.max() if len(scheduled) else None
    return Window(start_ns, max(start_ns, int(last) if isinstance(last, int) else start_ns))


def _knobs(tables: Tables) -> list[dict[str, Any]]:
    """What was turned while it ran: `time_s` since its start, and `what` in words."""
    turned = tables["events"].filter(pl.col("kind") == "knob").sort("time_ns")
    stamps, details = turned["time_ns"].to_list(), turned["detail"].to_list()
    return [
        {"time_s": stamp / 1e9, "what": detail}
        for stamp, detail in zip(stamps, details, strict=True)
    ]


def _last_ns(tables: Tables) -> int:
    """The latest stamp in the record."""
    stamps = [
        tables["requests"].select(pl.col("finished_ns").max()).item(),
        tables["requests"].select(pl.col("scheduled_ns").max()).item(),
        tables["steps"].select(pl.col("end_ns").max()).item(),
        tables["arrivals"].select(pl.col("submitted_ns").max()).item(),
    ]
    return max((int(stamp) for stamp in stamps if stamp is not None), default=0)
