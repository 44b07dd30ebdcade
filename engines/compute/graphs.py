"""CUDA graphs by name, in one memory pool."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from engines.compute.gpu_clock import stream_on


class Graphs:
    """Captures what is run often and replays it with one launch.

    All graphs share one pool of memory: they never run at once, and what one leaves behind in it
    may be overwritten by the next. Results that outlive the next replay have to be copied out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = torch.cuda.graph_pool_handle()
        self._stream = stream_on(device)
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._results: dict[Hashable, Any] = {}

    def capture(self, name: Hashable, work: Callable[[], Any]) -> None:
        """Runs `work` once, so that its kernels are compiled, and then captures it."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            work()
            graph = torch.cuda.CUDAGraph()
            # Begun by hand: the context manager collects garbage each time, which takes longer
            # than the capture. "thread_local": other threads (telemetry) may go on meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                result = work()
            finally:
                graph.capture_end()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        self._graphs[name] = graph
        self._results[name] = result

    def replay(self, name: Hashable) -> Any:
        """Launches the graph; what `work` returned when it was captured, filled anew in time."""
        self._graphs[name].replay()
        return self._results[name]
