"""Strangers' text, made harmless for a terminal."""

from __future__ import annotations


def plain(text: object) -> str:
    """Text that cannot steer a terminal: control characters are replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text)
    )
