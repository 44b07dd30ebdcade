"""GPM: NVML's counters of how busy a GPU's units are, offered from Hopper on without a profiler."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

LEAST_GAP_NS = 80_000_000
"""Samples closer than this tell nothing: the driver renews its counters about as often (on an
H200, reads 42 ms apart had zeros and blanks by turns, reads 100 ms apart none)."""

_MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class GpmMetric:
    """One metric, in the column's unit after `scale`."""

    name: str
    column: str
    metric_id: int
    scale: float = 1.0


def gpm_metrics(nvml: Any, counted: Collection[str]) -> list[GpmMetric]:
    """How busy the units are, and the rates of links that are not in `counted`: those whose bytes
    NVML's own counters tell (`pcie_rx`, `pcie_tx`, `nvlink_rx`, `nvlink_tx`)."""

    def share(name: str, metric_id: int) -> GpmMetric:
        return GpmMetric(name, f"{name}_percent", metric_id)

    links = {
        "pcie_rx": nvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC,
        "pcie_tx": nvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC,
        "nvlink_rx": nvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC,
        "nvlink_tx": nvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC,
    }
    return [
        share("sm_active", nvml.NVML_GPM_METRIC_SM_UTIL),
        share("sm_occupancy", nvml.NVML_GPM_METRIC_SM_OCCUPANCY),
        share("tensor_active", nvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL),
        share("hmma_active", nvml.NVML_GPM_METRIC_HMMA_TENSOR_UTIL),
        share("dram_bandwidth", nvml.NVML_GPM_METRIC_DRAM_BW_UTIL),
        *(
            GpmMetric(name, f"{name}_bytes_per_s", metric_id, _MIB)
            for name, metric_id in links.items()
            if name not in counted
        ),
    ]


class GpmCounters:
    """The counters of one GPU: two samples in turn, and what happened between them.

    Args:
        counted: links that need no rates, as `gpm_metrics` has them.

    Raises:
        NVMLError: the device or the driver has no GPM.
    """

    def __init__(self, nvml: Any, handle: Any, counted: Collection[str] = ()) -> None:
        if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        self._nvml = nvml
        self._handle = handle
        self._before: Any = None  # the sample before, once there is one
        self._before_ns = 0
        self._running = False  # whether the counters ran all the time since the sample before
        self._asked: list[GpmMetric] = []
        self._request = nvml.c_nvmlGpmMetricsGet_t()
        self._request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        self._ask_for(gpm_metrics(nvml, counted))
        self._spare = nvml.nvmlGpmSampleAlloc()
        try:
            self._other = nvml.nvmlGpmSampleAlloc()
        except nvml.NVMLError:
            nvml.nvmlGpmSampleFree(self._spare)
            raise

    def read(
        self, now_ns: int
    ) -> tuple[list[tuple[GpmMetric, float]], list[tuple[GpmMetric, Exception]]]:
        """Means since the read before, scaled, and why the others have none.

        Nothing at the first two reads: the counters start some time after the first (an H200 that
        was busy for 90 of the first 100 ms was called busy for 24 of them). Nor within
        `LEAST_GAP_NS` of the read before, which then stays the one that the next goes back to.

        Raises:
            NVMLError: there is no sample now.
        """
        if self._before is not None and now_ns - self._before_ns < LEAST_GAP_NS:
            return [], []
        self._nvml.nvmlGpmSampleGet(self._handle, self._spare)
        before, self._before, self._before_ns = self._before, self._spare, now_ns
        self._spare = self._other if before is None else before
        running, self._running = self._running, before is not None
        if not running or not self._asked:
            return [], []
        self._request.sample1, self._request.sample2 = before, self._before
        self._nvml.nvmlGpmMetricsGet(self._request)
        told, untold = [], []
        for metric, answer in zip(self._asked, self._request.metrics, strict=False):
            if answer.nvmlReturn == self._nvml.NVML_SUCCESS:
                told.append((metric, answer.value * metric.scale))
            else:
                untold.append((metric, self._nvml.NVMLError(answer.nvmlReturn)))
        return told, untold

    def drop(self, metric: GpmMetric) -> None:
        """Asks no more for a metric that this device does not have."""
        self._ask_for([each for each in self._asked if each is not metric])

    def close(self) -> None:
        """Frees both samples; the counters are not read again."""
        samples = (self._spare, self._other if self._before is None else self._before)
        for sample in samples:
            self._nvml.nvmlGpmSampleFree(sample)

    def _ask_for(self, asked: list[GpmMetric]) -> None:
        self._asked = asked
        self._request.numMetrics = len(asked)
        for place, metric in enumerate(asked):
            self._request.metrics[place].metricId = metric.metric_id
