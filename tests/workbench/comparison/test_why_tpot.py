import numpy as np
import polars as pl
import pytest
import recorded
from hand_made import (
    MS,
    TPOT,
    explained,
    measured,
    parts_in,
    requests_of,
    run_of_steps,
    steps_of,
)
from in_memory import record
from recorded import recorded_run

from engines.scheduling.config import SchedulerConfig
from workbench.comparison.decode_time import decode_time
from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why import explanations
from workbench.comparison.why_tpot import step_effects
from workbench.runs.tables import load_tables


def decode_ms(batch):
    return 10 + batch / 2


def test_larger_batches_alone_are_a_batch_effect():
    base = run_of_steps(*((batch, 0, decode_ms(batch)) for batch in (4, 8, 9, 12) * 20))
    other = run_of_steps(*((batch, 0, decode_ms(batch)) for batch in (8, 12, 14, 30) * 20))
    found = explained(base, other, TPOT)
    assert [part.name for part in found.parts] == ["batch"]
    assert found.metric == "latency.itl_ms.mean"
    assert found.sentence == (
        "B's TPOT over all tokens is 38 % higher than A's (14.6 → 20.2 ms); "
        "all of it from more sequences in a step (20.4, not 9.24)."
    )


def test_slower_steps_alone_are_a_rate_effect():
    base = run_of_steps(*((batch, 0, decode_ms(batch)) for batch in (4, 8, 9, 12) * 20))
    other = run_of_steps(*((batch, 0, 1.2 * decode_ms(batch)) for batch in (4, 8, 9, 12) * 20))
    found = explained(base, other, TPOT)
    assert [part.name for part in found.parts] == ["decode steps"]
    assert found.sentence == (
        "B's TPOT over all tokens is 20 % higher than A's (14.6 → 17.5 ms); "
        "all of it from longer decode steps of the same batch."
    )


def test_batches_and_rates_are_told_apart():
    """Also of a batch that only one side has: it is as much slower as the others are."""
    base = run_of_steps(*((batch, 0, decode_ms(batch)) for batch in (4, 8) * 20))
    other = run_of_steps(*((batch, 0, 1.1 * decode_ms(batch)) for batch in (4, 8, 12) * 20))
    found = explained(base, other, TPOT)
    total_before, total_after = decode_ms(20 / 3), 1.1 * decode_ms(224 / 24)
    assert found.difference == pytest.approx(total_after - total_before)
    batches = 1.05 * (decode_ms(224 / 24) - decode_ms(20 / 3))
    assert parts_in(found) == {
        "batch": batches,
        "decode steps": found.difference - batches,
    }


def test_prompts_in_more_steps():
    base = run_of_steps(*[(10, 0, 15)] * 90, *[(10, 64, 40)] * 10)
    other = run_of_steps(*[(10, 0, 15)] * 60, *[(10, 64, 40)] * 40)
    found = explained(base, other, TPOT)
    assert parts_in(found) == {"steps with prompts": 7.5}
    assert found.sentence.endswith(
        "; all of it from more tokens decoded beside prompts (40.0 %, not 10.0 %)."
    )


def test_prompts_in_steps_where_there_were_none():
    base = run_of_steps(*[(10, 0, 15)] * 90)
    other = run_of_steps(*[(10, 0, 15)] * 60, *[(10, 64, 40)] * 40)
    assert parts_in(explained(base, other, TPOT)) == {"steps with prompts": 10}


def test_larger_prompts_in_steps():
    base = run_of_steps(*[(10, 0, 15)] * 50, *[(10, 64, 40)] * 50)
    other = run_of_steps(*[(10, 0, 15)] * 50, *[(10, 256, 100)] * 50)
    found = explained(base, other, TPOT)
    assert parts_in(found) == {"prompts in steps": 30}
    assert "from more prompt tokens beside decodes in a step (256, not 64.0)" in found.sentence


def test_slower_steps_with_prompts():
    base = run_of_steps(*[(10, 0, 15)] * 50, *[(10, 64, 40)] * 50)
    other = run_of_steps(*[(10, 0, 15)] * 50, *[(10, 64, 60)] * 50)
    found = explained(base, other, TPOT)
    assert parts_in(found) == {"mixed steps": 10}
    assert "from longer steps of the same batch and prompts" in found.sentence


def test_prefill_only_steps_in_between_and_host_gaps():
    base = run_of_steps(*[(10, 0, 15), (10, 0, 15)] * 20)
    other = run_of_steps(*[(10, 0, 15), (0, 500, 30), (10, 0, 15, {"gap": 1})] * 20)
    found = explained(base, other, TPOT)
    assert parts_in(found) == {"prefill-only steps": 15, "host gaps": 0.5}
    assert found.sentence == (
        "B's TPOT over all tokens is 103 % higher than A's (15.0 → 30.5 ms); "
        "97 % of it from more time in prefill-only steps (15.0 ms a token, not 0 ms)."
    )


def test_a_sequence_waits_only_from_its_first_token_on():
    """4 decode, 2 more end their prompts in the second of three steps without decodes."""
    run = run_of_steps(
        (4, 0, 10),
        (0, 100, 20),
        (0, 100, 30, {"gap": 1, "ended": 2}),
        (0, 100, 40, {"gap": 2}),
        (6, 0, 10, {"gap": 3}),
        (0, 100, 50, {"gap": 9}),
    )
    time = decode_time(run)
    assert time.prefill_only_ms == pytest.approx((4 * 20 + 4 * 30 + 6 * 40) / 10)
    assert time.host_gap_ms == pytest.approx((4 * 1 + 6 * 2 + 6 * 3) / 10)
    assert time.own_ms.sum() == pytest.approx(10)


def test_a_request_that_ends_with_its_first_token_waits_for_no_step():
    """4 decode before and after; the fifth's only token comes in a step between."""
    steps = steps_of([(4, 0, 10, {}), (0, 100, 20, {"ended": 1}), (4, 0, 10, {})])
    requests = requests_of([(1, 1, 1, {})] * 4 + [(0, 0, 0, {})])
    only = pl.col("request_id") == 4
    requests = requests.with_columns(
        output_tokens=pl.when(only).then(1).otherwise("output_tokens"),
        first_token_ns=pl.when(only).then(30 * MS).otherwise("first_token_ns"),
    )
    assert decode_time(measured(requests, steps)).prefill_only_ms == pytest.approx(4 * 20 / 8)


def test_an_idle_engine_holds_nobody_up():
    time = decode_time(
        run_of_steps((1, 0, 10), (0, 100, 20, {"gap": 9_000, "ended": 1}), (1, 0, 10))
    )
    assert time.total_ms == pytest.approx(10)


def test_workers_have_their_own_steps():
    one = [(4, 0, 10, {}), (4, 0, 12, {})]
    both = pl.concat([steps_of(one), steps_of(one).with_columns(worker=pl.lit(1, pl.Int64))])
    both = both.sort("end_ns").with_columns(step=pl.int_range(4))
    time = decode_time(measured(steps=both))
    assert time.total_ms == pytest.approx(11)
    assert time.host_gap_ms == 0
    older = steps_of(one).with_columns(worker=pl.lit(None, pl.Int64))
    assert decode_time(measured(steps=older)).total_ms == pytest.approx(11)


def test_a_step_that_overlaps_lasts_from_the_end_of_the_one_before():
    steps = steps_of([(4, 0, 10, {}), (4, 0, 10, {"gap": -4}), (4, 0, 10, {"gap": -4})])
    time = decode_time(measured(steps=steps))
    assert time.total_ms == pytest.approx(22 / 3)
    assert time.host_gap_ms == 0


def test_time_lost_to_preemptions_is_a_part():
    steps = steps_of([(10, 0, 15, {})] * 10)
    requests = requests_of([(1, 1, 1, {})] * 10)
    preempted = requests.with_columns(recompute_ns=pl.lit(20 * MS))
    found = explained(measured(requests, steps), measured(preempted, steps), TPOT)
    assert parts_in(found) == {"preemptions": 2}
    assert "from more time lost to preemptions (2.00 ms a token, not 0 ms)" in found.sentence


@pytest.mark.parametrize("seed", range(20))
def test_parts_sum_to_the_difference_whatever_the_steps(seed):
    random = np.random.default_rng(seed)

    def run(most):
        rows = [
            (
                int(random.integers(0, most)),
                int(random.integers(1, 3_000)) if random.random() < 0.4 else 0,
                float(random.uniform(1, 100)),
                {"gap": float(random.uniform(0, 2)), "ended": int(random.integers(0, 2))},
            )
            for _ in range(int(random.integers(3, 300)))
        ]
        return run_of_steps((1, 0, 1), *((d, p or (not d), *more) for d, p, *more in rows))

    base, other = run(int(random.integers(2, 60))), run(int(random.integers(2, 60)))
    before, after = decode_time(base), decode_time(other)
    effects = step_effects(before, after)
    own = effects.batch + effects.beside + effects.size + effects.decode_rate + effects.mixed_rate
    assert own == pytest.approx(after.own_ms.sum() - before.own_ms.sum(), abs=1e-9)
    found = explained(base, other, TPOT)
    assert found.difference == pytest.approx(after.total_ms - before.total_ms, abs=1e-9)
    back = explained(other, base, TPOT)
    assert back.difference == pytest.approx(-found.difference, abs=1e-9)


def test_the_mean_over_requests_is_told_where_it_says_something_else():
    def run(step_ms, last_token_ms):
        ends = requests_of([(1, 1, 1, {})] * 30).with_columns(
            last_token_ns=pl.col("first_token_ns") + pl.lit(last_token_ms * MS)
        )
        return measured(ends, steps_of([(10, 0, step_ms, {})] * 10))

    found = explained(run(10, 1_000), run(8, 1_200), TPOT)
    assert found.sentence == (
        "B's TPOT over all tokens is 20 % lower than A's (10.0 → 8.00 ms); all of it from shorter "
        "decode steps of the same batch. Where each request counts the same, B's mean TPOT is "
        "20 % higher than A's (100 → 120 ms)."
    )
    assert "Where each" not in explained(run(10, 1_000), run(8, 900), TPOT).sentence


# -- real schedulers ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory):
    """A run of the real scheduler with other limits than `recorded_run`'s."""
    made = {}

    def run(remote=False, **limits):
        key = (remote, *limits.items())
        if key not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    recorded, "SchedulerConfig", lambda **usual: SchedulerConfig(**usual | limits)
                )
                folder = recorded_run(
                    tmp_path_factory.mktemp("runs") / "run", requests=60, remote=remote
                )
            made[key] = MeasuredRun(record("run", folder.read(), load_tables(folder)))
        return made[key]

    return run


@pytest.mark.parametrize("limits", [{}, {"batching": "static"}, {"max_num_seqs": 3}])
def test_time_per_decoded_token_is_the_recorded_one(scheduled, limits):
    run = scheduled(**limits)
    assert decode_time(run).total_ms == pytest.approx(
        run.summary["latency"]["itl_ms"]["mean"], rel=0.03
    )


def test_smaller_batches_of_a_real_scheduler(scheduled):
    base, other = scheduled(), scheduled(max_num_seqs=3)
    tpot = explained(base, other, TPOT)
    assert tpot.difference < 0
    assert tpot.parts[0].name == "batch"
    assert "fewer sequences in a step (" in tpot.sentence
    ttft = explained(base, other, "TTFT mean")
    assert ttft.parts[0].name == "queue"
    assert "is queue time" in ttft.sentence
    assert ttft.difference == pytest.approx(
        other.summary["latency"]["ttft_ms"]["mean"] - base.summary["latency"]["ttft_ms"]["mean"]
    )


def test_whole_prompts_of_a_real_scheduler(scheduled):
    whole = scheduled(chunked_prefill=False, max_num_batched_tokens=512)
    chunked = scheduled(max_num_batched_tokens=32)
    tpot = explained(whole, chunked, TPOT)
    parts = {part.name: part.difference for part in tpot.parts}
    assert parts["prompts in steps"] < 0 < parts["steps with prompts"]
    assert "prompt tokens beside decodes in a step (" in tpot.sentence


def test_a_remote_server_has_no_steps_to_tell_of(scheduled):
    found = explanations([scheduled()], [scheduled(remote=True)], 1, "B", "A")
    assert [each.figure for each in found] == ["TTFT mean", "TTFT p50"]
    assert {part.name for part in found[0].parts} <= {"wait", "server"}
