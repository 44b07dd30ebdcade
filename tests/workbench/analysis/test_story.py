"""The story of a request: exact on the real scheduler, true on timelines written by hand."""

from itertools import pairwise

import pytest
from engine_record import record_of_engine
from hand_timeline import MS, HandTimeline, request_row

from workbench.analysis.metrics import STAGES, request_metrics
from workbench.analysis.spans import sum_by_stage
from workbench.analysis.story import request_story


def kinds(story):
    return [span.kind for span in story.spans]


def check_partition(story):
    assert story.spans[0].start_ns == story.life.scheduled_ns
    assert story.spans[-1].end_ns == story.life.end_ns
    assert all(before.end_ns == after.start_ns for before, after in pairwise(story.spans))
    assert all(span.duration_ns > 0 for span in story.spans)


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_spans_and_stages_agree_with_the_record_of_the_real_scheduler(seed, overlaps):
    tables = record_of_engine(seed, overlaps=overlaps)
    requests = request_metrics(tables["requests"])
    assert requests["preemptions"].sum() > 0
    for row in requests.iter_rows(named=True):
        story = request_story(row, tables["emissions"], tables["events"], tables["steps"])
        check_partition(story)
        by_stage = sum_by_stage(story.spans, story.life.first_token_ns)
        for stage in STAGES:
            told_ms = row[f"{stage}_ms"]
            assert story.stages_ns[stage] == (None if told_ms is None else round(told_ms * MS))
            assert by_stage.get(stage, 0) == (story.stages_ns[stage] or 0)
        assert sum_by_stage(story.spans, None).get("recompute", 0) == row["recompute_ns"]
        assert sum(part.duration_ns for part in story.queue_causes) == story.stages_ns["queue"]
        assert story.ttft_ns == row["first_token_ns"] - row["scheduled_ns"]
        assert story.e2e_ns == row["last_token_ns"] - row["scheduled_ns"]
        if row["tpot_ms"] is not None:
            assert story.tpot_ns == pytest.approx(row["tpot_ms"] * MS)
        chunks = [turn.tokens for turn in story.turns if turn.part == "prefill"]
        if not row["preemptions"]:
            assert sum(chunks) == row["prompt_tokens"] - row["cached_tokens"]


@pytest.mark.parametrize("seed", range(2))
def test_a_story_at_any_moment_is_a_partition_up_to_it(seed):
    tables = record_of_engine(seed, count=12)
    end_ns = tables["steps"]["end_ns"].max()
    for row in tables["requests"].iter_rows(named=True):
        for at_ns in range(row["scheduled_ns"] + 1, end_ns, end_ns // 23):
            story = request_story(
                row, tables["emissions"], tables["events"], tables["steps"], at_ns
            )
            check_partition(story)
            assert story.life.end_ns <= at_ns
            assert story.in_flight == (row["finished_ns"] > at_ns)
            assert all(one.time_ns <= at_ns for one in story.emissions)


def test_what_it_queued_for_is_told_by_the_steps_that_left_it_out():
    line = HandTimeline()
    line.step(0, 100, decode=[1, 2], blocked="", running=2)
    line.step(101, 200, decode=[1, 2], blocked="blocks", running=2, plan=1)
    line.step(201, 300, decode=[1, 2], blocked="seqs", running=4, plan=1)
    line.step(301, 400, prefill={0: 100}, first=[0], blocked="", plan=1)
    row = request_row(
        scheduled=50, admitted=100, started=301, prefilled=400, first_token=400, last_token=400,
        finished=400,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    assert kinds(story) == ["wait", "queue", "prefill"]
    causes = {part.cause: part.duration_ns // MS for part in story.queue_causes}
    assert causes == {"blocks": 100, "seqs": 100, "step": 1}
    assert {part.cause: part.running for part in story.queue_causes}["seqs"] == 4


def test_steps_that_overlap_leave_it_out_when_they_are_planned():
    line = HandTimeline()
    line.step(0, 100, decode=[1, 2], running=2)
    line.step(100, 200, decode=[1, 2], blocked="seqs", running=2, plan=1, planned=10)
    line.step(200, 300, decode=[1, 2], blocked="blocks", running=2, plan=1, planned=110)
    line.step(300, 400, prefill={0: 100}, first=[0], plan=1, planned=210)
    row = request_row(
        scheduled=50, admitted=50, started=300, prefilled=400, first_token=400, last_token=400,
        finished=400,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    causes = {part.cause: part.duration_ns // MS for part in story.queue_causes}
    assert causes == {"step": 60 + 90, "blocks": 100}
    assert [turn.planned_ns for turn in story.turns] == [210 * MS]


def test_an_older_record_does_not_tell_what_it_queued_for():
    line = HandTimeline()
    line.step(100, 200, decode=[1])
    line.step(200, 300, prefill={0: 100}, first=[0])
    emissions, events, steps = line.frames()
    row = request_row(
        scheduled=90, admitted=100, started=200, prefilled=300, first_token=300, last_token=300,
        finished=300,
    )  # fmt: skip
    story = request_story(row, emissions, events, steps.drop("worker", "blocked", "planned_ns"))
    assert [part.cause for part in story.queue_causes] == ["unknown"]


def test_chunks_have_spans_and_the_steps_between_them_are_a_pause():
    line = HandTimeline()
    line.step(10, 50, prefill={0: 60}, decode=[1])
    line.step(50, 70, decode=[1, 2])
    line.step(70, 90, decode=[1, 2])
    line.step(90, 130, prefill={0: 40}, decode=[1], first=[0])
    row = request_row(
        scheduled=0, admitted=10, started=10, prefilled=130, first_token=130, last_token=130,
        finished=130,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    assert kinds(story) == ["wait", "prefill", "prefill_gap", "prefill"]
    assert [(span.tokens, span.others) for span in story.spans if span.kind == "prefill"] == [
        (60, 1),
        (40, 1),
    ]
    assert "2 steps went by without it" in story.spans[2].why
    assert story.stages_ns["prefill"] == 120 * MS


def stalled_by(build):
    """A steady decode of requests 0 and 1, then what `build` adds, then more of it."""
    line = HandTimeline()
    line.step(0, 40, prefill={0: 100}, first=[0])
    now = build(line, line.decode_steady(40, 50, 6, [0, 1]))
    now = line.decode_steady(now, 50, 4, [0, 1])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=40, first_token=40, last_token=now,
        finished=now, max_tokens=12,
    )  # fmt: skip
    return request_story(row, *line.frames())


def test_a_long_prompt_in_its_step_is_a_stall_with_its_name():
    def prompt(line, now):
        line.step(now, now + 412, prefill={17: 240}, decode=[0, 1])
        return now + 412

    story = stalled_by(prompt)
    (stall,) = story.stalls
    assert (stall.cause, stall.prompts, stall.duration_ns) == ("prefill", (17,), 412 * MS)
    assert stall.why == "step 7 held a 240-token prefill chunk of request 17 (mixed step, 412 ms)"
    assert kinds(story) == ["prefill", "decode", "stall", "decode"]
    assert story.longest_gap == stall


def test_a_busy_host_is_a_stall_between_steps():
    def host(line, now):
        line.step(now + 130, now + 180, decode=[0, 1])
        return now + 180

    (stall,) = stalled_by(host).stalls
    assert stall.cause == "host" and "busy between steps for 130 ms" in stall.why


def test_steps_that_pass_it_by_are_a_stall():
    def others(line, now):
        line.step(now, now + 200, prefill={5: 200})
        line.step(now + 200, now + 250, decode=[0, 1])
        return now + 250

    (stall,) = stalled_by(others).stalls
    assert (stall.cause, stall.share_skipped_ns) == ("skipped", 200 * MS)


def test_a_slow_step_and_a_fuller_one_are_told_apart():
    def slow(line, now):
        line.step(now, now + 160, decode=[0, 1])
        line.step(now + 160, now + 310, decode=[0, 1, 2, 3, 4])
        return now + 310

    first, second = stalled_by(slow).stalls
    assert first.cause == "slow_step" and "3.2 × the usual" in first.why
    assert second.cause == "batch" and "decoded 5 sequences, usually 2" in second.why


def test_a_preemption_lasts_until_what_was_lost_is_computed_again():
    line = HandTimeline()
    line.step(0, 40, prefill={0: 100}, first=[0])
    line.decode_steady(40, 50, 3, [0, 1])
    line.step(200, 250, decode=[1], plan=8)
    line.preempt(0, 103, "no KV block for request 1")
    line.step(250, 300, decode=[1])
    line.step(300, 380, prefill={0: 64}, decode=[1])
    line.step(380, 450, prefill={0: 24}, decode=[1], first=[0])
    line.decode_steady(450, 50, 2, [0, 1])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=40, first_token=40, last_token=550,
        finished=550, preemptions=1, recomputed_tokens=87, recompute=450 - 192,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    assert kinds(story) == ["prefill", "decode", "preempted", "recompute", "recompute", "decode"]
    waiting = story.spans[2]
    assert (waiting.start_ns, waiting.end_ns) == (192 * MS, 300 * MS)
    assert "no KV block for request 1" in waiting.why and "103 tokens" in waiting.why
    assert story.decode_recompute_ns == row["recompute_ns"]
    assert not story.stalls


def test_in_flight_its_stamps_come_from_its_steps():
    line = HandTimeline()
    line.step(10, 50, prefill={0: 60})
    line.step(50, 90, prefill={0: 40}, first=[0])
    line.decode_steady(90, 50, 4, [0])
    row = {
        "request_id": 0, "scheduled_ns": 0, "submitted_ns": 5 * MS, "prompt_tokens": 100,
        "max_tokens": 50,
    }  # fmt: skip
    story = request_story(row, *line.frames(), at_ns=900 * MS)
    assert story.status == "running" and story.in_flight
    assert story.life.started_ns == 10 * MS and story.life.prefilled_ns == 90 * MS
    assert kinds(story) == ["wait", "queue", "prefill", "prefill", "decode", "stall"]
    assert story.spans[-1].open and story.spans[-1].cause == "open"
    early = request_story(row, *line.frames(), at_ns=7 * MS)
    assert early.status == "waiting" and kinds(early) == ["wait", "queue"]
    assert early.ttft_ns is None and early.stages_ns["prefill"] is None


def test_of_a_server_only_what_its_client_saw():
    line = HandTimeline()
    line.remote([300, 350, 400, 450, 900])
    row = request_row(
        scheduled=0, admitted=3, first_token=300, last_token=900, finished=901, output_tokens=5
    )
    story = request_story(row, *line.frames())
    assert not story.told and kinds(story) == ["wait", "server", "decode", "stall"]
    assert story.stages_ns["queue"] is None and story.queue_causes == ()
    assert story.stalls[0].cause == "server"


def test_a_rejected_request_only_waited():
    row = request_row(status="rejected", reason="needs 9 KV blocks", scheduled=0, finished=4)
    story = request_story(row, *HandTimeline().frames())
    assert kinds(story) == ["wait"] and story.ttft_ns is None and story.turns == ()


def test_companions_are_counted_by_what_they_did():
    line = HandTimeline()
    line.step(0, 40, prefill={0: 100, 7: 50}, decode=[3], first=[0])
    line.step(40, 90, prefill={7: 50}, decode=[0, 3], first=[7])
    line.step(90, 140, decode=[0, 7])
    row = request_row(
        scheduled=0, admitted=0, started=0, prefilled=40, first_token=40, last_token=140,
        finished=140,
    )  # fmt: skip
    story = request_story(row, *line.frames())
    told = [
        (other.request_id, other.steps, other.prefill_steps, other.decode_steps)
        for other in story.companions
    ]
    assert told == [(7, 3, 2, 1), (3, 2, 0, 2)]
    assert story.decode_batch == 2.5
