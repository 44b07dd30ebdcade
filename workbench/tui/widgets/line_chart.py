"""A line chart that redraws often: series over time, on the Line API."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.reactive import reactive

from workbench.tui.drawing.canvas import Canvas
from workbench.tui.drawing.chart_data import EMPTY_CHART, ChartData
from workbench.tui.drawing.glyphs import Glyphs
from workbench.tui.drawing.line_picture import GUTTER, draw_chart, plot_columns
from workbench.tui.drawing.scale import Scale
from workbench.tui.widgets.canvas_widget import CanvasWidget

_ZOOM_STEP = 1.25


class LineChart(CanvasWidget):
    """Traces over a window of time, with a legend, limits, marks and a playhead.

    The value axis begins at 0 and grows at once; it shrinks only when less than half is used.

    Args:
        title: the first words of its title line.
        show_axis: whether the time axis is drawn; charts in a stack leave it to the last one.
    """

    DEFAULT_CSS = "LineChart { height: 1fr; min-height: 3; }"

    show_axis = reactive(True)

    class Zoomed(Message):
        """The wheel was turned: the window is to be `factor` times as long, around a time."""

        def __init__(self, chart: LineChart, center_s: float, factor: float) -> None:
            super().__init__()
            self.chart, self.center_s, self.factor = chart, center_s, factor

        @property
        def control(self) -> LineChart:
            """The chart under the pointer."""
            return self.chart

    class Picked(Message):
        """A time was clicked."""

        def __init__(self, chart: LineChart, time_s: float) -> None:
            super().__init__()
            self.chart, self.time_s = chart, time_s

        @property
        def control(self) -> LineChart:
            """The chart that was clicked."""
            return self.chart

    def __init__(
        self,
        title: str,
        *,
        show_axis: bool = True,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.title = title
        self.data: ChartData = EMPTY_CHART
        self._scale: Scale | None = None
        self.set_reactive(LineChart.show_axis, show_axis)

    def update(self, data: ChartData) -> None:
        """Shows other data; does nothing where they would look the same."""
        if data != self.data:
            self.data = data
            self.redraw()

    def draw(self, width: int, height: int, glyphs: Glyphs) -> Canvas:
        """The chart; the value axis that it takes is kept for the next one."""
        canvas, self._scale = draw_chart(
            self.data, self.title, width, height, glyphs, self.show_axis, self._scale
        )
        return canvas

    def watch_show_axis(self) -> None:
        self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._zoom(event, 1 / _ZOOM_STEP)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._zoom(event, _ZOOM_STEP)

    def on_click(self, event: events.Click) -> None:
        time_s = self._time_s(event)
        if time_s is not None:
            self.post_message(self.Picked(self, time_s))

    def _zoom(self, event: events.MouseEvent, factor: float) -> None:
        time_s = self._time_s(event)
        if time_s is not None:
            event.stop()
            self.post_message(self.Zoomed(self, time_s, factor))

    def _time_s(self, event: events.MouseEvent) -> float | None:
        """The time under the pointer; None outside the plot, and without data."""
        offset, columns = event.get_content_offset(self), plot_columns(self.size.width)
        if offset is None or not self.data.traces or not GUTTER <= offset.x < GUTTER + columns:
            return None
        return self.data.time_s(offset.x - GUTTER, columns)
