import csv
from pathlib import Path

import numpy as np
import pytest

from workloads.catalogue import workload, workloads
from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context

TRACES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "traces"
IDS = np.arange(100_000, dtype=np.int64)


def test_names():
    assert [each.name for each in workloads()] == ["chat", "code", "rag", "summarize"]
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


@pytest.mark.parametrize("name", ["chat", "code", "rag", "summarize"])
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
        assert any(venue in each.source for venue in ("ISCA", "SOSP", "OSDI"))
        assert each.description
