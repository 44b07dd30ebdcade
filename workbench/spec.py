"""The run spec: what a run is to be, typed and strict, as flags or as TOML on disk."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from engines.options import ATTENTION, DEVICES, DTYPES, ENGINES, EngineOptions
from engines.scheduling.config import BATCHING, POLICIES
from workbench.errors import SpecError, did_you_mean
from workbench.units import seconds, size_bytes
from workloads.arrivals import ARRIVAL_PROCESSES
from workloads.catalogue import workloads
from workloads.names import unknown_name

DEFAULT_WARMUP_SHARE = 0.1
DEFAULT_WARMUP_MOST_S = 10.0
SLO_METRICS = ("ttft", "tpot", "itl", "e2e")


def _seconds(value: Any) -> Any:
    return seconds(value) if isinstance(value, str) else value


def _milliseconds(value: Any) -> Any:
    return seconds(value, default_unit="ms") * 1e3 if isinstance(value, str) else value


def _bytes(value: Any) -> Any:
    return size_bytes(value) if isinstance(value, str) else value


def _one_of(kind: str, known: tuple[str, ...]) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(str(unknown_name(kind, str(value), known)))
        return value

    return BeforeValidator(check)


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, BeforeValidator(_milliseconds), Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class EngineSpec(_Section):
    """The engine and its switches; None is chosen for the device and the model."""

    name: Annotated[str, _one_of("engine", ENGINES)] = "monolithic"
    attention: Annotated[str, _one_of("attention", ATTENTION)] = "reference"
    block_size: Count = 16
    num_blocks: Annotated[int, Field(ge=2)] | None = None
    kv_memory: Bytes | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    max_model_len: Annotated[int, Field(ge=2)] | None = None
    chunked_prefill: bool = True
    prefix_caching: bool = True
    policy: Annotated[str, _one_of("policy", POLICIES)] = "fcfs"
    batching: Annotated[str, _one_of("batching", BATCHING)] = "continuous"


class ModelSpec(_Section):
    """The model and where it runs."""

    name: Annotated[str, Field(min_length=1)] = "smollm2-135m-instruct"
    device: Annotated[str, _one_of("device", DEVICES)] = "auto"
    dtype: Annotated[str, _one_of("dtype", DTYPES)] = "auto"
    threads: Count | None = None
    weights_seed: int = 0


class TrafficSpec(_Section):
    """What is asked, and when.

    `rate` "auto" offers `share` of the measured capacity. With `concurrency` the loop is closed
    and rate, share and arrival have no say. `warmup` is the first part of `duration`.
    """

    workload: Annotated[str, _one_of("workload", tuple(w.name for w in workloads()))] = "chat"
    arrival: Annotated[str, _one_of("arrival process", tuple(ARRIVAL_PROCESSES))] = "poisson"
    burstiness: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    rate: Literal["auto"] | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"
    share: Annotated[float, Field(gt=0, le=10)] = 0.7
    concurrency: Count | None = None
    duration: Annotated[Seconds, Field(gt=0, le=30 * 86_400)] = 120.0
    warmup: Annotated[Seconds, Field(ge=0)] | None = None
    drain: Annotated[Seconds, Field(ge=0)] = 120.0
    calibration: Annotated[Seconds, Field(gt=0, le=600)] = 4.0
    shared_prefix_tokens: Annotated[int, Field(ge=0)] = 0

    @property
    def warmup_s(self) -> float:
        """Seconds of warm-up: as asked, or a tenth of the duration, at most 10 s."""
        if self.warmup is not None:
            return self.warmup
        return min(DEFAULT_WARMUP_SHARE * self.duration, DEFAULT_WARMUP_MOST_S)

    @model_validator(mode="after")
    def _consistent(self) -> TrafficSpec:
        if self.warmup_s >= self.duration:
            raise ValueError(
                f"warmup {self.warmup_s:g} s leaves nothing of duration {self.duration:g} s "
                "to measure"
            )
        if self.burstiness is not None and self.arrival != "gamma":
            raise ValueError(f"burstiness belongs to arrival gamma, not to {self.arrival}")
        if self.concurrency is not None and self.rate != "auto":
            raise ValueError("give either a rate (open loop) or a concurrency (closed loop)")
        return self


class SamplingSpec(_Section):
    """How output tokens are drawn; temperature 0 is greedy."""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    ignore_eos: bool = True


class SloSpec(_Section):
    """Limits in milliseconds that a request must keep to be good, and the share that must."""

    ttft: Milliseconds | None = None
    tpot: Milliseconds | None = None
    itl: Milliseconds | None = None
    e2e: Milliseconds | None = None
    require_attainment: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, in ms."""
        values = {name: getattr(self, name) for name in SLO_METRICS}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _consistent(self) -> SloSpec:
        if self.require_attainment is not None and not self.limits:
            raise ValueError("require_attainment needs a limit, such as --slo ttft=500ms")
        return self


class RecordSpec(_Section):
    """How the run is recorded. `fsync`: "segments" survives a power cut, "end" a crash."""

    flush: Annotated[Seconds, Field(ge=0.05, le=60)] = 0.25
    fsync: Literal["segments", "end", "never"] = "end"


class RunSpec(_Section):
    """Everything that determines a run."""

    name: Annotated[str, Field(max_length=80, pattern=r"^[\w .:+-]*$")] = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    profile: Literal["none", "minimal"] = "minimal"
    engine: EngineSpec = Field(default_factory=EngineSpec)
    model: ModelSpec = Field(default_factory=ModelSpec)
    traffic: TrafficSpec = Field(default_factory=TrafficSpec)
    sampling: SamplingSpec = Field(default_factory=SamplingSpec)
    slo: SloSpec = Field(default_factory=SloSpec)
    record: RecordSpec = Field(default_factory=RecordSpec)

    def engine_options(self) -> EngineOptions:
        """The engine floor's own form of the engine and model sections."""
        e, m = self.engine, self.model
        return EngineOptions(
            engine=e.name,
            model=m.name,
            device=m.device,
            dtype=m.dtype,
            threads=m.threads,
            attention=e.attention,
            block_size=e.block_size,
            num_blocks=e.num_blocks,
            kv_memory_bytes=e.kv_memory,
            max_num_seqs=e.max_num_seqs,
            max_num_batched_tokens=e.max_num_batched_tokens,
            max_model_len=e.max_model_len,
            chunked_prefill=e.chunked_prefill,
            prefix_caching=e.prefix_caching,
            policy=e.policy,
            batching=e.batching,
            weights_seed=m.weights_seed,
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-friendly, every default written out."""
        return self.model_dump(mode="json")

    def as_toml(self) -> str:
        """The same as a spec file that `--spec` reads; what is None is left out."""
        lines = []
        data = self.model_dump(mode="json", exclude_none=True)
        tables = {key: value for key, value in data.items() if isinstance(value, dict)}
        for key, value in data.items():
            if key not in tables:
                lines.append(f"{key} = {json.dumps(value)}")
        for key, table in tables.items():
            if table:
                lines.append(f"\n[{key}]")
                lines += [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        return "\n".join(lines) + "\n"


def parse_spec(data: dict[str, Any], where: str) -> RunSpec:
    """A spec from plain data.

    Raises:
        SpecError: the first thing that is wrong, by its key, with what is allowed.
    """
    try:
        return RunSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{where}: {_first_message(error)}") from None


def read_spec(path: Path) -> dict[str, Any]:
    """The plain data of a TOML spec file, yet to be parsed.

    Raises:
        SpecError: absent, unreadable or not TOML; the message has line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"spec {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"spec {path}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"spec {path}: {error}") from None


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        section: Any = RunSpec
        for part in where[:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        return f"unknown key {key!r}; {did_you_mean(where[-1], known)}known are {', '.join(known)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}" if key else message
    shown = json.dumps(first["input"], default=str)
    return f"{key} = {shown}: {message}"


def parse_slo(text: str) -> dict[str, float]:
    """ "ttft=500ms,tpot=50ms" as milliseconds by metric.

    Raises:
        SpecError: an unknown metric (nearest named), a value without sense, or one given twice.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        if name not in SLO_METRICS:
            hint = did_you_mean(name, SLO_METRICS, cutoff=0.4)
            raise SpecError(
                f"--slo {text}: unknown metric {name!r}; {hint}known are {', '.join(SLO_METRICS)}"
            )
        if not equals:
            raise SpecError(f"--slo {text}: {name} has no limit; write {name}=500ms")
        if name in limits:
            raise SpecError(f"--slo {text}: {name} is given twice")
        limits[name] = seconds(value, default_unit="ms") * 1e3
        if limits[name] <= 0:
            raise SpecError(f"--slo {text}: {name} needs a limit above 0")
    return limits
