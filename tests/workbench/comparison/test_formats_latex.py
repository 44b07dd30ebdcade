import dataclasses
import re
import shutil
import subprocess

import pytest
from comparisons import three_sides, two_sides

from workbench.comparison.comparison import Note
from workbench.comparison.formats.latex import write_latex


def unusual_letters():
    """As `three_sides`, with every letter of Latin-1 and Latin Extended-A, and some beyond."""
    letters = "".join(chr(code) for code in range(0x21, 0x180)) + "≤≥–…×µ°²→∞中文🚀 -- --- ,, <<"
    comparison = three_sides()
    side = dataclasses.replace(comparison.sides[2], label=" ".join(letters))
    sides = (*comparison.sides[:2], side, comparison.sides[3])
    notes = (Note("run", "100 % of\nit \\input{nothing}", loud=True),)
    return dataclasses.replace(comparison, sides=sides, notes=notes, rows=comparison.rows[:3])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on the PATH")
@pytest.mark.parametrize("make", [two_sides, three_sides, unusual_letters])
def test_it_compiles_with_the_packages_that_it_names(make, tmp_path):
    text = write_latex(make())
    (tmp_path / "comparison.tex").write_text(text, "utf-8")
    packages = re.findall(r"^% (\\usepackage.*)$", text, re.MULTILINE)
    lines = [r"\documentclass{article}", *packages, r"\begin{document}", r"\input{comparison}"]
    (tmp_path / "paper.tex").write_text("\n".join([*lines, r"\end{document}"]), "utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000


def test_it_is_ascii_but_for_letters_that_latex_knows():
    assert write_latex(two_sides()).isascii()
    assert "é" in write_latex(three_sides())
    assert "{[}U+4E2D{]}" in write_latex(three_sides())


def test_every_row_has_the_columns_of_its_heading():
    for comparison in (two_sides(), three_sides()):
        text = write_latex(comparison)
        rows = [line for line in text.split("\n") if line.endswith(r" \\")]
        assert len(rows) > len(comparison.rows)
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}


def test_figures_are_minus_signs_and_arrows():
    text = write_latex(two_sides())
    row = next(line for line in text.split("\n") if line.startswith("TTFT p99, ms"))
    assert row == (
        r"TTFT p99, ms & 2,730{*} & 1,638 & $\blacktriangledown$ $-$40 \% & "
        r"$-$45 \ldots{} $-$30 \% & $\checkmark$ better \\"
    )


def test_notes_are_comments_that_end_with_their_line():
    text = write_latex(unusual_letters())
    assert "% 100 % of it \\input{nothing}\n" in text
