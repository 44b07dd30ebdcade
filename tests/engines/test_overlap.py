"""Steps that are planned and launched while the one before runs: the same tokens, nothing lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fake_worker import VOCAB, Truth
from overlapped import STOP, Bench

from engines.errors import IntegrityError
from engines.scheduling.sequence import NOT_REACHED


def stopping(outputs: range, prompt: int = 5) -> int:
    """A request id whose answer meets the stop token after so many tokens."""
    for request_id in range(1000):
        tokens = np.random.default_rng(request_id).integers(0, VOCAB, prompt).tolist()
        if Truth(tokens, outputs.stop, (STOP,)).num_output in outputs:
            return request_id
    raise AssertionError("no such request")


# -- order ----------------------------------------------------------------------------------------


def test_a_step_is_launched_before_the_tokens_of_the_one_in_flight_are_read() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=4)
    bench.step()
    assert bench.worker.calls == ["L0", "L1", "C0"]
    assert bench.engine.has_work
    bench.run()
    assert bench.worker.calls == ["L0", "L1", "C0", "L2", "C1", "L3", "C2", "C3"]
    assert bench.tokens(0) == bench.answer(0)


def test_overlap_can_be_switched_off_and_says_so() -> None:
    bench = Bench(overlap=False)
    bench.add(0, prompt=5, output=2)
    bench.run()
    assert bench.worker.calls == ["L0", "C0", "L1", "C1"]
    assert bench.engine.describe() == {"overlap": False}
    assert Bench().engine.describe() == {"overlap": True}


def test_an_answer_that_ends_by_its_length_costs_no_step_more() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=3)
    bench.add(1, prompt=5, output=1)
    assert [result.num_seqs for result in bench.run()] == [2, 1, 1]
    assert [sorted(result.emitted_ids.tolist()) for result in bench.results] == [[0, 1], [0], [0]]


def test_who_arrives_meanwhile_is_in_the_next_step_that_is_planned() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=4)
    bench.step()
    bench.add(1, prompt=5, output=2)
    kinds = [result.kind for result in bench.run()]
    assert kinds == ["prefill", "decode", "mixed", "decode"]


def test_steps_do_not_overlap_on_the_record_and_sum_to_no_more_than_the_time() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=6)
    results = bench.run()
    for one, other in itertools.pairwise(results):
        assert other.start_ns == one.end_ns, "it was launched while the one before ran"
    assert all(r.end_ns > r.start_ns and r.launch_ns == 10 for r in results)
    assert results[0].schedule_ns == 10
    assert results[0].start_ns - results[0].planned_ns == 10
    for one, other in itertools.pairwise(results):
        assert one.planned_ns < other.planned_ns < one.end_ns, "it was planned meanwhile"
    durations = sum(result.end_ns - result.start_ns for result in results)
    assert durations == results[-1].end_ns - results[0].start_ns


def test_stages_of_a_request_sum_to_its_time_to_first_token() -> None:
    bench = Bench(usable_blocks=8, config={"max_num_seqs": 3, "max_num_batched_tokens": 5})
    for request_id in range(6):
        bench.add(request_id, prompt=5 + request_id, output=9)
    bench.run()
    assert sum(record.preemptions for record in bench.records.values()) > 0
    for record in bench.records.values():
        prefill = record.prefilled_ns - record.started_ns - record.ttft_recompute_ns
        assert record.admitted_ns <= record.started_ns and prefill > 0
        assert record.first_token_ns == record.prefilled_ns <= record.last_token_ns


# -- the same tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize("batching", ["continuous", "static"])
@pytest.mark.parametrize("usable_blocks", [64, 9])
def test_tokens_are_those_of_the_order_without_overlap(batching: str, usable_blocks: int) -> None:
    answers = []
    for overlap in (True, False):
        config = {"batching": batching, "max_num_batched_tokens": 12, "max_num_seqs": 4}
        bench = Bench(usable_blocks, prefix_caching=True, overlap=overlap, config=config)
        for request_id in range(20):
            bench.add(request_id, 3 + request_id % 7, 4 + request_id % 11, stops=True)
        bench.run()
        assert all(record.status == "ok" for record in bench.records.values())
        answers.append([bench.tokens(request_id) for request_id in range(20)])
        assert answers[-1] == [bench.answer(request_id) for request_id in range(20)]
        assert (bench.worker.num_past_the_end > 0) == overlap
    assert answers[0] == answers[1]


# -- ends that nobody could foresee ---------------------------------------------------------------


def test_what_is_computed_after_a_stop_token_is_dropped() -> None:
    bench = Bench()
    request_id = stopping(range(2, 6))
    truth = bench.add(request_id, prompt=5, output=20, stops=True)
    results = bench.run()
    assert bench.tokens(request_id) == bench.answer(request_id)
    assert bench.records[request_id].output_tokens == truth.num_output
    assert len(results) == truth.num_output + 1, "one step was on its way already"
    assert [len(result.emitted_ids) for result in results] == [1] * truth.num_output + [0]
    assert results[-2].records and not results[-1].records


def test_who_takes_the_row_of_a_stopped_request_gets_its_own_tokens() -> None:
    bench = Bench(usable_blocks=8, config={"max_num_seqs": 1})
    first = stopping(range(2, 6))
    bench.add(first, prompt=5, output=20, stops=True)
    bench.add(1001, prompt=7, output=6)
    bench.run()
    for request_id in (first, 1001):
        assert bench.tokens(request_id) == bench.answer(request_id)


def test_cancelling_frees_blocks_at_once_and_drops_what_is_in_flight() -> None:
    bench = Bench(usable_blocks=6, config={"max_num_seqs": 2})
    bench.add(0, prompt=9, output=9)
    bench.add(1, prompt=9, output=9)
    bench.step()
    bench.step()
    record = bench.cancel(0)
    assert record.status == "cancelled"
    assert record.output_token_ids is not None
    assert record.output_token_ids.tolist() == bench.answer(0)[:2], "the third is in flight"
    bench.add(2, prompt=9, output=3)
    assert bench.step().emitted_ids.tolist() == [1]
    bench.run()
    assert bench.tokens(1) == bench.answer(1) and bench.tokens(2) == bench.answer(2)
    assert 0 not in bench.records


def test_a_prompt_that_is_cancelled_in_its_first_step_was_not_started() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=4)
    bench.step()
    bench.add(1, prompt=5, output=4)
    bench.step()
    record = bench.cancel(1)
    assert (record.started_ns, record.first_token_ns) == (NOT_REACHED, NOT_REACHED)
    assert bench.step().emitted_ids.tolist() == [0]
    bench.run()


def test_a_step_without_anybody_left_is_still_fetched() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=4)
    bench.step()
    bench.cancel(0)
    assert bench.engine.has_work and bench.engine.request_ids() == []
    assert len(bench.step().emitted_ids) == 0
    assert not bench.engine.has_work


def test_closing_waits_for_the_step_in_flight() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=4)
    bench.step()
    bench.engine.close()
    assert bench.worker.calls == ["L0", "L1", "C0", "C1"]


def test_what_else_a_worker_raises_goes_through() -> None:
    bench = Bench()
    bench.worker.fails_at = 1
    bench.add(0, prompt=5, output=4)
    bench.step()
    with pytest.raises(RuntimeError, match="fell off the bus"):
        bench.step()
    assert bench.cancel(0).output_tokens == 1
    assert bench.pool.num_live == 0


# -- blocks run out -------------------------------------------------------------------------------


def test_nobody_is_preempted_for_blocks_that_a_step_in_flight_may_free() -> None:
    bench = Bench(usable_blocks=4)
    bench.add(0, prompt=7, output=6)
    bench.add(1, prompt=6, output=2)
    bench.run()
    assert [record.preemptions for record in bench.records.values()] == [0, 0]


def test_planning_says_that_it_has_to_settle_before_it_preempts() -> None:
    bench = Bench(usable_blocks=4)
    for request_id in (0, 1):
        bench.add(request_id, prompt=7, output=6)
    scheduler = bench.scheduler
    for now_ns in (0, 1):
        plan = scheduler.schedule(now_ns)
        assert plan is not None and not scheduler.must_settle
        scheduler.advance(plan)
        if now_ns == 0:
            scheduler.settle(plan, np.zeros(2, np.int32), 0, 1)
    assert scheduler.schedule(2) is None and scheduler.must_settle
    assert not scheduler.preemptions
    scheduler.check_integrity()
    scheduler.settle(plan, np.zeros(2, np.int32), 1, 2)
    again = scheduler.schedule(3)
    assert again is not None and not scheduler.must_settle
    assert [preemption.request_id for preemption in scheduler.preemptions] == [1]


def test_steps_are_settled_and_retracted_in_their_order() -> None:
    bench = Bench()
    bench.add(0, prompt=5, output=6)
    plans = []
    for now_ns in (0, 1):
        plan = bench.scheduler.schedule(now_ns)
        assert plan is not None
        bench.scheduler.advance(plan)
        plans.append(plan)
    with pytest.raises(IntegrityError, match="not the first"):
        bench.scheduler.settle(plans[1], np.zeros(1, np.int32), 1, 2)
    with pytest.raises(IntegrityError, match="not the last"):
        bench.scheduler.retract(plans[0])
    for plan in reversed(plans):
        bench.scheduler.retract(plan)
        bench.scheduler.check_integrity()
    assert bench.scheduler.num_prefilling == 1


# -- what a device's copy of the block tables follows ---------------------------------------------


def test_changes_of_block_tables_are_told_once() -> None:
    bench = Bench(config={"max_model_len": 16})
    table = bench.scheduler.table
    assert [len(part) for part in table.drain_block_changes()] == [0, 0]
    table.log_block_changes = True
    bench.add(0, prompt=7, output=6)
    bench.add(1, prompt=4, output=6)
    for expected in ([0, 1, 4], [5], [2], []):
        plan = bench.scheduler.schedule(0)
        assert plan is not None
        index, blocks = table.drain_block_changes()
        assert (index.dtype, blocks.dtype) == (np.int32, np.int32)
        assert index.tolist() == expected
        assert blocks.tolist() == table.block_tables.ravel()[expected].tolist()
        bench.scheduler.commit(plan, np.zeros(2, np.int32), 0, 1)


def test_changes_that_nobody_drains_are_not_kept() -> None:
    bench = Bench()
    bench.add(0, prompt=7, output=6)
    plan = bench.scheduler.schedule(0)
    assert plan is not None
    assert len(bench.scheduler.table.drain_block_changes()[0]) == 0
