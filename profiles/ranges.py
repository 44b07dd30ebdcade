"""Named ranges on a timeline: what the engine was doing, as NVIDIA Nsight shows it.

An owner asks for its spans once and enters them in its hot path:

    self._step = ranges.span("step")
    ...
    with self._step.numbered(step_index):
        ...

NVTX is a no-op library until a tool injects itself into the process. The tool says so in the
environment before the process starts, so whether anyone listens is settled when the ranges are
opened, and a span that nobody listens to is two empty calls.
"""

from __future__ import annotations

import gc
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

from profiles.errors import ProfileError

DOMAIN = "workbench"
"""The NVTX domain of every range: `nsys --nvtx-domain-include workbench` keeps these alone."""

INJECTION_VARIABLES = ("NVTX_INJECTION64_PATH", "NVTX_INJECTION32_PATH")
"""Where a tool (nsys, ncu) names the library that receives the ranges; NVTX reads the same."""

Listening = Literal["auto", "on", "off"]


class Span(ABC):
    """One name on the timeline. Spans nest, and one span may be entered again inside itself.

    Ranges belong to the thread that enters them. Use it with `with`, so that an exception ends
    the range too.
    """

    __slots__ = ()

    @abstractmethod
    def __enter__(self) -> None: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def numbered(self, number: int) -> Span:
        """This span with `number` as payload of its next entry, such as the index of a step.

        It joins the timeline with the recorded rows. A numbered span has one thread: the number
        is kept between this call and the entry.
        """


class SilentSpan(Span):
    """A span that nobody listens to."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def numbered(self, number: int) -> Span:
        return self


class ListenedSpan(Span):
    """A span whose string is registered and whose attributes are built: entering only pushes."""

    __slots__ = ("_attributes", "_pop", "_push")

    def __init__(self, domain: Any, name: str, color: str) -> None:
        self._attributes = domain.get_event_attributes(name, color)
        self._push = domain.push_range
        self._pop = domain.pop_range

    def __enter__(self) -> None:
        self._push(self._attributes)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pop()

    def numbered(self, number: int) -> Span:
        self._attributes.payload = number
        return self


class Ranges:
    """Hands out spans: all of them listened to, or all of them silent.

    Args:
        domain: an enabled `nvtx` domain, or None where nobody listens.
    """

    def __init__(self, domain: Any | None = None) -> None:
        self._domain = domain
        self._silent = SilentSpan()

    @property
    def listened(self) -> bool:
        """Whether a tool receives the ranges."""
        return self._domain is not None

    def span(self, name: str, color: str = "blue") -> Span:
        """A span called `name`.

        Ask once per name, outside the hot path: this registers the string with the tool. `color`
        is one that `nvtx` knows without matplotlib (`nvtx.colors`): blue, green, yellow, purple,
        cyan, red, white, darkgreen, orange.
        """
        if self._domain is None:
            return self._silent
        return ListenedSpan(self._domain, name, color)


def open_ranges(
    listening: Listening = "auto",
    *,
    environ: Mapping[str, str] | None = None,
    nvtx: Any | None = None,
) -> Ranges:
    """Ranges for this process.

    `auto` listens where a tool has injected itself; `off` never; `on` insists. `environ` and
    `nvtx` (the module) stand in for the process's own in tests.

    Raises:
        ProfileError: `on`, and no tool receives ranges in this process.
    """
    environ = os.environ if environ is None else environ
    injected = any(environ.get(variable) for variable in INJECTION_VARIABLES)
    if listening == "off" or (listening == "auto" and not injected):
        return Ranges()  # without importing nvtx: that costs a start-up tens of milliseconds
    if nvtx is None:
        import nvtx as installed

        nvtx = installed
    # get_domain ignores NVTX_DISABLE, and gives a dummy where the injection did not take place.
    domain = nvtx.get_domain(DOMAIN) if nvtx.enabled() else None
    if isinstance(domain, nvtx.Domain):
        return Ranges(domain)
    if listening == "on":
        raise ProfileError(
            "NVTX ranges were asked for, but no tool receives them in this process. "
            "Start it under one, as in `nsys profile --trace=nvtx,cuda workbench run …`"
            + (", and unset NVTX_DISABLE." if not nvtx.enabled() else ".")
        )
    return Ranges()


def measure_cost_ns(
    span: Span,
    *,
    entries: int = 100_000,
    batches: int = 5,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> float:
    """Nanoseconds that one `with span:` adds to a loop: the best of `batches`.

    The best, because whatever else the machine does can only add. The loop's own cost, measured
    in the same way, is taken off; a clock too coarse to tell gives 0.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        spans, bare = [], []
        for _ in range(batches):
            start = clock()
            for _ in range(entries):
                with span:
                    pass
            middle = clock()
            for _ in range(entries):
                pass
            spans.append(middle - start)
            bare.append(clock() - middle)
    finally:
        if collecting:
            gc.enable()
    return max(0.0, (min(spans) - min(bare)) / entries)
