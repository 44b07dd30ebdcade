"""Rows per second and peak memory of the trace readers.

    python benchmarks/trace_readers.py [--rows 1000000] [--formats azure mooncake] [--keep FOLDER]

Makes a file of each format by seed, then reads each in a process of its own. The peak is that of
the whole process: Python, numpy, polars and the columns of the result, which is what a run holds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

# The checkout that this file is in, wherever it is called from.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_START = datetime(2023, 11, 16, 18, 15, 46)


def azure(rows: int, rng: random.Random) -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    ticks = 0
    for _ in range(rows):
        ticks += rng.randrange(3_000_000)
        stamp = _START + timedelta(microseconds=ticks // 10)
        yield (
            f"{stamp:%Y-%m-%d %H:%M:%S}.{stamp.microsecond:06d}{ticks % 10},"
            f"{rng.randrange(1, 8000)},{rng.randrange(1, 1000)}\r\n"
        )


def burstgpt(rows: int, rng: random.Random) -> Iterator[str]:
    yield (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n"
    )
    stamp = 19_440_110
    for _ in range(rows):
        stamp += rng.randrange(3)
        asked, answered = rng.randrange(1, 4000), rng.randrange(0, 900)
        # One request of 20 is of a conversation, as published.
        session = f"{rng.randrange(rows // 40 + 1):032x}" if rng.random() < 0.05 else ""
        kind = "Conversation log" if session else "API log"
        yield f"{stamp}.0,{session},4,ChatGPT,{asked},{answered},{asked + answered},{kind}\n"


def mooncake(rows: int, rng: random.Random) -> Iterator[str]:
    fresh = 0
    for i in range(rows):
        blocks = rng.randrange(1, 48)
        shared = rng.randrange(blocks)
        first = rng.randrange(fresh + 1)
        ids = [*range(first, first + shared), *range(fresh, fresh + blocks - shared)]
        fresh += blocks - shared
        yield (
            json.dumps(
                {
                    "timestamp": i // 10 * 3000,
                    "input_length": blocks * 512 - rng.randrange(512),
                    "output_length": rng.randrange(1, 900),
                    "hash_ids": ids,
                }
            )
            + "\n"
        )


def bailian(rows: int, rng: random.Random) -> Iterator[str]:
    fresh = 0
    for i in range(rows):
        blocks = rng.randrange(1, 48)
        continues = i > 100 and rng.random() < 0.4
        yield (
            json.dumps(
                {
                    "chat_id": i,
                    "parent_chat_id": i - rng.randrange(1, 100) if continues else -1,
                    "timestamp": round(i * 0.061, 3),
                    "input_length": blocks * 16 - rng.randrange(16),
                    "output_length": rng.randrange(1, 900),
                    "type": "text",
                    "turn": 2 if continues else 1,
                    "hash_ids": list(range(fresh, fresh + blocks)),
                }
            )
            + "\n"
        )
        fresh += blocks


def weka(rows: int, rng: random.Random) -> Iterator[str]:
    """Sessions of 100 requests, each of 64 blocks more than the one before; a tenth of the rows."""
    for number in range(max(rows // 1000, 1)):
        requests = [
            {"t": i * 7.5, "type": "s", "in": i * 640 + 700, "out": rng.randrange(1, 900)}
            | {"hash_ids": list(range((i * 640 + 700) // 64))}
            for i in range(100)
        ]
        yield json.dumps({"id": str(number), "block_size": 64, "requests": requests}) + "\n"


def native(rows: int, rng: random.Random) -> Iterator[str]:
    yield json.dumps({"workbench_trace": 1, "block_tokens": 512, "columns": ["session", "turn"]})
    yield "\n"
    for i in range(rows):
        blocks = rng.randrange(1, 48)
        yield (
            json.dumps(
                {
                    "arrival_ns": i * 61_000_000,
                    "input_tokens": blocks * 512,
                    "output_tokens": rng.randrange(1, 900),
                    "session": i // 4,
                    "turn": i % 4,
                    "hash_ids": list(range(i, i + blocks)),
                }
            )
            + "\n"
        )


FORMATS: dict[str, Callable[[int, random.Random], Iterator[str]]] = {
    f.__name__: f for f in (azure, burstgpt, mooncake, bailian, weka, native)
}


def read(path: str) -> None:
    """Reads one file and prints its figures; the rest of this module is not needed for it."""
    import resource

    from workloads.traces.formats import read_trace

    start = time.perf_counter()
    trace = read_trace(path)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    ids = 0 if trace.prefixes is None else len(trace.prefixes.hash_ids)
    size_mb = Path(path).stat().st_size / 1e6
    print(
        f"{Path(path).name:<14} {len(trace):>10,} rows {ids / len(trace):>7.1f} ids/row "
        f"{size_mb:>7.1f} MB {seconds:>7.2f} s "
        f"({used.ru_utime + used.ru_stime:.2f} s of CPU) {len(trace) / seconds:>11,.0f} rows/s "
        f"{peak_mib:>6.0f} MiB peak"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--keep", type=Path, help="make the files here, and use those that exist")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read(asked.read)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.formats:
            path = folder / name
            if not path.exists():
                with path.open("w", newline="") as file:
                    file.writelines(FORMATS[name](asked.rows, random.Random(asked.seed)))
            _read_apart(path)
            if name == "azure":
                packed = folder / "azure.gz"
                with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as file:
                    shutil.copyfileobj(plain, file)
                _read_apart(packed)


def _read_apart(path: Path) -> None:
    subprocess.run([sys.executable, __file__, "--read", str(path)], check=True)


if __name__ == "__main__":
    main()
