import html
import re

from comparisons import ODD, three_sides, two_sides

from workbench.comparison.formats.markdown import write_markdown


def tables(text):
    """The tables as GitHub's rules cut them: at pipes that no backslash stands before."""
    found, rows = [], []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return found


def read(cell):
    """A cell as it is shown: without escapes, entities and the spans around single signs."""
    bare = re.sub(r"</?span>", "", cell)
    return html.unescape(re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", bare))


def test_every_row_of_every_table_has_the_columns_of_its_heading():
    for comparison in (two_sides(), three_sides()):
        found = tables(write_markdown(comparison))
        assert len(found) > 4
        for rows in found:
            assert {len(row) for row in rows} == {len(rows[0])}
            assert all(re.fullmatch(r"-{3}:?", cell) for cell in rows[1])


def test_the_headlines_come_first_with_their_verdicts():
    rows = tables(write_markdown(two_sides()))[0]
    assert rows[0][2:4] == ["A (baseline)", "B (5 runs)"]
    told = {read(row[0]): [read(cell) for cell in row] for row in rows[2:]}
    assert told["TTFT p99"] == [
        "TTFT p99", "ms", "2,730*", "1,638", "-1,092", "▼ -40 %", "-45 … -30 %", "✓ better",
        "4.0 %",
    ]  # fmt: skip
    assert told["E2E p99"][-2:] == ["–", "–"]


def test_odd_names_are_read_back_as_they_are():
    settings = next(
        rows for rows in tables(write_markdown(three_sides())) if rows[0][0] == "Setting"
    )
    model = next(row for row in settings if read(row[0]) == "model.name")
    assert read(model[4]) == ODD
    assert read(settings[0][4]) == ODD


def test_nothing_of_a_name_means_something_to_github():
    text = write_markdown(three_sides())
    assert "<x>" not in text
    assert not re.search(r"(?<!\\)[`~]", text)
    for sign in "@#$":
        outside = re.sub(r"<span>.</span>|^#+ ", "", text, flags=re.MULTILINE)
        assert sign not in outside


def test_loud_notes_are_warnings_at_the_top_and_long_tables_are_folded():
    text = write_markdown(two_sides())
    assert text.index("> [!WARNING]\n> The traffic differs") < text.index("| Metric |")
    assert text.index("Set up differently: traffic.rate, seed") < text.index("| Metric |")
    assert text.count("<details>") == text.count("</details>") == 2
    assert text.index("<summary>All ") > text.index("#### Why")
    assert text.count("</summary>\n\n") == 2
