"""What is usual in a run: the medians that a slow request is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from workbench.analysis.metrics import NS_PER_MS, STAGES


@dataclass(frozen=True, slots=True)
class Baseline:
    """Medians over a run; None where nothing has the figure.

    Attributes:
        requests: how many have a first token.
        ttft_ms, tpot_ms: TTFT and TPOT; stages_ms: TTFT's stages, by name.
        prefill_ms_per_token: prefill ÷ prompt tokens computed, of a request.
        decode_batch: sequences in a step that decodes; decode_step_ms: how long a step that only
            decodes takes, by the number of sequences in it.
    """

    requests: int
    ttft_ms: float | None
    tpot_ms: float | None
    stages_ms: Mapping[str, float | None]
    prefill_ms_per_token: float | None
    decode_batch: float | None
    decode_step_ms: Mapping[int, float]

    def expected_step_ms(self, batch: int) -> float | None:
        """How long a decode step of `batch` sequences takes: of the nearest batch that there is."""
        if not self.decode_step_ms:
            return None
        return self.decode_step_ms[min(self.decode_step_ms, key=lambda size: abs(size - batch))]


def run_baseline(measured: pl.DataFrame, steps: pl.DataFrame) -> Baseline:
    """The medians of requests as `metrics.request_metrics` gives them, and of engine steps."""
    computed = pl.col("prompt_tokens") - pl.col("cached_tokens").fill_null(0)
    medians = measured.select(
        pl.col("first_token_ns").count().alias("requests"),
        pl.col("ttft_ms", "tpot_ms", *(f"{stage}_ms" for stage in STAGES)).median(),
        per_token=(pl.col("prefill_ms") / pl.when(computed > 0).then(computed)).median(),
    ).row(0, named=True)
    decoding = steps.filter(pl.col("decode_tokens") > 0)
    by_batch = (
        decoding.filter(pl.col("kind") == "decode")
        .group_by("num_seqs")
        .agg(took_ms=((pl.col("end_ns") - pl.col("start_ns")) / NS_PER_MS).median())
    )
    batch = decoding["num_seqs"].median()
    return Baseline(
        requests=medians["requests"],
        ttft_ms=medians["ttft_ms"],
        tpot_ms=medians["tpot_ms"],
        stages_ms={stage: medians[f"{stage}_ms"] for stage in STAGES},
        prefill_ms_per_token=medians["per_token"],
        decode_batch=batch if isinstance(batch, (int, float)) else None,
        decode_step_ms=dict(by_batch.iter_rows()),
    )
