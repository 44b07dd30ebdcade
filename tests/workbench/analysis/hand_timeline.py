"""Timelines written by hand: steps in ms with who was in them, as the tables of a run."""

from __future__ import annotations

from typing import Any

import polars as pl

from workbench.runs.schema import EMISSIONS, EVENTS, REQUESTS, STEPS
from workbench.runs.tables import polars_schema

MS = 1_000_000


class HandTimeline:
    """Steps are added in order; request 0 is the one whose story is told.

    A step's members are `{request: chunk tokens}` for prefill and a list of ids for decode; a
    prefill named in `first` brings its first token.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.emissions: list[dict[str, Any]] = []

    def step(
        self,
        start: float,
        end: float,
        prefill: dict[int, int] | None = None,
        decode: list[int] | None = None,
        first: list[int] | None = None,
        blocked: str | None = "",
        running: int | None = None,
        plan: float = 0.0,
        planned: float | None = None,
    ) -> int:
        """Adds a step from `start` to `end`, whose planning took `plan` and began at `planned`;
        None: right before it started."""
        prefill, decode, first = prefill or {}, decode or [], first or []
        number, end_ns = len(self.steps), round(end * MS)
        kind = "decode" if not prefill else "mixed" if decode else "prefill"
        members = len(prefill) + len(decode)
        self.steps.append(
            {
                "step": number,
                "kind": kind,
                "schedule_ns": round(plan * MS),
                "start_ns": round(start * MS),
                "end_ns": end_ns,
                "num_seqs": members,
                "prefill_tokens": sum(prefill.values()),
                "decode_tokens": len(decode),
                "emitting": len(decode) + len(first),
                "running": members if running is None else running,
                "waiting": 0,
                "live_blocks": 0,
                "cached_blocks": 0,
                "worker": 0,
                "blocked": blocked,
                "planned_ns": None if planned is None else round(planned * MS),
            }
        )
        for request_id, tokens in prefill.items():
            self._event("prefill", number, end_ns, request_id, tokens, "")
        for request_id in [*decode, *first]:
            self.emissions.append(
                {"step": number, "time_ns": end_ns, "request_id": request_id, "tokens": 1}
            )
        return number

    def preempt(self, request_id: int, tokens: int, reason: str = "no KV block") -> None:
        """While the last step was planned."""
        step = self.steps[-1]
        self._event("preempt", step["step"], step["end_ns"], request_id, tokens, reason)

    def remote(self, times: list[float], request_id: int = 0) -> None:
        """Tokens that a server sent."""
        self.emissions += [
            {"step": None, "time_ns": round(time * MS), "request_id": request_id, "tokens": 1}
            for time in times
        ]

    def decode_steady(self, start: float, each: float, count: int, who: list[int]) -> float:
        """`count` decode steps one after the other; the end of the last, ms."""
        for number in range(count):
            self.step(start + number * each, start + (number + 1) * each, decode=who)
        return start + count * each

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Emissions, events and steps."""
        return (
            pl.DataFrame(self.emissions, schema=polars_schema(EMISSIONS)),
            pl.DataFrame(self.events, schema=polars_schema(EVENTS)),
            pl.DataFrame(self.steps, schema=polars_schema(STEPS)),
        )

    def _event(
        self, kind: str, step: int, time_ns: int, request_id: int, tokens: int, detail: str
    ) -> None:
        self.events.append(
            {
                "time_ns": time_ns,
                "step": step,
                "kind": kind,
                "request_id": request_id,
                "tokens": tokens,
                "detail": detail,
            }
        )


def request_row(**known: Any) -> dict[str, Any]:
    """A row of `requests`; stamps without `_ns` are ms, what is left out is null."""
    row: dict[str, Any] = dict.fromkeys(REQUESTS.names)
    row |= {"request_id": 0, "status": "ok", "reason": "", "prompt_tokens": 100, "max_tokens": 10}
    row |= {"cached_tokens": 0, "preemptions": 0, "recomputed_tokens": 0}
    row |= {"recompute_ns": 0, "ttft_recompute_ns": 0}
    for name, value in known.items():
        if f"{name}_ns" in row:
            row[f"{name}_ns"] = None if value is None else round(value * MS)
        else:
            row[name] = value
    return row
