"""Whole comparisons, of runs whose requests are made up."""

import numpy as np
import pytest
from in_memory import record as in_memory

from workbench.analysis.metrics import Window
from workbench.analysis.summary import summarise
from workbench.comparison.compare import compare
from workbench.comparison.comparison import BASIS_TEXT
from workbench.comparison.pareto import pareto
from workbench.comparison.records import SideRecords
from workbench.errors import SpecError

S = 1_000_000_000


@pytest.fixture
def run(requests_frame):
    """Builds a run whose requests have these TTFTs, ms, one a second, and 500 ms of decoding."""

    def build(
        name, ttfts, *, state="finished", summed=True, slo=None, reason="", every=1.0, **spec
    ):
        requests = requests_frame(
            *(
                {
                    "scheduled": 1000 * every * index,
                    "admitted": 1000 * every * index,
                    "started": 1000 * every * index,
                    "prefilled": 1000 * every * index + ttft,
                    "first_token": 1000 * every * index + ttft,
                    "last_token": 1000 * every * index + ttft + 500,
                    "finished": 1000 * every * index + ttft + 500,
                    "output_tokens": 11,
                    "first_tokens": 1,
                }
                for index, ttft in enumerate(ttfts)
            )
        )
        window = Window(0, int(every * (len(ttfts) - 1) * S))
        content = {
            "name": name,
            "reason": reason,
            "spec": {"seed": 0, "traffic": {"rate": 1.0}, "slo": slo or {}} | spec,
        }
        if summed:
            content["summary"] = summarise({"requests": requests}, window, slo).as_dict()
        return in_memory(f"run-{name}", content, {"requests": requests}, state)

    return build


def side(*records):
    return SideRecords(records[0].name, records)


def ttfts(seed, n=200, level=100.0, spread=0.2):
    return level * np.exp(spread * np.random.default_rng(seed).normal(size=n))


def change_of(comparison, name, place=1):
    return comparison.row(name).cells[place].change


def test_differences_are_against_the_first_side(run):
    base, other = run("base", [100] * 50 + [200] * 50), run("other", [150] * 50 + [400] * 50)
    comparison = compare([side(base), side(other)])
    row = comparison.row("ttft_mean")
    assert [cell.value for cell in row.cells] == [150, 275]
    assert row.cells[0].change is None and row.cells[1].n == 100
    assert row.cells[1].change.difference == 125
    assert row.cells[1].change.ratio == pytest.approx(275 / 150)
    assert comparison.row("latency.ttft_ms.mean") is row and comparison.row("nothing") is None
    assert [each.label for each in comparison.sides] == ["base", "other"]


def test_one_run_of_each_side_with_the_same_requests_is_paired(run):
    """Slow requests are slow in both; 15 % more of each is found where chance would hide it."""
    slow = ttfts(1, spread=0.8)
    noise = np.exp(0.05 * np.random.default_rng(2).normal(size=slow.size))
    pair = [side(run("a", slow)), side(run("b", 1.15 * slow * noise))]
    found = change_of(compare(pair), "ttft_mean")
    assert found.basis == "paired requests" and found.verdict == "worse"
    assert found.ratio_interval.low > 1.05
    # Other moments, other requests: what is left is too noisy to say.
    moved = [side(run("a", slow)), side(run("b", 1.15 * slow * noise, every=1.1))]
    apart = change_of(compare(moved), "ttft_mean")
    assert apart.basis == "requests" and apart.verdict in ("no evidence", "too noisy")
    assert apart.p > 10 * found.p


def test_the_same_run_twice_shows_no_difference(run):
    one = run("a", ttfts(1))
    comparison = compare([side(one), side(run("b", ttfts(1)))])
    told = {
        cell.change.verdict
        for row in comparison.rows
        for cell in row.cells[1:]
        if cell.change is not None and row.metric.better
    }
    assert told <= {"no evidence", "too noisy", None}
    assert not comparison.settings and not comparison.traffic_differs
    assert [note.text for note in comparison.notes if note.loud] == []


def test_repeated_runs_are_judged_by_what_differs_between_them(run):
    def group(level, name):
        factors = np.exp(0.02 * np.random.default_rng(int(level)).normal(size=5))
        return side(
            *(
                run(f"{name}{seed}", ttfts(seed, level=level * factor * 1.5**seed), seed=seed)
                for seed, factor in enumerate(factors)
            )
        )

    comparison = compare([group(100, "a"), group(110, "b")])
    found = change_of(comparison, "ttft_p50")
    assert found.basis == "paired runs" and found.verdict == "worse"
    assert found.ratio_interval.low < 1.10 < found.ratio_interval.high
    cell = comparison.row("ttft_p50").cells[1]
    assert len(cell.values) == 5 and cell.n == 1000
    assert min(cell.values) < cell.value < max(cell.values)
    assert not any("single run" in note.text for note in comparison.notes)
    assert {BASIS_TEXT[found.basis]} == {"repeated runs, paired by seed"}


def test_every_side_is_held_against_the_baseline(run):
    sides = [
        side(run(name, ttfts(1, level=level)))
        for name, level in zip("abc", (100, 200, 50), strict=True)
    ]
    comparison = compare(sides)
    assert [change_of(comparison, "ttft_p50", place).verdict for place in (1, 2)] == [
        "worse",
        "better",
    ]
    assert len({note.text for note in comparison.notes}) == len(comparison.notes)


def test_a_p99_of_few_samples_is_weak(run):
    comparison = compare([side(run("a", [100] * 99)), side(run("b", [200] * 100))])
    assert [cell.weak for cell in comparison.row("ttft_p99").cells] == [True, False]
    assert not any(cell.weak for cell in comparison.row("ttft_p50").cells)


def test_too_few_requests_are_too_noisy_to_judge(run):
    comparison = compare([side(run("a", [100] * 5)), side(run("b", [900] * 5))])
    found = change_of(comparison, "ttft_p50")
    assert found.verdict in (None, "too noisy") and found.p is None


def test_only_metrics_that_a_run_has_get_a_row(run):
    comparison = compare([side(run("a", [100] * 3)), side(run("b", [100] * 3))])
    names = {row.metric.name for row in comparison.rows}
    assert {"ttft_p99", "prefill_mean", "tpot_p95"} <= names
    assert not any(name.startswith(("transfer", "queue", "attainment", "gpu")) for name in names)
    assert len(names) == len(comparison.rows)


def test_fewer_metrics_are_fewer_tests(run):
    pair = [side(run("a", ttfts(1))), side(run("b", ttfts(2)))]
    whole, few = compare(pair), compare(pair, only=["ttft_p5*"])
    assert [row.metric.name for row in few.rows] == ["ttft_p50"]
    one, other = change_of(whole, "ttft_p50"), change_of(few, "ttft_p50")
    assert other.p == one.p and other.adjusted_p < one.adjusted_p
    assert other.detectable < one.detectable
    with pytest.raises(SpecError, match="did you mean 'ttft_p50'"):
        compare(pair, only=["ttft_50"])


def test_attainment_and_goodput_are_judged(run):
    slo = {"ttft": 150.0}
    pair = [
        side(run("a", [100] * 90 + [200] * 10, slo=slo)),
        side(run("b", [100] * 30 + [200] * 70, slo=slo)),
    ]
    comparison = compare(pair)
    attainment = comparison.row("attainment")
    assert [cell.value for cell in attainment.cells] == [90, pytest.approx(30)]
    assert attainment.cells[0].interval.low < 90 < attainment.cells[0].interval.high
    assert comparison.row("goodput").metric.better == "higher"


def test_runs_without_a_summary_are_compared_as_far_as_possible(run):
    dead = run("dead", [300] * 40, state="dead", summed=False)
    empty = in_memory("run-empty", {"reason": "no memory", "spec": {}}, {}, "failed")
    stopped = run("stopped", [100] * 40, state="interrupted", reason="SIGINT")
    comparison = compare([side(run("a", [100] * 40)), side(dead), side(empty), side(stopped)])
    assert [cell.value for cell in comparison.row("ttft_p50").cells] == [100, 300, None, 100]
    problems = [each.runs[0].problem for each in comparison.sides]
    assert problems[0] == ""
    assert "no summary: figures of the 40 requests" in problems[1]
    assert problems[2] == "is failed and has no figures: no memory"
    assert problems[3] == "is interrupted: SIGINT"
    loud = [note.text for note in comparison.notes if note.loud]
    assert any("no memory" in text for text in loud) and any("SIGINT" in text for text in loud)
    with pytest.raises(ValueError, match="two sides"):
        compare([side(dead)])


def test_missing_runs_are_told_first(run):
    pair = [side(run("a", ttfts(1))), side(run("b", ttfts(2)))]
    comparison = compare(pair, problems=["no run 'c'"])
    assert comparison.notes[0].text == "no run 'c'" and comparison.notes[0].loud


def test_what_single_runs_allow_for_is_told(run):
    pair = [side(run("a", ttfts(1))), side(run("b", ttfts(2)))]
    notes = " ".join(note.text for note in compare(pair).notes)
    assert "3% (standard deviation) is allowed" in notes and "moving-block bootstrap" in notes
    assert "nothing is allowed" in " ".join(note.text for note in compare(pair, run_noise=0).notes)


def test_the_front_is_what_no_side_beats(run):
    runs = [run("fast", [100] * 3), run("slow", [300] * 3), run("dear", [100] * 4)]
    for record, rate in zip(runs, (10.0, 20.0, 5.0), strict=True):
        record.content["summary"]["throughput"]["output_tokens_per_s"] = rate
    runs.append(in_memory("none", {"name": "none", "spec": {}}, {}, "dead"))
    comparison = compare([side(each) for each in runs])
    front = pareto(comparison)
    assert [(point.label, point.on_front) for point in front.points] == [
        ("fast", True),
        ("slow", True),
        ("dear", False),
    ]
    assert front.left_out == ("none",)
    assert pareto(comparison, x="devices.gpu0.power_watts") is None
