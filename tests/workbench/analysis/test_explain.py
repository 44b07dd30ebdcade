"""The sentence: on timelines whose true cause is known."""

import pytest
from hand_timeline import HandTimeline, request_row

from workbench.analysis.baseline import Baseline, run_baseline
from workbench.analysis.explain import why_slow
from workbench.analysis.metrics import STAGES, request_metrics
from workbench.analysis.story import request_story


@pytest.fixture
def usual():
    """A run whose TTFT is 300 ms and whose TPOT is 50 ms."""
    return Baseline(
        requests=200,
        ttft_ms=300.0,
        tpot_ms=50.0,
        stages_ms=dict.fromkeys(STAGES, 0.0) | {"prefill": 280.0},
        prefill_ms_per_token=2.8,
        decode_batch=2.0,
        decode_step_ms={1: 45.0, 2: 50.0, 8: 100.0},
    )


def queued(cause):
    """412 ms in the queue for `cause` while 12 requests ran, then one chunk beside 9 decodes."""
    others = list(range(1, 10))
    line = HandTimeline()
    line.step(0, 412, decode=others, blocked=cause, running=12)
    line.step(412, 712, prefill={0: 100}, decode=others, first=[0])
    line.decode_steady(712, 50, 5, [0, 1])
    row = request_row(
        scheduled=0, admitted=0, started=412, prefilled=712, first_token=712, last_token=962,
        finished=962,
    )  # fmt: skip
    return request_story(row, *line.frames())


def test_kv_blocks(usual):
    told = why_slow(queued("blocks"), {}, usual)
    assert told.slow
    assert told.sentence == (
        "TTFT 712 ms, 2.37 × the run's median: waited 412 ms for KV blocks (12 requests held "
        "them), prefill took 300 ms beside 9 decoding requests."
    )
    assert "In the queue: 412 ms there were no KV blocks." in told.details


def test_a_full_batch_and_a_limit(usual):
    sentence = why_slow(queued("seqs"), {"ttft": 500.0}, usual).sentence
    assert sentence.startswith(
        "TTFT 712 ms, over the limit of 500 ms: queued 412 ms for a place in the batch (12 "
    )


def test_a_wait_is_told_even_where_everybody_waits(usual):
    everybody = run_baseline_of(ttft_ms=712.0)
    told = why_slow(queued("tokens"), {}, everybody)
    assert told.slow and "for room in the token budget" in told.sentence


def run_baseline_of(**known):
    medians = dict.fromkeys(STAGES)
    return Baseline(9, known.get("ttft_ms"), known.get("tpot_ms"), medians, None, None, {})


def decoded(build, count=4, finish=None):
    line = HandTimeline()
    line.step(0, 280, prefill={0: 100}, first=[0])
    now = build(line, line.decode_steady(280, 50, 6, [0, 1]))
    now = line.decode_steady(now, 50, count, [0, 1])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=280, first_token=280, last_token=now,
        finished=now,
    )  # fmt: skip
    return request_story(row, *line.frames())


def test_nothing_held_it_up(usual):
    told = why_slow(decoded(lambda line, now: now), {"ttft": 500.0, "tpot": 60.0}, usual)
    assert not told.slow
    assert told.sentence == (
        "Nothing held it up: TTFT 280 ms, 280 ms of it the prefill of 100 tokens; "
        "TPOT 50.0 ms (the run's median 50.0 ms)."
    )


def test_a_long_prompt_of_another(usual):
    def prompt(line, now):
        line.step(now, now + 412, prefill={17: 240}, decode=[0, 1])
        return now + 412

    sentence = why_slow(decoded(prompt), {}, usual).sentence
    assert "TPOT 82.9 ms, 1.66 × the run's median 50.0 ms: from a stall of 412 ms" in sentence
    assert sentence.endswith("when request 17's prompt was prefilled.")


def test_a_busy_host(usual):
    def host(line, now):
        line.step(now + 200, now + 250, decode=[0, 1])
        return now + 250

    told = why_slow(decoded(host), {}, usual)
    assert "a stall of 250 ms when the host was busy between steps" in told.sentence


def test_other_limits_are_told_too(usual):
    def prompt(line, now):
        line.step(now, now + 412, prefill={17: 240}, decode=[0, 1])
        return now + 412

    story = decoded(prompt, count=400)
    told = why_slow(story, {"e2e": 1000.0, "itl": 300.0, "tpot": 60.0}, usual)
    assert told.slow and "TPOT" not in told.sentence
    assert "E2E 21.0 s, over the limit of 1,000 ms: its 408 tokens took 20.7 s" in told.sentence
    assert told.sentence.endswith(
        "Longest gap 412 ms, over the limit of 300 ms: step 7 held a 240-token prefill chunk of "
        "request 17 (mixed step, 412 ms)."
    )


def test_larger_batches(usual):
    def crowd(line, now):
        return line.decode_steady(now, 100, 20, [0, *range(1, 8)])

    sentence = why_slow(decoded(crowd), {}, usual).sentence
    assert "from larger batches in 20 steps (mean 6.0, the run's median 2)" in sentence


def test_a_preemption_while_decoding(usual):
    line = HandTimeline()
    line.step(0, 280, prefill={0: 100}, first=[0])
    line.decode_steady(280, 50, 3, [0, 1])
    line.step(430, 480, decode=[1])
    line.preempt(0, 103)
    line.step(480, 700, prefill={0: 64}, decode=[1], first=[0])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=280, first_token=280, last_token=700,
        finished=700, preemptions=1, recomputed_tokens=63, recompute=270,
    )  # fmt: skip
    told = why_slow(request_story(row, *line.frames()), {}, usual)
    assert "from a preemption that cost 270 ms (64 tokens recomputed)" in told.sentence
    assert "Preempted at 0.430 s: no KV block; 103 tokens lost." in told.details


def test_a_preemption_before_the_first_token(usual):
    line = HandTimeline()
    line.step(0, 200, prefill={0: 60})
    line.step(200, 300, decode=[1])
    line.preempt(0, 60)
    line.step(300, 520, prefill={0: 60}, decode=[1])
    line.step(520, 700, prefill={0: 40}, decode=[1], first=[0])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=700, first_token=700, last_token=700,
        finished=700, preemptions=1, recomputed_tokens=60, recompute=320, ttft_recompute=320,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    assert story.stages_ns["recompute"] == 320_000_000
    sentence = why_slow(story, {}, usual).sentence
    assert "preempted once, 60 tokens recomputed (320 ms)" in sentence
    assert "prefill took 380 ms in 2 chunks, 1.36 × the run's usual per token" in sentence


def test_how_it_ended_comes_first(usual):
    empty = HandTimeline().frames()
    rejected = request_row(status="rejected", reason="needs 9 KV blocks, the pool has 8",
                           scheduled=0, finished=4)  # fmt: skip
    told = why_slow(request_story(rejected, *empty), {}, usual)
    assert told.sentence == "Rejected: needs 9 KV blocks, the pool has 8." and told.slow
    line = HandTimeline()
    line.step(0, 3000, decode=[1], blocked="seqs", running=1)
    cancelled = request_row(status="cancelled", reason="its user left after 3 s", scheduled=0,
                            admitted=0, finished=3100)  # fmt: skip
    told = why_slow(request_story(cancelled, *line.frames()), {}, usual)
    assert told.sentence == (
        "Cancelled after 3,100 ms: its user left after 3 s (0 of 10 output tokens). "
        "Queued 3,100 ms for a place in the batch (1 request ran)."
    )


def test_one_that_still_waits(usual):
    line = HandTimeline()
    line.step(0, 400, decode=[1], blocked="blocks", running=1)
    row = request_row(status=None, scheduled=0, admitted=0)
    told = why_slow(request_story(row, *line.frames(), at_ns=412_000_000), {}, usual)
    assert told.sentence == (
        "Still waiting after 412 ms. "
        "No token yet: waited 412 ms for KV blocks (1 request held them)."
    )


def test_a_server_does_not_tell(usual):
    line = HandTimeline()
    line.remote([900, 950, 1000, 1050, 1500])
    row = request_row(scheduled=0, admitted=3, first_token=900, last_token=1500, finished=1501)
    told = why_slow(request_story(row, *line.frames()), {}, usual)
    assert "the server took 897 ms to its first token and doesn't tell why" in told.sentence
    assert "from a stall of 450 ms" in told.sentence
    assert "only what its client saw" in told.details[0]


def test_the_baseline_is_the_medians_of_the_run(simulated):
    tables = simulated(count=80)
    measured = request_metrics(tables["requests"])
    usual = run_baseline(measured, tables["steps"])
    assert usual.requests == 80
    assert usual.ttft_ms == measured["ttft_ms"].median()
    assert usual.stages_ms["queue"] == measured["queue_ms"].median()
    assert usual.stages_ms["transfer"] is None
    assert usual.expected_step_ms(1) < usual.expected_step_ms(12)
    nothing = run_baseline(measured.head(0), tables["steps"].head(0))
    assert nothing.ttft_ms is None and nothing.expected_step_ms(4) is None
