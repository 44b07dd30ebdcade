"""What a step takes of a GPU's memory beside weights and KV pool, from the model's shape."""

from __future__ import annotations

from engines.capabilities import Resolved
from engines.models.config import ModelConfig
from engines.scheduling.config import SchedulerConfig
from engines.sizing import ELEMENT_BYTES

RESERVE_BYTES = 1 << 30
"""For workspaces of matrix products, the sort behind top-k and top-p, and what the allocator loses
between blocks of different size."""

GRAPH_POOL_BYTES = 512 << 20
"""For the nodes of the captured steps, beside their activations."""

FLASHINFER_WORKSPACE_BYTES = 512 << 20

REFERENCE_GROUP_TOKENS = 1 << 19
"""The reference attention gathers the keys and values of so many tokens at once."""

TRITON_SPARE_PARTS = 1024
"""The Triton attention keeps two results for each sequence, and so many for contexts that are
attended in more parts."""

_LOGIT_COPY_BYTES = 4
_PARTIAL_BYTES = 4


def scratch_bytes(config: ModelConfig, scheduling: SchedulerConfig, chosen: Resolved) -> int:
    """Kept free on a GPU beside weights and KV pool: activations of the largest step, logits,
    attention's scratch, captured graphs, and a reserve."""
    element_bytes = ELEMENT_BYTES[chosen.dtype]
    tokens, seqs = scheduling.max_num_batched_tokens, scheduling.max_num_seqs
    activations = tokens * _activation_bytes_per_token(config, chosen)
    logits = seqs * config.vocab_size * (element_bytes + _LOGIT_COPY_BYTES)
    total = activations + logits + _attention_bytes(config, scheduling, chosen) + RESERVE_BYTES
    if chosen.cuda_graphs:
        # The largest step is captured too, and its memory isn't shared with steps without a graph.
        total += activations + logits + GRAPH_POOL_BYTES
    return total


def _activation_bytes_per_token(config: ModelConfig, chosen: Resolved) -> int:
    """All that one layer makes of a token: nothing is taken to be freed in between."""
    c = config
    heads_size, kv_size = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    residuals = 4 * c.hidden_size
    attention = heads_size + 2 * kv_size + 2 * heads_size
    mlp = 3 * c.intermediate_size
    quantised = 0
    if chosen.quantization != "none":
        quantised = max(c.hidden_size, heads_size, c.intermediate_size)
    return (residuals + attention + mlp) * ELEMENT_BYTES[chosen.dtype] + quantised


def _attention_bytes(config: ModelConfig, scheduling: SchedulerConfig, chosen: Resolved) -> int:
    c, seqs = config, scheduling.max_num_seqs
    if chosen.attention == "flashinfer":
        return FLASHINFER_WORKSPACE_BYTES
    if chosen.attention == "triton":
        parts = 2 * seqs + TRITON_SPARE_PARTS
        return parts * c.num_heads * (c.head_dim + 1) * _PARTIAL_BYTES
    element_bytes = ELEMENT_BYTES[chosen.dtype]
    gathered = max(
        min(REFERENCE_GROUP_TOKENS, seqs * scheduling.max_model_len), scheduling.max_model_len
    )
    # Dequantised values are in float32 before they are in the model's dtype.
    gathered_bytes = 2 * element_bytes + (4 if chosen.kv_dtype == "fp8" else 0)
    mask = scheduling.max_num_batched_tokens * scheduling.max_model_len * (element_bytes + 1)
    return gathered * c.num_kv_heads * c.head_dim * gathered_bytes + mask
