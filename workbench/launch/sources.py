"""From a spec to what is sent: a workload of the catalogue, a trace, or a set of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.errors import SpecError
from workbench.launch.content import Content, Conversations, Requests, TraceSessions
from workbench.launch.target import Target
from workbench.spec import RunSpec
from workloads.catalogue import workload
from workloads.conversations.plan import ConversationPlan, SharedTexts
from workloads.conversations.synthetic import SyntheticConversations
from workloads.conversations.text_sets import TextConversations, read_text_set
from workloads.lengths import Fixed, length_distribution
from workloads.request import SamplingParams
from workloads.synthetic import SyntheticRequests
from workloads.traces.detect import detect_format
from workloads.traces.formats import READERS, read_trace
from workloads.traces.replay import TraceRequests
from workloads.traces.transform import apply
from workloads.workload import Workload

_LENGTHS = 512


def content_of(spec: RunSpec, target: Target) -> Content:
    """What the spec sends, in the target's tokens.

    Raises:
        SpecError: a text is to be sent to a model without a tokenizer, or an option has no
            meaning for the file.
        WorkloadError: the file can't be read.
    """
    if not spec.trace.file:
        return _workload(spec, target)
    path = Path(spec.trace.file)
    if detect_format(str(path)) not in READERS:
        return _texts(spec, target, path)
    return _trace(spec, target, path)


def _sampling(spec: RunSpec) -> SamplingParams:
    asked = spec.sampling
    return SamplingParams(
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        ignore_eos=asked.ignore_eos,
    )


def workload_of(spec: RunSpec) -> Workload:
    """The spec's workload with the lengths, prefix and documents that it asks for.

    Raises:
        SpecError: lengths were asked for of a workload whose conversations bring their own.
    """
    chosen = workload(spec.traffic.workload)
    shared = spec.traffic.shared_prefix_tokens
    inputs, outputs = spec.traffic.input_tokens, spec.traffic.output_tokens
    if (inputs or outputs) and chosen.conversation is not None:
        raise SpecError(
            f"workload {chosen.name} is of conversations, whose turns have lengths of their own: "
            "leave out --input-tokens and --output-tokens, or take another workload"
        )
    if inputs is not None:
        chosen = replace(chosen, input_tokens=length_distribution(inputs))
    if outputs is not None:
        chosen = replace(chosen, output_tokens=length_distribution(outputs))
    plan = _with_documents(spec, chosen)
    if plan is not None:
        return replace(chosen, conversation=plan, shared_prefix_tokens=shared)
    return chosen.with_shared_prefix(shared) if shared else chosen


def _workload(spec: RunSpec, target: Target) -> Content:
    chosen = workload_of(spec)
    stream = target.token_stream()
    if chosen.conversation is not None:
        source = SyntheticConversations(
            chosen.conversation,
            stream,
            seed=spec.seed,
            shared_prefix_tokens=chosen.shared_prefix_tokens,
        )
        return Conversations(
            chosen.name,
            source,
            seed=spec.seed,
            max_model_len=target.max_model_len,
            sampling=_sampling(spec),
            history_computed=not target.prefix_caching,
            gap_scale=spec.traffic.gap_scale,
        )
    requests = SyntheticRequests(
        chosen,
        stream,
        seed=spec.seed,
        max_model_len=target.max_model_len,
        sampling=_sampling(spec),
    )
    return Requests(chosen.name, requests, chosen.lengths(spec.seed, np.arange(_LENGTHS)))


def _with_documents(spec: RunSpec, chosen: Workload) -> ConversationPlan | None:
    """The workload's conversations, with documents if they were asked for; a workload of single
    requests comes to conversations of one turn then."""
    traffic, plan = spec.traffic, chosen.conversation
    if traffic.documents is None:
        return plan
    if plan is None:
        asked = chosen.input_tokens
        plan = ConversationPlan(Fixed(1), asked, asked, chosen.output_tokens)
    lengths = length_distribution(traffic.document_tokens)
    documents = SharedTexts(traffic.documents, lengths, traffic.document_zipf)
    return replace(plan, documents=documents)


def _trace(spec: RunSpec, target: Target, path: Path) -> Content:
    _only_for_workloads(spec)
    options = spec.trace_options()
    trace, changes = apply(read_trace(path, options), options, spec.seed)
    source = TraceRequests(
        trace,
        target.token_stream(),
        seed=spec.seed,
        max_model_len=target.max_model_len,
        sampling=_sampling(spec),
    )
    notes = changes.sentences()
    if trace.skipped:
        notes.append(f"{trace.skipped:,} broken rows left out; the first: {trace.first_skipped}.")
    rows = len(trace)
    what = f"{path.name} ({trace.format}, {rows:,} {'request' if rows == 1 else 'requests'})"
    if trace.sessions_own_clock:
        return TraceSessions(what, source, trace, tuple(notes))
    lengths = trace.input_tokens, trace.output_tokens
    content = Requests(what, source, lengths, rows, tuple(notes))
    content.stamps_ns = trace.arrival_ns
    return content


def _only_for_workloads(spec: RunSpec) -> None:
    traffic = spec.traffic
    for name, given in (
        ("--shared-prefix", traffic.shared_prefix_tokens),
        ("--input-tokens", traffic.input_tokens),
        ("--output-tokens", traffic.output_tokens),
        ("--documents", traffic.documents),
    ):
        if given:
            raise SpecError(
                f"{spec.trace.file} brings its own prompts and lengths: leave out {name}"
            )


def _texts(spec: RunSpec, target: Target, path: Path) -> Content:
    trace = spec.trace
    if target.encode is None:
        raise SpecError(
            f"{path} holds texts, and {spec.model.name} has no tokenizer to read them with"
        )
    stamped = (("window", trace.window), ("jitter", trace.jitter), ("speed", trace.speed != 1))
    for name, given in (*stamped, ("scale_lengths", trace.scale_lengths != 1)):
        if given:
            raise SpecError(f"trace.{name}: {path} holds texts, which have no stamps or lengths")
    _only_for_workloads(spec)
    texts = read_text_set(str(path), skip_bad=trace.skip_bad)
    if trace.limit is not None:
        texts = replace(texts, dialogues=texts.dialogues[: trace.limit])
    notes = []
    if texts.skipped:
        notes.append(f"{texts.skipped:,} broken rows left out; the first: {texts.first_skipped}.")
    if texts.empty:
        notes.append(f"{texts.empty:,} rows in which nobody asks anything left out.")
    limits = [each for each in (target.max_model_len, trace.max_context) if each is not None]
    return Conversations(
        f"{path.name} (texts, {len(texts.dialogues):,} conversations)",
        TextConversations(texts, target.encode, seed=spec.seed),
        seed=spec.seed,
        max_model_len=min(limits, default=None),
        sampling=_sampling(spec),
        history_computed=not target.prefix_caching,
        gap_scale=spec.traffic.gap_scale,
        notes=tuple(notes),
    )
