"""Ranges: silent where nobody listens, pushed and popped in order where a tool does."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from profiles.errors import ProfileError
from profiles.ranges import ListenedSpan, SilentSpan, measure_cost_ns, open_ranges

INJECTED = {"NVTX_INJECTION64_PATH": "/opt/tool/libinjection.so"}


class FakeDomain:
    """An enabled NVTX domain that writes down what a tool would receive."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.registered: list[str] = []

    def get_event_attributes(self, message: str, color: str) -> Any:
        self.registered.append(message)
        return SimpleNamespace(message=message, color=color, payload=None)

    def push_range(self, attributes: Any) -> None:
        self.received.append((attributes.message, attributes.payload))

    def pop_range(self) -> None:
        self.received.append("pop")


class FakeNvtx:
    Domain = FakeDomain

    def __init__(self, domain: Any, enabled: bool = True) -> None:
        self._domain = domain
        self._enabled = enabled
        self.asked_for: list[str] = []

    def enabled(self) -> bool:
        return self._enabled

    def get_domain(self, name: str) -> Any:
        self.asked_for.append(name)
        return self._domain


def test_without_a_tool_spans_are_silent_and_nvtx_is_not_touched() -> None:
    ranges = open_ranges("auto", environ={}, nvtx=object())
    span = ranges.span("step")
    assert not ranges.listened
    assert isinstance(span, SilentSpan)
    assert span is ranges.span("prefill")
    with span, span.numbered(3):
        pass
    with pytest.raises(ZeroDivisionError), span:
        _ = 1 / 0


def test_an_injected_tool_receives_nested_ranges_in_order() -> None:
    domain = FakeDomain()
    nvtx = FakeNvtx(domain)
    ranges = open_ranges("auto", environ=INJECTED, nvtx=nvtx)
    step, decode = ranges.span("step", "green"), ranges.span("decode")
    assert ranges.listened
    assert nvtx.asked_for == ["workbench"]
    assert isinstance(step, ListenedSpan)
    with step.numbered(7), decode, decode:
        pass
    assert domain.received == [("step", 7), ("decode", None), ("decode", None), "pop", "pop", "pop"]


def test_strings_are_registered_once_however_often_a_span_is_entered() -> None:
    domain = FakeDomain()
    span = open_ranges(environ=INJECTED, nvtx=FakeNvtx(domain)).span("sampling")
    for number in range(5):
        with span.numbered(number):
            pass
    assert domain.registered == ["sampling"]
    assert domain.received[::2] == [("sampling", number) for number in range(5)]


def test_an_exception_ends_the_range_and_passes_on() -> None:
    domain = FakeDomain()
    span = open_ranges(environ=INJECTED, nvtx=FakeNvtx(domain)).span("step")
    with pytest.raises(KeyError), span:
        raise KeyError("in the step")
    assert domain.received == [("step", None), "pop"]


def test_off_stays_off_under_a_tool() -> None:
    assert not open_ranges("off", environ=INJECTED, nvtx=FakeNvtx(FakeDomain())).listened


def test_a_tool_that_did_not_attach_leaves_the_ranges_silent() -> None:
    assert not open_ranges("auto", environ=INJECTED, nvtx=FakeNvtx(object())).listened
    disabled = FakeNvtx(FakeDomain(), enabled=False)
    assert not open_ranges("auto", environ=INJECTED, nvtx=disabled).listened


def test_insisting_without_a_listener_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ProfileError, match="nsys profile"):
        open_ranges("on", environ={}, nvtx=FakeNvtx(object()))
    with pytest.raises(ProfileError, match="NVTX_DISABLE"):
        open_ranges("on", environ={}, nvtx=FakeNvtx(FakeDomain(), enabled=False))


def test_insisting_listens_without_the_environment_variable() -> None:
    assert open_ranges("on", environ={}, nvtx=FakeNvtx(FakeDomain())).listened


def test_the_installed_nvtx_has_the_interface_that_is_used(monkeypatch: Any) -> None:
    nvtx = pytest.importorskip("nvtx")
    domain = nvtx.get_domain("workbench")
    if isinstance(domain, nvtx.Domain):
        assert open_ranges("auto").listened
    else:
        monkeypatch.setenv(*next(iter(INJECTED.items())))
        assert not open_ranges("auto").listened
        with pytest.raises(ProfileError):
            open_ranges("on")


def test_the_cost_is_that_of_the_best_batch_less_the_bare_loop() -> None:
    # Two batches of (start, after the spans, after the bare loop).
    readings = iter([0, 1_000, 1_200, 5_000, 5_700, 5_800])
    cost = measure_cost_ns(SilentSpan(), entries=10, batches=2, clock=lambda: next(readings))
    assert cost == (700 - 100) / 10
    assert gc.isenabled()


def test_a_clock_that_stands_still_gives_no_cost() -> None:
    assert measure_cost_ns(SilentSpan(), entries=2, batches=1, clock=lambda: 0) == 0
