"""Which of a model's matrices are quantised, told without torch: sizes follow from it too.

The MLPs' of all layers but the first and the last. docs/speed.md has what the others would cost.
"""

from __future__ import annotations

from engines.models.config import ModelConfig

QUANTISED = ("gate_up", "down")
"""Of a layer that is quantised, by their names there."""

LEAST_LAYERS = 3
"""Of a model in which something is quantised."""


def quantised_layers(num_layers: int) -> range:
    """The indices of the layers that are quantised."""
    return range(1, num_layers - 1)


def described(num_layers: int) -> str:
    """For an engine's description: "gate_up, down of layers 1 to 30 (0 to 31)"."""
    layers = quantised_layers(num_layers)
    return f"{', '.join(QUANTISED)} of layers {layers[0]} to {layers[-1]} (0 to {num_layers - 1})"


def quantised_shapes(config: ModelConfig) -> list[tuple[int, int]]:
    """`[out, in]` of every quantised matrix of a model."""
    shapes = {
        "gate_up": (2 * config.intermediate_size, config.hidden_size),
        "down": (config.hidden_size, config.intermediate_size),
    }
    return [shapes[name] for name in QUANTISED] * len(quantised_layers(config.num_layers))
