"""How the stages of a request look: a sign of their own each, and a colour."""

from __future__ import annotations

STAGE_SIGNS = {
    "wait": ("░", "muted"),
    "queue": ("▒", "warn"),
    "server": ("▒", "transfer"),
    "prefill": ("█", "prefill"),
    "prefill_gap": ("▁", "muted"),
    "preempted": ("×", "bad"),
    "recompute": ("▚", "mixed"),
    "transfer": ("→", "transfer"),
    "first_decode": ("▀", "verify"),
    "decode": ("━", "decode"),
    "stall": ("‖", "bad"),
}
"""By kind of span: the sign that fills its bar, and the theme's colour."""

STAGE_NAMES = {"prefill_gap": "paused", "first_decode": "first decode"}
"""What a kind is called, where that isn't its own name."""
