"""Attention by flashinfer's kernels, planned on the host once a step.

Optional (extra `cuda`). It compiles its kernels with nvcc at a machine's first use and keeps them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engines.attention.base import AttentionShape, DeviceStep, StepLayout
from engines.dtypes import name_of
from engines.errors import EngineConfigError
from engines.kv_cache import LayerKV
from engines.limits import FLASHINFER_HEAD_DIMS, KERNEL_CAPABILITY

DTYPES = (torch.float16, torch.bfloat16)
HOPPER = (9, 0)
TENSOR_CORE_GROUP = 4
"""From as many query heads for each KV head on, decodes run on the tensor cores. The other kernel
knows groups of 1, 2 and 3 at least."""

WORKSPACE_BYTES = 128 << 20
"""For partial results of sequences whose keys are split; as flashinfer recommends."""

USUAL_COMPILE_SECONDS = {"decode": 7, "fa2": 12, "fa3": 49}
"""On 16 cores, nvcc 13.0, flashinfer 0.7.2."""


@dataclass(frozen=True, slots=True)
class FlashInferStep:
    """What a step's calls need beyond the wrappers' own plans; tokens behind these are padding."""

    num_decodes: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class PageList:
    """Where sequences' keys and values lie: flashinfer's form of a block table.

    Attributes:
        indptr: int32 `[seqs + 1]`, where each sequence's pages begin in `indices`.
        indices: int32 `[pages]`.
        last_page_len: int32 `[seqs]`, tokens in each sequence's last page, 1 … block size.
    """

    indptr: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    last_page_len: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls, context_lens: npt.NDArray[np.int64], block_tables: npt.NDArray[np.int32], size: int
    ) -> PageList:
        """Of sequences that see `context_lens` tokens (one at least), in blocks of `size`."""
        pages = -(-context_lens // size)
        widest = int(pages.max())
        indices = block_tables[:, :widest][np.arange(widest) < pages[:, None]]
        last = context_lens - (pages - 1) * size
        return cls(_starts(pages), indices, last.astype(np.int32))


class FlashInferAttention:
    """flashinfer's paged decode and prefill; satisfies `AttentionBackend`.

    Plans live in its wrappers: one step's calls end before the next step begins.

    Args:
        library: the module `flashinfer`.
        prefill: flashinfer's name of the prefill kernels, `fa3` (Hopper only) or `fa2`.
    """

    name = "flashinfer"
    captures = False

    def __init__(
        self,
        shape: AttentionShape,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
        library: Any,
        prefill: str,
    ) -> None:
        self.shape = shape
        self.block_size = block_size
        self.device = device
        self.dtype = dtype
        self.prefill_kernels = prefill
        group = shape.num_heads // shape.num_kv_heads
        # Decodes and prompts of a step run one after the other, so they share it.
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device)
        self._decode = library.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=group >= TENSOR_CORE_GROUP
        )
        self._prefill = library.BatchPrefillWithPagedKVCacheWrapper(
            workspace, "NHD", backend=prefill
        )
        self._planned: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._planned = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def begin_step(self, layout: StepLayout | DeviceStep) -> FlashInferStep:
        """Plans both kinds of sequences; a `DeviceStep` without host arrays is all padding."""
        if isinstance(layout, DeviceStep):
            if layout.host is None:
                return FlashInferStep(0, 0)
            layout = layout.host
        if self._planned is not None:
            # Each wrapper uploads its plan from one pinned buffer: the last step's must have left.
            self._planned.synchronize()
        decodes = layout.num_decodes
        if decodes:
            self._plan_decodes(layout.context_lens[:decodes], layout.block_tables[:decodes])
        if decodes < len(layout.query_lens):
            self._plan_prompts(
                layout.query_lens[decodes:],
                layout.context_lens[decodes:],
                layout.block_tables[decodes:],
            )
        if self._planned is not None:
            self._planned.record()
        return FlashInferStep(decodes, int(layout.query_lens.sum()))

    def attend(self, query: torch.Tensor, kv: LayerKV, step: FlashInferStep) -> torch.Tensor:
        output = query.new_empty(query.shape)
        cache = (kv.data[0], kv.data[1])
        decodes, tokens = step.num_decodes, step.num_tokens
        if decodes:
            self._decode.run(query[:decodes], cache, out=output[:decodes])
        if decodes < tokens:
            self._prefill.run(query[decodes:tokens], cache, out=output[decodes:tokens])
        if tokens < len(query):
            output[tokens:].zero_()
        return output.flatten(1)

    def load(self, progress: Callable[[str], None]) -> None:
        """Loads the kernels; a machine's first use compiles them, which takes most of a minute.

        Args:
            progress: told in a few words what is being done, and how long it usually takes.

        Raises:
            EngineConfigError: they cannot be compiled here.
        """
        one = np.ones(1, np.int64)
        null_block = np.zeros((1, 1), np.int32)
        decode_kernels = "fa2" if self._decode.use_tensor_cores else "decode"
        steps: list[tuple[str, str, Callable[[], None]]] = [
            ("decode", decode_kernels, lambda: self._plan_decodes(one, null_block)),
            (
                "prefill",
                self.prefill_kernels,
                lambda: self._plan_prompts(one, one, null_block),
            ),
        ]
        for purpose, kernels, plan in steps:
            progress(
                f"flashinfer's {purpose} kernels ({kernels}): compiled at first use, about "
                f"{USUAL_COMPILE_SECONDS[kernels]} s on 16 cores, then kept"
            )
            try:
                plan()
            except (RuntimeError, OSError) as error:
                raise EngineConfigError(
                    f"--attention flashinfer: its {purpose} kernels ({kernels}) cannot be loaded: "
                    f"{_first_line(error)}; compiling them takes CUDA's nvcc and ninja; or take "
                    "--attention triton"
                ) from error
        if self._planned is not None:
            self._planned.record()

    def _plan_decodes(
        self, context_lens: npt.NDArray[np.int64], block_tables: npt.NDArray[np.int32]
    ) -> None:
        pages = PageList.of(context_lens, block_tables, self.block_size)
        self._decode.plan(
            *self._on_host(pages.indptr, pages.indices, pages.last_page_len),
            *self._heads(),
            **self._kind(),
        )

    def _plan_prompts(
        self,
        query_lens: npt.NDArray[np.int64],
        context_lens: npt.NDArray[np.int64],
        block_tables: npt.NDArray[np.int32],
    ) -> None:
        pages = PageList.of(context_lens, block_tables, self.block_size)
        self._prefill.plan(
            *self._on_host(_starts(query_lens), pages.indptr, pages.indices, pages.last_page_len),
            *self._heads(),
            causal=True,
            **self._kind(),
        )

    def _heads(self) -> tuple[int, int, int, int]:
        shape = self.shape
        return shape.num_heads, shape.num_kv_heads, shape.head_dim, self.block_size

    def _kind(self) -> dict[str, Any]:
        window = self.shape.sliding_window
        return {
            # Counted without the token itself; -1 is no window.
            "window_left": -1 if window is None else window - 1,
            "sm_scale": self.shape.scale,
            "q_data_type": self.dtype,
            "kv_data_type": self.dtype,
        }

    def _on_host(self, *arrays: npt.NDArray[np.int32]) -> list[torch.Tensor]:
        """Views of one buffer; pinned on a CUDA device, so that no upload waits for the GPU."""
        buffer = torch.empty(
            sum(map(len, arrays)), dtype=torch.int32, pin_memory=self.device.type == "cuda"
        )
        np.concatenate(arrays, out=buffer.numpy())
        return list(torch.split(buffer, [len(array) for array in arrays]))


def open_flashinfer(
    shape: AttentionShape,
    block_size: int,
    device: torch.device,
    dtype: torch.dtype,
    kv_dtype: torch.dtype,
    progress: Callable[[str], None],
) -> FlashInferAttention:
    """The backend with its kernels loaded.

    Raises:
        EngineConfigError: flashinfer is missing, or lacks this device, head size or dtype; the
            message names the backend that has it.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    refusal = flashinfer_refusal(shape, dtype, kv_dtype, capability)
    if refusal is not None:
        raise EngineConfigError(f"--attention flashinfer: {refusal}")
    library = import_flashinfer()
    prefill = "fa3" if capability == HOPPER else "fa2"
    attention = FlashInferAttention(shape, block_size, device, dtype, library, prefill)
    attention.load(progress)
    return attention


def flashinfer_refusal(
    shape: AttentionShape,
    dtype: torch.dtype,
    kv_dtype: torch.dtype,
    capability: tuple[int, int] | None,
) -> str | None:
    """Why flashinfer cannot compute this attention, and which backend can; None if it can.

    Args:
        kv_dtype: of the KV cache.
        capability: the CUDA device's; None on any other device.
    """
    if capability is None:
        return "its kernels run on CUDA devices only; take --attention reference"
    if capability < KERNEL_CAPABILITY:
        return (
            f"its kernels need compute capability {_dotted(KERNEL_CAPABILITY)}, this device has "
            f"{_dotted(capability)}; take --attention reference"
        )
    if dtype not in DTYPES:
        return (
            f"no kernels for {name_of(dtype)}, only float16 and bfloat16; "
            "take --attention reference"
        )
    if kv_dtype != dtype:
        return (
            f"a KV cache of {name_of(kv_dtype)} under a model of {name_of(dtype)} is not offered; "
            "take --attention triton"
        )
    if shape.head_dim not in FLASHINFER_HEAD_DIMS:
        sizes = ", ".join(map(str, FLASHINFER_HEAD_DIMS))
        return f"no kernels for heads of {shape.head_dim}, only {sizes}; take --attention triton"
    return None


def import_flashinfer() -> Any:
    """The module `flashinfer`.

    Raises:
        EngineConfigError: it is not installed, or something that it needs isn't.
    """
    # It would announce each build on stderr, beside what `progress` is told.
    os.environ.setdefault("FLASHINFER_LOGGING_LEVEL", "warning")
    try:
        return importlib.import_module("flashinfer")
    except ImportError as error:
        what = "is not installed" if error.name == "flashinfer" else f"cannot be used: {error}"
        raise EngineConfigError(
            f"--attention flashinfer: flashinfer {what}; pip install 'workbench[cuda]', or take "
            "--attention triton"
        ) from error


def _starts(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """int32 `[n + 1]`: where each of `lengths` begins, and the end of all."""
    starts = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
