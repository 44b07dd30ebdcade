"""The timeline's lanes: steps of every worker over time, clicked and zoomed."""

from __future__ import annotations

from textual import events
from textual.message import Message

from workbench.tui.drawing.canvas import Canvas
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.drawing.lanes_layout import lanes_layout
from workbench.tui.drawing.lanes_picture import GUTTER, LanesData, draw_lanes
from workbench.tui.widgets.canvas_widget import CanvasWidget
from workbench.tui.widgets.paint import opaque
from workbench.viewing.lanes import STEP_KINDS

_ZOOM_STEP = 1.5
_DIM, _BELOW = 0.35, 0.55
_BANDS = ("series-1", "series-2", "kv-live")


class Lanes(CanvasWidget, can_focus=True):
    """Lanes, gaps, batch, tokens and KV on one time axis."""

    DEFAULT_CSS = "Lanes { height: 1fr; min-height: 4; }"

    class Picked(Message):
        """A moment of a worker's lane was clicked."""

        def __init__(self, time_ns: int, worker: int | None) -> None:
            super().__init__()
            self.time_ns, self.worker = time_ns, worker

    class Zoomed(Message):
        """The wheel was turned: the span is to be `factor` times as long, around a moment."""

        def __init__(self, center_s: float, factor: float) -> None:
            super().__init__()
            self.center_s, self.factor = center_s, factor

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.data: LanesData | None = None

    @property
    def columns(self) -> int:
        """Cells of the time axis."""
        return max(0, self.size.width - GUTTER)

    def update(self, data: LanesData | None) -> None:
        """Shows another span, or nothing."""
        self.data = data
        self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The picture; what was loaded for another width is shown when it comes anew."""
        data = self.data
        if data is None or len(data.timeline.batch) != self.columns:
            return Canvas(width, height)
        around = self.background_colors[1]
        shades = dict.fromkeys((*STEP_KINDS, "foreground"), _DIM) | dict.fromkeys(_BANDS, _BELOW)
        dim = {
            name: opaque(self, f"${name}").blend(around, share).hex
            for name, share in shades.items()
        }
        dim |= {
            f"{name} below": opaque(self, f"${name}").blend(around, _BELOW).hex
            for name in STEP_KINDS
        }
        return draw_lanes(data, width, height, glyphs, dim)

    def on_click(self, event: events.Click) -> None:
        time_ns = self._time_ns(event)
        if time_ns is not None:
            self.post_message(self.Picked(time_ns, self._worker(event)))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._zoom(event, 1 / _ZOOM_STEP)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._zoom(event, _ZOOM_STEP)

    def _zoom(self, event: events.MouseEvent, factor: float) -> None:
        time_ns = self._time_ns(event)
        if time_ns is not None:
            event.stop()
            self.post_message(self.Zoomed(time_ns / 1e9, factor))

    def _time_ns(self, event: events.MouseEvent) -> int | None:
        offset = event.get_content_offset(self)
        if offset is None or self.data is None or not self.columns or offset.x < GUTTER:
            return None
        timeline = self.data.timeline
        share = (offset.x - GUTTER + 0.5) / self.columns
        return timeline.start_ns + round(share * (timeline.end_ns - timeline.start_ns))

    def _worker(self, event: events.MouseEvent) -> int | None:
        """The worker whose rows are under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None or self.data is None:
            return None
        lanes = self.data.timeline.lanes
        for lane, block in zip(
            lanes, lanes_layout(self.size.height, len(lanes)).lanes, strict=False
        ):
            last = max(block.rows.stop - 1, block.busy_row or 0, block.gap_row or 0)
            if block.rows.start <= offset.y <= last:
                return lane.worker
        return None
