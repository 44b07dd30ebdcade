"""Requests made from a workload's lengths and a stream of real text."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from workloads.draws import checked_seed, sampling_seeds
from workloads.fitting import fit_to_context
from workloads.request import Request, SamplingParams
from workloads.text import TokenStream
from workloads.workload import Workload

_BLOCK: Final = 512


class RequestSource(Protocol):
    """What a request with this id asks. Traffic decides when; a source decides what."""

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        """The request `request_id` (from 0), stamped with its intended arrival in nanoseconds
        since the run's start. The same id gives the same prompt and lengths at any stamp."""
        ...


class SyntheticRequests:
    """A `RequestSource`: lengths from `workload`, text from `stream`, all from (seed, id).

    Every prompt begins with the first `workload.shared_prefix_tokens` tokens of the stream;
    the rest starts at the request's own place in it. `max_model_len` in tokens applies
    `fitting.FITTING_RULE`; `None` is no limit. `sampling` is passed on, but for `seed`, which
    each request gets from (run seed, id).

    Raises `WorkloadError` for a bad seed or a context under 2 tokens.
    """

    __slots__ = ("_block", "_max_model_len", "_prefix", "_sampling", "_seed", "_stream", "workload")

    def __init__(
        self,
        workload: Workload,
        stream: TokenStream,
        *,
        seed: int = 0,
        max_model_len: int | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        self.workload = workload
        self._stream = stream
        self._seed = checked_seed(seed)
        self._max_model_len = max_model_len
        self._sampling = sampling if sampling is not None else SamplingParams()
        self._prefix = stream.slice(0, workload.shared_prefix_tokens)
        self._block = self._draw_block(0)

    def build(self, request_id: int, scheduled_ns: int) -> Request:
        """See `RequestSource`."""
        if not self._block.first <= request_id < self._block.first + _BLOCK:
            self._block = self._draw_block(request_id - request_id % _BLOCK)
        block, row = self._block, request_id - self._block.first
        return Request(
            request_id=request_id,
            scheduled_ns=scheduled_ns,
            prompt_token_ids=self._prompt(block.offset[row], block.input_tokens[row]),
            max_tokens=block.output_tokens[row],
            sampling=self._sampling.seeded(block.sampling_seed[row]),
            fitted=block.fitted[row],
        )

    def _prompt(self, offset: int, length: int) -> npt.NDArray[np.int32]:
        shared = len(self._prefix)
        if shared == 0:
            return self._stream.slice(offset, length)
        if length <= shared:
            return self._prefix[:length]
        return np.concatenate([self._prefix, self._stream.slice(offset, length - shared)])

    def _draw_block(self, first: int) -> _Block:
        ids = np.arange(first, first + _BLOCK, dtype=np.int64)
        wanted_input, wanted_output = self.workload.lengths(self._seed, ids)
        fitted_input, fitted_output, fitted = fit_to_context(
            wanted_input, wanted_output, self._max_model_len
        )
        seeds = sampling_seeds(self._seed, ids)
        return _Block(
            first,
            fitted_input.tolist(),
            fitted_output.tolist(),
            fitted.tolist(),
            self._stream.offsets(self._seed, ids).tolist(),
            seeds.tolist(),
        )


class _Block:
    """Draws of `_BLOCK` ids in a row, as Python lists: indexing them beats numpy scalars."""

    __slots__ = ("first", "fitted", "input_tokens", "offset", "output_tokens", "sampling_seed")

    def __init__(
        self,
        first: int,
        input_tokens: list[int],
        output_tokens: list[int],
        fitted: list[bool],
        offset: list[int],
        sampling_seed: list[int],
    ) -> None:
        self.first = first
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.fitted = fitted
        self.offset = offset
        self.sampling_seed = sampling_seed
