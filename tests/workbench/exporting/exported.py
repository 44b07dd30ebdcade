"""A run of five requests whose figures can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from recorded import recorded_run

from workbench.runs.folder import RunFolder
from workbench.runs.schema import EMISSIONS, REQUESTS
from workbench.runs.tables import polars_schema

MS = 1_000_000
S = 1_000_000_000

# id, status, scheduled, admitted, stamps of emissions with their tokens, finished; all in ms.
STORY: list[tuple[int, str, int, int | None, list[tuple[int, int]], int]] = [
    (0, "ok", 500, 500, [(600, 1), (700, 1)], 701),  # in the warm-up
    (1, "ok", 1000, 1010, [(1110, 1), (1130, 1), (1170, 1)], 1171),
    (2, "ok", 2000, 2020, [(2220, 4), (2250, 2), (2280, 2)], 2290),
    (3, "failed", 2500, 2500, [(2600, 1)], 2700),
    (4, "ok", 3000, 3000, [(3050, 1)], 3060),
]
PROMPT_TOKENS = {0: 10, 1: 20, 2: 40, 3: 50, 4: 30}


def five_requests(path: Path) -> RunFolder:
    """A finished run with `STORY`; its window is from 1 s to 3 s."""
    folder = recorded_run(path, requests=4)
    rows = [_request(*told) for told in STORY]
    pl.DataFrame(rows, schema=polars_schema(REQUESTS)).write_parquet(folder.parquet("requests"))
    emissions = sorted(
        (time * MS, request_id, tokens)
        for request_id, _, _, _, pieces, _ in STORY
        for time, tokens in pieces
    )
    pl.DataFrame(
        [
            {"step": i, "time_ns": time_ns, "request_id": request_id, "tokens": tokens}
            for i, (time_ns, request_id, tokens) in enumerate(emissions)
        ],
        schema=polars_schema(EMISSIONS),
    ).write_parquet(folder.parquet("emissions"))
    window = {"start_ns": S, "end_ns": 3 * S}
    content = folder.read()
    content["summary"]["window"] = window
    folder.write(content | {"window": window})
    return folder


def _request(
    request_id: int,
    status: str,
    scheduled: int,
    admitted: int | None,
    pieces: list[tuple[int, int]],
    finished: int,
) -> dict[str, Any]:
    values: dict[str, Any] = {column.name: 0 for column in REQUESTS.columns}
    return values | {
        "request_id": request_id,
        "status": status,
        "reason": "the server said 500" if status == "failed" else "",
        "scheduled_ns": scheduled * MS,
        "admitted_ns": None if admitted is None else admitted * MS,
        "started_ns": None if admitted is None else admitted * MS,
        "prefilled_ns": pieces[0][0] * MS,
        "transferred_ns": None,
        "first_token_ns": pieces[0][0] * MS,
        "last_token_ns": pieces[-1][0] * MS,
        "finished_ns": finished * MS,
        "prompt_tokens": PROMPT_TOKENS[request_id],
        "max_tokens": 8,
        "output_tokens": sum(tokens for _, tokens in pieces),
        "first_tokens": pieces[0][1],
        "fitted": False,
        "session_id": None,
        "turn": None,
    }


def read_json(path: Path) -> Any:
    """The content of a JSON file; NaN and infinity are no JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path} holds {word}")

    return json.loads(path.read_text(), parse_constant=refuse)
