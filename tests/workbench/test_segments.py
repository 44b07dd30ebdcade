import random
import shutil

import numpy as np
import pytest

from workbench.errors import StoreError
from workbench.runs.folder import RunFolder
from workbench.runs.follow import SegmentFollower
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


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", {}, "run")


def put(folder, number, shard=0):
    where = folder.segments_of(shard)
    where.mkdir(exist_ok=True)
    tables = {"steps": {"step": np.array([10 * shard + number])}}
    write_segment(where, number, encode_segment(number, tables), fsync=False)


def steps_of(segments):
    return [int(tables["steps"]["step"][0]) for tables in segments]


def test_a_follower_gives_each_segment_once_of_every_load_process(folder):
    follower = SegmentFollower(folder)
    assert list(follower.new()) == []
    put(folder, 0)
    put(folder, 1)
    assert steps_of(follower.new()) == [0, 1]
    put(folder, 2)
    put(folder, 0, shard=1)
    assert steps_of(follower.new()) == [2, 10]
    assert list(follower.new()) == [] and not follower.broken


def test_a_follower_tells_the_file_to_read_again_later(folder):
    put(folder, 0)
    ((path, tables),) = SegmentFollower(folder).new_paths()
    assert steps_of([tables, decode_segment(path.read_bytes(), "again")]) == [0, 0]


def test_a_follower_passes_over_a_broken_segment_and_names_it(folder):
    put(folder, 0)
    (folder.segments / "00000001.seg").write_bytes(b"torn")
    put(folder, 2)
    follower = SegmentFollower(folder)
    assert steps_of(follower.new()) == [0, 2]
    assert len(follower.broken) == 1 and "00000001.seg" in follower.broken[0]
    assert list(follower.new()) == [] and len(follower.broken) == 1


def test_a_follower_of_a_run_that_ends_meanwhile_sees_no_more(folder):
    for number in range(3):
        put(folder, number)
    follower = SegmentFollower(folder)
    segments = follower.new()
    assert steps_of([next(segments)]) == [0]
    shutil.rmtree(folder.segments)
    assert list(segments) == [] and list(follower.new()) == [] and not follower.broken
