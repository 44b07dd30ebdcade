"""How busy the GPUs are at the moment, and what slows them down: a line for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.analysis.lookup import at
from workbench.analysis.quantities import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_GPUS = 4
_PARTS = (
    ("SMs", "sm_active_percent"),
    ("tensor", "tensor_active_percent"),
    ("DRAM", "dram_bandwidth_percent"),
)


def gpu_lines(
    devices: Mapping[str, Mapping[str, float]], content: Mapping[str, Any]
) -> Iterator[str]:
    """Lines such as "gpu0: SMs 91 %, tensor 61 %, DRAM 72 %; software power cap"; none of a GPU
    that tells nothing of the kind, but what it lacks, once the run's record has the reasons.

    Args:
        devices: the last sample of each device; content: what `run.json` holds.
    """
    from profiles.samples import HARMLESS_THROTTLE_REASONS, decode_throttle_reasons
    from workbench.analysis.device_facts import absent_line

    gpus = [name for name in devices if name.startswith("gpu")]
    for name in gpus[:_MOST_GPUS]:
        sample = devices[name]
        parts = [
            f"{label} {percent(sample[column])}" for label, column in _PARTS if column in sample
        ]
        slowed = [
            reason
            for reason in decode_throttle_reasons(sample.get("throttle_reasons", float("nan")))
            if reason not in HARMLESS_THROTTLE_REASONS
        ]
        said = "; ".join(part for part in (", ".join(parts), ", ".join(slowed)) if part)
        if said:
            yield f"{name}: {said}"
        figures = at(content, "summary", "devices", name)
        lacks = absent_line(name, figures, at(content, "telemetry", "reasons") or {})
        if lacks:
            yield f"{name} lacks {lacks}"
