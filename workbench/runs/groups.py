"""Groups: runs of one spec that were made to be taken together, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A run's place in its group: `number` from 1, of so many that were asked for."""

    id: str
    number: int
    of: int

    @property
    def run_id(self) -> str:
        """The run's own id: that of the group, and its number."""
        return f"{self.id}-{self.number}"

    def as_dict(self) -> dict[str, Any]:
        """What `run.json` holds of it, as `group`."""
        return asdict(self)


def member_of(content: Mapping[str, Any]) -> GroupMember | None:
    """The place that a run's `run.json` tells of; None where it belongs to no group."""
    group = content.get("group")
    if not isinstance(group, Mapping):
        return None
    group_id, number, of = group.get("id"), group.get("number"), group.get("of")
    if not isinstance(group_id, str) or not isinstance(number, int) or not isinstance(of, int):
        return None
    return GroupMember(group_id, number, of)
