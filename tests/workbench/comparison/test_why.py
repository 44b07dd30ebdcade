import numpy as np
import polars as pl
import pytest
from hand_made import (
    TPOT,
    explained,
    frame,
    measured,
    parts_in,
    requests_of,
    run_of,
    run_of_steps,
)
from in_memory import record

from workbench.comparison.measured import MeasuredRun
from workbench.comparison.why import explanations
from workbench.comparison.why_paired import paired_sentence
from workbench.comparison.why_words import Cause, Change, parts_of, sentence
from workbench.errors import StoreError
from workbench.runs.schema import REQUESTS


def test_stages_of_the_mean_sum_to_its_difference():
    base = run_of(2, 1_000, 200, transfer=30, first_decode=8)
    other = run_of(2, 530, 170, transfer=30, first_decode=8)
    found = explained(base, other, "TTFT mean")
    assert found.metric == "latency.ttft_ms.mean"
    assert found.side == 1
    assert found.difference == pytest.approx(-500)
    assert {part.name: round(part.difference, 6) for part in found.parts} == {
        "queue": -470,
        "prefill": -30,
    }
    assert found.parts[0].share == pytest.approx(0.94)
    assert found.sentence.startswith(
        "B's TTFT mean is 40 % lower than A's (1,240 → 740 ms); 94 % of it is queue time."
    )


def test_stages_that_go_both_ways_are_told_in_ms():
    sentence = explained(run_of(1, 500, 60), run_of(1, 90, 92), "TTFT p50").sentence
    assert sentence == (
        "B's TTFT p50 is 67 % lower than A's (561 → 183 ms): queue time fell by 410 ms, "
        "but prefill took 32.0 ms longer."
    )


def test_every_stage_has_its_words():
    base = run_of(10, 10, 10, transfer=10, first_decode=10, recompute=10)
    other = run_of(20, 20, 20, transfer=20, first_decode=20, recompute=20)
    found = explained(base, other, "TTFT p50")
    assert {part.name for part in found.parts} == {
        "wait", "queue", "prefill", "transfer", "first decode", "recompute",
    }  # fmt: skip
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert "100 % higher than A's (60.0 → 120 ms); 17 % of it is " in found.sentence


@pytest.mark.parametrize(
    ("after", "said"), [(0.01, "99.9 % lower"), (0.3, "99.7 % lower"), (95.0, "5.0 % lower")]
)
def test_only_what_is_nothing_is_100_percent_lower(after, said):
    change = Change("TTFT", "B", "A", 100.0, after)
    assert said in sentence(change, [Cause("queue", after - 100.0, "is queue time", "")])


def test_parts_that_make_up_for_each_other_have_no_shares():
    causes = [Cause("queue", 50.0, "", ""), Cause("prefill", -48.0, "", "")]
    assert [part.share for part in parts_of(causes)] == [None, None]
    causes = [Cause("queue", 50.0, "", ""), Cause("prefill", -25.0, "", "")]
    assert [part.share for part in parts_of(causes)] == [2.0, -1.0]


def test_figures_that_hardly_differ_have_no_shares():
    same = explained(run_of(1, 500, 60), run_of(1, 502, 60), "TTFT p50").sentence
    assert same == "B's TTFT p50 hardly differs from A's (561 → 563 ms)."
    cancelled = explained(run_of(1, 500, 60), run_of(1, 90, 472), "TTFT p50").sentence
    assert cancelled == (
        "B's TTFT p50 hardly differs from A's (561 → 563 ms): prefill took 412 ms longer, "
        "but queue time fell by 410 ms."
    )


def test_a_figure_many_times_as_high_is_told_in_times():
    sentence = explained(run_of(0, 10, 10), run_of(0, 390, 10), "TTFT p50").sentence
    assert sentence == "B's TTFT p50 is 20.0 times A's (20.0 → 400 ms); all of it is queue time."


def test_percentiles_are_explained_by_the_requests_around_them():
    """The fast half prefills, the slow half queues: p50 and p99 have other reasons."""
    random = np.random.default_rng(0)
    noise = random.uniform(0, 1, 1_000)

    def run(prefill, queue):
        fast = [(0, 0, prefill + each, {}) for each in noise[:700]]
        slow = [(0, queue + 100 * each, 100, {}) for each in noise[700:]]
        return measured(requests_of(fast + slow))

    base, other = run(50, 1_000), run(80, 2_000)
    middle, tail = (explained(base, other, f"TTFT {name}") for name in ("p50", "p99"))
    assert middle.parts[0].name == "prefill"
    assert middle.parts[0].difference == pytest.approx(30)
    assert "; all of it is prefill." in middle.sentence
    assert tail.parts[0].name == "queue"
    assert tail.difference == pytest.approx(1_000, rel=0.01)
    assert "The 10 requests" not in tail.sentence


def test_a_percentile_far_from_the_requests_around_it_says_so():
    """Of 200 requests the 2 slowest differ much, the 10 around p99 so much less."""

    def run(slowest):
        rows = [(0, 100 + number, 0, {}) for number in range(195)]
        return measured(requests_of(rows + [(0, slowest, 0, {})] * 5))

    found = explained(run(1_000), run(1_600), "TTFT p99")
    assert found.difference == pytest.approx(300)
    assert found.sentence == (
        "B's TTFT p99 is 60 % higher than A's (1,000 → 1,600 ms); all of it is queue time. "
        "The 10 requests around it: 646 → 946 ms."
    )


def test_percentiles_of_too_few_requests_are_left_out():
    def figures(count):
        base, other = run_of(1, 1, 1, count=count), run_of(2, 1, 1, count=count)
        return [each.figure for each in explanations([base], [other], 1, "B", "A")]

    assert figures(19) == ["TTFT mean"]
    assert figures(20) == ["TTFT mean", "TTFT p50"]
    assert figures(99) == ["TTFT mean", "TTFT p50"]
    assert figures(100) == ["TTFT mean", "TTFT p50", "TTFT p99"]


def test_repeated_runs_count_the_same_each():
    base = [run_of(0, 0, 100, count=30), run_of(0, 0, 100, count=300)]
    other = [run_of(0, 0, 200, count=30), run_of(0, 100, 100, count=300)]
    found = explained(base, other, "TTFT mean")
    assert parts_in(found) == {"queue": 50, "prefill": 50}


def test_a_server_tells_only_how_long_the_wait_was():
    def remote(wait, server):
        told = requests_of([(wait, 0, server, {})] * 30)
        nothing = pl.lit(None, pl.Int64)
        return measured(told.with_columns(started_ns=nothing, prefilled_ns=nothing))

    found = explained(remote(1, 100), remote(21, 150), "TTFT mean")
    assert parts_in(found) == {"server": 50, "wait": 20}
    assert "; 71 % of it is time in the server, 29 % is waiting to be admitted." in found.sentence
    beside_an_engine = explained(run_of(1, 60, 40), remote(1, 150), "TTFT mean")
    assert parts_in(beside_an_engine) == {"server": 50}


def test_requests_of_a_killed_run_keep_their_time():
    """What a request had not told when its runner was killed is a part of its own."""
    told = requests_of([(1, 50, 50, {})] * 30)
    lost = pl.col("request_id") < 3
    killed = told.with_columns(
        started_ns=pl.when(~lost).then("started_ns"),
        ttft_recompute_ns=pl.when(~lost).then("ttft_recompute_ns"),
    )
    found = explained(measured(told), measured(killed), "TTFT mean")
    assert parts_in(found) == {"queue": -5, "prefill": -5, "not told": 10}


# -- the same requests --------------------------------------------------------------------------


def test_the_same_requests_are_told_one_by_one():
    base = run_of(1, 100, 10, count=40)
    rows = [(1, 112 if number % 20 else 90, 10, {}) for number in range(40)]
    other = measured(requests_of(rows))
    said = (
        "Of 40 requests in both, 38 (95 %) got their first token later than in A, "
        "by 12.0 ms at the median."
    )
    assert paired_sentence([base], [other], "A") == said
    assert explained(base, other, "TTFT mean").sentence.endswith(said)
    assert paired_sentence([other], [base], "B").startswith(
        "Of 40 requests in both, 38 (95 %) got their first token sooner than in B"
    )
    assert paired_sentence([base], [run_of(1, 100, 10, count=40)], "A") == (
        "The 40 requests in both got their first token after the same time."
    )


def test_only_requests_in_both_count_and_runs_pair_by_seed():
    base = [run_of(1, 100, 10, count=40, seed=1), run_of(1, 100, 10, count=30, seed=2)]
    other = [run_of(1, 105, 10, count=50, seed=2), run_of(1, 105, 10, count=35, seed=1)]
    assert paired_sentence(base, other, "A") == (
        "Of 65 requests in both, all got their first token later than in A, "
        "by 5.00 ms at the median."
    )
    assert paired_sentence(base[:1], other, "A") is None
    assert paired_sentence(base[:1], other[:1], "A") is None


def test_other_requests_are_not_paired():
    base, other = run_of(1, 100, 10, count=40), requests_of([(1, 150, 10, {})] * 40)
    longer = measured(other.with_columns(prompt_tokens=pl.col("prompt_tokens") + 1))
    assert paired_sentence([base], [longer], "A") is None
    assert "in both" not in explained(base, longer, "TTFT mean").sentence
    assert paired_sentence([run_of(1, 1, 1, count=9)], [run_of(1, 1, 1, count=9)], "A") is None


def test_as_many_later_as_sooner():
    rows = [(1, 90 if number % 2 else 110, 10, {}) for number in range(40)]
    assert paired_sentence([run_of(1, 100, 10, count=40)], [measured(requests_of(rows))], "A") == (
        "Of 40 requests in both, 20 got their first token later than in A, 20 sooner."
    )


# -- where nothing can be said ------------------------------------------------------------------


class Broken:
    def table(self, table, columns=None):
        raise StoreError(f"{table.name}.parquet can't be read")

    def emission_parts(self, most_rows):
        raise StoreError("emissions.parquet can't be read")


def test_what_is_undefined_explains_nothing():
    run = run_of(1, 2, 3)
    none = measured(frame(REQUESTS, []))
    no_window = measured(window=False)
    broken = MeasuredRun(
        record("broken", {"summary": {"window": {"start_ns": 0, "end_ns": 9}}}, {})
    )
    object.__setattr__(broken.record, "tables", Broken())
    for empty in ([none], [no_window], [broken], []):
        assert explanations([run], empty, 1, "B", "A") == ()
        assert explanations(empty, [run], 1, "B", "A") == ()
    figures = [each.figure for each in explanations([run], [run], 1, "B", "A")]
    assert figures == ["TTFT mean", "TTFT p50"]
    unreached = requests_of([(1, 1, 1, {})] * 5).with_columns(
        first_token_ns=pl.lit(None, pl.Int64), last_token_ns=pl.lit(None, pl.Int64)
    )
    assert explanations([run], [measured(unreached)], 1, "B", "A") == ()
    only_prompts = run_of_steps((0, 100, 10))
    assert explained(run_of_steps((4, 0, 10)), only_prompts, TPOT) is None
