"""A packed step against the plan and the table it was packed from, read one value at a time."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from engines.compute.step_buffers import (
    HEADER,
    NUM_DECODES,
    NUM_SAMPLES,
    NUM_SEQS,
    NUM_TOKENS,
    NUM_UPDATES,
    RING_SLOT,
    HostStep,
    PackedLayout,
)
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from workloads.request import Request, SamplingParams

LAYOUT = PackedLayout(max_seqs=6, max_tokens=24, max_updates=8)
SEEDS = [0, 7, 0xFEDC_BA98_7654_3210, 1 << 32, 5, 6, 7]


def scheduler_with(lengths: list[int]) -> Scheduler:
    """Requests with prompts of these lengths, greedy and hot in turn."""
    config = SchedulerConfig(max_num_seqs=6, max_num_batched_tokens=24, max_model_len=64)
    scheduler = Scheduler(config, BlockPool(64, 4))
    for number, length in enumerate(lengths):
        prompt = np.random.default_rng(number).integers(0, 1000, length).astype(np.int32)
        sampling = SamplingParams(temperature=0.7 * (number % 2), seed=SEEDS[number])
        scheduler.add(Request(number, 0, prompt, 12, sampling=sampling), 0)
    return scheduler


def check(step: HostStep, plan: StepPlan, table: SequenceTable, samples: int) -> None:
    """Everything in the buffer, by the layout's offsets alone."""
    flat: list[int] = step.tensor.tolist()
    at, most = LAYOUT, LAYOUT.max_seqs
    assert flat[NUM_SEQS] == len(plan.rows) and flat[NUM_DECODES] == plan.num_decodes
    assert flat[NUM_TOKENS] == plan.num_tokens and flat[NUM_SAMPLES] == samples
    token, sample, entry = 0, 0, at.prompts
    rows: list[int] = plan.rows.tolist()
    for index, row in enumerate(rows):
        new, computed = int(plan.num_new_tokens[index]), int(plan.num_computed[index])
        assert flat[at.rows + index] == row
        assert flat[at.computed + index] == computed
        assert flat[at.query_starts + index] == token
        if index >= plan.num_decodes:
            for position in range(computed, computed + new):
                assert flat[entry : entry + 2] == [table.token_ids[row, position], index]
                entry += 2
        token += new
        if plan.samples[index]:
            column = [flat[at.samples + part * most + sample] for part in range(6)]
            told = struct.unpack("<f", struct.pack("<i", column[2]))[0]
            low, high = column[3] & 0xFFFF_FFFF, column[4] & 0xFFFF_FFFF
            assert column[:2] == [token - 1, row] and column[5] == computed + new
            assert told == table.temperature[row] and high << 32 | low == table.seed[row]
            sample += 1
    assert flat[at.query_starts + len(rows)] == token == plan.num_tokens
    assert sample == samples
    assert len(step.used(plan)) == entry, "what is uploaded ends with the last prompt token"


def drive(scheduler: Scheduler, steps: list[HostStep]) -> list[tuple[Any, ...]]:
    """Packs every step of a run into these buffers in turn; kinds and samples of each."""
    told = []
    for number in range(200):
        plan = scheduler.schedule(number)
        if plan is None:
            break
        step = steps[number % len(steps)]
        samples = step.fill(plan, scheduler.table, number % len(steps))
        assert step.header[RING_SLOT] == number % len(steps)
        check(step, plan, scheduler.table, samples)
        told.append((plan.kind, samples))
        scheduler.commit(plan, np.full(samples, number, np.int32), number, number + 1)
    return told


@pytest.mark.parametrize("ring", [1, 3])
def test_every_step_of_a_run_is_packed_as_it_was_planned(ring):
    steps = [HostStep(LAYOUT, pinned=False) for _ in range(ring)]
    for step in steps:
        step.tensor.fill_(-9)
    told = drive(scheduler_with([5, 40, 1, 17, 30, 3, 9]), steps)
    assert {kind for kind, _ in told} == {"prefill", "mixed", "decode"}
    assert sum(samples for _, samples in told) == 7 * 12


def test_parts_lie_one_after_the_other():
    at, seqs = LAYOUT, LAYOUT.max_seqs
    step = HostStep(at, pinned=False)
    parts = [
        step.header, step.rows, step.computed, step.query_starts, step.sample_tokens,
        step.sample_rows, step.temperature, step.seed_low, step.seed_high, step.sample_positions,
        step.update_index, step.update_block, step.prompts.reshape(-1),
    ]  # fmt: skip
    places = [part.__array_interface__["data"][0] - step.tensor.data_ptr() for part in parts]
    ends = [place + part.nbytes for place, part in zip(places, parts, strict=True)]
    assert places == [0, *ends[:-1]] and ends[-1] == 4 * at.size
    assert at.rows == HEADER and at.updates == at.samples + 6 * seqs


def test_changes_of_block_tables_are_counted():
    step = HostStep(LAYOUT, pinned=False)
    index, block = np.array([3, 16, 40], np.int32), np.array([9, 8, 7], np.int32)
    step.fill_updates(index, block)
    assert step.header[NUM_UPDATES] == 3
    flat = step.tensor.numpy()
    assert flat[LAYOUT.updates :][:3].tolist() == [3, 16, 40]
    assert flat[LAYOUT.updates + LAYOUT.max_updates :][:3].tolist() == [9, 8, 7]
    step.fill_updates(index[:0], block[:0])
    assert step.header[NUM_UPDATES] == 0
