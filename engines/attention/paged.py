"""Attention over the paged cache by Triton kernels, planned on the device: fit for a CUDA graph.

Needs an NVIDIA GPU of sm_80 or later. Decodes and prompt chunks of a step go to one kernel each,
which reads keys and values where they lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from engines.attention.base import AttentionShape, DeviceStep
from engines.attention.triton.configs import (
    DecodeConfig,
    PrefillConfig,
    decode_config,
    prefill_config,
)
from engines.attention.triton.decode import decode_kernel
from engines.attention.triton.plan import (
    CHUNK_CANDIDATES,
    DECODE_FIELDS,
    ITEM_OVERHEAD_TOKENS,
    PREFILL_FIELDS,
    plan_decode_kernel,
    plan_prefill_kernel,
)
from engines.attention.triton.prefill import prefill_kernel
from engines.dtypes import name_of
from engines.errors import EngineConfigError
from engines.kv_cache import LayerKV
from engines.limits import KERNEL_CAPABILITY, TRITON_HEAD_DIMS, fits_triton

DTYPES = (torch.bfloat16, torch.float16)
PLAN_WIDTH = 2048
"""Elements of one store of the plans."""
CPU_MULTIPROCESSORS = 4
"""For the interpreter, which has none."""


@dataclass(frozen=True, slots=True)
class TritonStep:
    """A step that has been planned; grids that are 0 have nothing to launch."""

    step: DeviceStep
    decode_items: int
    prefill_items: int


class TritonAttention:
    """See the module's docstring. Satisfies `AttentionBackend`.

    Rows of the output that belong to padding tokens are zeros in a step with prompts, or whose
    tokens are its `max_decodes`; in others they are anything. Nothing outside a sequence's own
    tokens is read, so what padding tokens leave in the null block reaches no other token.
    """

    name = "triton"
    captures = True

    def __init__(
        self,
        shape: AttentionShape,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
        max_num_seqs: int,
        max_num_tokens: int,
        *,
        kv_dtype: torch.dtype | None = None,
        pdl: bool = False,
        decode: DecodeConfig | None = None,
        prefill: PrefillConfig | None = None,
    ) -> None:
        """Makes the buffers that plans and partial results live in; their addresses stay.

        Args:
            max_num_seqs, max_num_tokens: the most of any step.
            kv_dtype: of the cache; None: `dtype`.
            pdl: whether decode kernels may start before the previous kernel ends (sm_90).
            decode, prefill: other sizes than the measured ones.

        Raises:
            EngineConfigError: the machine, the dtype, the head size or the block size is not
                one that the kernels can do.
        """
        require_triton_attention(shape, block_size, device, dtype)
        self.shape = shape
        self.block_size = block_size
        self.device = device
        self.dtype = dtype
        self.max_num_seqs = max_num_seqs
        self.max_num_tokens = max_num_tokens
        self.pdl = pdl
        self.group = shape.num_heads // shape.num_kv_heads
        self.padded_dim = _power_of_two(shape.head_dim)
        self.query_rows = max(16, _power_of_two(self.group))
        self.window = shape.sliding_window or 0
        self.scale_log2 = shape.scale * math.log2(math.e)

        multiprocessors, shared_bytes, hopper = _machine(device)
        element_bytes = (kv_dtype or dtype).itemsize
        self.decode = decode or decode_config(
            self.padded_dim, self.query_rows, element_bytes, shared_bytes
        )
        self.prefill = prefill or prefill_config(
            self.padded_dim, element_bytes, shared_bytes, hopper
        )
        self.wave_items = multiprocessors * self.decode.programs_per_sm / shape.num_kv_heads

        def zeros(*size: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        decode_items = self._decode_bound(max_num_seqs)
        prefill_items = self._prefill_bound(max_num_tokens, max_num_seqs)
        self._num_items = zeros(2)
        self._decode_items = zeros(DECODE_FIELDS, _power_of_two(decode_items))
        self._prefill_items = zeros(PREFILL_FIELDS, _power_of_two(prefill_items))
        self._prefill_unsorted = torch.zeros_like(self._prefill_items)
        self._partials = zeros(decode_items, shape.num_heads, shape.head_dim, dtype=torch.float32)
        self._log_sums = zeros(decode_items, shape.num_heads, dtype=torch.float32)
        self._arrivals = zeros(max_num_seqs, shape.num_kv_heads)

    def begin_step(self, layout: DeviceStep) -> TritonStep:
        """Launches the plans."""
        if layout.max_decodes > self.max_num_seqs or layout.num_tokens > self.max_num_tokens:
            raise EngineConfigError(
                f"a step of {layout.num_tokens:,} tokens and {layout.max_decodes:,} decodes was "
                f"given to attention buffers for {self.max_num_tokens:,} tokens and "
                f"{self.max_num_seqs:,} sequences: make them for the largest step"
            )
        decode_items = prefill_items = 0
        if layout.max_decodes:
            decode_items = self._decode_bound(layout.max_decodes)
            self._plan_decode(layout, decode_items - layout.max_decodes)
        if layout.max_prefills:
            prefill_items = self._prefill_bound(layout.num_tokens, layout.max_prefills)
            self._plan_prefill(layout, prefill_items)
        return TritonStep(layout, decode_items, prefill_items)

    def attend(self, query: torch.Tensor, kv: LayerKV, step: TritonStep) -> torch.Tensor:
        """See `AttentionBackend`."""
        output = query.new_empty(query.shape[0], query.shape[1] * query.shape[2])
        if step.decode_items:
            self._attend_decodes(query, kv, step, output)
        if step.prefill_items:
            self._attend_prefills(query, kv, step, output)
        return output

    def _decode_bound(self, max_decodes: int) -> int:
        """The most work items: few for few sequences, as programs without one cost time too."""
        wave = max(1, math.ceil(self.wave_items))
        return max_decodes + max(wave, min(max_decodes, 4 * wave))

    def _prefill_bound(self, num_tokens: int, max_prefills: int) -> int:
        """Every chunk ends in at most one tile that isn't full, and so do the padding tokens."""
        return -(-num_tokens // self.prefill.block_m) + max_prefills + 1

    def _plan_decode(self, step: DeviceStep, extra_items: int) -> None:
        seqs = _plan_size(step.max_decodes)
        plan_decode_kernel[(1,)](
            step.rows,
            step.context_lens,
            step.counts,
            self._decode_items,
            self._num_items,
            self._decode_items.stride(0),
            extra_items,
            self.wave_items,
            tile=self.decode.tile,
            smallest_chunk=self.decode.smallest_chunk,
            window=self.window,
            overhead=ITEM_OVERHEAD_TOKENS,
            late_part=max(0, _power_of_two(self.group) * self.padded_dim // 16 - 12),
            candidates=CHUNK_CANDIDATES,
            seqs=seqs,
            columns=max(1, PLAN_WIDTH // seqs),
            num_warps=4 if seqs <= 128 else 8,
        )

    def _plan_prefill(self, step: DeviceStep, bound: int) -> None:
        seqs = _plan_size(step.num_seqs + 1)
        plan_prefill_kernel[(1,)](
            step.rows,
            step.query_starts,
            step.context_lens,
            step.counts,
            self._prefill_unsorted,
            self._prefill_items,
            self._num_items[1:],
            self._prefill_items.stride(0),
            step.num_tokens,
            block_m=self.prefill.block_m,
            seqs=seqs,
            columns=max(1, PLAN_WIDTH // seqs),
            bound=_plan_size(bound),
            num_warps=8,
        )

    def _attend_decodes(
        self, query: torch.Tensor, kv: LayerKV, step: TritonStep, output: torch.Tensor
    ) -> None:
        kv_heads, config, layout = self.shape.num_kv_heads, self.decode, step.step
        group_rows = _power_of_two(self.group)
        joined_rows = 2048 * config.num_warps // (group_rows * self.padded_dim)
        decode_kernel[(kv_heads, step.decode_items)](
            query,
            *_planes(kv),
            output,
            self._partials,
            self._log_sums,
            self._arrivals,
            self._decode_items,
            self._num_items,
            layout.counts,
            layout.block_tables,
            self._decode_items.stride(0),
            layout.block_tables.stride(0),
            query.stride(0),
            0 if layout.max_prefills else layout.num_tokens,
            self.scale_log2,
            kv_heads=kv_heads,
            group=self.group,
            head_dim=self.shape.head_dim,
            block_shift=self.block_size.bit_length() - 1,
            quantised=kv.scales is not None,
            wide=_wide(kv),
            pinned=config.pinned and kv.scales is not None,
            tile=config.tile,
            query_rows=self.query_rows,
            group_rows=group_rows,
            dim=self.padded_dim,
            parts_at_once=max(2, min(32, joined_rows)),
            pdl=self.pdl,
            num_warps=config.num_warps,
            num_stages=config.num_stages,
            launch_pdl=self.pdl,
        )

    def _attend_prefills(
        self, query: torch.Tensor, kv: LayerKV, step: TritonStep, output: torch.Tensor
    ) -> None:
        config, layout = self.prefill, step.step
        prefill_kernel[(self.shape.num_heads, step.prefill_items)](
            query,
            *_planes(kv),
            output,
            self._prefill_items,
            self._num_items[1:],
            layout.block_tables,
            self._prefill_items.stride(0),
            layout.block_tables.stride(0),
            query.stride(0),
            self.scale_log2,
            kv_heads=self.shape.num_kv_heads,
            group=self.group,
            head_dim=self.shape.head_dim,
            block_shift=self.block_size.bit_length() - 1,
            quantised=kv.scales is not None,
            wide=_wide(kv),
            window=self.window,
            block_m=config.block_m,
            block_n=config.block_n,
            dim=self.padded_dim,
            num_warps=config.num_warps,
            num_stages=config.num_stages,
        )


def require_triton_attention(
    shape: AttentionShape, block_size: int, device: torch.device, dtype: torch.dtype
) -> None:
    """Raises `EngineConfigError`, naming what can do it, where the kernels can't."""
    reason = None
    if shape.head_dim not in TRITON_HEAD_DIMS:
        reason = f"head size {shape.head_dim}: they take multiples of 16 from 32 to 256"
    elif not fits_triton(block_size):
        reason = f"block size {block_size}: they take powers of two from 8"
    elif device.type == "cuda" and dtype not in DTYPES:
        reason = f"dtype {name_of(dtype)}: they take bfloat16 and float16"
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) < KERNEL_CAPABILITY:
        reason = f"{torch.cuda.get_device_name(device)}: they need compute capability 8.0 or later"
    if reason is not None:
        raise EngineConfigError(
            f"attention backend triton: its kernels don't do {reason}; take --attention reference"
        )


def _planes(kv: LayerKV) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys, values and their scales; without scales, tensors that the kernels don't touch."""
    keys, values = kv.data.unbind(0)
    if kv.scales is None:
        return keys, values, keys, values
    key_scales, value_scales = kv.scales.unbind(0)
    return keys, values, key_scales, value_scales


def _wide(kv: LayerKV) -> bool:
    """Whether places in the keys, or in the values, don't fit into 32 bits."""
    return kv.data[0].numel() >= 1 << 31


def _machine(device: torch.device) -> tuple[int, int, bool]:
    """Multiprocessors, shared memory of one program in bytes, and whether it is a Hopper."""
    if device.type != "cuda":
        return CPU_MULTIPROCESSORS, 1 << 20, True
    properties: Any = torch.cuda.get_device_properties(device)
    return (
        properties.multi_processor_count,
        properties.shared_memory_per_block_optin,
        properties.major == 9,
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _plan_size(number: int) -> int:
    """16, 128, 1024 or the next power of two: few sizes, as each is compiled."""
    for size in (16, 128, 1024):
        if number <= size:
            return size
    return _power_of_two(number)
