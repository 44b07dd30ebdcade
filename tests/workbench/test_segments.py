import random

import numpy as np
import pytest

from workbench.errors import StoreError
from workbench.runs.segments import (
    decode_segment,
    encode_segment,
    list_segments,
    read_segments,
    write_segment,
)

TABLES = {
    "steps": {
        "step": np.arange(5, dtype=np.int64),
        "kind": ["decode", "mixed", "prefill", "decode", "é"],
    },
    "devices": {"power_watts": np.array([1.5, np.nan]), "device": np.array(["gpu0", "host"])},
    "arrivals": {"fitted": np.array([True, False])},
}


def test_a_segment_comes_back_as_it_went_in():
    tables = decode_segment(encode_segment(3, TABLES), "here")
    np.testing.assert_array_equal(tables["steps"]["step"], np.arange(5))
    assert tables["steps"]["kind"] == TABLES["steps"]["kind"]
    np.testing.assert_array_equal(tables["devices"]["power_watts"], [1.5, np.nan])
    assert tables["devices"]["device"] == ["gpu0", "host"]
    assert tables["arrivals"]["fitted"].dtype == np.bool_


def test_torn_or_changed_segments_are_refused_and_nothing_else_happens():
    data = encode_segment(0, TABLES)
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(data)
        if rng.random() < 0.5:
            del broken[rng.randrange(len(broken)) :]
        else:
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        with pytest.raises(StoreError):
            decode_segment(bytes(broken), "here")


def test_readers_see_whole_segments_only(tmp_path):
    for number in (0, 1, 10):
        write_segment(tmp_path, number, encode_segment(number, TABLES), fsync=number == 1)
    (tmp_path / ".00000011.part").write_bytes(b"half")
    (tmp_path / "00000002.seg").write_bytes(b"torn")
    assert [path.name for path in list_segments(tmp_path, after=1)] == [
        "00000002.seg",
        "00000010.seg",
    ]
    tables, broken = read_segments(list_segments(tmp_path))
    assert len(tables) == 3
    assert len(broken) == 1 and "00000002.seg" in broken[0]
