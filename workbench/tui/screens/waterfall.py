"""One request's story: why it was slow, where its time went, and with whom it shared its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from workbench.analysis.printable import plain
from workbench.tui.data_screen import DataScreen
from workbench.tui.waterfall_data import (
    COMPANION_COLUMNS,
    STEP_COLUMNS,
    RequestPicture,
    WaterfallQuestion,
    headline,
    request_picture,
    usual_of,
)
from workbench.tui.widgets.big_table import BigTable
from workbench.tui.widgets.key_footer import KeyFooter
from workbench.tui.widgets.stage_bar import StageBar
from workbench.tui.widgets.top_bar import TopBar
from workbench.tui.widgets.waterfall_chart import WaterfallChart, WaterfallData

if TYPE_CHECKING:
    from workbench.analysis.baseline import Baseline

PAGES = ("details", "company", "steps")
"""What stands below the chart in turn, where there is no room for all."""

TINY_PAGES = ("chart", *PAGES)
"""The same where there is no room for the chart and something below it."""

_WIDE = 150
_TINY_BELOW = 22
_LEAST_SPAN_NS = 200_000_000


class WaterfallScreen(DataScreen):
    """Opened for `session.request_id`; left and right go through `session.order`."""

    AUTO_FOCUS = "WaterfallChart"
    CSS = """
    WaterfallScreen #headline { height: 1; color: $muted; }
    WaterfallScreen #sentence { height: auto; max-height: 6; padding: 0 0 1 0; }
    WaterfallScreen #body { height: 1fr; }
    WaterfallScreen #chart { height: auto; max-height: 60%; width: 100%; padding: 0 0 1 0; }
    WaterfallScreen #below { height: 1fr; width: 100%; }
    WaterfallScreen #below > * { height: 1fr; width: 1fr; scrollbar-size-vertical: 1; }
    WaterfallScreen #below #details { padding: 0 2 0 0; }
    WaterfallScreen #below #company { width: 47; }
    WaterfallScreen #below #steps { width: 71; }
    WaterfallScreen.-short #sentence, WaterfallScreen.-short #chart { padding: 0; }
    WaterfallScreen.-short #chart { height: 1fr; max-height: 100%; }
    WaterfallScreen.-short #below { height: 6; }
    WaterfallScreen.-paged #below > * { display: none; }
    WaterfallScreen.-paged #below #company, WaterfallScreen.-paged #below #steps {
        width: 1fr;
    }
    WaterfallScreen.-tiny #sentence { max-height: 8; }
    WaterfallScreen.-tiny #below { height: 1fr; }
    WaterfallScreen.-tiny #chart { display: none; }
    WaterfallScreen.-tiny.page-chart #chart { display: block; }
    WaterfallScreen.-tiny.page-chart #below { display: none; }
    WaterfallScreen.-paged.page-details #details { display: block; }
    WaterfallScreen.-paged.page-company #company { display: block; }
    WaterfallScreen.-paged.page-steps #steps { display: block; }
    WaterfallScreen.-tall.-normal.page-details #below #company {
        display: block; width: 47;
    }
    """
    HELP = (
        "Each row is a part of the request's life, on one axis from its arrival on; the dots are "
        "its tokens. A decode's stalls (‖) follow it, with what the engine did meanwhile. "
        "docs/explain.md says what each phrase stands for.\n"
        "z shows only what came before the first token. l shows the chosen row on the timeline. "
        "Enter in the table of companions opens that request."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,k", "go(-1)", "Before", key_display="←"),
        Binding("right,j", "go(1)", "Next", key_display="→"),
        Binding("z", "zoom", "To first token/all"),
        Binding("v", "page", "Page", tooltip="Details, company and steps in turn"),
        Binding("l", "timeline", "Timeline"),
        Binding("y", "copy", "Copy"),
        Binding("escape,backspace", "back", "Back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._page = 0
        self._until_first_token = False
        self._usual: tuple[int, Baseline] | None = None
        self._shown: RequestPicture | None = None

    def compose(self) -> ComposeResult:
        yield TopBar("requests")
        yield Static(id="headline", markup=False)
        yield Static(id="sentence", markup=False)
        yield StageBar()
        with Vertical(id="body"):
            with Vertical(id="chart"):
                yield WaterfallChart()
            with Horizontal(id="below"):
                with VerticalScroll(id="details", can_focus=False):
                    yield Static(id="told", markup=False)
                yield BigTable(
                    COMPANION_COLUMNS, empty_text="It was alone in its steps", id="company"
                )
                yield BigTable(STEP_COLUMNS, empty_text="No step of it is known", id="steps")
        yield KeyFooter()

    def on_mount(self) -> None:
        """Lays out for the size."""
        self._arrange()

    def on_resize(self) -> None:
        """What fits below the chart depends on the width."""
        self._arrange()

    # -- data -----------------------------------------------------------------------------------

    def question(self) -> WaterfallQuestion | None:
        """See `DataScreen`."""
        session = self.session
        if session is None or session.request_id is None:
            return None
        following = session.playhead.mode == "follow"
        return WaterfallQuestion(session.request_id, None if following else session.at_ns)

    def load(self, question: WaterfallQuestion) -> RequestPicture | None:
        """See `DataScreen`."""
        assert self.session is not None
        view = self.session.view
        if self._usual is None or self._usual[0] != view.version:
            self._usual = view.version, usual_of(view)
        return request_picture(view, question, self._usual[1])

    def show(self, data: RequestPicture | None) -> None:
        """See `DataScreen`."""
        sentence = self.query_one("#sentence", Static)
        if data is None:
            sentence.update("This request had not arrived at the moment that is shown.")
            return
        same = self._shown is not None and self._shown.story.request_id == data.story.request_id
        self._shown = data
        variables = self.app.theme_variables
        sign, color = ("✗", "warn") if data.explanation.slow else ("✓", "good")
        sentence.update(
            Text.assemble(
                (f"{sign} ", f"bold {variables.get(color, '')}"),
                (plain(data.explanation.sentence), "bold"),
            )
        )
        self.query_one("#headline", Static).update(self._headline(data))
        self.query_one(StageBar).show(data.parts)
        self._draw(data, keep_cursor=same)
        details = "\n".join(f"• {plain(detail)}" for detail in data.explanation.details)
        self.query_one("#told", Static).update(details)
        self.query_one("#company", BigTable).show(data.companions)
        self.query_one("#steps", BigTable).show(data.steps)

    def _headline(self, data: RequestPicture) -> str:
        order = self.session.order if self.session is not None else ()
        request_id = data.story.request_id
        place = order.index(request_id) if request_id in order else None
        return headline(data.story, place, len(order))

    def _draw(self, data: RequestPicture, keep_cursor: bool) -> None:
        life = data.story.life
        end_ns = life.end_ns
        if self._until_first_token and life.first_token_ns is not None:
            end_ns = life.first_token_ns
        picture = WaterfallData(
            tuple(row for row in data.rows if row.start_ns < end_ns),
            life.scheduled_ns,
            max(end_ns, life.scheduled_ns + 1),
            life.scheduled_ns,
            tuple((one.time_ns, one.tokens) for one in data.story.emissions),
        )
        self.query_one(WaterfallChart).show(picture, keep_cursor)

    # -- actions --------------------------------------------------------------------------------

    def action_go(self, places: int) -> None:
        """The request before or after, in the order of the table."""
        session = self.session
        if session is None or session.request_id is None:
            return
        order = session.order
        if session.request_id not in order:
            self.app.notify("the table of requests has no order for this one", timeout=3)
            return
        place = order.index(session.request_id) + places
        if 0 <= place < len(order):
            session.request_id = order[place]
            self.ask()
        else:
            where = "first" if places < 0 else "last"
            self.app.notify(f"this is the {where} of the {len(order):,} in the table", timeout=3)

    def action_zoom(self) -> None:
        """Only what came before the first token, or everything."""
        if self._shown is not None:
            self._until_first_token = not self._until_first_token
            self._draw(self._shown, keep_cursor=False)

    def action_page(self) -> None:
        """What stands below the chart."""
        if not self._is_paged:
            self.app.notify("everything is shown", timeout=2)
            return
        pages = self._pages
        if pages == PAGES and self._shown_page == "details" and self.query_one("#company").display:
            self._page += 1  # it stands beside the details
        self._page = (self._page + 1) % len(pages)
        self._arrange()

    def action_timeline(self) -> None:
        """The chosen row on the timeline."""
        row, session = self.query_one(WaterfallChart).chosen, self.session
        if row is None or session is None:
            return
        margin_ns = max((row.end_ns - row.start_ns) // 5, _LEAST_SPAN_NS // 2)
        start_ns = max(0, row.start_ns - margin_ns)
        session.span_s = (start_ns / 1e9, (row.end_ns + margin_ns) / 1e9)
        self.app.go("timeline")

    def action_copy(self) -> None:
        """Copies sentence and details."""
        if self._shown is not None:
            data = self._shown
            text = f"{self._headline(data)}\n{data.explanation.text()}"
            self.app.copy(text, f"why-request-{data.story.request_id}")

    def action_back(self) -> None:
        """Back to where it was opened."""
        self.app.pop_screen()

    @property
    def _is_paged(self) -> bool:
        return self.size.width < _WIDE or self._pages == TINY_PAGES

    @property
    def _pages(self) -> tuple[str, ...]:
        return TINY_PAGES if self.size.height < _TINY_BELOW else PAGES

    @property
    def _shown_page(self) -> str:
        return self._pages[self._page % len(self._pages)]

    def _arrange(self) -> None:
        self.set_class(self._is_paged, "-paged")
        self.set_class(self._pages == TINY_PAGES, "-tiny")
        for name in TINY_PAGES:
            self.set_class(name == self._shown_page, f"page-{name}")

    @on(BigTable.Selected, "#company")
    def _companion(self, event: BigTable.Selected) -> None:
        if isinstance(event.key, int) and self.session is not None:
            self.session.request_id = event.key
            self.query_one(WaterfallChart).focus()
            self.ask()
