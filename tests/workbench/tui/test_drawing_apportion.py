from hypothesis import given
from hypothesis import strategies as st

from workbench.tui.drawing.apportion import apportion


def test_shares_follow_the_counts_and_nobody_is_lost():
    assert apportion([50, 30, 20], 10) == [5, 3, 2]
    assert apportion([1, 0, 9_999], 10) == [1, 0, 9]
    assert apportion([0, 0], 10) == [0, 0]
    assert apportion([9, 1, 5], 2) == [1, 0, 1]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=11), st.integers(0, 3000))
def test_shares_sum_to_the_cells(counts, cells):
    shares = apportion(counts, cells)
    assert sum(shares) == (cells if sum(counts) else 0)
    pairs = list(zip(shares, counts, strict=True))
    assert all(share == 0 or (share > 0 and count > 0) for share, count in pairs)
    if cells >= len(counts):
        assert all(share >= 1 for share, count in pairs if count)
