"""What happened to some runs of a comparison and not to others: other load, clocks, backlogs,
failures, shortened requests, knobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.analysis.lookup import at
from workbench.analysis.notes import notes_on_knobs
from workbench.analysis.quantities import counted, number, percent
from workbench.comparison.comparison import Note
from workbench.comparison.records import RunRecord, SideRecords
from workbench.comparison.setting_differences import Setting

CLOCK_SHARE = 0.03
"""SM clocks that differ by more than this share of the baseline's are spoken of."""

_THROTTLED_PERCENT = 1.0
_BUSY_AT_START = 1.25
_OTHER_LOAD_SHARE, _OTHER_LOAD_CORES = 0.1, 0.5
_LENGTH_SHARE = 0.02
_MANY_FAILED = 0.01


def circumstances(sides: Sequence[SideRecords], settings: Sequence[Setting]) -> list[Note]:
    """Notes on what the runs' records tell; each a sentence with its figures."""
    return [
        *_knobs(sides),
        *([] if any(setting.traffic for setting in settings) else _lengths(sides)),
        *_backlogs(sides),
        *_failures(sides),
        *_fitted(sides),
        *_busy_at_start(sides),
        *_other_load(sides),
        *_clocks(sides),
        *_throttling(sides),
    ]


def _knobs(sides: Sequence[SideRecords]) -> list[Note]:
    return [
        Note("fairness", f"{record.name}: {said}", loud=True)
        for side in sides
        for record in side.records
        for said in notes_on_knobs(record.content.get("knobs") or ())
    ]


def _lengths(sides: Sequence[SideRecords]) -> list[Note]:
    """Where the same requests were asked for, and their texts were not as long."""
    notes = []
    for what, name in (("Prompts", "input_tokens"), ("Replies", "output_tokens")):
        for base, own, side in _against_first(sides, ("lengths", name, "mean")):
            measured = {_figure(each, ("requests", "measured")) for each in (sides[0], side)}
            if len(measured) == 1 and base and abs(own / base - 1) > _LENGTH_SHARE:
                notes.append(
                    Note(
                        "fairness",
                        f"{what} of {side.label} had {number(own)} tokens on average, those of "
                        f"{sides[0].label} {number(base)}, of the same traffic: they were not the "
                        "same work.",
                        loud=True,
                    )
                )
    return notes


def _backlogs(sides: Sequence[SideRecords]) -> list[Note]:
    def happened(record: RunRecord) -> str | None:
        load = at(record.content, "summary", "load") or {}
        if not load.get("fell_behind"):
            return None if load.get("fell_behind") is None else ""
        return (
            f"{counted(load['in_flight_start'], 'request')} in flight at the window's start, "
            f"{load['in_flight_end']:,} at its end"
        )

    return _beside(sides, happened, "fell behind", "latencies grow with the length of such a run")


def _failures(sides: Sequence[SideRecords]) -> list[Note]:
    notes = []
    shares = [_failed(side) for side in sides]
    whole = [side.label for side, told in zip(sides, shares, strict=True) if told and not told[0]]
    for side, told in zip(sides, shares, strict=True):
        if whole and told and told[0]:
            failed, measured, listed = told
            text = (
                f"{failed:,} of {counted(measured, 'request')} of {side.label} did not end ok "
                f"({listed}), and all of {_joined(whole)} did: latencies are of those that got "
                "through."
            )
            notes.append(Note("fairness", text, loud=failed >= _MANY_FAILED * measured))
    return notes


def _failed(side: SideRecords) -> tuple[int, int, str] | None:
    """How many requests of its runs did not end ok, of how many, and how; None if none is told.

    Those that their user gave up are no failures.
    """
    every = [at(record.content, "summary", "requests") for record in side.records]
    told = [requests for requests in every if requests]
    if not told:
        return None
    counts = {
        status: sum(int(at(requests, "by_status", status) or 0) for requests in told)
        for status in ("failed", "rejected", "unfinished")
    }
    measured = sum(int(requests["measured"]) for requests in told)
    listed = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    return sum(counts.values()), measured, listed


def _fitted(sides: Sequence[SideRecords]) -> list[Note]:
    def happened(record: RunRecord) -> str | None:
        fitted = at(record.content, "summary", "requests", "fitted")
        if not fitted:
            return None if fitted is None else ""
        measured = at(record.content, "summary", "requests", "measured")
        return f"{fitted:,} of {counted(measured, 'request')}"

    what = "shortened requests to fit the model's context"
    return _beside(sides, happened, what, "they did not do the same work")


def _busy_at_start(sides: Sequence[SideRecords]) -> list[Note]:
    """More runnable processes than cores before the run itself computed anything; with one run
    after the other, the one before still counts in the average, and it takes no more than all."""

    def happened(record: RunRecord) -> str | None:
        average = at(record.content, "environment", "load_average")
        cores = at(record.content, "environment", "hardware", "logical_cores")
        if not average or not cores:
            return None
        if average[0] <= _BUSY_AT_START * cores:
            return ""
        return f"a load average of {number(average[0])} on {counted(cores, 'core')}"

    return _beside(sides, happened, "started on a busy machine", "other work may have slowed it")


def _other_load(sides: Sequence[SideRecords]) -> list[Note]:
    """CPU time of other processes, where the engine computes in this one on the CPU."""
    known = [(side, _other_cores(side)) for side in sides]
    told = [(side, cores) for side, cores in known if cores is not None]
    if len(told) < 2:
        return []
    quiet, least = min(told, key=lambda each: each[1])
    notes = []
    for side, cores in told:
        machine = at(side.records[0].content, "environment", "hardware", "logical_cores")
        if cores - least > max(_OTHER_LOAD_CORES, _OTHER_LOAD_SHARE * machine):
            text = (
                f"Other processes kept {number(cores)} of {counted(machine, 'core')} busy during "
                f"{side.label}, and {number(max(0.0, least))} during {quiet.label}: other work may "
                "have slowed it down."
            )
            notes.append(Note("fairness", text, loud=True))
    return notes


def _other_cores(side: SideRecords) -> float | None:
    every = []
    for record in side.records:
        host = at(record.content, "summary", "devices", "host") or {}
        machine, own = host.get("host_cpu_percent"), host.get("process_cpu_percent")
        cores = at(record.content, "environment", "hardware", "logical_cores")
        if at(record.content, "engine", "device") != "cpu" or None in (machine, own, cores):
            return None
        every.append((machine * cores - own) / 100)
    return sum(every) / len(every) if every else None


def _clocks(sides: Sequence[SideRecords]) -> list[Note]:
    return [
        Note(
            "fairness",
            f"{device}'s SM clock was {number(own)} MHz on average in {side.label}, and "
            f"{number(base)} MHz in {sides[0].label} ({100 * (own / base - 1):+.1f} %).",
        )
        for device in _devices(sides)
        for base, own, side in _against_first(sides, ("devices", device, "sm_clock_mhz"))
        if base and abs(own / base - 1) > CLOCK_SHARE
    ]


def _throttling(sides: Sequence[SideRecords]) -> list[Note]:
    notes = []
    for device in _devices(sides):
        path = ("devices", device, "throttled_percent")
        shares = [(side, share) for side in sides if (share := _figure(side, path)) is not None]
        calm = [side.label for side, share in shares if share < _THROTTLED_PERCENT]
        for side, share in shares:
            if calm and share >= _THROTTLED_PERCENT:
                text = (
                    f"{device} was slowed down by power or heat in {percent(share)} of the samples "
                    f"of {side.label}, and not in {_joined(calm)}."
                )
                notes.append(Note("fairness", text, loud=True))
    return notes


def _devices(sides: Sequence[SideRecords]) -> list[str]:
    summaries = [at(record.content, "summary") for side in sides for record in side.records]
    return sorted({name for summary in summaries for name in at(summary, "devices") or {}})


def _beside(
    sides: Sequence[SideRecords], happened: Callable[[RunRecord], str | None], what: str, so: str
) -> list[Note]:
    """Loud notes on sides to which something happened, if there are sides to which it didn't.

    Args:
        happened: to a run, in figures; "" if it did not, None if the record doesn't tell.
        what: it is, in words.
        so: what follows from it.
    """
    told = [
        (side, [each for record in side.records if (each := happened(record)) is not None])
        for side in sides
    ]
    clean = [side.label for side, figures in told if figures and not any(figures)]
    notes = []
    for side, figures in told:
        hit = [each for each in figures if each]
        if clean and hit:
            several = len(side.records) > 1
            who = (
                f"{len(hit)} of {len(side.records)} runs of {side.label}" if several else side.label
            )
            detail = f"one: {hit[0]}" if len(hit) > 1 else hit[0]
            text = f"{who} {what} ({detail}), and {_joined(clean)} did not: {so}."
            notes.append(Note("fairness", text, loud=True))
    return notes


def _against_first(
    sides: Sequence[SideRecords], path: Sequence[str]
) -> list[tuple[float, float, SideRecords]]:
    """The baseline's figure, another side's, and that side, where both have one."""
    base = _figure(sides[0], path)
    figures = [(side, _figure(side, path)) for side in sides[1:]]
    return [(base, own, side) for side, own in figures if base is not None and own is not None]


def _figure(side: SideRecords, path: Sequence[str]) -> float | None:
    """The mean over the side's runs that have the figure; None if none has."""
    every = [at(record.content, "summary", *path) for record in side.records]
    known = [float(value) for value in every if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _joined(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
