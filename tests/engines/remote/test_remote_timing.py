"""A server of known timing: what is measured is what it did.

The server tells when it really sent each chunk, on the same clock. A machine that is late is late
on both sides, so the figures are held against those stamps and not against the plan.
"""

import numpy as np
import pytest

MS = 1_000_000
SLACK_MS = 50  # from a socket to the other process, on a machine with other work

SHAPES = {
    "plain": {"role_first": False},
    "role first": {"role_first": True},
    "chunks of 4": {"role_first": True, "tokens_per_chunk": 4},
    "chunks of 4, no usage": {"role_first": False, "tokens_per_chunk": 4, "usage": False},
}


@pytest.mark.parametrize("client", ["direct", "httpx"])
@pytest.mark.parametrize("shape", SHAPES)
def test_stamps_are_the_servers(serve, connect, shape, client):
    options = SHAPES[shape]
    server = serve(first_ms=100, per_token_ms=10, **options)
    rig = connect(server, http_client=client)
    rig.submit(1, max_tokens=32)
    record = rig.finish()[1]
    assert (record.status, record.reason) == ("ok", "")
    per_chunk = options.get("tokens_per_chunk", 1)
    assert record.output_tokens == 32
    sent_ns = np.array(server.seen()["sent_ns"]["1"]) - rig.clock.origin_ns
    begin = int(options["role_first"])
    sent_ns = sent_ns[begin : begin + 32 // per_chunk]
    emissions = rig.emitted(1)
    # Chunks are one emission where a busy machine read them together.
    counts = [tokens for _, tokens in emissions]
    assert sum(counts) == 32 and {count % per_chunk for count in counts} == {0}
    got_ns = np.repeat([ns for ns, _ in emissions], [count // per_chunk for count in counts])
    behind_ms = (got_ns - sent_ns) / MS
    assert behind_ms.min() >= 0 and np.median(behind_ms) < SLACK_MS
    assert record.first_token_ns == emissions[0][0]
    assert record.last_token_ns == emissions[-1][0]
    # The first token is due after 100 ms; the role, which came at once, is none.
    assert record.first_token_ns - record.scheduled_ns > 99.9 * MS
    assert record.first_tokens == counts[0] < 32
    first, later = counts[0] // per_chunk - 1, 32 - counts[0]
    tpot_ms = (record.last_token_ns - record.first_token_ns) / later / MS
    true_ms = (sent_ns[-1] - sent_ns[first]) / later / MS
    late_ms = (behind_ms[first] + behind_ms[-1]) / later
    assert abs(tpot_ms - true_ms) <= max(0.01 * true_ms, late_ms)
    if max(behind_ms[first], behind_ms[-1]) < 1 and abs(true_ms - 10) < 0.01:  # in time
        assert abs(tpot_ms - 10) <= 0.1 and record.first_tokens == per_chunk


def test_stages_are_in_order_and_emissions_add_up(serve, connect):
    rig = connect(serve(first_ms=5, per_token_ms=1))
    for record in rig.serve(20, max_tokens=6).values():
        assert record.status == "ok" and record.scheduled_ns <= record.admitted_ns
        assert record.admitted_ns < record.first_token_ns <= record.last_token_ns
        assert record.last_token_ns <= record.finished_ns
        assert record.prompt_tokens == 8 and record.cached_tokens == 3  # the server's count
        assert sum(tokens for _, tokens in rig.emitted(record.request_id)) == 6
        assert (record.started_ns, record.prefilled_ns, record.transferred_ns) == (-1, -1, -1)


def test_emissions_come_while_it_runs_once_the_server_is_known(serve, connect):
    rig = connect(serve(first_ms=1, per_token_ms=5))
    rig.submit(0, max_tokens=4)
    rig.submit(1, max_tokens=120)
    while 0 not in rig.records:
        rig.step()
    while len(rig.emitted(1)) < 4:
        assert 1 not in rig.records
        rig.step(rig.clock() + 5 * MS)
    rig.finish()
    assert sum(tokens for _, tokens in rig.emitted(1)) == 120


def test_step_comes_back_by_the_next_arrival(serve, connect):
    rig = connect(serve(first_ms=60_000))
    rig.submit(0)
    rig.step(rig.clock())
    late_ms = []
    for _ in range(20):
        until_ns = rig.clock() + 3 * MS
        while rig.clock() < until_ns:
            rig.step(until_ns)
        late_ms.append((rig.clock() - until_ns) / MS)
    assert min(late_ms) < 1 and np.median(late_ms) < SLACK_MS
    begun_ns = rig.clock()
    assert rig.step() is None  # a slice of 20 ms at most
    assert rig.clock() - begun_ns < 1000 * MS


def test_the_servers_own_figures_are_sampled(serve, connect):
    server = serve(first_ms=400, per_token_ms=1)
    rig = connect(server, scrape_s=0.03)
    rig.serve(2)
    samples = rig.engine.drain_server_samples()
    assert len(samples["time_ns"]) >= 2 and samples["time_ns"].dtype == np.int64
    assert (np.diff(samples["time_ns"]) > 0).all()
    assert samples["running"].max() == 2 and samples["generation_tokens_total"][-1] == 16
    assert np.isnan(samples["ttft_sum_s"]).all()
    assert rig.engine.describe()["metrics"] == "read"
    assert len(rig.engine.drain_server_samples()["time_ns"]) == 0


def test_no_metrics_is_noted_and_nothing_else(serve, connect):
    rig = connect(serve(metrics=False), scrape_s=0.01)
    assert rig.serve(3)[0].status == "ok"
    while rig.engine.describe()["metrics"] == "not read":
        rig.engine.rest(0.01)  # three quick answers may be there before that page's
    assert rig.engine.describe()["metrics"] == "not read: /metrics answers HTTP 404"
    assert len(rig.engine.drain_server_samples()["time_ns"]) == 0
