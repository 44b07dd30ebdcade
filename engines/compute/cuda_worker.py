"""A worker whose steps run on a GPU while the host prepares the next one.

Everything from token ids to sampled tokens stays on the device. The host uploads one packed buffer
a step and launches one or two CUDA graphs, or the same kernels one by one where a step has no
graph; the tokens come back on a stream of their own, so that the next step needn't wait for them.

Steps run in order on one stream. A block that is freed and taken by another sequence while a step
is still on its way is therefore safe: whoever writes to it next does so after that step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from engines.attention.base import AttentionBackend, DeviceStep, StepLayout
from engines.compute.buckets import MixedBuckets, bucket_of, decode_buckets
from engines.compute.gpu_clock import GpuClock, stream_on, timed_event
from engines.compute.graphs import Graphs
from engines.compute.sampling import sample
from engines.compute.step_buffers import NUM_UPDATES, RING, HostStep, PackedLayout
from engines.compute.worker import Computed, host_layout, sampling_batch, step_spans
from engines.errors import StepOutOfMemory
from engines.kernels.triton.prepare import StepInputs, prepare_step
from engines.kernels.triton.sampling import sample_tokens
from engines.kv_cache import KVCache
from engines.models.decoder import Decoder
from engines.scheduling.plan import StepPlan
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges

EAGER_MULTIPLE = 64
"""Steps without a graph are padded to this many tokens: kernels then meet few shapes."""

EAGER_SIZES = (64, 128, 192, 256, 512, 2048)
"""Tokens of steps without a graph, one for each way in which kernels cut them."""

SAMPLED_SIZES = (1, 2, 3, 17)
"""And rows to be sampled."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A step on its way."""

    ring_slot: int
    num_samples: int
    start: torch.cuda.Event
    end: torch.cuda.Event
    ready: torch.cuda.Event


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may hold: sequences, tokens, and tokens of one sequence."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int


class CudaWorker:
    """A decoder with its cache on one CUDA device. Satisfies `Worker`.

    Args:
        attention: a backend that plans on the device.
        graphs: whether steps are captured; `prepare` does so.
        clock: nanoseconds on the run's clock.
    """

    overlaps = True

    def __init__(
        self,
        decoder: Decoder,
        kv: KVCache,
        attention: AttentionBackend,
        limits: Limits,
        ranges: Ranges,
        clock: Callable[[], int],
        graphs: bool,
    ) -> None:
        self.decoder, self.kv, self.attention, self.limits = decoder, kv, attention, limits
        self.block_size = kv.block_size
        self.device = kv.data.device
        self.layout = PackedLayout(limits.max_num_seqs, limits.max_num_batched_tokens)
        self.graphs = Graphs(self.device) if graphs else None
        self._decode_buckets = decode_buckets(limits.max_num_seqs)
        self._mixed_buckets = MixedBuckets.up_to(
            limits.max_num_batched_tokens, decoder.config.parameters_per_layer
        )
        pinned = self.device.type == "cuda"
        self._hosts = [HostStep(self.layout, pinned) for _ in range(RING)]
        seqs, hidden = limits.max_num_seqs, decoder.config.hidden_size
        max_blocks = -(-limits.max_model_len // self.block_size)
        int32s = partial(torch.zeros, dtype=torch.int32, device=self.device)
        self._packed = int32s(self.layout.size)
        # One row more than sequences: that of padding, whose blocks are all the null block.
        self._block_tables = int32s((seqs + 1, max_blocks))
        self._next_token = int32s(seqs + 1)
        most_tokens = padded(limits.max_num_batched_tokens)
        self._inputs = StepInputs.allocate(most_tokens, seqs, self.device)
        dtype = decoder.embed.dtype
        self._sampled_rows = [
            torch.zeros((seqs, hidden), dtype=dtype, device=self.device) for _ in range(2)
        ]
        self._ring = int32s((RING, seqs))
        self._pinned = torch.zeros((RING, seqs), dtype=torch.int32, pin_memory=pinned)
        self._tokens = self._pinned.numpy()
        self._copies: torch.cuda.Stream = stream_on(self.device)
        self._mirrored: SequenceTable | None = None
        self._launches = 0
        self._clock = GpuClock(clock)
        self._spans = step_spans(ranges)

    # -- preparing ----------------------------------------------------------------------------

    @torch.inference_mode()
    def prepare(self, progress: Callable[[str], None]) -> None:
        """Compiles the kernels and captures the graphs, telling `progress` how far it is.

        The packed buffer is empty, so that all tokens are padding and go to the null block.
        """
        progress("compiling kernels for this GPU (kept on disk for the next time)")
        self._packed.zero_()
        if self.graphs is None:
            self._compile()
            return
        sizes = len(self._decode_buckets) * 2 + len(self._mixed_buckets.sizes)
        done = 0

        def captured() -> None:
            nonlocal done
            done += 1
            if done % 8 == 0 or done == sizes:
                progress(f"capturing CUDA graphs, {done} of {sizes}")

        # The largest first: the smaller ones then fit into the memory that it took.
        for tokens in reversed(self._mixed_buckets.sizes):
            self.graphs.capture(("mixed", tokens), partial(self._mixed, tokens))
            captured()
        for batch in reversed(self._decode_buckets):
            self.graphs.capture(("head", batch), partial(self._head_of_rows, batch))
            captured()
            self.graphs.capture(("decode", batch), partial(self._decode, batch))
            captured()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()  # what steps took before they were captured

    def _compile(self) -> None:
        """Steps without graphs: computes one of each kind of size, so that none compiles later."""
        largest, seqs = self.limits.max_num_batched_tokens, self.limits.max_num_seqs
        for tokens in sorted({min(tokens, largest) for tokens in EAGER_SIZES}):
            if tokens <= padded(seqs):
                self._body(self._eager_shape(tokens, 1, 0), None)
            rows = self._body(self._eager_shape(tokens, 1, 1), None)
        for samples in sorted({min(samples, seqs) for samples in SAMPLED_SIZES}):
            self._head(*rows, samples)
        torch.cuda.synchronize(self.device)

    # -- steps --------------------------------------------------------------------------------

    @torch.inference_mode()
    def launch(self, plan: StepPlan, table: SequenceTable) -> Launched:
        ring_slot = self._launches % RING
        self._launches += 1
        host = self._hosts[ring_slot]
        try:
            return self._launch(plan, table, host, ring_slot)
        except torch.OutOfMemoryError as error:
            self._mirrored = None  # changes of block tables may have been lost with the step
            raise StepOutOfMemory(plan.num_tokens, str(error)) from error

    def _launch(
        self, plan: StepPlan, table: SequenceTable, host: HostStep, ring_slot: int
    ) -> Launched:
        start, end, ready = timed_event(), timed_event(), timed_event()
        num_samples = host.fill(plan, table, ring_slot)
        self._mirror(host, table)
        used = host.used(plan)
        self._packed[: len(used)].copy_(used, non_blocking=True)
        start.record()
        with self._spans[plan.kind]:
            logits = self._run(plan, table, num_samples)
        if num_samples:
            with self._spans["sample"]:
                self._sample_cut_rows(plan, table, logits, ring_slot)
        end.record()
        self._copies.wait_event(end)
        with torch.cuda.stream(self._copies):
            if num_samples:
                self._pinned[ring_slot].copy_(self._ring[ring_slot], non_blocking=True)
            ready.record()
        return Launched(ring_slot, num_samples, start, end, ready)

    def collect(self, launched: Launched) -> Computed:
        launched.ready.synchronize()
        start_ns, end_ns = self._clock.interval(launched.start, launched.end)
        tokens = self._tokens[launched.ring_slot, : launched.num_samples].copy()
        return Computed(tokens, start_ns, end_ns)

    def close(self) -> None:
        torch.cuda.synchronize(self.device)
        del self.decoder, self.kv, self.graphs
        torch.cuda.empty_cache()

    def _run(self, plan: StepPlan, table: SequenceTable, num_samples: int) -> torch.Tensor | None:
        """Computes the step as far as its sampled tokens; returns the logits, if any."""
        if self.graphs is not None:
            if plan.num_decodes == len(plan.rows):
                bucket = bucket_of(self._decode_buckets, plan.num_decodes)
                decoded: torch.Tensor = self.graphs.replay(("decode", bucket))
                return decoded
            bucket = self._mixed_buckets.of(plan.num_tokens)
            if bucket is not None:
                self.graphs.replay(("mixed", bucket))
                return self._replay_head(num_samples)
        prefills = len(plan.rows) - plan.num_decodes
        step = self._eager_shape(plan.num_tokens, plan.num_decodes, prefills)
        host = None if self.attention.captures else host_layout(plan, table, self.block_size)
        rows = self._body(step, host)
        if not num_samples:
            return None
        if self.graphs is None:
            return self._head(*rows, num_samples)
        self._keep(rows)
        return self._replay_head(num_samples)

    def _replay_head(self, num_samples: int) -> torch.Tensor | None:
        assert self.graphs is not None
        if not num_samples:
            return None
        bucket = bucket_of(self._decode_buckets, num_samples)
        logits: torch.Tensor = self.graphs.replay(("head", bucket))
        return logits

    # -- what is captured ---------------------------------------------------------------------

    def _decode(self, batch: int) -> torch.Tensor:
        """A step of up to `batch` decodes: every token is sampled."""
        hidden, delta = self._forward((batch, batch, batch, 0), None, None)
        return self._head(hidden, delta, batch)

    def _mixed(self, tokens: int) -> None:
        """A step of up to `tokens` tokens; leaves the rows to be sampled for a head."""
        seqs = self.limits.max_num_seqs
        most = min(seqs, tokens)
        self._keep(self._body((tokens, seqs, most, most), None))

    def _keep(self, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Puts the rows to be sampled where the captured heads read them."""
        for kept, row in zip(self._sampled_rows, rows, strict=True):
            kept.copy_(row)

    def _head_of_rows(self, batch: int) -> torch.Tensor:
        hidden, delta = self._sampled_rows
        return self._head(hidden[:batch], delta[:batch], batch)

    # -- parts of a step ----------------------------------------------------------------------

    def _eager_shape(self, tokens: int, decodes: int, prefills: int) -> tuple[int, int, int, int]:
        return padded(tokens), self.limits.max_num_seqs, decodes, prefills

    def _forward(
        self,
        shape: tuple[int, int, int, int],
        host: StepLayout | None,
        rows: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, seqs, decodes, prefills = shape
        whole, packed, layout = self._inputs, self._packed, self.layout
        inputs = StepInputs(
            whole.token_ids[:tokens],
            whole.positions[:tokens],
            whole.slots[:tokens],
            whole.context_lens[:seqs],
        )
        prepare_step(
            packed,
            layout.max_seqs,
            layout.max_updates,
            self._next_token,
            self._block_tables,
            self.block_size,
            inputs,
            decode_only=not prefills,
        )
        step = self.attention.begin_step(
            DeviceStep(
                num_tokens=tokens,
                num_seqs=seqs,
                max_decodes=decodes,
                max_prefills=prefills,
                rows=packed[layout.rows : layout.rows + seqs],
                query_starts=packed[layout.query_starts : layout.query_starts + seqs + 1],
                context_lens=inputs.context_lens,
                counts=packed[:4],
                block_tables=self._block_tables,
                host=host,
            )
        )
        result: tuple[torch.Tensor, torch.Tensor] = self.decoder(
            inputs.token_ids, inputs.positions, inputs.slots, self.attention, self.kv, step, rows
        )
        return result

    def _body(
        self, shape: tuple[int, int, int, int], host: StepLayout | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows to be sampled, `[max_num_seqs, hidden]` each; behind the last, any."""
        at, tokens, seqs = self.layout.samples, shape[0], self.limits.max_num_seqs
        sampled = self._packed[at : at + seqs].clamp(max=tokens - 1)
        if tokens > seqs:
            return self._forward(shape, host, sampled)
        hidden, delta = self._forward(shape, host, None)
        return hidden[sampled], delta[sampled]

    def _head(self, hidden: torch.Tensor, delta: torch.Tensor, batch: int) -> torch.Tensor:
        """Logits `[batch, vocab]` of the first rows; their tokens go where the next step looks."""
        logits = self.decoder.logits(hidden[:batch], delta[:batch])
        sample_tokens(logits, self._packed, self.layout.max_seqs, self._ring, self._next_token)
        return logits

    # -- odds and ends ------------------------------------------------------------------------

    def _mirror(self, host: HostStep, table: SequenceTable) -> None:
        """Brings the device's block tables up to date: a few changes with the step, many apart."""
        if self._mirrored is not table:
            self._mirror_whole(table)
            host.header[NUM_UPDATES] = 0
            return
        index, block = table.drain_block_changes()
        most = self.layout.max_updates
        if len(index) > most:
            flat = self._block_tables.view(-1)
            flat[torch.from_numpy(index[most:].astype(np.int64)).to(self.device)] = (
                torch.from_numpy(block[most:]).to(self.device)
            )
            index, block = index[:most], block[:most]
        host.fill_updates(index, block)

    def _mirror_whole(self, table: SequenceTable) -> None:
        """Takes over another table, or all of this one where a step was lost; none is in flight."""
        table.log_block_changes = True
        table.drain_block_changes()
        rows, blocks = table.block_tables.shape
        self._block_tables[:rows, :blocks].copy_(torch.from_numpy(table.block_tables))
        at = np.minimum(table.num_computed, table.max_model_len - 1)
        known = table.token_ids[np.arange(rows), at]
        self._next_token[:rows].copy_(torch.from_numpy(known))
        self._mirrored = table

    def _sample_cut_rows(
        self, plan: StepPlan, table: SequenceTable, logits: torch.Tensor | None, ring_slot: int
    ) -> None:
        """Samples again, in plain torch, the rows that cut their distribution (top-k, top-p)."""
        assert logits is not None
        rows = plan.rows[plan.samples]
        cut = (table.top_k[rows] > 0) | (table.top_p[rows] < 1)
        cut &= table.temperature[rows] > 0
        if not cut.any():
            return
        chosen = rows[cut]
        places = torch.from_numpy(np.flatnonzero(cut)).to(self.device)
        tokens = sample(logits[places], sampling_batch(chosen, table)).to(torch.int32)
        self._ring[ring_slot][places] = tokens
        self._next_token[torch.from_numpy(chosen).to(self.device)] = tokens


def padded(tokens: int) -> int:
    """A step's tokens with padding, where it has no graph."""
    return -(-tokens // EAGER_MULTIPLE) * EAGER_MULTIPLE
