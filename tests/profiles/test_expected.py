"""Expectations on disk: what is written is read, and what is broken is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from profiles.errors import ProfileError
from profiles.expected import (
    Expectation,
    ExpectedRatio,
    key_on,
    read_expectations,
    shipped_folder,
    write_expectation,
)
from profiles.hardware import describe

KEY = "made-up-2c"


def expectation(experiment: str = "batch-size", ratio: float = 2.0) -> Expectation:
    return Expectation(
        experiment=experiment,
        model="made-up-135m",
        dtype="float32",
        date="2026-11-21",
        command="workbench lab run batch-size --repeat 5",
        commit=None,
        versions={"torch": "2.13.0"},
        settings={"baseline": {"engine": {"max_num_seqs": 1}}, "optimised": {}},
        ratios={"output_throughput": ExpectedRatio(ratio, ratio * 0.9, ratio * 1.1, 4.0, 5)},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_expectation(KEY, tmp_path / "new", expectation())
    assert path == tmp_path / "new" / "made-up-2c.json"
    assert read_expectations(KEY, [tmp_path / "new"]) == (expectation(),)


def test_a_newer_one_takes_the_older_ones_place_and_others_stay(tmp_path: Path) -> None:
    for each in (expectation("b"), expectation("a"), expectation("b", 3.0)):
        write_expectation(KEY, tmp_path, each)
    assert read_expectations(KEY, [tmp_path]) == (expectation("a"), expectation("b", 3.0))


def test_another_model_is_another_expectation(tmp_path: Path) -> None:
    other = dataclasses.replace(expectation(), model="made-up-8b", dtype="bfloat16")
    for each in (expectation(), other):
        write_expectation(KEY, tmp_path, each)
    assert read_expectations(KEY, [tmp_path]) == (expectation(), other)


def test_the_users_own_folder_overrides_what_came_with_the_program(tmp_path: Path) -> None:
    write_expectation(KEY, tmp_path / "shipped", expectation("a"))
    write_expectation(KEY, tmp_path / "shipped", expectation("b"))
    write_expectation(KEY, tmp_path / "own", expectation("a", 5.0))
    found = read_expectations(KEY, [tmp_path / "shipped", tmp_path / "own", tmp_path / "absent"])
    assert found == (expectation("a", 5.0), expectation("b"))


def broken(**changes: object) -> str:
    content = dataclasses.asdict(expectation()) | changes
    return json.dumps({"schema": 1, "hardware_key": KEY, "expectations": [content]})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "no list of expectations"),
        ('{"schema": 99, "expectations": []}', "schema 99"),
        ('{"schema": 1, "expectations": [7]}', "expectation 1: it is no object"),
        ('{"schema": 1, "expectations": [{}]}', "expectation 1: it lacks 'experiment'"),
        (broken(date=2026), "date is 2026"),
        (broken(ratios=[]), r"ratios is \[\]"),
        (broken(ratios={"ttft_p50": {"ratio": 2}}), "expectation 1: .*low"),
        (
            broken(ratios={"x": {"ratio": 2, "low": 3, "high": 4, "degrees": 4, "n": 5}}),
            "x: the ratio 2 with interval 3 to 4",
        ),
        (
            broken(ratios={"x": {"ratio": "2", "low": 1, "high": 4, "degrees": 4, "n": 5}}),
            "expectation 1",
        ),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / f"{KEY}.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=why) as raised:
        read_expectations(KEY, [tmp_path])
    assert str(path) in str(raised.value)


def test_a_broken_file_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.json"
    path.write_text("{")
    with pytest.raises(ProfileError, match="broken"):
        write_expectation(KEY, tmp_path, expectation())
    assert path.read_text() == "{"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match=r"under.*can't be"):
        write_expectation(KEY, tmp_path / "file" / "under", expectation())


def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_has_the_cpus_key() -> None:
    machine = dataclasses.replace(
        describe(), hardware_key="h200", cpu_model="AMD EPYC 9B14 96-Core Processor", usable_cores=8
    )
    assert key_on(machine, "cuda") == "h200"
    assert key_on(machine, "cpu") == "cpu-amd-epyc-9b14-8c"


def test_every_file_that_comes_with_the_program_can_be_read() -> None:
    for path in shipped_folder().glob("*.json"):
        assert read_expectations(path.stem, [path.parent])
        assert json.loads(path.read_text())["hardware_key"] == path.stem
