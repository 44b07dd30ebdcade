"""The fused kernels run here in Triton's interpreter, on CPU tensors."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    # Read by Triton when it and its kernels are imported.
    os.environ.setdefault("TRITON_INTERPRET", "1")

pytest.importorskip("triton", reason="the fused kernels need Triton")


@pytest.fixture(autouse=True)
def scalars_end_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter turns an array of one element into an int, which NumPy 2.4 ended."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)


@pytest.fixture(autouse=True)
def truth_values_stay_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter spreads a truth value as int32, which Triton 3.9 takes for no mask."""
    from triton.runtime import interpreter

    spread = interpreter.InterpreterBuilder.create_splat

    def spread_of_its_type(self: Any, shape: Any, value: Any) -> Any:
        handle = spread(self, shape, value)
        handle.data = handle.data.astype(value.data.dtype, copy=False)
        return handle

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_splat", spread_of_its_type)
