"""What the sides of a comparison are called: short, and each unlike the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.runs.groups import member_of


def label_of(contents: Sequence[Mapping[str, Any]], several: str = "") -> str:
    """What a side is called, from the `run.json` of its runs: by their common name, their group,
    else `several` where that is given, else by the first run's name or id."""
    names = {str(content.get("name") or "") for content in contents}
    members = [member_of(content) for content in contents]
    groups = {None if member is None else member.id for member in members}
    if len(names) == 1 and (name := names.pop()):
        return name
    if len(contents) > 1 and len(groups) == 1 and (group := groups.pop()):
        return group
    return several or str(contents[0].get("name") or contents[0]["run_id"])


def unlike(labels: Sequence[str]) -> list[str]:
    """The labels without what comes before a colon where that is the same in all ("lab:caching:on"
    and "lab:caching:off" are "on" and "off"); those that were there before numbered from 2."""
    return _unique(_without_common_part(labels))


def _without_common_part(labels: Sequence[str]) -> list[str]:
    parts = [label.split(":") for label in labels]
    while parts and min(len(each) for each in parts) > 1 and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    shown = [":".join(each) for each in parts]
    return shown if all(shown) and len(set(shown)) > 1 else list(labels)


def _unique(labels: Sequence[str]) -> list[str]:
    taken: list[str] = []
    for label in labels:
        own, number = label, 1
        while own in taken or (own != label and own in labels):
            number += 1
            own = f"{label} ({number})"
        taken.append(own)
    return taken
