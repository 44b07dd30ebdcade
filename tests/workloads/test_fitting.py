import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import WorkloadError
from workloads.fitting import fit_to_context

LENGTHS = st.integers(1, 20_000)


def fit(prompt, output, context):
    fitted = fit_to_context(np.array([prompt]), np.array([output]), context)
    return tuple(each.tolist()[0] for each in fitted)


@pytest.mark.parametrize(
    ("prompt", "output", "expected"),
    [
        (20, 80, (20, 80, False)),  # fits exactly
        (20, 90, (20, 80, True)),  # the output alone gives way
        (90, 20, (80, 20, True)),  # a short output is kept whole
        (90, 90, (50, 50, True)),
        (500, 1, (99, 1, True)),
        (1, 500, (1, 99, True)),
    ],
)
def test_the_rule(prompt, output, expected):
    assert fit(prompt, output, 100) == expected


@given(LENGTHS, LENGTHS, st.integers(2, 10_000))
def test_it_always_fits_and_never_lengthens(prompt, output, context):
    new_prompt, new_output, fitted = fit(prompt, output, context)
    assert 1 <= new_prompt <= prompt and 1 <= new_output <= output
    assert new_prompt + new_output <= context
    assert fitted == (prompt + output > context)
    if fitted:
        assert new_prompt + new_output == context
        assert new_output >= min(output, context // 2)


def test_no_context_means_no_limit():
    assert fit(10**9, 10**9, None) == (10**9, 10**9, False)


@pytest.mark.parametrize("context", [1, 0, -5])
def test_a_context_that_holds_no_request_is_refused(context):
    with pytest.raises(WorkloadError, match="max_model_len"):
        fit(1, 1, context)
