"""Makes a synthetic run of many requests and steps, to measure a viewer with.

    python benchmarks/large_run.py FOLDER [--requests 100000] [--steps 500000] [--seed 0]

The figures are drawn, not measured: a request waits a little, is prefilled in one step and gets a
token in each of the steps that follow. Its name and notes say that it is synthetic.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from profiles.samples import VALUE_COLUMNS
from workbench.analysis.metrics import Window
from workbench.analysis.summary import summarise
from workbench.errors import WorkbenchError
from workbench.runs.folder import RESERVES, RunFolder
from workbench.runs.schema import DEVICES, EMISSIONS, EVENTS, POOLS, REQUESTS, SERVER, STEPS, Table
from workbench.runs.tables import Tables, polars_schema, write_parquet
from workbench.spec import RunSpec

Ints = npt.NDArray[np.int64]

MEAN_OUTPUT = 100
STEP_NS = 8_000_000
BLOCKS = 8192
BLOCK_SIZE = 16
_S = 1_000_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Story:
    """Drawn: when steps end, and what each request is."""

    start_ns: Ints
    end_ns: Ints
    scheduled_ns: Ints
    first_step: Ints
    prompt_tokens: Ints
    output_tokens: Ints


def draw(requests: int, steps: int, seed: int, mean_output: int = MEAN_OUTPUT) -> Story:
    """Requests spread evenly, Poisson; outputs lognormal, in tokens of about this mean."""
    random = np.random.default_rng(seed)
    lengths_ns = random.integers(STEP_NS // 2, 3 * STEP_NS // 2, steps)
    end_ns = np.cumsum(lengths_ns + 200_000)
    start_ns = end_ns - lengths_ns
    output = random.lognormal(np.log(mean_output) - 0.32, 0.8, requests).astype(np.int64)
    output = np.clip(output, 1, min(2000, steps // 4))
    last = int(end_ns[steps - steps // 20 - 1])
    scheduled_ns = np.sort(random.integers(0, last, requests))
    arrives = np.searchsorted(start_ns, scheduled_ns)
    first_step = np.minimum(arrives + random.integers(0, 40, requests), steps - 1)
    output = np.minimum(output, steps - first_step)
    prompt = random.integers(50, 1500, requests)
    return Story(start_ns, end_ns, scheduled_ns, first_step, prompt, output)


def emissions_of(story: Story) -> pl.DataFrame:
    """A token in each step from the first one on."""
    rows = int(story.output_tokens.sum())
    opened = np.cumsum(story.output_tokens) - story.output_tokens
    request_id = np.repeat(np.arange(story.first_step.size), story.output_tokens)
    step = np.arange(rows) - np.repeat(opened - story.first_step, story.output_tokens)
    order = np.argsort(step, kind="stable")
    step = step[order]
    return _frame(
        EMISSIONS,
        step=step,
        time_ns=story.end_ns[step],
        request_id=request_id[order],
        tokens=np.ones(rows, np.int64),
    )


def requests_of(story: Story) -> pl.DataFrame:
    n = story.first_step.size
    last_step = story.first_step + story.output_tokens - 1
    return _frame(
        REQUESTS,
        request_id=np.arange(n),
        status=pl.repeat("ok", n, eager=True),
        reason=pl.repeat("", n, eager=True),
        scheduled_ns=story.scheduled_ns,
        admitted_ns=story.scheduled_ns + 1000,
        started_ns=np.maximum(story.start_ns[story.first_step], story.scheduled_ns + 1000),
        prefilled_ns=story.end_ns[story.first_step],
        first_token_ns=story.end_ns[story.first_step],
        last_token_ns=story.end_ns[last_step],
        finished_ns=story.end_ns[last_step] + 1000,
        prompt_tokens=story.prompt_tokens,
        max_tokens=story.output_tokens,
        output_tokens=story.output_tokens,
        first_tokens=np.ones(n, np.int64),
    )


def steps_of(story: Story, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed + 1)
    n = story.end_ns.size
    started = np.bincount(story.first_step, minlength=n)
    prefill = np.bincount(story.first_step, story.prompt_tokens, n).astype(np.int64)
    ended = np.bincount(story.first_step + story.output_tokens - 1, minlength=n)
    emitting = np.cumsum(started) - np.append(0, np.cumsum(ended)[:-1])
    arrived = np.searchsorted(story.scheduled_ns, story.end_ns, side="right")
    waiting = np.maximum(0, arrived - np.cumsum(started))
    decode = emitting - started
    kind = np.select([(prefill > 0) & (decode > 0), prefill > 0], ["mixed", "prefill"], "decode")
    live = np.minimum(BLOCKS, emitting * 50)
    return _frame(
        STEPS,
        step=np.arange(n),
        kind=pl.Series(kind),
        schedule_ns=random.integers(50_000, 200_000, n),
        start_ns=story.start_ns,
        end_ns=story.end_ns,
        num_seqs=emitting,
        prefill_tokens=prefill,
        decode_tokens=decode,
        emitting=emitting,
        running=emitting - ended,
        waiting=waiting,
        live_blocks=live,
        cached_blocks=np.minimum(BLOCKS - live, np.arange(n)),
        worker=np.zeros(n, np.int64),
        blocked=pl.Series(np.where(waiting > 0, "seqs", "")),
    )


def events_of(story: Story) -> pl.DataFrame:
    """A prefill chunk of each request, in the order of steps."""
    n = story.first_step.size
    order = np.argsort(story.first_step, kind="stable")
    step = story.first_step[order]
    return _frame(
        EVENTS,
        time_ns=story.end_ns[step],
        step=step,
        kind=pl.repeat("prefill", n, eager=True),
        request_id=order,
        tokens=story.prompt_tokens[order],
        detail=pl.repeat("", n, eager=True),
    )


def devices_of(end_ns: int) -> pl.DataFrame:
    """One GPU and the host, at 10 Hz."""
    times_ns = np.repeat(np.arange(0, end_ns, _S // 10), 2)
    wave = 50 + 40 * np.sin(times_ns / 3e10)
    gpu = np.arange(times_ns.size) % 2 == 0
    values: dict[str, Any] = {name: pl.repeat(None, times_ns.size) for name in VALUE_COLUMNS}
    for name, scale in (("utilization_percent", 1.0), ("power_watts", 7.0)):
        values[name] = pl.Series(np.where(gpu, wave * scale, np.nan)).fill_nan(None)
    for name in ("process_cpu_percent", "host_cpu_percent"):
        values[name] = pl.Series(np.where(gpu, np.nan, wave)).fill_nan(None)
    return _frame(
        DEVICES,
        time_ns=times_ns,
        device=pl.Series(np.where(gpu, "gpu0", "host")),
        period_ns=np.full(times_ns.size, _S // 10),
        **{name: column for name, column in values.items() if isinstance(column, pl.Series)},
    )


def _frame(table: Table, **columns: Any) -> pl.DataFrame:
    """The table, with null or 0 in columns that are not given."""
    schema = polars_schema(table)
    given = pl.DataFrame(columns)
    counts = {column.name for column in table.columns if column.kind == "int64"}
    nullable = {column.name for column in table.columns if column.nullable}
    return given.select(
        (
            pl.col(name)
            if name in columns
            else pl.lit(0 if name in counts - nullable else False if dtype == pl.Boolean else None)
        )
        .cast(dtype)
        .alias(name)
        for name, dtype in schema.items()
    )


def make(path: Path, story: Story, seed: int) -> RunFolder:
    """The run's folder; `seed` draws what the story leaves open.

    Raises:
        StoreError: it exists and is not empty, or can't be made.
    """
    requests = story.first_step.size
    end_ns = int(story.end_ns[-1])
    empty = {table.name: pl.DataFrame(schema=polars_schema(table)) for table in (SERVER, POOLS)}
    tables: Tables = empty | {
        "requests": requests_of(story),
        "steps": steps_of(story, seed),
        "emissions": emissions_of(story),
        "events": events_of(story),
        "devices": devices_of(end_ns),
    }
    duration_s, warmup_s = int(story.scheduled_ns[-1]) / 1e9, 10.0
    spec = RunSpec.model_validate(
        {
            "name": "synthetic",
            "traffic": {"duration": duration_s, "rate": requests / duration_s},
            "slo": {"ttft": 300.0, "tpot": 12.0},
        }
    )
    folder = RunFolder.create(path, spec.as_dict(), path.name)
    write_parquet(folder, tables, fsync=False)
    window = Window(int(warmup_s * 1e9), int(story.scheduled_ns[-1]))
    notes = ["This run is synthetic: its figures were drawn, not measured."]
    summary = summarise(
        tables,
        window,
        slo=spec.slo.limits,
        usable_blocks=BLOCKS,
        block_size=BLOCK_SIZE,
        drain_end_ns=end_ns,
        notes=notes,
    )
    folder.update(
        state="finished",
        engine={"name": "monolithic", "model": "synthetic", "num_blocks": BLOCKS},
        duration_s=duration_s,
        warmup_s=warmup_s,
        rate_per_s=requests / duration_s,
        traffic={"what": "synthetic", "arrival": "poisson", "notes": notes},
        window=dataclasses.asdict(window),
        drain_end_ns=end_ns,
        summary=summary.as_dict(),
    )
    folder.segments.rmdir()
    for reserve in RESERVES:
        folder.give_up(reserve)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    try:
        story = draw(asked.requests, asked.steps, asked.seed)
        folder = make(asked.folder, story, asked.seed)
    except WorkbenchError as error:
        parser.error(str(error))
    print(f"{folder.path}: {asked.requests:,} requests, {asked.steps:,} steps")


if __name__ == "__main__":
    main()
