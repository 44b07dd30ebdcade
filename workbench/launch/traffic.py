"""From a spec to traffic: the rate that is offered, and the requests."""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.registry import BuiltEngine
from workbench.errors import SpecError
from workbench.runs.folder import RunFolder
from workbench.spec import RunSpec
from workloads.arrivals import arrival_process
from workloads.catalogue import workload
from workloads.fitting import fit_to_context
from workloads.request import SamplingParams
from workloads.synthetic import SyntheticRequests
from workloads.text import TokenStream, byte_encoder
from workloads.traffic import ClosedLoop, OpenLoop, Traffic
from workloads.workload import Workload

CALIBRATION_REQUESTS = 512


def planned_rate(
    folder: RunFolder, spec: RunSpec, built: BuiltEngine
) -> tuple[float | None, dict[str, Any] | None]:
    """The offered rate in requests per second, and how it was calibrated.

    A given rate is taken as it is (no calibration). "auto" measures the worker's capacity for
    the lengths of this run's first requests and offers the spec's share of it. A closed loop has
    no rate.
    """
    traffic = spec.traffic
    if traffic.concurrency is not None:
        return None, None
    if traffic.rate != "auto":
        return float(traffic.rate), None
    folder.update(state="calibrating")
    asked = _workload(spec).lengths(spec.seed, np.arange(CALIBRATION_REQUESTS))
    inputs, outputs, _ = fit_to_context(*asked, built.engine.max_model_len)
    capacity = built.capacity(inputs, outputs, traffic.calibration)
    rate = traffic.share * capacity.requests_per_s
    return rate, capacity.as_dict() | {"share": traffic.share}


def build_traffic(spec: RunSpec, built: BuiltEngine, rate: float | None) -> Traffic:
    """The traffic that the spec asks for, from prompts in the model's own tokens.

    Raises:
        SpecError: the rate is so low that the duration holds no arrival after warm-up.
        WorkloadError: a part of the spec is impossible.
    """
    sampling = spec.sampling
    source = SyntheticRequests(
        _workload(spec),
        token_stream(built),
        seed=spec.seed,
        max_model_len=built.engine.max_model_len,
        sampling=SamplingParams(
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            ignore_eos=sampling.ignore_eos,
        ),
    )
    traffic = spec.traffic
    if traffic.concurrency is not None:
        return ClosedLoop(source, concurrency=traffic.concurrency, duration_s=traffic.duration)
    assert rate is not None
    options = {} if traffic.burstiness is None else {"burstiness": traffic.burstiness}
    loop = OpenLoop.at_rate(
        source,
        arrival_process(traffic.arrival, **options),
        rate_per_s=rate,
        duration_s=traffic.duration,
        seed=spec.seed,
    )
    if not loop.planned:
        raise SpecError(
            f"a rate of {rate:.3g} requests/s gives no arrival in {traffic.duration:g} s; "
            "raise --duration or --rate"
        )
    return loop


def token_stream(built: BuiltEngine) -> TokenStream:
    """Real English text in the model's own tokens, or as bytes for a model without a tokenizer."""
    return TokenStream.encoded(built.encode or byte_encoder(built.config.vocab_size))


def _workload(spec: RunSpec) -> Workload:
    chosen = workload(spec.traffic.workload)
    shared = spec.traffic.shared_prefix_tokens
    return chosen.with_shared_prefix(shared) if shared else chosen
