"""From the words of a command line to the sides of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.analysis.lookup import at
from workbench.analysis.printable import plain
from workbench.comparison.labels import label_of, unlike
from workbench.comparison.loading import folder_record
from workbench.comparison.records import RunRecord, SideRecords
from workbench.errors import StoreError
from workbench.runs.groups import member_of
from workbench.runs.schema import REQUESTS
from workbench.runs.store import RunStore, StoreSnapshot

_NOT_ASKED = ("seed", "name", "record")
"""Parts of a spec in which repeated runs may differ."""

Records = tuple[RunRecord, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Sides in the order of the words, and a sentence on each word or run that was left out."""

    sides: tuple[SideRecords, ...]
    problems: tuple[str, ...]


def select(words: Sequence[str], store: RunStore, least: int = 2) -> Selection:
    """The sides that `words` mean: runs of one word that were asked for the same are one side.

    Where that would make too few sides of a single word, each of its runs is a side.

    Args:
        least: how many sides there must be.

    Raises:
        StoreError: there are fewer; it lists why.
    """
    snapshot, problems = StoreSnapshot(store.root), []
    sides: list[tuple[str, Records]] = []
    for word in words:
        records, said = _records(word, snapshot)
        problems += said
        alike = _alike(records)
        if len(words) == 1 and len(alike) == 1 < least:
            alike = [(record,) for record in records]
        sides += [(_label(word, side, alone=len(alike) == 1), side) for side in alike]
    if len(sides) < least:
        raise StoreError(_too_few(len(sides), least, problems))
    labels = unlike([label for label, _ in sides])
    named = zip(labels, sides, strict=True)
    return Selection(
        tuple(SideRecords(label, side) for label, (_, side) in named),
        tuple(dict.fromkeys(problems)),
    )


def _records(word: str, store: RunStore) -> tuple[Records, list[str]]:
    """The runs of a word that can be compared, and what is wrong with the others."""
    try:
        found = store.look_up(word)
    except StoreError as error:
        return (), [str(error)]
    records, problems = [], list(found.problems)
    for run in found.runs:
        record = folder_record(run)
        try:
            if _has_requests(record):
                records.append(record)
            else:
                problems.append(_without_requests(record))
        except StoreError as error:
            problems.append(str(error))
    return tuple(records), problems


def _has_requests(record: RunRecord) -> bool:
    if record.content.get("summary") is not None:
        return True
    return record.tables.table(REQUESTS, REQUESTS.names[:1]).height > 0


def _without_requests(record: RunRecord) -> str:
    reason = str(record.content.get("reason") or "")
    said = f"{record.name} is {record.state} and has no requests that ended"
    return plain(f"{said}: {reason}" if reason else said)


def _alike(records: Records) -> list[Records]:
    """The runs by what was asked of them, in the order in which they come."""
    calibrated = {_group_of(record) for record in records if _rate(record) == "auto"} - {None}
    sides: dict[str, list[RunRecord]] = {}
    for record in records:
        spec = {
            key: part
            for key, part in (at(record.content, "spec") or {}).items()
            if key not in _NOT_ASKED
        }
        if _group_of(record) in calibrated and isinstance(spec.get("traffic"), Mapping):
            # The first run of the group found the rate that the others were given.
            spec["traffic"] = spec["traffic"] | {"rate": "auto"}
        sides.setdefault(json.dumps(_said(spec), sort_keys=True), []).append(record)
    return [tuple(side) for side in sides.values()]


def _rate(record: RunRecord) -> Any:
    return at(record.content, "spec", "traffic", "rate")


def _group_of(record: RunRecord) -> str | None:
    member = member_of(record.content)
    return None if member is None else member.id


def _said(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left open, which older versions' specs lack altogether."""
    return {
        key: _said(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }


def _label(word: str, side: Records, alone: bool) -> str:
    """What a side is called; several runs that have nothing in common, by their word."""
    several = (Path(word).name or word) if len(side) > 1 and alone else ""
    return plain(label_of([record.content for record in side], several))


def _too_few(sides: int, least: int, problems: Sequence[str]) -> str:
    found = "there is nothing" if not sides else "there is only one"
    asked = f"{found} to compare; name {least} runs or more, or what means several: a group, a "
    asked += "pattern such as 'chat-*', tag:NAME"
    return "\n".join([asked, *(f"- {problem}" for problem in dict.fromkeys(problems))])
