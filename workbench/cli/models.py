"""`workbench models`: what `--model` takes."""

from __future__ import annotations

import argparse

from engines.models.config import ARCHITECTURES
from engines.models.shapes import SHAPES
from workbench.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def execute(_: argparse.Namespace) -> int:
    """Prints the embedded model, the kinds of path, and the named shapes."""
    print("smollm2-135m-instruct   the embedded default (Apache-2.0), real weights, runs on a CPU")
    print(
        "FOLDER                  a Hugging Face folder: config.json, *.safetensors, tokenizer.json"
    )
    print(f"                        of {', '.join(ARCHITECTURES)}")
    print("FILE.gguf               a GGUF file of the llama, qwen2 or qwen3 architecture")
    print("random:SHAPE            random weights in a published shape, for speed work:")
    for name, shape in SHAPES.items():
        kv = shape.kv_bytes_per_token(2)
        print(
            f"  random:{name:<15} {shape.num_parameters / 1e9:6.2f} B parameters, "
            f"{shape.num_layers:>2} layers, {kv / 1024:6.1f} KiB of KV per token in bfloat16"
        )
    return EXIT_OK
