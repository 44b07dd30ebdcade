"""A trace as it is to be replayed: a part of it, in another time, at other lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from workloads.draws import checked_seed
from workloads.errors import WorkloadError
from workloads.fitting import FITTING_RULE, fit_to_context
from workloads.traces.blocks import first_ids, take_rows
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Ints, Prefixes, Trace


@dataclass(frozen=True, slots=True)
class Changes:
    """What `apply` left out and changed, in rows.

    Attributes:
        outside_window, beyond_limit: left out as asked; rows that the reader left out already are
            not among them.
        failed: left out because they failed where the trace was taken: nobody knows what answer
            they would have had.
        lengthened: had no prompt or output tokens, as published or after scaling, and got one.
        shortened: changed to fit `max_context`.
        block_stretch: tokens of a scaled block, over what the scale asks for; not 1 where that is
            no whole number, and then the prompts are longer or shorter than asked, too.
    """

    outside_window: int = 0
    beyond_limit: int = 0
    failed: int = 0
    lengthened: int = 0
    shortened: int = 0
    block_stretch: float = 1.0

    def sentences(self) -> list[str]:
        """A sentence for each change that there was."""
        said = []
        if self.outside_window:
            said.append(f"{_requests(self.outside_window)} outside the window left out.")
        if self.beyond_limit:
            said.append(f"{_requests(self.beyond_limit)} beyond the limit left out.")
        if self.failed:
            said.append(f"{_requests(self.failed)} that failed in the original left out.")
        if abs(self.block_stretch - 1.0) >= 0.0005:
            said.append(
                f"Blocks have a whole number of tokens, {self.block_stretch:.3g} times what the "
                "scale asks for; so have prompts made of them."
            )
        if self.lengthened:
            said.append(f"{_requests(self.lengthened)} without prompt or output tokens got one.")
        if self.shortened:
            said.append(f"{_requests(self.shortened)} shortened to fit. {FITTING_RULE}")
        return said


def apply(trace: Trace, options: TraceOptions, seed: int = 0) -> tuple[Trace, Changes]:
    """The trace that `options` make of `trace`, and what was changed; in the order that
    `TraceOptions` lists.

    Every row of the result can be a request: it has at least one token of prompt and of output,
    and did not fail. Arrivals are nanoseconds since the window's start, or without a window as
    they were. Conversations keep their numbers. Where the reader has applied window and limit
    already, they change nothing here. The jitter of a row depends on `seed` and on its place among
    the rows that are left.

    Raises `WorkloadError` where no row is left, for a bad seed, and for a window or jitter where
    the sessions have no common clock.
    """
    if trace.sessions_own_clock and (options.window_s is not None or options.jitter_s):
        raise WorkloadError(
            f"{trace.path}: its sessions have no common clock, so that it has no window and no "
            "jitter; --limit takes a part of it"
        )
    trace, selection = _select(trace, options)
    arrival_ns = trace.arrival_ns
    if options.window_s is not None:
        arrival_ns = arrival_ns - _ns(options.window_s[0])
    trace = _retimed(trace, arrival_ns, options, seed)
    prefixes, stretch = trace.prefixes, 1.0
    if prefixes is None:
        input_tokens = _scaled(trace.input_tokens, options.scale_lengths)
    else:
        asked = prefixes.block_tokens * options.scale_lengths
        input_tokens, prefixes = _scaled_prompts(trace, prefixes, options.scale_lengths)
        stretch = prefixes.block_tokens / asked
    output_tokens = _scaled(trace.output_tokens, options.scale_lengths)
    lengthened = int(((input_tokens < 1) | (output_tokens < 1)).sum())
    input_tokens, output_tokens, shortened = fit_to_context(
        np.maximum(input_tokens, 1), np.maximum(output_tokens, 1), options.max_context
    )
    if prefixes is not None:
        prefixes = first_ids(prefixes, -(-input_tokens // prefixes.block_tokens))
    changed = replace(
        trace, input_tokens=input_tokens, output_tokens=output_tokens, prefixes=prefixes
    )
    return changed, replace(
        selection, lengthened=lengthened, shortened=int(shortened.sum()), block_stretch=stretch
    )


def _select(trace: Trace, options: TraceOptions) -> tuple[Trace, Changes]:
    rows = np.arange(len(trace))
    if options.window_s is not None:
        start_ns, end_ns = (_ns(bound) for bound in options.window_s)
        inside = (trace.arrival_ns >= start_ns) & (trace.arrival_ns < end_ns)
        rows = rows[inside]
    in_window = len(rows)
    rows = rows[: options.limit]
    taken = len(rows)
    rows = rows[~trace.failed[rows]]
    changes = Changes(
        outside_window=len(trace) - in_window,
        beyond_limit=in_window - taken,
        failed=taken - len(rows),
    )
    if not len(rows):
        last_s = int(trace.arrival_ns.max(initial=0)) / 1e9
        why = " ".join(changes.sentences()) or "It is empty."
        raise WorkloadError(
            f"{trace.path}: nothing is left to replay. {why} The last arrival is at {last_s:,.1f} s"
        )
    return (trace if len(rows) == len(trace) else _take(trace, rows)), changes


def _retimed(trace: Trace, arrival_ns: Ints, options: TraceOptions, seed: int) -> Trace:
    """The trace with other arrivals, then jitter and speed; rows in the order of the result."""
    order = None
    if options.jitter_s:
        # The n-th number of a generator depends on its seed and n alone.
        drawn = np.random.default_rng(checked_seed(seed)).random(len(arrival_ns))
        arrival_ns = arrival_ns + (drawn * options.jitter_s * 1e9).astype(np.int64)
        order = np.argsort(arrival_ns, kind="stable")
        arrival_ns = arrival_ns[order]
    if options.speed != 1.0:
        arrival_ns = np.rint(arrival_ns / options.speed).astype(np.int64)
    return replace(trace if order is None else _take(trace, order), arrival_ns=arrival_ns)


def _take(trace: Trace, rows: Ints) -> Trace:
    return replace(
        trace,
        arrival_ns=trace.arrival_ns[rows],
        input_tokens=trace.input_tokens[rows],
        output_tokens=trace.output_tokens[rows],
        failed=trace.failed[rows],
        prefixes=None if trace.prefixes is None else take_rows(trace.prefixes, rows),
        session_id=None if trace.session_id is None else trace.session_id[rows],
        turn=None if trace.turn is None else trace.turn[rows],
    )


def _scaled(tokens: Ints, scale: float) -> Ints:
    """Halves go up, so that whole blocks and what follows them round as their sum does."""
    if scale == 1.0:
        return tokens
    scaled: npt.NDArray[np.float64] = np.floor(tokens * scale + 0.5)
    return scaled.astype(np.int64)


def _scaled_prompts(trace: Trace, prefixes: Prefixes, scale: float) -> tuple[Ints, Prefixes]:
    """Prompt lengths and blocks: whole blocks stay whole, and what follows them is scaled alone.

    Prompts of whole blocks must go on sharing them, so their length is that of the scaled blocks.
    """
    if scale == 1.0:
        return trace.input_tokens, prefixes
    size = prefixes.block_tokens
    scaled_size = max(1, int(np.floor(size * scale + 0.5)))
    held = np.diff(prefixes.offsets)
    whole = np.minimum(held, trace.input_tokens // size)
    rest = _scaled(trace.input_tokens - whole * size, scale)
    in_block = held > whole
    rest[in_block] = np.minimum(rest[in_block], scaled_size)
    named = whole + (in_block & (rest > 0))
    return whole * scaled_size + rest, replace(first_ids(prefixes, named), block_tokens=scaled_size)


def _ns(time_s: float) -> int:
    return round(time_s * 1e9)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"
