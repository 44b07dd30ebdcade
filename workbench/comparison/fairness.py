"""What to check before a comparison is believed: whether its sides did the same work on the same
machine in the same circumstances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workbench.comparison.circumstances import circumstances
from workbench.comparison.comparison import Note
from workbench.comparison.records import SideRecords
from workbench.comparison.setting_differences import Kind, Setting

_MOST_KEYS = 3
"""How many keys a note names; the settings list them all."""


def fairness_notes(sides: Sequence[SideRecords], settings: Sequence[Setting]) -> tuple[Note, ...]:
    """Notes on what makes the sides unlike, the first of them the baseline; first what was set up
    differently, then what happened to their runs. What a record doesn't tell is not spoken of.

    Args:
        settings: as `setting_differences` finds them.
    """
    return (*_on_settings(settings), *circumstances(sides, settings))


def _on_settings(settings: Sequence[Setting]) -> list[Note]:
    notes: list[Note] = []
    for kind, say in _SENTENCES:
        found = [setting for setting in settings if setting.kind == kind]
        if kind == "seed" and any(note.kind == "traffic" for note in notes):
            continue  # the traffic's note names it
        if kind == "traffic" and found:
            found += [setting for setting in settings if setting.kind == "seed"]
        if found:
            notes.append(say(found))
    return notes


def _traffic(settings: Sequence[Setting]) -> Note:
    return Note(
        "traffic",
        f"THE TRAFFIC DIFFERS ({_keys(settings)}): the sides were not asked for the same work.",
        loud=True,
    )


def _seeds(settings: Sequence[Setting]) -> Note:
    return Note(
        "traffic",
        f"The seeds differ ({_against(settings[0])}): other requests of the same kind, so that "
        "none of them can be paired.",
    )


def _model(settings: Sequence[Setting]) -> Note:
    return Note(
        "fairness",
        f"THE MODEL DIFFERS ({_listed(settings)}): the sides did not compute the same.",
        loud=True,
    )


def _hardware(settings: Sequence[Setting]) -> Note:
    return Note(
        "fairness",
        f"THE HARDWARE DIFFERS ({_listed(settings)}): a difference may be the machine's.",
        loud=True,
    )


def _versions(settings: Sequence[Setting]) -> Note:
    return Note("fairness", f"Versions differ ({_listed(settings)}): a difference may be theirs.")


def _slo(settings: Sequence[Setting]) -> Note:
    return Note(
        "fairness",
        f"THE SLOS DIFFER ({_listed(settings)}, in ms): goodput and attainment are not comparable.",
        loud=True,
    )


def _conditions(settings: Sequence[Setting]) -> Note:
    return Note("fairness", f"The runs were made in other conditions ({_listed(settings)}).")


_SENTENCES: tuple[tuple[Kind, Callable[[Sequence[Setting]], Note]], ...] = (
    ("traffic", _traffic),
    ("seed", _seeds),
    ("model", _model),
    ("hardware", _hardware),
    ("slo", _slo),
    ("versions", _versions),
    ("conditions", _conditions),
)


def _keys(settings: Sequence[Setting]) -> str:
    return _some([setting.key for setting in settings], ", ")


def _listed(settings: Sequence[Setting]) -> str:
    return _some([f"{_short(setting.key)} {_against(setting)}" for setting in settings], "; ")


def _some(texts: Sequence[str], between: str) -> str:
    listed = between.join(texts[:_MOST_KEYS])
    return listed + (f" and {len(texts) - _MOST_KEYS} more" if len(texts) > _MOST_KEYS else "")


def _short(key: str) -> str:
    """The key without what every key of its kind begins with."""
    for start in ("environment.hardware.", "environment.packages.", "environment.", "slo."):
        key = key.removeprefix(start)
    return key


def _against(setting: Setting) -> str:
    return " against ".join(setting.shown)
