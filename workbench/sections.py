"""The sections of a run spec: what can be said of the engine, the traffic, the target, …"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from engines.options import (
    ATTENTION,
    DEVICES,
    DTYPES,
    ENGINES,
    KERNELS,
    KV_DTYPES,
    QUANTIZATIONS,
)
from engines.remote.options import APIS, HTTP_CLIENTS, PROMPT_FORMS
from engines.scheduling.config import BATCHING, POLICIES
from workbench.units import parse_window, seconds, size_bytes
from workloads.arrivals import ARRIVAL_PROCESSES
from workloads.catalogue import workloads
from workloads.lengths import length_distribution
from workloads.modulation_text import modulation
from workloads.names import unknown_name
from workloads.thinking import KINDS as THINK_KINDS

DEFAULT_WARMUP_SHARE = 0.1
DEFAULT_WARMUP_MOST_S = 10.0
DEFAULT_DURATION_S = 120.0
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


def _tokens(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        length_distribution(value)
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, BeforeValidator(_milliseconds), Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Tokens = Annotated[str, BeforeValidator(_tokens)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """One table of a spec: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class EngineSpec(Section):
    """The engine and its switches; None, like "auto", is chosen for the device and the model."""

    name: Annotated[str, _one_of("engine", ENGINES)] = "monolithic"
    attention: Annotated[str, _one_of("attention", ATTENTION)] = "auto"
    kernels: Annotated[str, _one_of("kernels", KERNELS)] = "auto"
    cuda_graphs: bool | None = None
    overlap: bool | None = None
    kv_dtype: Annotated[str, _one_of("kv_dtype", KV_DTYPES)] = "auto"
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


class ModelSpec(Section):
    """The model and where it runs."""

    name: Annotated[str, Field(min_length=1)] = "smollm2-135m-instruct"
    device: Annotated[str, _one_of("device", DEVICES)] = "auto"
    dtype: Annotated[str, _one_of("dtype", DTYPES)] = "auto"
    quantization: Annotated[str, _one_of("quantization", QUANTIZATIONS)] = "none"
    threads: Count | None = None
    weights_seed: int = 0


class TrafficSpec(Section):
    """What is asked, and when.

    `rate` "auto" offers `share` of the measured capacity; of conversations it is the mean rate of
    requests, not of conversations. With `concurrency` the loop is closed and rate, share and
    arrival have no say. `arrival` is the workload's own (poisson for most) where it is not given;
    `input_tokens` and `output_tokens` ("512", or "100..200") take the place of the workload's
    lengths. `modulation` (`NAME:key=value,…`) changes the rate over time, `rate_file` holds
    absolute rates. With `documents`, every prompt or conversation begins with one of so many, of
    `document_tokens`, whose popularity follows Zipf's law of exponent `document_zipf`. The gaps
    between the turns of conversations take `gap_scale` times as long. `warmup` is the first part of
    `duration`. `cancel_share` of the requests are given up by their user `cancel_after` seconds
    after they were due.
    """

    workload: Annotated[str, _one_of("workload", tuple(w.name for w in workloads()))] = "chat"
    arrival: Annotated[str, _one_of("arrival process", tuple(ARRIVAL_PROCESSES))] | None = None
    burstiness: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    shape: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    modulation: str | None = None
    rate_file: str | None = None
    rate: Literal["auto"] | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"
    share: Annotated[float, Field(gt=0, le=10)] = 0.7
    concurrency: Count | None = None
    think: Annotated[Seconds, Field(ge=0)] = 0.0
    think_kind: Annotated[str, _one_of("think time", THINK_KINDS)] = "exponential"
    duration: Annotated[Seconds, Field(gt=0, le=30 * 86_400)] | None = None
    warmup: Annotated[Seconds, Field(ge=0)] | None = None
    drain: Annotated[Seconds, Field(ge=0)] = 120.0
    calibration: Annotated[Seconds, Field(gt=0, le=600)] = 4.0
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    shared_prefix_tokens: Annotated[int, Field(ge=0)] = 0
    documents: Count | None = None
    document_tokens: Tokens = "1000"
    document_zipf: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    gap_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    cancel_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    cancel_after: Annotated[Seconds, Field(gt=0)] = 5.0

    @property
    def duration_s(self) -> float:
        """Seconds of arrivals where no trace says how long it is: as asked, or 120."""
        return DEFAULT_DURATION_S if self.duration is None else self.duration

    @property
    def warmup_s(self) -> float:
        """Seconds of warm-up of a run of `duration_s`."""
        return self.warmup_of(self.duration_s)

    def warmup_of(self, duration_s: float) -> float:
        """Seconds of warm-up: as asked, or a tenth of the duration, at most 10 s."""
        if self.warmup is not None:
            return self.warmup
        return min(DEFAULT_WARMUP_SHARE * duration_s, DEFAULT_WARMUP_MOST_S)

    @model_validator(mode="after")
    def _consistent(self) -> TrafficSpec:
        if self.warmup is not None and self.duration is not None and self.warmup >= self.duration:
            raise ValueError(
                f"warmup {self.warmup:g} s leaves nothing of duration {self.duration:g} s "
                "to measure"
            )
        process = self.arrival or "poisson"
        for option, owner in (("burstiness", "gamma"), ("shape", "weibull")):
            if getattr(self, option) is not None and process != owner:
                raise ValueError(f"{option} belongs to arrival {owner}, not to {process}")
        if self.modulation is not None:
            modulation(self.modulation)
        if self.rate_file is not None and (self.modulation is not None or self.rate != "auto"):
            raise ValueError("a rate_file holds the rates: give no rate and no modulation with it")
        if self.concurrency is None:
            if self.think:
                raise ValueError("think belongs to a closed loop: give a concurrency with it")
        else:
            if self.rate != "auto":
                raise ValueError("give either a rate (open loop) or a concurrency (closed loop)")
            given = [name for name in ("modulation", "rate_file") if getattr(self, name)]
            if given:
                raise ValueError(f"{given[0]} belongs to an open loop, not to a concurrency")
        return self


class TraceSpec(Section):
    """A trace to replay, or a set of texts to send; `file` "" is none.

    A trace with stamps brings its own arrivals, and the traffic section's rate or concurrency, if
    given, take their place. Options as `workloads.traces.options.TraceOptions` has them.
    """

    file: str = ""
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    window: str | None = None
    limit: Count | None = None
    jitter: Annotated[Seconds, Field(ge=0)] = 0.0
    scale_lengths: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    max_context: Annotated[int, Field(ge=2)] | None = None
    skip_bad: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> TraceSpec:
        if self.window is not None:
            parse_window(self.window)
        fields = type(self).model_fields
        if not self.file and any(getattr(self, name) != fields[name].default for name in fields):
            raise ValueError("options of a trace, but no file: give --trace FILE")
        return self


class TargetSpec(Section):
    """A server that is driven over HTTP instead of an engine; `url` "" is none.

    The fields as `engines.remote.options.RemoteOptions` has them; `processes` is how many the load
    comes from.
    """

    url: str = ""
    api: Annotated[str, _one_of("api", APIS)] = "auto"
    model: str | None = None
    tokenizer: Annotated[str, Field(min_length=1)] = "smollm2-135m-instruct"
    timeout: Annotated[Seconds, Field(gt=0)] = 600.0
    connect_timeout: Annotated[Seconds, Field(gt=0)] = 10.0
    first_byte_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    stall_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 0
    http2: bool = False
    http_client: Annotated[str, _one_of("http_client", HTTP_CLIENTS)] = "auto"
    trust_env: bool | None = None
    api_key_env: str | None = None
    prompt_form: Annotated[str, _one_of("prompt_form", PROMPT_FORMS)] = "text"
    max_connections: Count = 1024
    scrape: Annotated[Seconds, Field(ge=0)] = 1.0
    extra_body: dict[str, Any] = Field(default_factory=dict)
    processes: Annotated[int, Field(ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _consistent(self) -> TargetSpec:
        if not self.url:
            fields = type(self).model_fields
            plain = {
                name: field.get_default(call_default_factory=True) for name, field in fields.items()
            }
            given = [name for name in fields if getattr(self, name) != plain[name]]
            if given:
                raise ValueError(f"{given[0]} is of a server, but no url is given: --target URL")
        return self


class SamplingSpec(Section):
    """How output tokens are drawn; temperature 0 is greedy."""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    ignore_eos: bool = True


class SloSpec(Section):
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


class RecordSpec(Section):
    """How the run is recorded. `fsync`: "segments" survives a power cut, "end" a crash."""

    flush: Annotated[Seconds, Field(ge=0.05, le=60)] = 0.25
    fsync: Literal["segments", "end", "never"] = "end"
