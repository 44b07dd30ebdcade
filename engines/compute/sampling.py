"""From logits to tokens: greedy, temperature, top-k and top-p, reproducible per request.

A drawn token is a function of the logits and of (seed, position) alone: one uniform number per
draw comes from a counter-based hash, so the batch that a request shares, a preemption or another
arrangement can't change it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

LOWEST_TEMPERATURE = np.float32(1e-30)
"""As good as greedy; below it, logits divided by the temperature would overflow."""

_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)


def uniforms(
    seeds: npt.NDArray[np.uint64], positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each (seed, position): splitmix64 (Steele et al., OOPSLA '14)."""
    with np.errstate(over="ignore"):
        state = _mix(seeds + _GOLDEN) ^ (positions.astype(np.uint64) * _GOLDEN)
        return (_mix(state + _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """How a step's rows are to be sampled; numpy `[rows]` each."""

    temperature: npt.NDArray[np.float32]
    top_k: npt.NDArray[np.int32]
    top_p: npt.NDArray[np.float32]
    seed: npt.NDArray[np.uint64]
    position: npt.NDArray[np.int64]

    def of(self, rows: npt.NDArray[np.bool_]) -> SamplingBatch:
        """The rows that `rows` marks."""
        return SamplingBatch(
            self.temperature[rows],
            self.top_k[rows],
            self.top_p[rows],
            self.seed[rows],
            self.position[rows],
        )


def sample(logits: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    """One token for each row.

    Args:
        logits: `[rows, vocab]`, any float dtype.

    Returns:
        int64 `[rows]`, on the device of the logits.
    """
    tokens = logits.argmax(dim=-1)
    drawn = batch.temperature > 0
    if not drawn.any():
        return tokens
    cut = (batch.top_k > 0) | (batch.top_p < 1)
    # Apart, as the two add up probabilities in another order: a neighbour must not change that.
    for rows, draw in ((drawn & ~cut, _from_all), (drawn & cut, _from_kept)):
        if rows.any():
            index = torch.from_numpy(np.flatnonzero(rows)).to(logits.device)
            tokens[index] = draw(logits[index].float(), batch.of(rows))
    return tokens


def _from_all(logits: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    return _draw(_tempered(logits, batch).softmax(dim=-1), batch)


def _from_kept(logits: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    scaled, ids = _tempered(logits, batch).sort(dim=-1, descending=True, stable=True)
    choice = _draw(_kept(scaled, batch.top_k, batch.top_p), batch)
    return ids.gather(1, choice.unsqueeze(1)).squeeze(1)


def _tempered(logits: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    temperature = np.maximum(batch.temperature, LOWEST_TEMPERATURE)
    return logits / torch.from_numpy(temperature).to(logits.device).unsqueeze(1)


def _kept(
    scaled: torch.Tensor, top_k: npt.NDArray[np.int32], top_p: npt.NDArray[np.float32]
) -> torch.Tensor:
    """Probabilities, sorted, of what top-k and then top-p leave; not renormalised.

    Top-p keeps the smallest set whose probability reaches p, the token that crosses included.
    """
    device, vocab = scaled.device, scaled.shape[1]
    limit = torch.from_numpy(np.where(top_k > 0, top_k, vocab).astype(np.int64)).to(device)
    beyond = torch.arange(vocab, device=device) >= limit.unsqueeze(1)
    probabilities = scaled.masked_fill(beyond, -torch.inf).softmax(dim=-1)
    before = probabilities.double().cumsum(dim=-1) - probabilities
    dropped = before >= torch.from_numpy(top_p.astype(np.float64)).to(device).unsqueeze(1)
    dropped[:, 0] = False
    return probabilities.masked_fill(dropped, 0.0)


def _draw(probabilities: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    """The index at which the cumulated probability passes each row's share of the whole."""
    uniform = torch.from_numpy(uniforms(batch.seed, batch.position)).to(probabilities.device)
    cumulated = probabilities.double().cumsum(dim=-1)
    target = uniform.unsqueeze(1) * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True).squeeze(1)
    last = (probabilities > 0).long().cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(index, last)
