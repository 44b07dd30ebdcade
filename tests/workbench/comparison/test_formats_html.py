import re
from html.parser import HTMLParser

import pytest
from comparisons import ODD, measured_sides, three_sides, two_sides

from workbench.comparison.formats.html import write_html
from workbench.comparison.formats.html_style import DARK, LIGHT, WORDS
from workbench.comparison.formats.svg import log_ticks, round_ticks
from workbench.errors import StoreError

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page in order, with their attributes, parents and text.

    Tags that are not closed, or not in order, fail.
    """

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} twice"
        parent = self._open[-1] if self._open else None
        element = {"tag": tag, "parent": parent, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open[-1]["tag"] == tag, f"{tag} is closed out of order"
        self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]

    def inside(self, parent, tag):
        def lies_inside(element):
            above = element["parent"]
            return above is not None and (above is parent or lies_inside(above))

        return [element for element in self.all(tag) if lies_inside(element)]


@pytest.fixture(scope="module", params=[two_sides, three_sides])
def comparison(request):
    return request.param()


@pytest.fixture(scope="module")
def text(comparison):
    return write_html(comparison, measured_sides(comparison))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_has_a_language_a_title_one_first_heading_and_landmarks(page):
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")[0]["text"] == page.all("h1")[0]["text"]
    for tag in ("h1", "main", "header", "footer", "nav"):
        assert len(page.all(tag)) == 1, tag
    sections = {section["aria-labelledby"] for section in page.all("section")}
    assert sections == {heading["id"] for heading in page.all("h2")}


def test_nothing_is_fetched_or_run(text, page):
    assert "http://" not in text and "https://" not in text and "@import" not in text
    assert not page.all("script") and not page.all("link") and not page.all("img")
    assert not [name for each in page.elements for name in each if name.startswith("on")]
    links = {each["href"] for each in page.all("a")}
    assert links and all(link.startswith("#") for link in links)
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#stage-{stage}" for stage in range(6)}
    policy = next(each for each in page.all("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'")


def test_ids_are_unique_and_what_refers_to_one_finds_it(page):
    ids = [each["id"] for each in page.elements if "id" in each]
    assert len(ids) == len(set(ids))
    named = [each["aria-labelledby"].split() for each in page.elements if "aria-labelledby" in each]
    assert {name for names in named for name in names} <= set(ids)
    assert {each["href"][1:] for each in page.all("a")} <= set(ids)


def test_every_table_has_a_caption_and_every_heading_a_scope(page):
    tables = page.all("table")
    assert len(tables) > 8
    for table in tables:
        caption, *more = page.inside(table, "caption")
        assert caption["text"] and not more
    scopes = {"col", "row", "rowgroup"}
    assert all(heading.get("scope") in scopes for heading in page.all("th"))


def test_rows_have_as_many_cells_as_their_table_has_headings(page):
    for table in page.all("table"):
        head, *rows = page.inside(table, "tr")
        columns = len(page.inside(head, "th"))
        left = [0] * columns
        for row in rows:
            own = [each for each in page.elements if each["parent"] is row]
            spans = [int(each.get("rowspan", 1)) for each in own]
            held = sum(1 for rest in left if rest > 0)
            assert len(own) + held == columns
            left = [rest - 1 for rest in left if rest > 1] + [span - 1 for span in spans]
            left = [rest for rest in left if rest > 0]
            left += [0] * (columns - len(left))


def test_every_chart_is_an_image_with_a_title_and_a_description(page):
    charts = page.all("svg")
    assert len(charts) == 6
    for chart in charts:
        assert chart["role"] == "img"
        title, description = (
            next(each for each in page.elements if each["parent"] is chart and each["tag"] == tag)
            for tag in ("title", "desc")
        )
        assert title["text"] and description["text"]
        assert chart["aria-labelledby"] == f"{title['id']} {description['id']}"


def test_charts_hold_their_figures_in_words_too(page):
    described = {each["id"]: each["text"] for each in page.all("desc")}
    assert (
        "TTFT p99 of B: ▼ -40 %, interval -45 … -30 %, verdict better" in described["forest-desc"]
    )
    assert re.search(r"A: half within \d+ ms, 99 % within", described["ttft_ms-desc"])
    assert "B: wait 0.220, queue 198, prefill 99.0" in described["stages-desc"]
    assert "B: 3,000 tok/s, 1,638 ms, on the front" in described["scatter-desc"]


def test_a_curve_and_the_table_below_it_agree(page):
    described = next(each["text"] for each in page.all("desc") if each["id"] == "ttft_ms-desc")
    table = next(each for each in page.all("table") if each["text"].startswith("TTFT, ms"))
    cells = [each["text"] for each in page.inside(page.inside(table, "tr")[1], "td")]
    assert f"A: half within {cells[2]} ms, 99 % within {cells[5].replace('*', '')} ms" in described


def test_sides_differ_by_shape_and_by_dashes(page):
    curves = [each for each in page.all("path") if each.get("class", "").startswith("curve")]
    dashes = {each["class"]: each["stroke-dasharray"] for each in curves}
    assert len(set(dashes.values())) == len(dashes) >= 2
    scatter = next(chart for chart in page.all("svg") if chart["class"] == "scatter")
    assert page.inside(scatter, "circle") and page.inside(scatter, "polygon")


def test_verdicts_are_words(page):
    verdicts = [each for each in page.all("td") if "verdict" in each.get("class", "")]
    assert {each["text"] for each in verdicts} >= {
        "✓ better", "✗ worse", "· no evidence", "? too noisy", "–",
    }  # fmt: skip


def test_loud_notes_come_before_every_table(text):
    assert text.index("Beware:") < text.index("<table>")
    assert text.index('id="settings"') < text.index('id="headlines"')


def test_odd_names_are_text():
    comparison = three_sides()
    text = write_html(comparison, measured_sides(comparison))
    assert "<x>" not in text
    page = Page(text)
    assert ODD in page.all("h1")[0]["text"]
    assert ODD in {each["text"] for each in page.all("th")}


def test_a_side_without_requests_has_no_curve_and_the_page_says_so():
    comparison = two_sides()
    measured = measured_sides(comparison)
    text = write_html(comparison, [[], measured[1]])
    assert "A has no requests at hand, and no curve." in text
    curves = [each for each in Page(text).all("path") if "curve" in each.get("class", "")]
    assert {each["class"] for each in curves} == {"curve side-1"}
    without = write_html(comparison, [[], []])
    assert "B has no requests at hand" in without
    assert len(Page(without).all("svg")) == 3


def test_a_side_with_broken_tables_says_why():
    comparison = two_sides()
    measured = measured_sides(comparison)

    def broken(*_):
        raise StoreError("requests.parquet is broken: write it anew")

    measured[0][0].record.tables.table = broken
    text = write_html(comparison, measured)
    assert "20260101-120000-A-0000: requests.parquet is broken: write it anew" in text


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_have_the_contrast_of_wcag_aa(palette):
    for name in WORDS:
        for ground in ("paper", "stripe", "loud"):
            assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)
    for name in palette:
        if name.startswith(("side-", "stage-", "axis")):
            assert contrast(palette[name], palette["paper"]) >= 3, name


def contrast(one, other):
    """WCAG 2's contrast ratio of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_ticks_are_round_and_few():
    assert round_ticks(-47, 210, 7) == [0, 50, 100, 150, 200]
    assert round_ticks(0, 0.9, 4) == pytest.approx([0, 0.5])
    assert round_ticks(5, 5, 4) == [5]
    assert log_ticks(90, 2500) == pytest.approx([100, 200, 500, 1000, 2000])
    assert log_ticks(35, 82) == pytest.approx([40, 50, 60, 70, 80])
    assert log_ticks(0.01, 10_000) == pytest.approx([0.01, 0.1, 1, 10, 100, 1000, 10_000])
