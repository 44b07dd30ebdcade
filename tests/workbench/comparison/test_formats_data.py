import csv
import dataclasses
import io
import json
import math

import polars as pl
import pytest
from comparisons import ODD, measured_sides, three_sides, two_sides

from workbench.comparison.comparison import Effect
from workbench.comparison.formats.every import FORMATS, write
from workbench.comparison.formats.flat_rows import COLUMNS

P99 = "latency.ttft_ms.p99"


def change_of(comparison, name, side):
    return comparison.row(name).cells[side].change


def test_csv_has_a_line_for_each_metric_and_side_unrounded():
    comparison = three_sides()
    frame = pl.read_csv(io.StringIO(write(comparison, (), "csv")), infer_schema_length=None)
    assert frame.columns == [column.name for column in COLUMNS]
    assert frame.height == len(comparison.rows) * len(comparison.sides)
    assert frame["side"].unique(maintain_order=True).to_list() == ["A", "B", ODD, "failed"]
    found = frame.row(by_predicate=(pl.col("metric") == P99) & (pl.col("side") == "B"), named=True)
    change = change_of(comparison, "ttft_p99", 1)
    assert found["value"] == comparison.row("ttft_p99").cells[1].value
    assert found["ratio_high"] == change.ratio_interval.high
    assert (found["p"], found["adjusted_p"], found["detectable"]) == (0.0004, 0.0052, 0.04)
    assert (found["basis"], found["verdict"]) == ("runs", "better")
    assert found["baseline"] is False


def test_csv_leaves_what_is_undefined_empty_and_joins_the_runs():
    lines = list(csv.DictReader(io.StringIO(write(three_sides(), (), "csv"))))
    failed = [line for line in lines if line["side"] == "failed"]
    assert {line["value"] for line in failed} == {""}
    assert {line["difference"] for line in failed} == {""}
    of_b = next(line for line in lines if line["side"] == "B" and line["metric"] == P99)
    assert len(of_b["run_ids"].split(";")) == 5
    assert float(of_b["values"].split(";")[1]) == pytest.approx(1638 * 1.01)


def test_parquet_has_the_same_rows_with_types():
    comparison = three_sides()
    table = pl.read_parquet(io.BytesIO(write(comparison, (), "parquet")))
    text = pl.read_csv(io.StringIO(write(comparison, (), "csv")), infer_schema_length=None)
    assert table.columns == text.columns
    simple = [name for name in table.columns if name not in ("values", "run_ids")]
    same = text.select(simple).cast({name: table.schema[name] for name in simple})
    # An empty field is the only way of CSV to write either an empty text or nothing.
    assert (
        table.select(simple)
        .with_columns(pl.col(pl.String).replace("", None))
        .equals(same.with_columns(pl.col(pl.String).replace("", None)))
    )
    assert table.schema["values"] == pl.List(pl.Float64)
    assert table.filter(pl.col("side") == "failed")["value"].null_count() == len(comparison.rows)


def test_json_has_everything_unrounded():
    comparison = two_sides()
    content = json.loads(write(comparison, (), "json"))
    assert content["schema"] == 1
    assert content["confidence"] == 0.95
    assert content["traffic_differs"] is True
    assert [side["label"] for side in content["sides"]] == ["A", "B"]
    assert len(content["sides"][1]["runs"]) == 5
    row = next(row for row in content["rows"] if row["metric"] == P99)
    assert row["better"] == "lower"
    assert row["cells"][0]["change"] is None
    change = change_of(comparison, "ttft_p99", 1)
    assert row["cells"][1]["change"] == json.loads(json.dumps(dataclasses.asdict(change)))
    assert content["notes"][0]["loud"] is True
    assert content["explanations"][0]["parts"][0]["share"] == 0.93


def test_numbers_without_end_are_null_everywhere():
    comparison = two_sides()
    row = comparison.row("ttft_p99")
    change = dataclasses.replace(row.cells[1].change, effect=Effect(True, -0.5, 0.1, math.inf))
    cells = (row.cells[0], dataclasses.replace(row.cells[1], change=change))
    comparison = dataclasses.replace(comparison, rows=(dataclasses.replace(row, cells=cells),))
    content = json.loads(write(comparison, (), "json"), parse_constant=pytest.fail)
    assert content["rows"][0]["cells"][1]["change"]["effect"]["degrees"] is None
    table = pl.read_parquet(io.BytesIO(write(comparison, (), "parquet")))
    assert table["effect_degrees"].to_list() == [None, None]
    assert "inf" not in write(comparison, (), "csv")


def test_every_format_is_written_and_others_are_refused():
    comparison = three_sides()
    measured = measured_sides(comparison)
    for format in FORMATS:
        assert write(comparison, measured, format)
    with pytest.raises(ValueError, match=r"'xlsx'.*parquet"):
        write(comparison, measured, "xlsx")
