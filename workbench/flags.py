"""The flags of `workbench run` as data: one row each, with the place in the spec that it sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import SpecError


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of `workbench run`.

    Attributes:
        path: where its value goes in the spec.
        kind: how its text is read: "text", "whole", "number", "rate", or "switch", which has none
            and may be left open where the spec's default is None.
        metavar, help: as `--help` shows them.
    """

    name: str
    path: tuple[str, ...]
    kind: str
    metavar: str
    help: str

    @property
    def attribute(self) -> str:
        """Its name as an identifier."""
        return self.name.removeprefix("--").replace("-", "_")

    def read(self, text: str) -> int | float | str:
        """What `text` means; the spec checks the value.

        Raises:
            SpecError: it is no number where one is needed.
        """
        kinds: dict[str, tuple[Callable[[str], int | float], str]] = {
            "whole": (int, f"{text!r} is not a whole number"),
            "number": (float, f"{text!r} is not a number"),
            "rate": (float, f"{self.name} {text}: a number of requests per second, or auto"),
        }
        if self.kind not in kinds or (self.kind == "rate" and text == "auto"):
            return text
        read, message = kinds[self.kind]
        try:
            return read(text)
        except ValueError:
            raise SpecError(message) from None


def _traffic(name: str, key: str, kind: str, metavar: str, text: str) -> Flag:
    return Flag(name, ("traffic", key), kind, metavar, text)


def _trace(name: str, kind: str, metavar: str, text: str) -> Flag:
    return Flag(name, ("trace", name.removeprefix("--").replace("-", "_")), kind, metavar, text)


def _target(name: str, key: str, kind: str, metavar: str, text: str) -> Flag:
    return Flag(name, ("target", key), kind, metavar, text)


def _engine(name: str, kind: str, metavar: str, text: str) -> Flag:
    return Flag(name, ("engine", name.removeprefix("--").replace("-", "_")), kind, metavar, text)


GROUPS: dict[str, tuple[Flag, ...]] = {
    "traffic": (
        _traffic("--workload", "workload", "text", "NAME",
                 "what is asked; see `workbench workloads` (default chat)"),
        _traffic("--rate", "rate", "rate", "auto|N",
                 "requests per second; auto measures the capacity for a few seconds and offers a "
                 "share of it (default auto)"),
        _traffic("--share", "share", "number", "X", "the share that --rate auto offers (0.7)"),
        _traffic("--arrival", "arrival", "text", "NAME",
                 "poisson (default of most workloads), constant, gamma or weibull"),
        _traffic("--burstiness", "burstiness", "number", "K",
                 "shape of gamma arrivals, CV = 1/√K: under 1 is burstier than poisson"),
        _traffic("--shape", "shape", "number", "K",
                 "shape of weibull arrivals: under 1 is burstier than poisson"),
        _traffic("--modulation", "modulation", "text", "NAME:K=V,…",
                 "how the rate changes over time: square, sine, diurnal, ramp or steps, such as "
                 "square:period=30s,high=3,duty=0.2 or ramp:from=0.2,to=2"),
        _traffic("--rate-file", "rate_file", "text", "FILE",
                 "requests per second over time, lines of `seconds,rate`"),
        _traffic("--concurrency", "concurrency", "whole", "N",
                 "closed loop: N requests (or conversations) at a time instead of a rate"),
        _traffic("--think", "think", "text", "S",
                 "closed loop: mean time between an answer and the next request (default 0)"),
        _traffic("--think-kind", "think_kind", "text", "KIND",
                 "exponential (default) or constant"),
        _traffic("--duration", "duration", "text", "S",
                 "length of the traffic, such as 120, 120s or 2m (default 120, or the whole "
                 "trace)"),
        _traffic("--warmup", "warmup", "text", "S",
                 "first part of it, not measured (default a tenth, at most 10 s)"),
        _traffic("--drain", "drain", "text", "S",
                 "how long requests may take to end after the last arrival (default 120)"),
        _traffic("--input-tokens", "input_tokens", "text", "N|A..B",
                 "prompts of N tokens, or of A to B, instead of the workload's"),
        _traffic("--output-tokens", "output_tokens", "text", "N|A..B",
                 "answers of N tokens, or of A to B, instead of the workload's"),
        _traffic("--shared-prefix", "shared_prefix_tokens", "whole", "TOKENS",
                 "every prompt begins with the same TOKENS tokens (default 0)"),
        _traffic("--documents", "documents", "whole", "N",
                 "every prompt or conversation begins with one of N documents (default none)"),
        _traffic("--document-tokens", "document_tokens", "text", "N|A..B",
                 "their length in tokens (default 1000)"),
        _traffic("--document-zipf", "document_zipf", "number", "S",
                 "exponent of Zipf's law of their popularity; 0 is all alike (default 1)"),
        _traffic("--gap-scale", "gap_scale", "number", "X",
                 "think times and tools' runs of conversations take X times as long (default 1)"),
        _traffic("--cancel-share", "cancel_share", "number", "X",
                 "share of the requests whose user leaves early (default 0)"),
        _traffic("--cancel-after", "cancel_after", "text", "S",
                 "when they leave, after they were due (default 5)"),
    ),
    "trace": (
        Flag("--trace", ("trace", "file"), "text", "FILE",
             "replay a trace, or send a set of texts; see `workbench trace info FILE`"),
        _trace("--speed", "number", "X", "the trace's time passes X times as fast (default 1)"),
        _trace("--window", "text", "FROM..TO", "only this part of its time, such as 10m..20m"),
        _trace("--limit", "whole", "N", "only its first N requests"),
        _trace("--jitter", "text", "S",
               "move each arrival later by up to S of the trace's time, for rounded stamps"),
        _trace("--scale-lengths", "number", "X", "prompts and answers X times as long"),
        _trace("--max-context", "whole", "TOKENS", "shorten what is longer than TOKENS in all"),
        _trace("--skip-bad", "switch", "", "leave broken lines out and count them"),
    ),
    "target": (
        Flag("--target", ("target", "url"), "text", "URL",
             "an OpenAI-compatible server instead of an engine, such as http://127.0.0.1:8000/v1"),
        _target("--api", "api", "text", "NAME",
                "auto (default: chat where it is there), chat or completions"),
        _target("--target-model", "model", "text", "NAME",
                "what the server calls its model (default: asked from it)"),
        _target("--tokenizer", "tokenizer", "text", "NAME|PATH",
                "whose tokens prompts are made of, and answers counted in where the server "
                "doesn't tell (default the embedded model's)"),
        _target("--timeout", "timeout", "text", "S", "most time for a whole answer (default 600)"),
        _target("--retries", "retries", "whole", "N",
                "times that a request is sent again before its first token (default 0)"),
        _target("--http2", "http2", "switch", "", "HTTP/2 where the server offers it (slower)"),
        _target("--processes", "processes", "whole", "N",
                "processes that the load comes from (default 1)"),
    ),
    "engine": (
        Flag("--engine", ("engine", "name"), "text", "NAME", "monolithic (default)"),
        _engine("--block-size", "whole", "TOKENS", "tokens of a KV block (default 16)"),
        _engine("--num-blocks", "whole", "N", "KV blocks, the null block included"),
        _engine("--kv-memory", "text", "SIZE", "memory of the KV pool, such as 2GiB"),
        _engine("--max-num-seqs", "whole", "N",
                "sequences that run at once (default CPU 16, CUDA 256)"),
        _engine("--max-num-batched-tokens", "whole", "N",
                "token budget of a step (default CPU 256, CUDA 8192)"),
        _engine("--max-model-len", "whole", "TOKENS",
                "prompt + output of a request (default the model's, at most 32768)"),
        _engine("--policy", "text", "NAME", "fcfs (default) or priority"),
        _engine("--batching", "text", "NAME", "continuous (default) or static"),
        _engine("--chunked-prefill", "switch", "", "prompts over several steps (default on)"),
        _engine("--prefix-caching", "switch", "", "reuse KV of common prefixes (default on)"),
        _engine("--attention", "text", "NAME",
                "auto (default: triton on CUDA where it can, else reference), reference, triton "
                "or flashinfer"),
        _engine("--kernels", "text", "NAME",
                "of the layers beside attention: auto (default: fused with triton, else "
                "reference), reference or fused"),
        Flag("--graphs", ("engine", "cuda_graphs"), "switch", "",
             "replay captured CUDA graphs (default: where possible)"),
        _engine("--overlap", "switch", "",
                "plan a step while the one before it runs (default: where possible)"),
        Flag("--kv-cache-dtype", ("engine", "kv_dtype"), "text", "NAME",
             "auto (default: the model's) or fp8, with a scale for each token and KV head"),
    ),
    "model": (
        Flag("--model", ("model", "name"), "text", "NAME|PATH|random:SHAPE",
             "see `workbench models` (default smollm2-135m-instruct)"),
        Flag("--device", ("model", "device"), "text", "NAME", "auto (default), cpu or cuda"),
        Flag("--dtype", ("model", "dtype"), "text", "NAME",
             "auto (default: float32 on a CPU, bfloat16 on CUDA), float32 or bfloat16"),
        Flag("--quantization", ("model", "quantization"), "text", "NAME",
             "of the MLPs' matrices: none (default), fp8 (a scale for each row) or "
             "fp8-tensorwise"),
        Flag("--threads", ("model", "threads"), "whole", "N",
             "torch threads on a CPU (default all usable cores)"),
    ),
    "sampling": (
        Flag("--temperature", ("sampling", "temperature"), "number", "T", "0 is greedy (default)"),
        Flag("--top-k", ("sampling", "top_k"), "whole", "K", "0 is off (default)"),
        Flag("--top-p", ("sampling", "top_p"), "number", "P", "1 is off (default)"),
        Flag("--ignore-eos", ("sampling", "ignore_eos"), "switch", "",
             "hold the workload's output lengths (default on)"),
    ),
    "goals": (
        Flag("--require-attainment", ("slo", "require_attainment"), "number", "X",
             "exit 3 if a smaller share of the requests keeps every limit"),
    ),
    "run": (
        Flag("--seed", ("seed",), "whole", "N",
             "of arrivals, lengths, prompts and sampling (default 0)"),
        Flag("--name", ("name",), "text", "TEXT", "a name to find it by"),
        Flag("--profile", ("profile",), "text", "LEVEL",
             "minimal (default: telemetry at 10 Hz, NVTX ranges where a tool listens) or none"),
    ),
}  # fmt: skip


FILES = (("trace", "file"), ("traffic", "rate_file"))
"""Where a spec names files."""


def all_flags() -> Iterator[Flag]:
    """Every flag, in the order of `--help`."""
    for flags in GROUPS.values():
        yield from flags


def with_whole_paths(data: dict[str, Any]) -> dict[str, Any]:
    """A spec's plain data with the files that it names as absolute paths.

    The runner is another process, and a sweep may be resumed from elsewhere.
    """
    for table, key in FILES:
        section = data.get(table)
        path = section.get(key) if isinstance(section, dict) else None
        if isinstance(path, str) and path:
            whole = str(Path(path).expanduser().resolve())
            data = data | {table: data[table] | {key: whole}}
    return data
