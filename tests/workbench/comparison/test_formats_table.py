import io

import pytest
from comparisons import three_sides, two_sides
from rich.cells import cell_len
from rich.console import Console

from workbench.comparison.formats.fitting import fit
from workbench.comparison.formats.table import ComparisonTable, write_table


def drawn(comparison, width, **console):
    out = io.StringIO()
    Console(file=out, width=width, **console).print(ComparisonTable(comparison))
    return out.getvalue()


def line_of(text, start):
    return next(line for line in text.split("\n") if line.startswith(start))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("make", [two_sides, three_sides])
def test_no_line_is_wider_than_the_terminal(make, width):
    assert max(map(cell_len, drawn(make(), width).split("\n"))) <= width


def test_80_columns_have_everything_of_two_sides():
    line = line_of(drawn(two_sides(), 80), "TTFT p99, ms").split()
    assert " ".join(line) == "TTFT p99, ms 2,730* 1,638 ▼ -40 % -45 … -30 % ✓ better"


def test_more_columns_have_what_could_be_found_and_the_difference():
    line = line_of(drawn(two_sides(), 140), "TPOT p99, ms")
    assert " ".join(line.split()) == (
        "TPOT p99, ms 117* 164 +46.8 ▲ +40 % -16 … +152 % · no evidence 20 %"
    )


def test_a_narrow_terminal_keeps_value_and_verdict():
    text = drawn(two_sides(), 48)
    assert " ".join(line_of(text, "TTFT p99, ms").split()).endswith("✓ better")
    assert "95 % interval" not in text


def test_many_sides_stand_below_each_other():
    lines = drawn(three_sides(), 100).split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith("TTFT p50, ms"))
    assert lines[start].split()[3:] == ["A", "420", "baseline"]
    below = " ".join(lines[start + 1].split())
    assert below.startswith("B 252 ") and "▼ -40 %" in below and "✓ better" in below


def test_what_differs_comes_first_then_loud_notes_metrics_and_reasons():
    text = drawn(two_sides(), 100)
    marks = ("Set up differently", "!! The traffic differs", "- B has fewer", "Latency",
             "Devices", "Why", "- B's TTFT p99 is 40 %", "queue: ▼ -1,014 ms, 93 %")  # fmt: skip
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "16 GiB" in text


def test_undefined_figures_are_dashes():
    assert "failed" in write_table(three_sides())
    line = line_of(drawn(two_sides(), 80), "E2E p99, ms")
    assert line.split()[-2:] == ["–", "–"]


def test_text_in_a_file_has_no_escape_sequences_and_names_are_taken_literally():
    text = write_table(three_sides())
    assert "\x1b" not in text
    assert "a|b <x>" in text
    assert not any(line.endswith(" ") for line in text.split("\n"))


def test_verdicts_are_coloured_and_told_in_words():
    text = drawn(two_sides(), 80, force_terminal=True, color_system="standard")
    assert "\x1b[32m✓ better" in text
    assert "\x1b[31m✗ worse" in text


def test_the_lightest_columns_are_dropped_and_spare_room_goes_to_the_first():
    wanted, weight = {"a": 20, "b": 6, "c": 8}, ("a", "c", "b")
    assert fit(wanted, {"a": 10}, weight, 100).widths == wanted
    tight = fit(wanted, {"a": 10}, weight, 27)
    assert (tight.widths, tight.gap) == ({"a": 11, "b": 6, "c": 8}, 1)
    assert fit(wanted, {"a": 10}, weight, 25).widths == {"a": 16, "c": 8}
    assert list(fit(wanted, {"a": 10}, weight, 5).widths) == ["a"]
