"""Prefill and decode speed of the monolithic engine, beside `transformers` if installed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.options import EngineOptions
from engines.registry import build
from profiles.ranges import Ranges
from workbench.errors import WorkbenchError
from workbench.launch.target import token_stream
from workloads.request import Request
from workloads.text import TokenStream


def run_compute(
    options: EngineOptions, prompt_tokens: int, output_tokens: int, batches: list[int], peer: bool
) -> dict[str, Any]:
    """Tokens per second of prefill and of pure decode steps, by batch.

    Prompts are distinct pieces of real text, all prefilled before the first decode is timed.
    """
    built = build(options, time.monotonic_ns, Ranges())
    stream = token_stream(built.encode, built.config.vocab_size)
    rows: list[dict[str, Any]] = []
    request_id = 0
    for batch in [max(batches), *batches]:  # the first warms up
        for _ in range(batch):
            prompt = stream.slice(request_id * 997, prompt_tokens)
            rejected = built.engine.submit(Request(request_id, 0, prompt, output_tokens))
            if rejected is not None:
                raise WorkbenchError(f"bench compute: {rejected.reason}")
            request_id += 1
        rows.append({"batch": batch} | _timed(built.engine))
    result: dict[str, Any] = {
        "engine": built.engine.describe(),
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "rows": rows[1:],
    }
    if peer:
        result["transformers"] = _transformers(
            options, stream, prompt_tokens, output_tokens, batches
        )
    return result


def _timed(engine: Any) -> dict[str, float | None]:
    spent = {"prefill": 0, "decode": 0}
    tokens = {"prefill": 0, "decode": 0}
    full = 0
    while engine.has_work:
        result = engine.step()
        if result.kind != "decode":
            # Mixed steps belong to neither figure; pure prefill steps are the prefill figure.
            if result.kind == "prefill":
                spent["prefill"] += result.end_ns - result.start_ns
                tokens["prefill"] += result.prefill_tokens
            continue
        full = max(full, result.decode_tokens)
        if result.decode_tokens == full:
            spent["decode"] += result.end_ns - result.start_ns
            tokens["decode"] += result.decode_tokens
    return {
        f"{kind}_tokens_per_s": tokens[kind] * 1e9 / spent[kind] if spent[kind] else None
        for kind in spent
    }


def _transformers(
    options: EngineOptions,
    stream: TokenStream,
    prompt_tokens: int,
    output_tokens: int,
    batches: list[int],
) -> dict[str, Any]:
    """The same figures of `transformers` on the same weights, with its own KV cache."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise WorkbenchError(f"bench compute --peer: {error}; install the extra 'dev'") from None
    from engines.models.source import resolve_model

    source = resolve_model(options.model)
    if source.path is None or not source.path.is_dir():
        raise WorkbenchError(f"bench compute --peer: {source.name} is not a folder of weights")
    device = "cuda" if options.device == "cuda" else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(source.path, dtype=dtype)
    model.to(device).eval()
    rows = []
    with torch.inference_mode():
        for batch in [batches[0], *batches]:
            prompts = np.stack(
                [stream.slice((7919 + i) * 997, prompt_tokens) for i in range(batch)]
            )
            rows.append({"batch": batch} | _generate(model, prompts, output_tokens, device))
    return {"version": transformers.__version__, "rows": rows[1:]}


def _generate(
    model: Any, prompts: npt.NDArray[np.int32], output_tokens: int, device: str
) -> dict[str, float]:
    import torch

    ids = torch.from_numpy(prompts.astype(np.int64)).to(device)

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    start = now()
    step = model(ids, use_cache=True, logits_to_keep=1)
    prefilled = now()
    for _ in range(output_tokens - 1):
        token = step.logits[:, -1].argmax(-1, keepdim=True)
        step = model(token, past_key_values=step.past_key_values, use_cache=True)
    done = now()
    return {
        "prefill_tokens_per_s": ids.numel() / (prefilled - start),
        "decode_tokens_per_s": len(prompts) * (output_tokens - 1) / (done - prefilled),
    }
