import csv
import json
from pathlib import Path

import numpy as np
import pytest

from workloads.arrivals import arrival_process
from workloads.catalogue import workload, workloads
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context

_VENUES = ("ISCA", "SOSP", "OSDI", "FAST", "ATC", "tau-bench")
TRACES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "traces"
IDS = np.arange(100_000, dtype=np.int64)


def test_names():
    assert [each.name for each in workloads()] == [
        *("chat", "code", "rag", "summarize"),
        *("longctx", "burst", "multiturn", "agent"),
    ]
    assert workload("rag").name == "rag"
    with pytest.raises(WorkloadError, match="unknown workload 'sumarise': choose one of summarize"):
        workload("sumarise")


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [("chat", (1155, 1020), (211, 129)), ("code", (2048, 1469), (28, 13))],
)
def test_azure_means_and_medians(name, inputs, outputs):
    drawn = workload(name).lengths(0, IDS)
    for lengths, (mean, median) in zip(drawn, (inputs, outputs), strict=True):
        assert lengths.mean() == pytest.approx(mean, rel=0.02)
        assert np.median(lengths) == pytest.approx(median, rel=0.02)
    assert workload(name).mean_input_tokens() == pytest.approx(inputs[0])
    assert workload(name).mean_output_tokens() == pytest.approx(outputs[0])


def test_published_percentiles_and_ranges():
    inputs, outputs = workload("summarize").lengths(0, IDS)
    assert np.percentile(inputs, [50, 90]) == pytest.approx([7059, 12_985], rel=0.02)
    assert np.percentile(outputs, [50, 90]) == pytest.approx([208, 371], rel=0.02)
    assert (inputs + outputs).max() <= 16_384
    inputs, outputs = workload("rag").lengths(0, IDS)
    assert (inputs.min(), inputs.max(), outputs.min(), outputs.max()) == (1_000, 5_000, 5, 20)


@pytest.mark.parametrize(("name", "file"), [("chat", "conv"), ("code", "code")])
def test_statistics_agree_with_the_trace_itself(name, file):
    path = TRACES / f"AzureLLMInferenceTrace_{file}.csv"
    if not path.exists():
        pytest.skip("the Azure 2023 traces are not beside this checkout")
    with path.open(newline="") as rows:
        seen = np.array(
            [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(rows)]
        )
    drawn = np.stack(workload(name).lengths(1, IDS), axis=1)
    assert drawn.mean(axis=0) == pytest.approx(seen.mean(axis=0), rel=0.02)
    assert np.median(drawn, axis=0) == pytest.approx(np.median(seen, axis=0), rel=0.02)
    assert (drawn.min(axis=0) >= seen.min(axis=0)).all()
    assert (drawn.max(axis=0) <= seen.max(axis=0)).all()


@pytest.mark.parametrize("name", ["chat", "code", "rag", "summarize", "longctx", "burst"])
@pytest.mark.parametrize("context", [512, 2048, 8192])
def test_fitted_means_agree_with_drawn_requests(name, context):
    each = workload(name).with_shared_prefix(100)
    inputs, outputs, fitted = fit_to_context(*each.lengths(3, IDS), context)
    assert each.mean_input_tokens(context) == pytest.approx(inputs.mean(), rel=0.02)
    assert each.mean_output_tokens(context) == pytest.approx(outputs.mean(), rel=0.02)
    assert each.fitted_share(context) == pytest.approx(fitted.mean(), abs=0.01)
    assert each.mean_input_tokens(context) == each.mean_input_tokens(context)


def test_lengths_depend_on_seed_and_id_alone():
    chat = workload("chat")
    inputs, outputs = chat.lengths(5, IDS)
    again = chat.lengths(5, np.array([9, 99_999, 0]))
    assert np.array_equal(again[0], inputs[[9, 99_999, 0]])
    assert np.array_equal(again[1], outputs[[9, 99_999, 0]])
    assert not np.array_equal(chat.lengths(6, IDS)[0], inputs)
    assert abs(np.corrcoef(inputs, outputs)[0, 1]) < 0.02


def test_shared_prefix_adds_to_the_input():
    plain, prefixed = workload("chat"), workload("chat").with_shared_prefix(1_000)
    assert np.array_equal(prefixed.lengths(0, IDS)[0], plain.lengths(0, IDS)[0] + 1_000)
    assert prefixed.mean_input_tokens() == plain.mean_input_tokens() + 1_000
    with pytest.raises(WorkloadError, match="shared_prefix_tokens"):
        plain.with_shared_prefix(-1)


def test_every_workload_names_its_source():
    for each in workloads():
        assert any(venue in each.source for venue in _VENUES)
        assert each.description


def test_longctx_agrees_with_the_mooncake_trace():
    path = TRACES / "mooncake_conversation_trace.jsonl"
    if not path.exists():
        pytest.skip("the Mooncake trace is not beside this checkout")
    with path.open() as rows:
        seen = np.array([(r["input_length"], r["output_length"]) for r in map(json.loads, rows)])
    drawn = np.stack(workload("longctx").lengths(1, IDS), axis=1)
    assert drawn.mean(axis=0) == pytest.approx(seen.mean(axis=0), rel=0.02)
    assert np.median(drawn[:, 0]) == pytest.approx(np.median(seen[:, 0]), rel=0.02)
    for percent in (12, 32, 52, 72, 92):
        published, ours = (np.percentile(each[:, 1], percent) for each in (seen, drawn))
        assert ours == pytest.approx(published, rel=0.1, abs=10)
    assert drawn[:, 0].min() >= 891 and drawn[:, 0].max() <= 126_195


def test_burst_comes_as_bursty_as_the_trace():
    burst = workload("burst")
    assert np.array_equal(burst.lengths(0, IDS[:99]), workload("code").lengths(0, IDS[:99]))
    assert burst.arrivals is not None and dict(burst.arrivals.options) == {}
    assert burst.arrivals.modulation == "square:period=120s,low=0,high=4,duty=0.25,begin=85s"
    process = arrival_process(burst.arrivals.process)
    # Off for 90 s, on for 30 s, at the trace's rate: busy seconds, put end to end, are Poisson.
    busy_s = process.times_ns(4 * 2.57, 30.0 * 2_000, np.random.default_rng(0)) / 1e9
    gaps = np.diff(busy_s + 90.0 * (busy_s // 30.0 + 1))
    assert gaps.std() / gaps.mean() == pytest.approx(13.15, rel=0.02)


def test_conversations_have_the_published_means():
    multiturn = workload("multiturn").conversation
    assert multiturn is not None
    turns = multiturn.turns.quantile((np.arange(10_000) + 0.5) / 10_000)
    assert turns.mean() == pytest.approx(3.51, rel=0.01)
    assert (turns > 1).mean() == pytest.approx(0.73, abs=0.01)
    assert multiturn.user_tokens.mean() == pytest.approx(69.5)
    assert multiturn.output_tokens.mean() == pytest.approx(214.5)
    agent = workload("agent")
    # Of the sessions themselves: prompts with their history have 3156 tokens on average.
    assert agent.mean_input_tokens() == pytest.approx(3156, rel=0.02)
    assert agent.mean_output_tokens() == pytest.approx(80, rel=0.02)
    assert agent.requests_per_session() == pytest.approx(12.4, abs=0.1)


@pytest.mark.parametrize("name", ["multiturn", "agent"])
def test_served_lengths_of_conversations(name):
    each = workload(name)
    inputs, outputs = each.lengths(3, IDS[:5_000])
    whole = each.served_lengths(3, IDS[:5_000])
    assert np.array_equal(whole.input_tokens, inputs) and not whole.fitted.any()
    assert np.array_equal(whole.output_tokens, outputs)
    assert (whole.uncached_tokens <= inputs).all()
    assert whole.computed_tokens(True).mean() < 0.1 * whole.computed_tokens(False).mean()
    cut = each.served_lengths(3, IDS[:5_000], 2_048)
    assert (cut.input_tokens + cut.output_tokens <= 2_048).all()
    assert 500 < len(cut.input_tokens) < 5_000
    prefixed = each.with_shared_prefix(100).served_lengths(3, IDS[:9])
    assert np.array_equal(prefixed.input_tokens, inputs[:9] + 100)
    assert np.array_equal(prefixed.uncached_tokens, whole.uncached_tokens[:9])


def test_served_lengths_of_requests_that_stand_alone():
    chat = workload("chat").with_shared_prefix(200)
    served = chat.served_lengths(0, IDS[:500], 1_024)
    inputs, outputs, fitted = fit_to_context(*chat.lengths(0, IDS[:500]), 1_024)
    assert np.array_equal(served.input_tokens, inputs)
    assert np.array_equal(served.output_tokens, outputs)
    assert np.array_equal(served.fitted, fitted) and fitted.any()
    assert np.array_equal(served.uncached_tokens, np.maximum(inputs - 200, 1))
    assert chat.requests_per_session() == 1.0
