import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from workbench.spec import parse_spec
from workbench.sweeps.chart import ParetoChart, Spot
from workbench.sweeps.figures import Figures
from workbench.sweeps.outcome import outcome_of, pareto
from workbench.sweeps.planner import Grid, Search
from workbench.sweeps.report import SweepReport, as_json
from workbench.sweeps.state import SavedPoint, new_sweep
from workbench.sweeps.verdicts import judge


def run(value, ttft=100.0, met=100, tokens=None, **rest):
    given = {
        "measured": 100, "met": met, "window_s": 50.0, "warmup_s": 5.0, "offered_per_s": value,
        "achieved_per_s": value, "achieved_share": 1.0, "goodput_per_s": value * (met or 0) / 100,
        "output_tokens_per_s": 100.0 * value if tokens is None else tokens,
        "ttft_p50_ms": ttft / 2, "ttft_p99_ms": ttft, "tpot_p50_ms": 30.0,
        "tpot_p99_ms": 40.0 + value, "itl_p99_ms": 55.5, "kv_peak_percent": 12.34,
    }  # fmt: skip
    return Figures(value, **(given | rest))


def swept(plan, *runs, state="finished", reason="the limit is known within the tolerance"):
    spec = parse_spec({"name": "nightly", "slo": {"ttft": 500.0, "tpot": 50.0}}, "test")
    points = tuple(
        SavedPoint(figures.value, figures.repeat, "failed" if figures.failed else "finished",
                   f"run-{index}", f"/runs/run-{index}", figures, figures.failed)
        for index, figures in enumerate(runs)
    )  # fmt: skip
    axis = getattr(plan, "axis", "rate")
    return replace(new_sweep(spec, axis, plan), state=state, reason=reason, points=points)


FIND = Search("rate", 1.0, 64.0, 0.05, 0.9, find=True)
FOUND = (
    run(1, 80),
    run(2, 90),
    run(4, 12_345.6, met=40, tokens=380.0),
    run(2.83, 120),
    run(3.364, 300, met=60),
    run(3.084, 250, met=99),
    run(3.221, 280, met=70),
)


def shown(sweep, width=80, **options):
    stream = StringIO()
    Console(file=stream, width=width, highlight=False, **options).print(SweepReport(sweep))
    return stream.getvalue()


def test_the_report_of_a_search_says_what_was_found_in_80_columns():
    text = shown(swept(FIND, *FOUND))
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert (
        "max goodput 3.084 req/s (between 3.084 and 3.221; attainment ≥ 90 % of 100 requests)"
        in " ".join(text.split())
    )
    assert "SLO TTFT ≤ 500 ms, TPOT ≤ 50 ms" in " ".join(text.split())
    rows = [line for line in lines if line.rstrip().endswith(("ok", "misses SLO", "saturated"))]
    assert [row.split()[-1] for row in rows] == ["ok"] * 4 + ["SLO"] * 3
    # The column's unit is seconds, since one value is over 10 s.
    assert "12.3" in rows[-1] and "0.250" in rows[3]
    assert "TTFT p99, s, over output tok/s, by req/s" in text and "TPOT p99, ms" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_widest_figures_fit(width):
    wide = [
        run(v, 98_765.4, met=int(v) % 100, tokens=123_456.7, fell_behind=True,
            tpot_p50_ms=1234.5, tpot_p99_ms=9876.5, itl_p99_ms=8888.8, kv_peak_percent=99.96)
        for v in (1234.5, 5678.9)
    ]  # fmt: skip
    text = shown(swept(FIND, *wide), width)
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("98.8", "123.5k", "9,87", "8,889", "99.9%", "saturated"):
        assert figure in text
    assert "…" not in text


def test_words_not_colours_tell_the_verdicts():
    text = shown(
        swept(
            FIND, run(1), run(2, met=91), run(4, met=50), run(8, fell_behind=True),
            Figures(16, failed="out of memory"),
        ),
        no_color=True,
    )  # fmt: skip
    for word in ("ok", "undecided", "misses SLO", "saturated", "failed", "out of memory"):
        assert word in text
    assert "saturates at 8 req/s (its backlog grew)" in text


def test_few_requests_are_marked_with_the_duration_that_it_takes():
    text = " ".join(shown(swept(FIND, run(2), run(0.5, measured=12, met=12))).split())
    assert "* few requests" in text
    # 10 s of warm-up, and 30 requests at 0.5 per second with a tenth of headroom: 66 s.
    assert "Under 30 requests were measured in a run of 0.5 (*)" in text
    assert "--duration 76s" in text


def test_several_runs_of_a_point_are_medians_and_their_requests_count_together():
    runs = (run(1, 100), run(1, 300, repeat=1, met=90), run(1, 120, repeat=2))
    sweep = swept(Grid((1.0,), target=0.9, repeats=3), *runs)
    (point,) = as_json(sweep, Path("/s"))["points"]
    assert (point["measured"], point["met"], point["verdict"]) == (300, 290, "ok")
    text = shown(sweep)
    assert "Several runs of 1 ×3" in text and " 120 " in text


def test_a_closed_loop_shows_its_concurrency_and_no_goodput_without_an_slo():
    runs = [run(c, met=None, offered_per_s=None, achieved_per_s=None) for c in (1.0, 2.0, 4.0)]
    text = shown(swept(Search("concurrency", 1.0, 4.0, 0.25), *runs))
    assert "at a" in text and "good-" not in text and "by concurrency" in text


def test_an_interrupted_sweep_and_an_empty_one_are_shown():
    text = shown(swept(FIND, run(1), state="interrupted", reason="interrupted"))
    assert "interrupted" in text and "over output tok/s" not in text  # one point is no chart
    assert "No point was run." in shown(swept(FIND, state="failed", reason="no such model"))


def test_json_has_everything_and_is_json():
    data = as_json(swept(FIND, *FOUND, Figures(5.0, failed="it broke")), Path("/sweeps/s"))
    assert json.loads(json.dumps(data, allow_nan=False))["path"] == "/sweeps/s"
    assert data["max_goodput"]["rate_per_s"] == 3.084
    assert data["max_goodput"]["failing_per_s"] == 3.221 and data["max_goodput"]["decided"]
    assert [point["value"] for point in data["points"]] == [1, 2, 2.83, 3.084, 3.221, 3.364, 4, 5]
    assert data["points"][3]["runs"][0]["path"] == "/runs/run-5"
    assert data["points"][3]["runs"][0]["ttft_p99_ms"] == 250
    assert data["points"][-1]["verdict"] == "failed"
    assert data["spec"]["slo"]["ttft"] == 500 and data["plan"]["find"] is True
    assert data["findings"][0].startswith("max goodput 3.084 req/s")


def test_an_uncertain_answer_says_so_and_what_would_settle_it():
    runs = (run(1), run(2, met=93), run(2, met=93, repeat=1), run(2.1, met=40))
    text = " ".join(shown(swept(FIND, *runs)).split())
    assert (
        "max goodput 2 req/s (between 2 and 2.1; attainment ≥ 90 % of 200 requests; undecided"
        in (text)
    )
    assert "2 is undecided: 93.0% of 200 requests" in text
    assert "about 385 requests would tell" in text


def test_the_pareto_front_leaves_out_what_another_beats():
    points = judge(
        [run(1, 100), run(2, 90), run(4, 200), run(8, 900, tokens=390.0), Figures(9, failed="x")],
        None,
    )
    assert pareto(points, "ttft_p99_ms") == {2, 4}
    outcome = outcome_of("rate", Grid((1.0,)), [run(1, 50), run(2, 50)], ended=True)
    assert outcome.pareto_ttft == {2}
    assert pareto(judge([run(1, 50), run(2, 50, tokens=100.0)], None), "ttft_p99_ms") == {1, 2}


def test_a_saturated_point_that_gave_less_than_a_higher_one_shows_a_disturbance():
    quiet = [run(4, fell_behind=True, tokens=390.0), run(8, fell_behind=True, tokens=400.0)]
    notes = outcome_of("rate", FIND, quiet, ended=True).notes
    assert notes == ["Not even 4 req/s passes; lower the range, or relax the SLO."]
    disturbed = [run(4, fell_behind=True, tokens=150.0), quiet[1]]
    notes = outcome_of("rate", FIND, [run(2), *disturbed], ended=True).notes
    assert any("4 is saturated at 150 tok/s, but 8 gave 400" in note for note in notes)


def test_a_wide_table_has_the_offered_rate_in_fact_beside_the_nominal_one():
    sweep = swept(FIND, run(2, offered_per_s=1.987), run(4))
    assert "1.99" not in shown(sweep, 80) and "1.99" in shown(sweep, 100)


def test_the_chart_is_as_wide_as_it_is_told_and_labels_its_points():
    spots = [Spot(100.0 * n, 50.0 + n * n, f"{n}", n != 3) for n in (1, 3, 5, 9)]
    text = ParetoChart("TTFT p99, ms", spots).draw(80, colorless=True)
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 80 and "TTFT p99, ms" in lines[0]
    assert text.count("◆") == 3 and text.count("•") == 1
    for label in ("1", "3", "5", "9"):
        assert any(label in line for line in lines[1:-1])
    assert "\x1b" not in text and "(log)" not in text


def test_latencies_that_differ_widely_are_drawn_on_a_logarithmic_axis():
    spots = [Spot(100.0, 5.0, "1", True), Spot(200.0, 12_000.0, "2", True)]
    text = ParetoChart("TTFT p99, ms", spots).draw(80, colorless=True)
    assert "(log)" in text and "10,000" in text
