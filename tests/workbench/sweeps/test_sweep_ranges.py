import pytest

from workbench.errors import SpecError
from workbench.sweeps.ranges import Listed, Span, parse_axis, parse_tolerance, rounded


@pytest.mark.parametrize(
    ("axis", "text", "points", "expected"),
    [
        ("rate", "1..64", None, Span(1, 64)),
        ("rate", "0.5..8", None, Span(0.5, 8)),
        ("rate", ".5..8", None, Span(0.5, 8)),
        ("rate", "auto", None, Span(None, None)),
        ("concurrency", "1..64", None, Span(1, 64)),
        ("rate", "8,1,2.5", None, Listed((1, 2.5, 8), whole=True)),
        ("rate", "4", None, Listed((4,), whole=True)),
        ("rate", "1..8/8", None, Listed((1, 2, 3, 4, 5, 6, 7, 8), whole=False)),
        ("rate", "1..2/3", None, Listed((1, 1.5, 2), whole=False)),
        ("rate", "1..64", 7, Listed((1, 2, 4, 8, 16, 32, 64), whole=False)),
        ("rate", "1..3", 3, Listed((1, 1.732, 3), whole=False)),
        # Whole numbers that fall together are visited once.
        ("concurrency", "1..4", 9, Listed((1, 2, 3, 4), whole=False)),
    ],
)
def test_the_forms_of_a_range(axis, text, points, expected):
    assert parse_axis(axis, text, points) == expected


@pytest.mark.parametrize(
    ("axis", "text", "points", "message"),
    [
        ("rate", "fast", None, "'fast' is not a number; write 1..64"),
        ("rate", "1..", None, "'' is not a number"),
        ("rate", "8..1", None, "must go up"),
        ("rate", "2..2", None, "must go up"),
        ("rate", "0..4", None, "above 0"),
        ("rate", "-1,2", None, "above 0"),
        ("rate", "nan..4", None, "above 0"),
        ("rate", "1..inf", None, "above 0"),
        ("rate", "1,2,2", None, "given twice; for several runs of it use --repeat"),
        ("rate", "1,,2", None, "'' is not a number"),
        ("rate", "1..8/1", None, "from 2 to 200"),
        ("rate", "1..8/x", None, "after / comes the number of points"),
        ("rate", "1..8/", None, "after / comes the number of points"),
        ("rate", "1..8/4", 4, "once, by /N or by --points"),
        ("rate", "1..8", 1, "--points 1: from 2 to 200"),
        ("rate", "1,2", 4, "not a list"),
        ("rate", "auto", 4, "needs a range with both ends"),
        ("concurrency", "auto", None, "only a rate can be found by calibration"),
        ("concurrency", "1.5,2", None, "whole number"),
    ],
)
def test_what_is_no_range_says_what_is_allowed(axis, text, points, message):
    with pytest.raises(SpecError) as caught:
        parse_axis(axis, text, points)
    assert message in str(caught.value)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), (" 100 % ", 1.0)])
def test_a_tolerance_is_a_share(text, share):
    assert parse_tolerance(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "101%", "-5%", "5 percent", "nan", ""])
def test_a_tolerance_without_sense_is_refused(text):
    with pytest.raises(SpecError, match="a share above 0"):
        parse_tolerance(text)


def test_values_between_are_short_to_write():
    assert rounded("rate", 2.8284271) == 2.828
    assert rounded("concurrency", 11.3) == 11
