"""Figures of a schedule made by hand, exactly."""

import numpy as np
import pytest
from speed_steps import step

from engines.models.shapes import SHAPES
from profiles.roofline import Ceilings, DecoderCost
from workbench.bench.speed_cost import cost_of
from workbench.bench.speed_figures import TimedRun, figures, gpu_idle_share, step_split
from workbench.bench.speed_work import Work

MS = 1_000_000
COST = DecoderCost(
    layer_bytes=1000, head_bytes=100, embedding_row_bytes=0, layer_flop=50, quantised_flop=0,
    head_flop=10, attention_flop=1, kv_bytes=10,
)  # fmt: skip
CEILINGS = Ceilings(1e6, 1e6, 1e6, "made up")


def timed(results) -> TimedRun:
    prompts = (np.zeros(3, np.int32), np.zeros(5, np.int32))
    return TimedRun(Work("made up", prompts, (3, 3), 0.0), {0: 3, 1: 5}, 10 * MS, results)


RESULTS = [
    step(0, 20 * MS, {0: 3, 1: 5}, (0, 1), None, (11 * MS, 19 * MS), MS, 2 * MS),
    step(1, 24 * MS, None, (0, 1), None, (20 * MS, 23 * MS), MS, 2 * MS),
    step(2, 30 * MS, None, (0, 1), None, (25 * MS, 29 * MS), 3 * MS, 4 * MS),
]


def test_rates_come_from_the_first_submission_to_the_last_token():
    told = figures(timed(RESULTS), COST, CEILINGS)
    assert told["seconds"] == pytest.approx(0.020)
    assert told["output_tokens_per_s"] == pytest.approx(6 / 0.020)
    assert told["prompt_tokens_per_s"] == pytest.approx(8 / 0.020)
    assert told["steps"] == 3


def test_bytes_flop_and_floor_are_those_of_the_schedule():
    told = figures(timed(RESULTS), COST, CEILINGS)
    # Prefill writes 8 tokens; the decodes read 3 + 5, then 4 + 6, and write 2 each.
    step_bytes = [1100 + 80, 1100 + (8 + 2) * 10, 1100 + (10 + 2) * 10]
    step_flop = [
        8 * 50 + 2 * 10 + (1 + 2 + 3) + (1 + 2 + 3 + 4 + 5),
        2 * 50 + 2 * 10 + 4 + 6,
        2 * 50 + 2 * 10 + 5 + 7,
    ]
    assert told["bytes"] == sum(step_bytes)
    assert told["flop"] == sum(step_flop)
    assert told["tb_per_s"] == pytest.approx(sum(step_bytes) / 0.020 / 1e12)
    floor = sum(max(b, f) for b, f in zip(step_bytes, step_flop, strict=True)) / 1e6
    assert told["floor_seconds"] == pytest.approx(floor)
    assert told["times_floor"] == pytest.approx(0.020 / floor)


def test_the_split_of_a_step():
    split = step_split(RESULTS)
    assert split["period"] == pytest.approx(5.0)
    assert split["gpu"] == pytest.approx((8 + 3 + 4) / 3)
    assert split["gap"] == pytest.approx((1 + 2) / 2)
    assert gpu_idle_share(RESULTS) == pytest.approx(1.5 / 6.5)
    assert split["schedule"] == pytest.approx(5 / 3)
    assert split["launch"] == pytest.approx(8 / 3)


def test_full_decode_steps_are_told_apart():
    ended = [*RESULTS, step(3, 31 * MS, None, (1,))]
    decode = figures(timed(ended), COST, CEILINGS)["decode_steps"]
    assert (decode["batch"], decode["steps"]) == (2, 2)
    assert decode["ms_p50"] == decode["ms_p99"] == pytest.approx(6.0)
    assert decode["floor_ms"] == pytest.approx((1.200 + 1.220) / 2)


def test_without_a_gpu_what_it_would_tell_is_absent():
    results = [step(0, 20 * MS, {0: 3, 1: 5}, (0, 1)), step(1, 24 * MS, None, (0, 1))]
    told = figures(timed(results), COST, CEILINGS)
    split = told["step_ms"]
    assert split["gpu"] is split["gap"] is split["launch"] is told["gpu_idle_share"] is None
    assert told["decode_steps"] is None


def test_a_shape_costs_what_its_matrices_do():
    shape = SHAPES["llama-3.1-8b"]
    cost = cost_of(shape, "bfloat16", "none", "bfloat16")
    table = 128_256 * 4096 * 2
    assert cost.layer_bytes + 2 * table == shape.num_parameters * 2
    assert cost.head_bytes == table
    norms = (2 * 32 + 1) * 4096
    assert cost.layer_flop == cost.layer_bytes - 2 * norms  # two FLOP, and two bytes, an element
    assert cost.attention_flop == 4 * 32 * 4096
    assert cost.kv_bytes == 131_072


def test_fp8_halves_what_is_quantised_and_adds_scales():
    shape = SHAPES["llama-3.1-8b"]
    full = cost_of(shape, "bfloat16", "none", "bfloat16")
    rows = 30 * (2 * 14_336 + 4096)
    rowwise = cost_of(shape, "bfloat16", "fp8", "fp8")
    assert rowwise.quantised_flop == 2 * 30 * 3 * 4096 * 14_336
    assert rowwise.layer_flop + rowwise.quantised_flop == full.layer_flop
    assert full.quantised_flop == 0
    assert full.layer_bytes - rowwise.layer_bytes == rowwise.quantised_flop // 2 - 4 * rows
    assert rowwise.head_bytes == full.head_bytes
    assert rowwise.kv_bytes == 131_072 // 2 + 2 * 32 * 8 * 4
