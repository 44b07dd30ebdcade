"""The capacity probe, with a worker whose steps cost what they are told to."""

import numpy as np
import pytest

from engines.compute import probe
from engines.compute.probe import measure_capacity
from engines.errors import EngineConfigError
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig


class Worker:
    """A step takes 1 ms a prompt token and 2 ms a decode, on the clock that the probe reads; its
    launch takes `launch_s`, during which the step before is computed."""

    def __init__(self):
        self.now = self.idle_from = 0.0
        self.plans = []
        self.overlaps = False
        self.launch_s = 0.0
        self.in_flight = 0

    def launch(self, plan, table):
        self.plans.append((plan, table))
        self.in_flight += 1
        self.now += self.launch_s
        self.idle_from = max(self.idle_from, self.now)
        self.idle_from += plan.num_prefill_tokens * 1e-3 + plan.num_decodes * 2e-3
        return self.idle_from

    def collect(self, launched):
        self.in_flight -= 1
        self.now = max(self.now, launched)

    def perf_counter(self):
        return self.now


@pytest.fixture
def worker(monkeypatch):
    worker = Worker()
    monkeypatch.setattr(probe, "time", worker)
    return worker


def lengths(inputs, outputs):
    return np.array(inputs, np.int64), np.array(outputs, np.int64)


CONFIG = SchedulerConfig(max_num_seqs=8, max_num_batched_tokens=64, max_model_len=256)


def test_capacity_is_what_a_steady_state_ends_per_second(worker):
    inputs, outputs = lengths([30] * 20, [10] * 20)
    capacity = measure_capacity(worker, CONFIG, BlockPool(200, 4), inputs, outputs, 1.0)
    # Beside one prompt there is room for 7 decodes, which need 21 prompt tokens a step to be
    # replaced: 21 + 14 ms for 7/10 of a request.
    assert (capacity.decodes, capacity.prefill_tokens) == (7, 21)
    assert capacity.step_ms == pytest.approx(35)
    assert capacity.requests_per_s == pytest.approx(0.7 / 0.035)
    assert capacity.requests_per_s == pytest.approx(1 / (30 * 1e-3 + 10 * 2e-3))


@pytest.mark.parametrize(("overlaps", "step_ms"), [(False, 40), (True, 35)])
def test_a_launch_costs_no_time_where_steps_overlap(worker, overlaps, step_ms):
    worker.overlaps, worker.launch_s = overlaps, 5e-3
    inputs, outputs = lengths([30] * 20, [10] * 20)
    capacity = measure_capacity(worker, CONFIG, BlockPool(200, 4), inputs, outputs, 1.0)
    assert capacity.step_ms == pytest.approx(step_ms)
    assert worker.in_flight == 0


def test_long_prompts_fill_the_budget_and_leave_fewer_decodes(worker):
    inputs, outputs = lengths([200] * 20, [10] * 20)
    capacity = measure_capacity(worker, CONFIG, BlockPool(500, 4), inputs, outputs, 0.1)
    assert capacity.decodes == 3 and capacity.prefill_tokens == 60


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 60), (3, 3), (40, 2), (200, 40)])
@pytest.mark.parametrize("most", [2, 8])
def test_a_step_holds_no_more_sequences_than_run_at_once(worker, most, inputs, outputs):
    config = SchedulerConfig(max_num_seqs=most, max_num_batched_tokens=64, max_model_len=256)
    measure_capacity(worker, config, BlockPool(500, 4), *lengths([inputs] * 9, [outputs] * 9), 0.01)
    assert len(worker.plans[0][0].rows) <= most


def test_a_small_pool_leaves_fewer_decodes(worker):
    inputs, outputs = lengths([30] * 20, [10] * 20)
    pool = BlockPool(41, 4)
    capacity = measure_capacity(worker, CONFIG, pool, inputs, outputs, 0.1)
    assert 1 <= capacity.decodes <= 4
    assert pool.num_available == 40
    with pytest.raises(EngineConfigError, match="holds no request of this traffic"):
        measure_capacity(worker, CONFIG, BlockPool(8, 4), inputs, outputs, 0.1)


def test_sequences_have_blocks_of_their_own_and_contexts_of_the_traffic(worker):
    inputs, outputs = lengths([20, 40], [4, 12])
    measure_capacity(worker, CONFIG, BlockPool(400, 4), inputs, outputs, 0.01)
    plan, table = worker.plans[0]
    contexts = (plan.num_computed + plan.num_new_tokens)[: plan.num_decodes]
    # The answer of 12 tokens is met three times as often as the one of 4.
    assert np.sum(contexts < 40) == 2 and np.sum(contexts >= 40) == 5
    used = table.block_tables[table.block_tables > 0]
    assert len(np.unique(used)) == len(used)


def test_it_refuses_a_pool_in_use(worker):
    pool = BlockPool(100, 4)
    pool.allocate()
    with pytest.raises(EngineConfigError, match="empty"):
        measure_capacity(worker, CONFIG, pool, *lengths([30], [10]), 0.1)
