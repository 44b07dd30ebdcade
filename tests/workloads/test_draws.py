import numpy as np
import pytest

from workloads.draws import Purpose, random_bits, uniforms
from workloads.errors import WorkloadError

IDS = np.arange(100_000, dtype=np.int64)


def test_a_number_depends_on_its_coordinates_alone():
    whole = uniforms(5, IDS, Purpose.INPUT_LENGTH)
    some = np.array([77_777, 3, 40_000])
    assert np.array_equal(uniforms(5, some, Purpose.INPUT_LENGTH), whole[some])


def test_values_do_not_change_between_versions():
    bits = random_bits(0, np.array([0, 1]), Purpose.INPUT_LENGTH)
    assert bits.tolist() == [12035550249420947055, 12935080325729570654]


def test_uniform_and_independent_over_ids_seeds_and_purposes():
    first = uniforms(0, IDS, Purpose.INPUT_LENGTH)
    assert first.min() > 0.0 and first.max() < 1.0
    counts = np.histogram(first, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert 50 < chi_square < 150  # 99 degrees of freedom
    for other in (
        uniforms(1, IDS, Purpose.INPUT_LENGTH),
        uniforms(0, IDS, Purpose.OUTPUT_LENGTH),
        np.roll(first, 1),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.015


@pytest.mark.parametrize("seed", [-1, 1 << 63, 1.5, True, "7", None])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(WorkloadError, match="seed"):
        random_bits(seed, IDS[:1], Purpose.SAMPLING_SEED)
