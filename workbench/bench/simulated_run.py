"""Runs as they would have been recorded, without a model: the real scheduler and loop round a
worker whose steps take as long as a cost model says, times the noise of a real machine.

The costs are those of SmolLM2-135M on an H200 (docs/measurements.md): a step of any batch up to 16
takes 7.6 to 8.5 ms, a prompt token up to 0.03 ms more.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.plan import StepPlan
from engines.scheduling.scheduler import Scheduler
from engines.scheduling.sequence import SequenceTable
from profiles.ranges import Ranges
from workbench.analysis.metrics import Window
from workbench.analysis.summary import summarise
from workbench.bench.memory_record import MemoryRecord, MemoryTables
from workbench.comparison.records import RunRecord
from workbench.runs.runner import LoopEnd, Record, StopRequest, drive
from workbench.runs.schema import SCHEMA_VERSION
from workbench.runs.tables import Tables
from workbench.spec import RunSpec
from workloads.arrivals import arrival_process
from workloads.lengths import Lognormal
from workloads.synthetic import SyntheticRequests
from workloads.text import TokenStream
from workloads.traffic import OpenLoop
from workloads.workload import Workload

_MAX_NUM_SEQS = 8
_MAX_MODEL_LEN = 1024
_BLOCK_SIZE = 16
_USABLE_BLOCKS = _MAX_NUM_SEQS * _MAX_MODEL_LEN // _BLOCK_SIZE
_STEP_NS = 7_500_000
_PROMPT_TOKEN_NS = 30_000
_SEQUENCE_NS = 20_000
_CONTEXT_TOKEN_NS = 50
_CLOCK_READING_NS = 10_000
_AHEAD = 4096
_DRAIN_NS = 120_000_000_000
_SLO = {"ttft": 150.0, "tpot": 9.5}
_INPUT_MEAN, _OUTPUT_MEAN = 100, 30


@dataclass(frozen=True, slots=True)
class Noise:
    """How a machine's step times vary; all on a logarithmic scale, but for spikes.

    Attributes:
        run_sigma: standard deviation of a whole run's speed: clocks, memory layout, neighbours.
        step_sigma: of a step's time within a run.
        step_correlation: of a step's time with that of the step before (an AR(1) process).
        spike_share: of the steps that are held up; they take `spike_least` to `spike_most` times
            as long, all as likely.
        host_sigma: of the loop's own time between two steps.
    """

    run_sigma: float = 0.0175
    step_sigma: float = 0.05
    step_correlation: float = 0.98
    spike_share: float = 0.003
    spike_least: float = 3.0
    spike_most: float = 8.0
    host_sigma: float = 0.3


def simulated_run(
    seed: int,
    run_seed: int,
    *,
    requests: int = 500,
    load: float = 0.65,
    slower: float = 1.0,
    noise: Noise | None = None,
) -> RunRecord:
    """A finished run of about so many requests, Poisson, over an engine of known speed.

    Args:
        seed: of the traffic: equal seeds give equal requests. run_seed: of the noise.
        load: offered rate as a share of what the engine of `slower=1` can do at most.
        slower: how many times as long each step takes that decodes.
    """
    record = MemoryRecord()
    end = simulate(record, seed, run_seed, requests, load, slower, noise or Noise())
    tables = record.tables(end.ended_ns)
    run_id = f"simulated-{seed}-{run_seed}"
    content = content_of(run_id, seed, requests, load) | _figures(tables, requests, load)
    return RunRecord(run_id, content, "finished", MemoryTables(tables))


def simulate(
    record: Record,
    seed: int,
    run_seed: int,
    requests: int,
    load: float,
    slower: float,
    noise: Noise,
) -> LoopEnd:
    """Lets the run happen, into `record`; returns how its loop ended."""
    clock = _Clock()
    worker = _NoisyWorker(clock, slower, noise, run_seed)
    config = SchedulerConfig(_MAX_NUM_SEQS, 512, _MAX_MODEL_LEN)
    pool = BlockPool(_USABLE_BLOCKS + 1, _BLOCK_SIZE, prefix_caching=False)
    engine = MonolithicEngine(Scheduler(config, pool), worker, clock, Ranges())
    rate_per_s = _rate_per_s(load)
    traffic = OpenLoop.at_rate(
        SyntheticRequests(_workload(), _tokens(), seed=seed, max_model_len=_MAX_MODEL_LEN),
        arrival_process("poisson"),
        rate_per_s=rate_per_s,
        duration_s=requests / rate_per_s,
        seed=seed,
    )
    return drive(
        engine, traffic, record, clock, StopRequest(), _DRAIN_NS, 0, lambda _: None, clock.sleep
    )


def content_of(run_id: str, seed: int, requests: int, load: float) -> dict[str, Any]:
    """The run's `run.json`, before its end."""
    rate_per_s = _rate_per_s(load)
    duration_s = requests / rate_per_s
    traffic = {"duration": duration_s, "rate": rate_per_s, "warmup": duration_s / 10}
    spec = RunSpec.model_validate(
        {"name": "simulated", "seed": seed, "traffic": traffic, "slo": _SLO}
    )
    return {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "name": spec.name,
        "state": "finished",
        "reason": "",
        "spec": spec.as_dict(),
        "environment": {"hardware": {"hardware_key": "simulated", "cpu_model": "simulated"}},
        "engine": {
            "name": "monolithic",
            "model": "simulated",
            "block_size": _BLOCK_SIZE,
            "num_blocks": _USABLE_BLOCKS,
            "max_num_seqs": _MAX_NUM_SEQS,
            "max_model_len": _MAX_MODEL_LEN,
        },
        "duration_s": duration_s,
        "warmup_s": duration_s / 10,
        "rate_per_s": rate_per_s,
        "calibration": None,
        "traffic": {"what": "simulated", "arrival": "poisson", "notes": []},
    }


def _figures(tables: Tables, requests: int, load: float) -> dict[str, Any]:
    """What the end of a run adds to its `run.json` (`workbench.launch.finish`)."""
    warmup_ns = int(requests / _rate_per_s(load) / 10 * 1e9)
    scheduled, finished = tables["requests"]["scheduled_ns"], tables["requests"]["finished_ns"]
    window = Window(warmup_ns, max([warmup_ns, *scheduled.tail(1).to_list()]))
    drain_end_ns = max(finished.to_list(), default=0)
    summary = summarise(
        tables,
        window,
        slo=_SLO,
        usable_blocks=_USABLE_BLOCKS,
        block_size=_BLOCK_SIZE,
        drain_end_ns=drain_end_ns,
    )
    return {
        "window": dataclasses.asdict(window),
        "drain_end_ns": drain_end_ns,
        "knobs": [],
        "summary": summary.as_dict(),
    }


class _Clock:
    """Moves when the worker computes, when the loop sleeps and, by `reading_ns`, when it is read:
    that is the loop's own time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.reading_ns = _CLOCK_READING_NS

    def __call__(self) -> int:
        self.now_ns += self.reading_ns
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += max(1, int(seconds * 1e9))


class _NoisyWorker:
    """Computes nothing but how long it takes. Satisfies `engines.compute.worker.Worker`."""

    overlaps = False

    def __init__(self, clock: _Clock, slower: float, noise: Noise, seed: int) -> None:
        self._clock = clock
        self._slower = slower
        self._noise = noise
        self._random = np.random.default_rng(seed)
        self._run = math.exp(self._random.normal(0.0, noise.run_sigma))
        self._level = float(self._random.normal(0.0, noise.step_sigma))
        self._steps: list[tuple[float, int]] = []

    def launch(self, plan: StepPlan, table: SequenceTable) -> Computed:
        return Computed(self.execute(plan, table))

    def collect(self, launched: Computed) -> Computed:
        return launched

    def execute(self, plan: StepPlan, table: SequenceTable) -> npt.NDArray[np.int32]:
        if not self._steps:
            self._steps = self._drawn()
        factor, reading_ns = self._steps.pop()
        cost_ns = (
            _STEP_NS
            + _PROMPT_TOKEN_NS * plan.num_prefill_tokens
            + _SEQUENCE_NS * plan.num_decodes
            + _CONTEXT_TOKEN_NS * int(plan.num_computed.sum())
        )
        if plan.num_decodes:
            factor *= self._slower
        self._clock.now_ns += int(cost_ns * factor)
        self._clock.reading_ns = reading_ns
        return np.ones(np.count_nonzero(plan.samples), np.int32)

    def close(self) -> None: ...

    def _drawn(self) -> list[tuple[float, int]]:
        """Factors of the next steps, the next one last, and how long the loop's readings take."""
        noise, random = self._noise, self._random
        keep = noise.step_correlation
        shocks = random.normal(0.0, noise.step_sigma * math.sqrt(1 - keep**2), _AHEAD)
        levels = list(
            accumulate(shocks.tolist(), lambda level, shock: keep * level + shock,
                       initial=self._level)
        )[1:]  # fmt: skip
        self._level = levels[-1]
        spikes = np.where(
            random.random(_AHEAD) < noise.spike_share,
            random.uniform(noise.spike_least, noise.spike_most, _AHEAD),
            1.0,
        )
        factors = self._run * np.exp(np.array(levels)) * spikes
        readings_ns = _CLOCK_READING_NS * np.exp(random.normal(0.0, noise.host_sigma, _AHEAD))
        drawn = zip(factors.tolist(), readings_ns.astype(np.int64).tolist(), strict=True)
        return list(drawn)[::-1]


def _rate_per_s(load: float) -> float:
    """Requests per second at this share of what full batches without noise could do."""
    step_ns = _STEP_NS + _MAX_NUM_SEQS * _SEQUENCE_NS
    request_ns = _OUTPUT_MEAN * step_ns / _MAX_NUM_SEQS + _INPUT_MEAN * _PROMPT_TOKEN_NS
    return load * 1e9 / request_ns


def _workload() -> Workload:
    """The shape of a chat's lengths, at about a tenth of their size."""
    return Workload(
        "simulated",
        "short chats",
        "none",
        Lognormal.from_mean_and_median(_INPUT_MEAN, 75, minimum=2, maximum=800),
        Lognormal.from_mean_and_median(_OUTPUT_MEAN, 20, minimum=2, maximum=200),
    )


def _tokens() -> TokenStream:
    return TokenStream(np.arange(50_000, dtype=np.int32))
