"""Steps that do not fit into the device's memory: their newest request fails, the rest goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from overlapped import Bench

from engines.base import NO_STEP
from engines.scheduling.sequence import Status


def refusing(*calls: tuple[str, int]) -> Callable[[str], bool]:
    """Out of memory at the n-th "launch" or "collect"."""
    counts = {"launch": itertools.count(), "collect": itertools.count()}
    return lambda at: (at, next(counts[at])) in calls


def test_a_step_that_does_not_fit_fails_its_newest_request_and_the_rest_goes_on() -> None:
    bench = Bench(refuses=refusing(("launch", 0)))
    for request_id in range(3):
        bench.add(request_id, prompt=5, output=4)
    first = bench.step()
    assert (first.index, [record.request_id for record in first.records]) == (0, [2])
    record = first.records[0]
    assert record.status == "failed"
    assert "out of memory in a step of 15 tokens" in record.reason
    assert "--max-num-batched-tokens" in record.reason
    bench.run()
    assert [bench.tokens(n) for n in (0, 1)] == [bench.answer(n) for n in (0, 1)]


@pytest.mark.parametrize("at", ["launch", "collect"])
def test_nothing_of_the_others_is_lost_where_a_step_in_flight_does_not_fit(at: str) -> None:
    bench = Bench(refuses=refusing((at, 2), (at, 3)))
    for request_id in range(4):
        bench.add(request_id, prompt=5 + request_id, output=7)
    bench.run()
    assert [n for n, record in bench.records.items() if record.status == "failed"] == [3, 2]
    for request_id, record in bench.records.items():
        assert bench.tokens(request_id) == bench.answer(request_id)[: record.output_tokens]
    assert [bench.records[n].output_tokens for n in (0, 1)] == [7, 7]
    assert [result.index for result in bench.results] == list(range(len(bench.results)))


def test_the_prompts_of_a_step_fail_before_those_that_decode() -> None:
    bench = Bench(refuses=refusing(("launch", 2)), config={"policy": "priority"})
    bench.add(7, prompt=5, output=6)
    bench.step()
    bench.add(1, prompt=5, output=6)
    bench.run()
    assert (bench.records[7].status, bench.records[1].status) == ("ok", "failed")


def test_records_come_out_even_if_no_step_fits() -> None:
    bench = Bench(refuses=lambda at: at == "launch")
    for request_id in range(2):
        bench.add(request_id, prompt=5, output=4)
    (result,) = bench.run()
    assert (result.index, result.kind, result.num_seqs) == (NO_STEP, "none", 0)
    assert [record.request_id for record in result.records] == [1, 0]
    assert all(record.status == Status.FAILED for record in result.records)
    assert bench.engine.step() is None
