"""Simulated runs are recorded as real ones are, and vary as real ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from workbench.bench.memory_record import MemoryTables
from workbench.bench.simulated_run import Noise, content_of, simulate, simulated_run
from workbench.comparison.records import RunRecord
from workbench.launch.finish import finish_run
from workbench.runs.folder import RunFolder
from workbench.runs.recorder import Recorder
from workbench.runs.schema import EMISSIONS, EVENTS, REQUESTS, SAVED_TABLES, STEPS
from workbench.runs.tables import load_tables

ASKED = ["request_id", "scheduled_ns", "prompt_tokens", "max_tokens"]
QUIET = Noise(run_sigma=0, step_sigma=0, spike_share=0, host_sigma=0)


def requests_of(run: RunRecord) -> pl.DataFrame:
    return run.tables.table(REQUESTS)


def tpot_p50(run: RunRecord) -> float:
    return float(run.content["summary"]["latency"]["tpot_ms"]["p50"])


def step_ms(run: RunRecord) -> np.ndarray:
    steps = run.tables.table(STEPS).filter(pl.col("kind") == "decode")
    return (steps["end_ns"] - steps["start_ns"]).to_numpy() / 1e6


def test_it_is_what_a_recorder_would_have_saved(tmp_path: Path) -> None:
    seed, run_seed, requests, load = 3, 4, 80, 0.65
    in_memory = simulated_run(seed, run_seed, requests=requests, load=load)
    content = content_of("one", seed, requests, load)
    folder = RunFolder.create(tmp_path / "run", content["spec"], "one")
    folder.update(**content)
    recorder = Recorder(folder, 250_000_000, fsync_segments=False)
    simulate(recorder, seed, run_seed, requests, load, 1.0, Noise())
    assert recorder.close() == []
    saved = finish_run(folder, "finished", "")
    tables = load_tables(folder)
    for table in SAVED_TABLES:
        # Segment by segment a recorder puts the loop's events before those of steps.
        order = ["time_ns", "step", "request_id"] if table is EVENTS else []
        expected, found = tables[table.name], in_memory.tables.table(table)
        assert_frame_equal(
            found.sort(order) if order else found, expected.sort(order) if order else expected
        )
    of_the_end = ("summary", "window", "drain_end_ns", "knobs", "state", "reason", "spec")
    assert {name: in_memory.content[name] for name in of_the_end} == {
        name: saved[name] for name in of_the_end
    }


def test_one_seed_draws_the_requests_and_the_other_the_noise() -> None:
    one, again, noisy, other = (
        simulated_run(*seeds, requests=60) for seeds in ((1, 1), (1, 1), (1, 2), (2, 1))
    )
    assert_frame_equal(requests_of(one), requests_of(again))
    assert_frame_equal(requests_of(one).select(ASKED), requests_of(noisy).select(ASKED))
    assert not requests_of(one).equals(requests_of(noisy))
    assert not requests_of(one).select(ASKED).equals(requests_of(other).select(ASKED))


def test_a_slower_engine_takes_as_much_longer_a_token() -> None:
    ratios = [
        tpot_p50(simulated_run(seed, 1, slower=1.10, noise=QUIET))
        / tpot_p50(simulated_run(seed, 1, noise=QUIET))
        for seed in range(2)
    ]
    assert ratios == pytest.approx([1.10] * 2, abs=0.01)


def test_requests_wait_for_each_other_at_times() -> None:
    queue = simulated_run(1, 1).content["summary"]["latency"]["queue_ms"]
    assert queue["p50"] < 1 < 20 < queue["p99"]


def test_steps_vary_slowly_and_are_rarely_held_up() -> None:
    steady = step_ms(simulated_run(1, 1, noise=QUIET))
    drifting = step_ms(simulated_run(1, 1, noise=Noise(spike_share=0)))
    held_up = step_ms(simulated_run(1, 1))
    assert steady.std() / steady.mean() < 0.01
    logs = np.log(drifting) - np.log(drifting).mean()
    assert (logs[1:] * logs[:-1]).mean() / (logs**2).mean() > 0.9
    assert drifting.max() < 2 * np.median(drifting)
    assert 0 < (held_up > 2 * np.median(held_up)).mean() < 0.01


def test_runs_differ_by_the_state_of_the_machine() -> None:
    noise = Noise(run_sigma=0.1, step_sigma=0, spike_share=0, host_sigma=0)
    figures = np.log(
        [tpot_p50(simulated_run(1, each, requests=60, noise=noise)) for each in range(12)]
    )
    assert 0.05 < figures.std(ddof=1) < 0.2


def test_emissions_in_memory_come_whole_or_in_stretches() -> None:
    run = simulated_run(1, 1, requests=60)
    every = run.tables.table(EMISSIONS)
    assert isinstance(run.tables, MemoryTables)
    [whole] = run.tables.emission_parts(every.height)
    assert_frame_equal(whole, every)
    parts = run.tables.emission_parts(80)
    assert [part.height for part in parts] == [10] * 8
    assert_frame_equal(parts[0], every.head(10))
    assert_frame_equal(parts[-1], every.tail(10))
