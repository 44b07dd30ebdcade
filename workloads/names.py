"""What to answer when a name is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from workloads.errors import WorkloadError


def unknown_name(kind: str, name: str, known: Iterable[str]) -> WorkloadError:
    """The error to raise for `name`: it lists every known name, the nearest first."""
    wanted = str(name).lower()
    ranked = sorted(known, key=lambda k: (-SequenceMatcher(None, wanted, k).ratio(), k))
    return WorkloadError(f"unknown {kind} {name!r}: choose one of {', '.join(ranked)}")
