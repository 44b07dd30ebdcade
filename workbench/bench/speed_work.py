"""The workloads of `workbench bench engine`: the same requests on every machine, without files.

`nano` is nano-vllm's public benchmark, which others are measured with too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.errors import WorkbenchError
from workloads.request import Request, SamplingParams

NANO_REQUESTS = 256
NANO_LENGTHS = (100, 1024)
NANO_LARGEST_ID = 10_000
NANO_TEMPERATURE = 0.6


@dataclass(frozen=True, slots=True)
class Work:
    """Requests that are all there at once, and end after so many tokens.

    `prompts` are int32 `[prompt_tokens]` each; their ids may lie beyond a small vocabulary.
    """

    name: str
    prompts: tuple[npt.NDArray[np.int32], ...]
    output_tokens: tuple[int, ...]
    temperature: float

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt) for prompt in self.prompts)

    @property
    def longest(self) -> int:
        """Prompt and output tokens of the longest request."""
        pairs = zip(self.prompts, self.output_tokens, strict=True)
        return max(len(prompt) + output for prompt, output in pairs)

    def requests(
        self, first_id: int, shift: int, vocab_size: int, most_output: int | None = None
    ) -> list[Request]:
        """The requests, with ids from `first_id` on.

        Args:
            shift: added to every token id, so that no prompt is in the prefix cache from the time
                before; ids beyond the vocabulary wrap round.
            most_output: cuts the answers, to warm up.
        """
        return [
            Request(
                first_id + index,
                0,
                (prompt + shift) % (NANO_LARGEST_ID + 1) % vocab_size,
                output if most_output is None else min(output, most_output),
                SamplingParams(temperature=self.temperature, seed=index),
            )
            for index, (prompt, output) in enumerate(
                zip(self.prompts, self.output_tokens, strict=True)
            )
        ]


def nano_work(requests: int = NANO_REQUESTS) -> Work:
    """nano-vllm's `bench.py`: seed 0; all prompts are drawn (each its length, then its ids), then
    all output lengths. 256 requests have 142,827 tokens in and 133,966 out."""
    draw = random.Random(0)
    shortest, longest = NANO_LENGTHS
    prompts = tuple(
        np.array(
            [draw.randint(0, NANO_LARGEST_ID) for _ in range(draw.randint(shortest, longest))],
            np.int32,
        )
        for _ in range(requests)
    )
    outputs = tuple(draw.randint(shortest, longest) for _ in range(requests))
    return Work("nano", prompts, outputs, NANO_TEMPERATURE)


def even_work(name: str, requests: int, input_tokens: int, output_tokens: int) -> Work:
    """Requests of the same lengths, of ids drawn with seed 0, greedy."""
    for what, value in (
        ("--requests", requests),
        ("--input-tokens", input_tokens),
        ("--output-tokens", output_tokens),
    ):
        if value < 1:
            raise WorkbenchError(f"{what} {value}: at least 1 is needed")
    ids = np.random.default_rng(0).integers(
        0, NANO_LARGEST_ID + 1, (requests, input_tokens), dtype=np.int32
    )
    return Work(name, tuple(ids), (output_tokens,) * requests, 0.0)


EVEN_WORKS = {"decode": (1, 512, 256), "prefill": (4, 8000, 1), "idle": (256, 512, 128)}
"""Requests, input and output tokens of those that are not drawn, by name."""

WORKS = ("nano", *EVEN_WORKS)


def works_for(
    name: str, requests: int | None, input_tokens: int | None, output_tokens: int | None
) -> list[Work]:
    """The work called `name`, or all of them; None takes the work's own numbers.

    Raises:
        WorkbenchError: there is no such work, or it cannot have such numbers.
    """
    if name not in (*WORKS, "all"):
        raise WorkbenchError(f"--work {name!r}: there is {', '.join(WORKS)}, all")
    lengths = input_tokens is not None or output_tokens is not None
    if name == "nano" and lengths:
        raise WorkbenchError(
            "the lengths of nano are drawn; --input-tokens and --output-tokens are "
            "for decode, prefill and idle"
        )
    if name == "all" and (lengths or requests is not None):
        raise WorkbenchError("--requests, --input-tokens and --output-tokens need one --work")
    if requests is not None and requests < 1:
        raise WorkbenchError(f"--requests {requests}: at least 1 is needed")
    return [
        nano_work(requests or NANO_REQUESTS)
        if each == "nano"
        else even_work(each, *_numbers(each, requests, input_tokens, output_tokens))
        for each in (WORKS if name == "all" else (name,))
    ]


def _numbers(name: str, *asked: int | None) -> tuple[int, int, int]:
    first, second, third = (
        own if wanted is None else wanted
        for own, wanted in zip(EVEN_WORKS[name], asked, strict=True)
    )
    return first, second, third
