"""`workbench bench engine`: the real engine on fixed work, with random weights and no network."""

from __future__ import annotations

import gc
import platform
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import torch

from engines.options import EngineOptions
from engines.registry import BuiltEngine, build, choose_device
from engines.sizing import DEFAULT_MAX_NUM_SEQS, dtype_for
from profiles.hardware import describe
from profiles.ranges import Ranges
from profiles.roofline import Ceilings
from workbench.bench.speed_ceilings import find_ceilings
from workbench.bench.speed_cost import cost_of
from workbench.bench.speed_figures import TimedRun, figures
from workbench.bench.speed_work import Work
from workbench.errors import WorkbenchError
from workbench.runs.environment import installed_version

WARM_UP_TOKENS = 8
"""Answers are cut to this many tokens in the round before the first that counts."""

Progress = Callable[[str], None]


def run_speed(
    options: EngineOptions,
    works: Sequence[Work],
    repeats: int,
    ceilings: str,
    words: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Serves each work `repeats` times on one engine; figures are those of the median time.

    Args:
        ceilings: "measured" or "spec".
        words: the command, for the record.

    Raises:
        WorkbenchError: a request can't be served, or the ceilings aren't known.
        EngineError: the model or an option is impossible here.
    """
    if repeats < 1:
        raise WorkbenchError(f"--repeat {repeats}: at least 1 is needed")
    device = choose_device(options.device)
    progress("measuring what the device can do")
    ceiling = _ceilings(options, device, ceilings)
    built = build(_with_room(options, works, device), time.monotonic_ns, Ranges(), progress)
    try:
        _check_lengths(works, built)
        rounds = _Rounds(built, progress)
        rows = [_row(work, rounds.of(work, repeats), built, ceiling) for work in works]
        engine = built.engine.describe()
    finally:
        built.engine.close()
    return {
        "command": shlex.join(words),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "hardware": describe().as_dict(),
        "versions": _versions(),
        "engine": engine,
        "ceilings": asdict(ceiling),
        "works": rows,
    }


class _Rounds:
    """Serves works one after the other, with ids and tokens that are always new."""

    def __init__(self, built: BuiltEngine, progress: Progress) -> None:
        self._built = built
        self._progress = progress
        self._next_id = 0
        self._rounds = 0

    def of(self, work: Work, repeats: int) -> list[TimedRun]:
        """So many runs of a work, after one with short answers."""
        self._progress(f"{work.name}: warm-up")
        self._serve(work, WARM_UP_TOKENS)
        runs = []
        for repeat in range(repeats):
            self._progress(f"{work.name}: {repeat + 1} of {repeats}")
            runs.append(self._serve(work, None))
        return runs

    def _serve(self, work: Work, most_output: int | None) -> TimedRun:
        engine = self._built.engine
        requests = work.requests(
            self._next_id, self._rounds, self._built.config.vocab_size, most_output
        )
        self._next_id += len(requests)
        self._rounds += 1
        results = []
        gc.collect()
        gc.freeze()
        try:
            submitted_ns = time.monotonic_ns()
            for request in requests:
                rejected = engine.submit(request)
                if rejected is not None:
                    raise WorkbenchError(f"{work.name}: {rejected.reason}")
            while engine.has_work:
                result = engine.step()
                if result is not None:
                    results.append(result)
        finally:
            gc.unfreeze()
        for record in (record for result in results for record in result.records):
            if record.status != "ok":
                raise WorkbenchError(f"{work.name}: {record.reason}")
        prompt_tokens = {request.request_id: request.prompt_tokens for request in requests}
        return TimedRun(work, prompt_tokens, submitted_ns, results)


def _check_lengths(works: Sequence[Work], built: BuiltEngine) -> None:
    """Before anything is run: not after the first of several works."""
    most = built.engine.max_model_len
    for work in works:
        if work.longest > most:
            raise WorkbenchError(
                f"--work {work.name} has a request of {work.longest:,} tokens, and this engine "
                f"takes {most:,} (the least of the model's positions, --max-model-len and KV "
                "pool); raise what limits it, or take a --work with smaller --input-tokens"
            )


def _row(
    work: Work, runs: list[TimedRun], built: BuiltEngine, ceilings: Ceilings
) -> dict[str, Any]:
    """The figures of the run of median time (of an even number, the faster of the middle two)."""
    said = built.engine.describe()
    cost = cost_of(
        built.config, str(said["dtype"]), str(said["quantization"]), str(said["kv_dtype"])
    )
    median = sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]
    return {
        "work": work.name,
        "requests": len(work.prompts),
        "prompt_tokens": work.prompt_tokens,
        "output_tokens": sum(work.output_tokens),
        "temperature": work.temperature,
        "every_seconds": [run.seconds for run in runs],
        "every_output_tokens_per_s": [run.output_tokens / run.seconds for run in runs],
    } | figures(median, cost, ceilings)


def _with_room(
    options: EngineOptions, works: Sequence[Work], device: torch.device
) -> EngineOptions:
    """Lets the whole batch of a work that is about a batch run at once, unless told otherwise."""
    batches = [len(work.prompts) for work in works if work.name in ("decode", "idle")]
    default = DEFAULT_MAX_NUM_SEQS[device.type]
    if options.max_num_seqs is not None or max(batches, default=0) <= default:
        return options
    return replace(options, max_num_seqs=max(batches))


def _ceilings(options: EngineOptions, device: torch.device, kind: str) -> Ceilings:
    dtype: torch.dtype = getattr(torch, dtype_for(options.dtype, device.type))
    return find_ceilings(kind, device, dtype, options.quantization != "none")


def _versions() -> dict[str, str | None]:
    return {
        "workbench": installed_version("workbench"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": installed_version("triton"),
    }
