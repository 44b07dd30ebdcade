import pytest

from workbench.analysis.quantities import count, counted, milliseconds, number, percent, quantity
from workbench.analysis.rounding import round_up


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0, "0"),
        (0.00001, "<0.001"),
        (0.12345, "0.123"),
        (0.9996, "1.00"),
        (1.2345, "1.23"),
        (9.996, "10.0"),
        (12.345, "12.3"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-12.34, "-12.3"),
    ],
)
def test_numbers_have_three_to_four_digits(value, said):
    assert number(value) == said


def test_units():
    assert milliseconds(9_999) == "9,999 ms" and milliseconds(10_000) == "10.0 s"
    assert milliseconds(None) == "–" and quantity(None, "W") == "–"
    assert quantity(1.5, "req/s") == "1.50 req/s" and count(12345) == "12,345"


def test_one_thing_has_no_s():
    assert [counted(value, "token") for value in (0, 1, 2048, None)] == [
        "0 tokens",
        "1 token",
        "2,048 tokens",
        "– tokens",
    ]


def test_percent_says_100_for_all_alone():
    assert [percent(value) for value in (0, 12.34, 99.97, 100)] == [
        "0 %",
        "12.3 %",
        "99.9 %",
        "100 %",
    ]


@pytest.mark.parametrize(
    ("value", "up"), [(0, 1), (655, 800), (110, 120), (1000, 1000), (0.07, 0.08)]
)
def test_axes_end_at_round_numbers(value, up):
    assert round_up(value) == pytest.approx(up)
