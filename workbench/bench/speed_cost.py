"""A model's bytes and FLOP, from its shape and the dtypes that it is run in."""

from __future__ import annotations

from engines.models.config import ModelConfig
from engines.models.quantised import quantised_shapes
from engines.sizing import ELEMENT_BYTES, kv_bytes_per_token, weights_bytes
from profiles.roofline import DecoderCost

FLOP_PER_ELEMENT = 2
"""A multiplication and an addition for each element of a matrix."""


def cost_of(config: ModelConfig, dtype: str, quantization: str, kv_dtype: str) -> DecoderCost:
    """What each step of the model needs.

    Args:
        dtype: of weights that aren't quantised, "float32" or "bfloat16".
        quantization: of the matrices of `engines.models.quantised`, as `EngineOptions` has it.
        kv_dtype: "float32", "bfloat16" or "fp8".
    """
    c, element_bytes = config, ELEMENT_BYTES[dtype]
    quantised = 0
    if quantization != "none":
        quantised = sum(rows * columns for rows, columns in quantised_shapes(c))
    table_bytes = c.vocab_size * c.hidden_size * element_bytes
    tables = 1 if c.tie_embeddings else 2
    return DecoderCost(
        layer_bytes=weights_bytes(c, dtype, quantization) - tables * table_bytes,
        head_bytes=table_bytes,
        embedding_row_bytes=c.hidden_size * element_bytes,
        layer_flop=FLOP_PER_ELEMENT * (c.num_layers * c.matrix_elements_per_layer - quantised),
        quantised_flop=FLOP_PER_ELEMENT * quantised,
        head_flop=FLOP_PER_ELEMENT * c.vocab_size * c.hidden_size,
        # Queries times keys, and weights times values.
        attention_flop=2 * FLOP_PER_ELEMENT * c.num_layers * c.num_heads * c.head_dim,
        kv_bytes=kv_bytes_per_token(c, kv_dtype),
        sliding_window=c.sliding_window,
    )
