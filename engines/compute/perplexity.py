"""How likely a model finds given tokens, computed the way that a worker computes a prompt.

Tokens pass through the engine's decoder, attention backend and paged KV cache, in chunks, so that
whatever is quantised or fused there shows in the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engines.attention.base import AttentionBackend, DeviceStep, StepLayout
from engines.errors import EngineConfigError, StepOutOfMemory
from engines.kv_cache import KVCache
from engines.models.decoder import Decoder

Ints = npt.NDArray[np.int64]

LOGITS_BYTES = 64 << 20
"""Most bytes of float32 logits at a time."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `start:end` of a text, of which those from `first_scored` on are scored."""

    start: int
    end: int
    first_scored: int

    @property
    def num_scored(self) -> int:
        return self.end - self.first_scored


def sliding_windows(num_tokens: int, window: int, stride: int) -> list[Window]:
    """Windows of `window` tokens, `stride` apart, in which each token but the first is scored once.

    As Hugging Face's guide has it ("Perplexity of fixed-length models"): behind the first window,
    a token has at least `window - stride` tokens before it.

    Raises:
        EngineConfigError: no token would be scored, or one without a context.
    """
    if window < 2:
        raise EngineConfigError(f"a window of {window} tokens scores none; give at least 2")
    if not 1 <= stride < window:
        raise EngineConfigError(
            f"a stride of {stride} tokens with windows of {window}: it must be at least 1 and less "
            "than the window, or tokens would be scored without a context"
        )
    if num_tokens < 2:
        raise EngineConfigError(
            f"the text has {num_tokens} token{'' if num_tokens == 1 else 's'}; a token is scored "
            "after another, so at least 2 are needed"
        )
    windows = [Window(0, min(window, num_tokens), 1)]
    while windows[-1].end < num_tokens:
        last = windows[-1]
        start = last.start + stride
        windows.append(Window(start, min(start + window, num_tokens), last.end))
    return windows


class SequenceScorer:
    """Scores one sequence at a time, in the first blocks of a KV cache that nobody else uses.

    Args:
        kv: its blocks from 1 on hold a whole sequence.
        chunk_tokens: how many tokens a step computes.
    """

    def __init__(
        self, decoder: Decoder, attention: AttentionBackend, kv: KVCache, chunk_tokens: int
    ) -> None:
        self.decoder = decoder
        self.attention = attention
        self.kv = kv
        self.chunk_tokens = chunk_tokens
        self._blocks = np.arange(1, kv.data.shape[2], dtype=np.int32)[None]

    @torch.inference_mode()
    def negative_log_likelihoods(
        self, token_ids: Ints, first_scored: int
    ) -> npt.NDArray[np.float64]:
        """`-ln p(token | all tokens before it)`, in nats, of the tokens from `first_scored` on.

        Softmax is computed in float32.

        Args:
            token_ids: int64 `[tokens]`.
            first_scored: at least 1.

        Returns:
            float64 `[tokens - first_scored]`.

        Raises:
            StepOutOfMemory: a chunk didn't fit.
        """
        scores = []
        last = len(token_ids) - 1  # nothing is predicted from the last token
        for start in range(0, last, self.chunk_tokens):
            end = min(start + self.chunk_tokens, last)
            try:
                hidden, delta = self._compute(token_ids, start, end)
                first = max(start, first_scored - 1)
                scores += self._scores(
                    hidden[first - start :], delta[first - start :], token_ids[first + 1 : end + 1]
                )
            except torch.OutOfMemoryError as error:
                raise StepOutOfMemory(end - start, str(error)) from error
        return torch.cat(scores).double().cpu().numpy()

    def _compute(self, token_ids: Ints, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.kv.data.device
        positions = np.arange(start, end)
        size = self.kv.block_size
        slots = self._blocks[0, positions // size].astype(np.int64) * size + positions % size
        hidden, delta = self.decoder(
            torch.from_numpy(token_ids[start:end]).to(device),
            torch.from_numpy(positions).to(device),
            torch.from_numpy(slots).to(device),
            self.attention,
            self.kv,
            self.attention.begin_step(self._layout(start, end)),
        )
        return hidden, delta

    def _layout(self, start: int, end: int) -> Any:
        """One chunk of a prompt, in the form that the backend takes."""
        num_blocks = -(-end // self.kv.block_size)
        host = StepLayout(np.array([end - start]), np.array([end]), self._blocks[:, :num_blocks], 0)
        if not self.attention.captures:
            return host

        def on_device(*values: int) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int32, device=self.kv.data.device)

        tokens = end - start
        return DeviceStep(
            num_tokens=tokens,
            num_seqs=1,
            max_decodes=0,
            max_prefills=1,
            rows=on_device(0),
            query_starts=on_device(0, tokens),
            context_lens=on_device(end),
            counts=on_device(1, 0, tokens, 0),
            block_tables=torch.from_numpy(self._blocks).to(self.kv.data.device),
            host=host,
        )

    def _scores(
        self, hidden: torch.Tensor, delta: torch.Tensor, targets: Ints
    ) -> list[torch.Tensor]:
        """Float32 scores of the tokens that follow these rows, few rows of logits at a time."""
        rows = max(1, LOGITS_BYTES // (4 * self.decoder.config.vocab_size))
        wanted = torch.from_numpy(targets).to(hidden.device)
        scores = []
        for first in range(0, len(targets), rows):
            part = slice(first, first + rows)
            logits = self.decoder.logits(hidden[part], delta[part]).float()
            chosen = logits.gather(1, wanted[part, None])[:, 0]
            scores.append(logits.logsumexp(dim=-1) - chosen)
        return scores
