"""Numbers as people write them."""

from __future__ import annotations


def is_number(text: str) -> bool:
    """Whether `float` reads it, infinity and NaN included."""
    try:
        float(text)
    except ValueError:
        return False
    return True
