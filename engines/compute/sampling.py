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


def sample(logits: torch.Tensor, batch: SamplingBatch) -> torch.Tensor:
    """One token for each row.

    Args:
        logits: `[rows, vocab]`, any float dtype.

    Returns:
        int64 `[rows]`, on the device of the logits.
    """
    tokens = logits.argmax(dim=-1)
    drawn = np.flatnonzero(batch.temperature > 0)
    if not len(drawn):
        return tokens
    rows = torch.from_numpy(drawn).to(logits.device)
    device = logits.device
    temperature = torch.from_numpy(batch.temperature[drawn]).to(device)
    scaled = logits[rows].float() / temperature.unsqueeze(1)
    top_k, top_p = batch.top_k[drawn], batch.top_p[drawn]
    uniform = torch.from_numpy(uniforms(batch.seed[drawn], batch.position[drawn])).to(device)
    if (top_k > 0).any() or (top_p < 1).any():
        scaled, ids = scaled.sort(dim=-1, descending=True, stable=True)
        choice = _draw(_kept(scaled, top_k, top_p), uniform)
        chosen = ids.gather(1, choice.unsqueeze(1)).squeeze(1)
    else:
        chosen = _draw(scaled.softmax(dim=-1), uniform)
    tokens[rows] = chosen
    return tokens


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


def _draw(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The index at which the cumulated probability passes `uniform` of the whole."""
    cumulated = probabilities.double().cumsum(dim=-1)
    target = uniform.unsqueeze(1) * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True).squeeze(1)
    last = (probabilities > 0).long().cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(index, last)
