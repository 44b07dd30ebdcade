"""Steps over paged keys and values, laid out by hand: what a scheduler and worker would make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from engines.attention.base import AttentionBackend, AttentionShape, DeviceStep, StepLayout
from engines.attention.reference import ReferenceAttention
from engines.compute.worker import allocate_kv
from engines.models.decoder import Decoder

Part = tuple[int, int, int]
"""A sequence's index, and the positions `start:end` that a step computes of it."""


class PagedLayout:
    """Sequences with blocks scattered at random over a pool.

    Args:
        lengths: tokens that each sequence will have in the end.
        spare_blocks: how many blocks of the pool belong to nobody.
    """

    def __init__(
        self, lengths: list[int], block_size: int, seed: int = 0, spare_blocks: int = 5
    ) -> None:
        draw = np.random.default_rng(seed)
        counts = [-(-length // block_size) for length in lengths]
        self.block_size = block_size
        self.num_blocks = 1 + sum(counts) + spare_blocks
        shuffled = draw.permutation(np.arange(1, self.num_blocks))
        self.tables = np.zeros((len(lengths), max(counts) + 2), np.int32)
        for index, count in enumerate(counts):
            start = sum(counts[:index])
            self.tables[index, :count] = shuffled[start : start + count]

    def slots(self, index: int, start: int, end: int) -> npt.NDArray[np.int64]:
        """Where the positions `start:end` of a sequence lie."""
        positions = np.arange(start, end)
        blocks = self.tables[index, positions // self.block_size].astype(np.int64)
        return blocks * self.block_size + positions % self.block_size

    def step(self, parts: list[Part], num_decodes: int) -> StepLayout:
        """The layout of a step that computes `(sequence, start, end)` parts, decodes first."""
        return StepLayout(
            query_lens=np.array([end - start for _, start, end in parts], np.int64),
            context_lens=np.array([end for _, _, end in parts], np.int64),
            block_tables=self.tables[[index for index, _, _ in parts]],
            num_decodes=num_decodes,
        )


def whole(lengths: list[int]) -> list[tuple[list[Part], int]]:
    """All sequences prefilled in one step; with each step, how many of its parts are decodes."""
    return [([(index, 0, length) for index, length in enumerate(lengths)], 0)]


def chunked(lengths: list[int], chunk: int) -> list[tuple[list[Part], int]]:
    """Prompts in chunks of `chunk` tokens, side by side."""
    return [
        (
            [
                (index, start, min(start + chunk, length))
                for index, length in enumerate(lengths)
                if start < length
            ],
            0,
        )
        for start in range(0, max(lengths), chunk)
    ]


def token_by_token(lengths: list[int]) -> list[tuple[list[Part], int]]:
    """One token prefilled, all others decoded."""
    steps = []
    for start in range(max(lengths)):
        parts = [
            (index, start, start + 1) for index, length in enumerate(lengths) if start < length
        ]
        steps.append((parts, len(parts) if start else 0))
    return steps


def mixed(lengths: list[int], chunk: int) -> list[tuple[list[Part], int]]:
    """One after the other begins: it prefills in chunks while the ones before it decode.

    A sequence is prefilled up to its half; the rest is decoded.
    """
    done, steps = [0] * len(lengths), []
    while any(have < length for have, length in zip(done, lengths, strict=True)):
        decodes, chunks = [], []
        for index, (have, length) in enumerate(zip(done, lengths, strict=True)):
            half = (length + 1) // 2
            if half <= have < length:
                decodes.append((index, have, have + 1))
            elif have < half and not chunks:
                chunks.append((index, have, min(have + chunk, half)))
        steps.append((decodes + chunks, len(decodes)))
        for index, _, end in decodes + chunks:
            done[index] = end
    return steps


SCHEDULES = {
    "whole": whole,
    "chunks of 7": lambda lengths: chunked(lengths, 7),
    "token by token": token_by_token,
    "mixed": lambda lengths: mixed(lengths, 5),
}


def device_step(layout: StepLayout, device: torch.device, spare: int = 3) -> DeviceStep:
    """The same layout for a backend that plans on the device, padded by a few sequences."""

    def on_device(values: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int32)).to(device)

    seqs, tokens = len(layout.query_lens), int(layout.query_lens.sum())
    counts = np.array([seqs, layout.num_decodes, tokens, seqs])
    starts = np.concatenate([[0], np.cumsum(layout.query_lens), np.full(spare, 0)])
    return DeviceStep(
        num_tokens=tokens,
        num_seqs=seqs + spare,
        max_decodes=layout.num_decodes,
        max_prefills=seqs - layout.num_decodes,
        rows=on_device(np.concatenate([np.arange(seqs), np.zeros(spare, np.int64)])),
        query_starts=on_device(starts),
        context_lens=on_device(np.concatenate([layout.context_lens, np.zeros(spare, np.int64)])),
        counts=on_device(counts),
        block_tables=on_device(layout.block_tables),
        host=layout,
    )


def make_backend(name: str, decoder: Decoder, block_size: int) -> AttentionBackend:
    """An attention backend for steps of up to 64 sequences and 4,096 tokens."""
    c = decoder.config
    shape = AttentionShape(c.num_heads, c.num_kv_heads, c.head_dim, c.sliding_window)
    device, dtype = decoder.embed.device, decoder.embed.dtype
    if name == "triton":
        from engines.attention.paged import TritonAttention

        return TritonAttention(shape, block_size, device, dtype, 64, 4096)
    if name == "flashinfer":
        from engines.attention.flashinfer import open_flashinfer

        return open_flashinfer(shape, block_size, device, dtype, dtype, print)
    return ReferenceAttention(shape, block_size, device, dtype)


@torch.inference_mode()
def paged_logits(
    decoder: Decoder,
    sequences: list[list[int]],
    schedule: str,
    block_size: int = 4,
    backend: str = "reference",
    kv_dtype: torch.dtype | None = None,
) -> list[torch.Tensor]:
    """Logits at every position of every sequence, `[tokens, vocab]` float32 each, on the host."""
    c = decoder.config
    device = decoder.embed.device
    lengths = [len(sequence) for sequence in sequences]
    layout = PagedLayout(lengths, block_size)
    kv = allocate_kv(decoder, layout.num_blocks, block_size, kv_dtype)
    attention = make_backend(backend, decoder, block_size)
    logits = [torch.full((length, c.vocab_size), torch.nan) for length in lengths]
    for parts, num_decodes in SCHEDULES[schedule](lengths):
        tokens = [token for index, start, end in parts for token in sequences[index][start:end]]
        positions = [position for _, start, end in parts for position in range(start, end)]
        slots = np.concatenate([layout.slots(*part) for part in parts])
        step = layout.step(parts, num_decodes)
        hidden, delta = decoder(
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            torch.from_numpy(slots).to(device),
            attention,
            kv,
            attention.begin_step(device_step(step, device) if attention.captures else step),
        )
        of_parts = decoder.logits(hidden, delta).float().cpu().split([e - s for _, s, e in parts])
        for (index, start, end), part in zip(parts, of_parts, strict=True):
            logits[index][start:end] = part
    return logits
