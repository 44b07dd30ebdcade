"""The command that makes the README's pictures, on recorded runs."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest
from recorded import recorded_run
from rich.segment import Segment
from rich.style import Style

from benchmarks import screenshots
from benchmarks.terminal_svg import CELL_WIDTH, screen_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text, style="#ff0000 on #000000"):
    return ElementTree.fromstring(screen_svg([[Segment(text, Style.parse(style))]], 20, 1, "it"))


def test_pictures_stand_alone_and_leave_the_runs_as_they_are(tmp_path, monkeypatch):
    runs = [tmp_path / name for name in ("calm", "busy")]
    for path, rate_per_s in zip(runs, (1.0, 2.0), strict=True):
        recorded_run(path, rate_per_s=rate_per_s, run_id=path.name, name=path.name)
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    out = tmp_path / "images"
    monkeypatch.setattr(sys, "argv", ["screenshots", "--out", str(out), *map(str, runs)])
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    screenshots.main()
    said = {"live": "TTFT", "waterfall": "prefill", "timeline": "worker 0", "compare": "busy"}
    assert {path.stem for path in out.iterdir()} == set(said)
    for name, words in said.items():
        picture = (out / f"{name}.svg").read_text()
        assert words in picture and len(picture) < 200_000
        assert str(tmp_path) not in picture
        assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert before == {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}


def test_a_folder_that_is_no_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["screenshots", "--out", str(tmp_path), str(tmp_path)])
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit, match=r"run\.json"):
        screenshots.main()


def test_words_stand_in_their_cells():
    texts = drawn("ab   c & d").findall(f".//{SVG}text")
    assert [(text.text, text.get("x"), text.get("textLength")) for text in texts] == [
        ("ab", "0", str(2 * CELL_WIDTH)),
        ("c & d", str(5 * CELL_WIDTH), str(5 * CELL_WIDTH)),
    ]


@pytest.mark.parametrize(
    ("sign", "shapes"), [("█", 1), ("▄", 1), ("▚", 2), ("▛", 3), ("⠁", 1), ("⣿", 8), ("⏸", 2)]
)
def test_blocks_and_dots_are_shapes(sign, shapes):
    picture = drawn(sign)
    paths = [path.get("d") for path in picture.iter(f"{SVG}path")]
    assert sum(path.count("M") for path in paths) == shapes
    assert not picture.findall(f".//{SVG}text")
