"""The verdict benchmark counts what a comparison says, whatever it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from workbench.bench import verdicts
from workbench.bench.verdict_table import verdict_table
from workbench.bench.verdicts import Extent, run_verdicts
from workbench.comparison.compared_metrics import metrics_of
from workbench.comparison.comparison import Cell, Change, Comparison, Row, Verdict
from workbench.comparison.intervals import Interval
from workbench.comparison.records import SideRecords
from workbench.errors import SpecError

SMALL = Extent(pairs=3, experiments=2, repeat=2, requests=40)


def judge(sides: Sequence[SideRecords]) -> Comparison:
    """TPOT p50 by the means of both sides: 7 % more is worse; TTFT p50 is always worse."""
    [tpot, ttft] = [
        metric
        for name in ("tpot_p50", "ttft_p50")
        for metric in metrics_of([sides[0].records[0].content["summary"]])
        if metric.name == name
    ]
    rows = []
    for metric in (tpot, ttft):
        values = [[metric.value(run.content["summary"]) for run in side.records] for side in sides]
        base, other = (sum(filter(None, each)) / len(each) for each in values)
        worse = metric is ttft or other > 1.07 * base
        verdict: Verdict = "worse" if worse else "no evidence"
        change = Change(other - base, other / base, verdict=verdict)
        everything = Interval(0.0, 1e9)
        rows.append(
            Row(
                metric,
                (
                    Cell(base, (base,), 40, everything, False, None),
                    Cell(other, (other,), 40, everything, False, change),
                ),
            )
        )
    return Comparison((), (), tuple(rows), (), ())


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verdicts, "compare", judge)
        return run_verdicts(SMALL, workers=1)


def test_every_series_is_compared_as_often_as_was_asked(result: dict[str, Any]) -> None:
    counts = [(each["name"], each["comparisons"]) for each in result["series"]]
    assert counts == [
        ("A/A, same requests", 3),
        ("A/A, other requests", 3),
        ("A/A, 2 runs", 2),
        ("+5 %, 2 runs", 2),
        ("+10 %, 2 runs", 2),
        ("+10 %, 1 run", 2),
        ("+20 %, 1 run", 2),
    ]


def test_shares_and_bars_are_those_of_the_verdicts(result: dict[str, Any]) -> None:
    by_name = {each["name"]: each for each in result["series"]}
    same, by_20 = by_name["A/A, same requests"], by_name["+20 %, 1 run"]
    assert same["metrics"]["ttft_p50"]["worse_percent"] == 100
    assert same["metrics"]["ttft_p50"]["better_percent"] == 0
    assert same["metrics"]["ttft_p50"]["judged"] == 3
    assert same["any_false_percent"] == 100
    assert by_20["metrics"]["tpot_p50"]["worse_percent"] == 100
    assert "any_false_percent" not in by_20
    of_same, *_, of_10 = result["bars"]
    assert (of_same["metric"], of_same["percent"], of_same["met"]) == ("ttft_p50", 100, False)
    assert (of_10["series"], of_10["metric"]) == ("+10 %, 2 runs", "tpot_p50")
    assert of_10["met"] == (of_10["percent"] >= 90)


def test_coverage_is_of_the_single_runs_of_both_kinds(result: dict[str, Any]) -> None:
    assert result["coverage"]["tpot_p50"] == {
        "runs": 6,
        "known_percent": 100,
        "inside_percent": 100,
    }


def test_the_table_has_a_line_a_metric_and_says_whether_bars_are_met(
    result: dict[str, Any],
) -> None:
    lines = verdict_table(result).splitlines()
    [ttft] = [line.split() for line in lines if line.startswith("ttft_p50")]
    assert ttft == ["ttft_p50", *["100.0"] * 8]
    assert any(line.endswith("100.0 % false, at most 5 %: NOT met") for line in lines)


def test_the_same_extent_gives_the_same_figures(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    monkeypatch.setattr(verdicts, "compare", judge)
    again = run_verdicts(SMALL, workers=1, progress=done.append)
    assert again | {"seconds": 0} == result | {"seconds": 0}
    assert done == [1, 2]


def test_a_real_comparison_is_counted() -> None:
    result = run_verdicts(Extent(pairs=1, experiments=1, repeat=2, requests=120), workers=1)
    judged = {each["name"]: each["metrics"] for each in result["series"]}
    assert judged["A/A, same requests"]["tpot_p50"]["judged"] == 1
    assert judged["+10 %, 2 runs"]["tpot_p50"]["judged"] == 1
    assert result["coverage"]["tpot_p50"]["runs"] == 2


@pytest.mark.parametrize("wrong", [{"pairs": 0}, {"experiments": 0}, {"repeat": 1}])
def test_nothing_to_count_is_said(wrong: dict[str, int]) -> None:
    [name] = wrong
    with pytest.raises(SpecError, match=f"--{name}"):
        Extent(**wrong)
