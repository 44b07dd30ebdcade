"""What a reader of a run's figures must know, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.analysis.devices import throttle_shares
from workbench.analysis.quantities import number
from workbench.analysis.statistics import WEAK_BELOW
from workbench.analysis.throughput import ACHIEVED_SHARE


def notes_on(summary: Mapping[str, Any]) -> list[str]:
    """Sentences on a summary, as `Summary.as_dict` gives it; the gravest come first."""
    return [
        *_on_the_record(summary["requests"]),
        *_on_the_load(summary["load"]),
        *_on_the_samples(summary),
        *_on_the_objectives(summary["objectives"]),
        *_on_the_devices(summary["devices"]),
    ]


def notes_on_knobs(knobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on what was turned while the run went, as `run.json` has it in `knobs`."""
    rates = sum(str(knob["what"]).startswith("rate") for knob in knobs)
    pauses = sum(str(knob["what"]).startswith("arrivals paused") for knob in knobs)
    turned = [
        f"{what} while it ran ({'once' if count == 1 else f'{count} times'})"
        for what, count in (
            ("The rate was changed", rates),
            ("arrivals were paused" if rates else "Arrivals were paused", pauses),
        )
        if count
    ]
    if not turned:
        return []
    return [f"{', and '.join(turned)}: offered and achieved rates are not those of the spec."]


def _on_the_record(requests: Mapping[str, Any]) -> list[str]:
    notes = []
    wrong = requests["stage_sum_errors"]
    if wrong:
        notes.append(
            f"The TTFT stages of {_count(wrong, 'request')} do not sum to TTFT: a defect of the "
            "engine's record."
        )
    other = {
        status: count for status, count in requests["by_status"].items() if status != "ok" and count
    }
    if other:
        listed = ", ".join(f"{count:,} {status}" for status, count in other.items())
        note = (
            f"{sum(other.values()):,} of {_count(requests['measured'], 'request')} did not end ok "
            f"({listed}); they stay in every denominator."
        )
        reasons = [reason for reason in requests["reasons"] if reason["reason"]]
        if reasons:
            note += f" Most often: {reasons[0]['reason'].rstrip('.')}."
        notes.append(note)
    if requests["fitted"]:
        notes.append(
            f"{_count(requests['fitted'], 'request')} shortened to fit the model's context."
        )
    return notes


def _on_the_load(load: Mapping[str, Any]) -> list[str]:
    notes = []
    if load["fell_behind"]:
        notes.append(
            f"The engine fell behind: {_count(load['in_flight_start'], 'request')} in flight at "
            f"the window's start, {load['in_flight_end']:,} at its end. Latencies grow with the "
            "run's length; lower the rate to measure a steady state."
        )
    share = load["achieved_share"]
    if share is not None and share < ACHIEVED_SHARE:
        achieved, offered = number(load["achieved_per_s"]), number(load["offered_per_s"])
        notes.append(
            f"Achieved {achieved} of {offered} requests per second offered ({100 * share:.1f} %)."
        )
    return notes


def _on_the_samples(summary: Mapping[str, Any]) -> list[str]:
    measured = summary["requests"]["measured"]
    if not measured:
        return ["No request was scheduled inside the measured window: there is nothing to measure."]
    if summary["window_s"] == 0:
        return ["The measured window has no length: there are no rates."]
    if measured < WEAK_BELOW:
        return [
            f"Few samples: {_count(measured, 'request')} in the window; a p99 needs "
            f"{WEAK_BELOW} or more."
        ]
    return []


def _on_the_objectives(objectives: Mapping[str, Any]) -> list[str]:
    if not objectives["unjudged"]:
        return []
    return [
        f"{_count(objectives['unjudged'], 'request')} ended ok without any of the limited metrics "
        "(a one-token reply has no TPOT); not counted as meeting the objectives."
    ]


def _on_the_devices(devices: Mapping[str, Mapping[str, float]]) -> list[str]:
    notes = []
    for device, figures in devices.items():
        if figures.get("throttled_percent", 0) >= 1:
            why = ", ".join(
                f"{reason} {share:.0f} %" for reason, share in throttle_shares(figures).items()
            )
            notes.append(
                f"{device} was slowed down by power or heat in "
                f"{figures['throttled_percent']:.0f} % of the samples{f' ({why})' if why else ''}."
            )
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
