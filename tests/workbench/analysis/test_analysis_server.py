import polars as pl
import pytest

from workbench.analysis.metrics import Window
from workbench.analysis.report_tables import server_facts
from workbench.analysis.server import server_figures
from workbench.runs.schema import SERVER
from workbench.runs.tables import polars_schema

S = 1_000_000_000


def server(*rows):
    schema = polars_schema(SERVER)
    return pl.DataFrame(
        [{name: row.get(name) for name in schema} for row in rows], schema=schema, orient="row"
    )


def test_gauges_are_averaged_and_counters_subtracted_inside_the_window():
    rows = [
        {
            "time_ns": i * S, "running": float(i), "waiting": 2.0, "kv_usage": i / 10,
            "prompt_tokens_total": 100.0 * i, "generation_tokens_total": 1000.0 + 50 * i,
            "prefix_cache_queries_total": 100.0 * i, "prefix_cache_hits_total": 25.0 * i,
            "preemptions_total": float(i), "queue_time_sum_s": i / 2, "queue_time_count": 10.0 * i,
        }
        for i in range(8)
    ]  # fmt: skip
    figures = server_figures(server(*rows), Window(2 * S, 6 * S))
    assert figures is not None
    assert (figures.samples, figures.running_mean, figures.running_peak) == (5, 4, 6)
    assert (figures.waiting_mean, figures.kv_usage_peak_percent) == (2, pytest.approx(60))
    assert (figures.queue_ms, figures.prefix_hit_percent) == (50, 25)
    assert (figures.preemptions, figures.prompt_tokens_per_s) == (4, 100)
    assert figures.output_tokens_per_s == 50
    assert figures.ttft_ms is None, "the server doesn't tell it"


def test_what_a_server_does_not_tell_is_left_out_of_the_report():
    figures = server_figures(server({"time_ns": S, "running": 3.0}), Window(0, 2 * S))
    facts = dict(server_facts({"server": vars_of(figures), "cache": {}}))
    assert facts == {"Running": "mean 3.00, peak 3.00 requests", "Read": "once in the window"}


def test_a_server_that_was_started_anew_has_no_differences():
    rows = [{"time_ns": 0, "preemptions_total": 9.0}, {"time_ns": S, "preemptions_total": 1.0}]
    assert server_figures(server(*rows), Window(0, S)).preemptions is None


def test_nothing_was_read():
    assert server_figures(None, Window(0, S)) is None
    assert server_figures(server(), Window(0, S)) is None
    assert server_figures(server({"time_ns": 5 * S}), Window(0, S)) is None


def vars_of(figures):
    return {name: getattr(figures, name) for name in figures.__slots__}
