"""Reading a figure out of a run's nested record; imports little, so that listings start at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at(tree: Any, *path: str) -> Any:
    """What lies at `path` in nested mappings; None where the path ends early."""
    for name in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(name)
    return tree
