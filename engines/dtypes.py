"""What dtypes are called."""

from __future__ import annotations

import torch


def name_of(dtype: torch.dtype) -> str:
    """ "float32", "bfloat16": the dtype as options have it."""
    return str(dtype).removeprefix("torch.")
