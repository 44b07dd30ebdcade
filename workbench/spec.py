"""The run spec: what a run is to be, typed and strict, as flags or as TOML on disk."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from engines.errors import EngineConfigError
from engines.options import EngineOptions
from engines.remote.options import RemoteOptions
from workbench.errors import SpecError, did_you_mean
from workbench.sections import (
    SLO_METRICS,
    EngineSpec,
    ModelSpec,
    RecordSpec,
    SamplingSpec,
    Section,
    SloSpec,
    TargetSpec,
    TraceSpec,
    TrafficSpec,
)
from workbench.units import parse_window, seconds
from workloads.traces.options import TraceOptions


class RunSpec(Section):
    """Everything that determines a run."""

    name: Annotated[str, Field(max_length=80, pattern=r"^[\w .:+-]*$")] = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    profile: Literal["none", "minimal"] = "minimal"
    engine: EngineSpec = Field(default_factory=EngineSpec)
    model: ModelSpec = Field(default_factory=ModelSpec)
    target: TargetSpec = Field(default_factory=TargetSpec)
    traffic: TrafficSpec = Field(default_factory=TrafficSpec)
    trace: TraceSpec = Field(default_factory=TraceSpec)
    sampling: SamplingSpec = Field(default_factory=SamplingSpec)
    slo: SloSpec = Field(default_factory=SloSpec)
    record: RecordSpec = Field(default_factory=RecordSpec)

    @property
    def what(self) -> str:
        """What is sent, in a word: the workload's name, or the trace file's."""
        return Path(self.trace.file).stem[:40] if self.trace.file else self.traffic.workload

    @model_validator(mode="after")
    def _consistent(self) -> RunSpec:
        if self.target.url:
            try:
                self.remote_options()  # before anything of the URL, a password maybe, is saved
            except EngineConfigError as error:
                raise ValueError(f"target: {error}") from None
            if self.traffic.rate == "auto" and not (
                self.traffic.concurrency or self.traffic.rate_file or self.trace.file
            ):
                raise ValueError(
                    "a remote server's capacity isn't measured: give a rate (or a concurrency), "
                    "or let `workbench sweep` find one"
                )
            return self
        if self.target.processes > 1:
            raise ValueError("target.processes: only load on a remote server takes several")
        try:
            self.engine_options()
        except EngineConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def remote_options(self) -> RemoteOptions:
        """The engine floor's own form of the target section."""
        t = self.target
        return RemoteOptions(
            url=t.url,
            api=t.api,
            model=t.model,
            tokenizer=t.tokenizer,
            connect_s=t.connect_timeout,
            first_byte_s=t.first_byte_timeout or t.timeout,
            stall_s=t.stall_timeout or t.timeout,
            total_s=t.timeout,
            retries=t.retries,
            http2=t.http2,
            http_client=t.http_client,
            trust_env=t.trust_env,
            api_key_env=t.api_key_env,
            prompt_form=t.prompt_form,
            ignore_eos=self.sampling.ignore_eos,
            max_connections=t.max_connections,
            scrape_s=t.scrape,
            extra_body=t.extra_body,
        )

    def trace_options(self) -> TraceOptions:
        """The workload floor's own form of the trace section."""
        t = self.trace
        return TraceOptions(
            skip_bad=t.skip_bad,
            window_s=None if t.window is None else parse_window(t.window),
            limit=t.limit,
            jitter_s=t.jitter,
            speed=t.speed,
            scale_lengths=t.scale_lengths,
            max_context=t.max_context,
        )

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
            kernels=e.kernels,
            cuda_graphs=e.cuda_graphs,
            overlap=e.overlap,
            quantization=m.quantization,
            kv_dtype=e.kv_dtype,
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
                lines += [f"{name} = {_toml(value)}" for name, value in table.items()]
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """JSON is TOML but for its objects, and for null, which TOML has not."""
    if isinstance(value, dict):
        inside = ", ".join(
            f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items() if each is not None
        )
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return json.dumps(value)


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
