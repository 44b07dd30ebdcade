"""`workbench bench`: measures this program's own parts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.cli import bench_engine
from workbench.cli.engine_flags import add_engine_flags, engine_options
from workbench.errors import EXIT_OK
from workbench.launch.threads import spin_briefly
from workbench.units import seconds

if TYPE_CHECKING:
    from engines.options import EngineOptions

ENGINE_FLAGS = (
    "--model", "--device", "--dtype", "--threads", "--attention", "--kernels", "--graphs",
    "--overlap", "--quantization", "--kv-cache-dtype",
)  # fmt: skip
"""The flags of `workbench run` that the benchmarks of an engine's parts take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmarks and their options."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    loop = kinds.add_parser("loop", help="scheduler and recorder round a worker that does nothing")
    loop.add_argument("--steps", type=int, default=2000, metavar="N", help="default 2000")
    compute = kinds.add_parser("compute", help="prefill and decode tokens/s, by batch")
    compute.add_argument("--prompt", type=int, default=128, metavar="TOKENS", help="default 128")
    compute.add_argument("--output", type=int, default=64, metavar="TOKENS", help="default 64")
    compute.add_argument("--batch", default="1,4,16", metavar="N,N,…", help="default 1,4,16")
    compute.add_argument("--peer", action="store_true", help="transformers too, same weights")
    engine = kinds.add_parser(
        "engine", help="tokens/s on fixed work, the floor, and what is between"
    )
    bench_engine.add_arguments(engine)
    recorder = kinds.add_parser("recorder", help="throughput with recorder and telemetry on, off")
    recorder.add_argument("--seconds", type=seconds, default=10.0, metavar="S", help="a side, 10")
    recorder.add_argument("--repeat", type=int, default=5, metavar="N", help="default 5")
    prefix = kinds.add_parser("prefix", help="TTFT with the prefix cache on and off")
    prefix.add_argument("--prefix", type=int, default=1000, metavar="TOKENS", help="default 1000")
    prefix.add_argument("--rate", type=float, default=0.3, metavar="N", help="default 0.3 req/s")
    prefix.add_argument("--duration", type=seconds, default=60.0, metavar="S", help="default 60")
    http = kinds.add_parser("http", help="the remote engine against a local server of no delay")
    http.add_argument("--client", default="direct,httpx", metavar="NAME,…", help="direct,httpx")
    http.add_argument("--seconds", type=seconds, default=5.0, metavar="S", help="a figure, 5")
    http.add_argument("--concurrency", type=int, default=64, metavar="N", help="default 64")
    http.add_argument("--rate", type=float, default=500.0, metavar="N", help="default 500 req/s")
    verdicts = kinds.add_parser("verdicts", help="how often a comparison's verdicts are right")
    verdicts.add_argument("--pairs", type=int, metavar="N", help="of single runs, default 200")
    verdicts.add_argument("--experiments", type=int, metavar="N", help="default 100")
    verdicts.add_argument("--repeat", type=int, default=5, metavar="N", help="runs a side, 5")
    verdicts.add_argument("--quick", action="store_true", help="a tenth of it, in a minute")
    for each in (compute, recorder, prefix):
        add_engine_flags(each, ENGINE_FLAGS)
    for each in (loop, compute, engine, recorder, prefix, http, verdicts):
        each.add_argument("--json", action="store_true", help="as JSON")


def execute(arguments: argparse.Namespace) -> int:
    """Runs one benchmark and prints its figures."""
    spin_briefly(os.environ)
    if arguments.kind == "verdicts":
        return _verdicts(arguments)
    if arguments.kind == "engine":
        return bench_engine.execute(arguments)
    if arguments.kind == "loop":
        from workbench.bench.loop import run_loop

        result = run_loop(arguments.steps)
    elif arguments.kind == "compute":
        from workbench.bench.compute import run_compute

        batches = [int(part) for part in arguments.batch.split(",")]
        options = _options(arguments, max_num_seqs=max(batches), max_num_batched_tokens=512)
        result = run_compute(options, arguments.prompt, arguments.output, batches, arguments.peer)
    elif arguments.kind == "http":
        from workbench.bench.http import run_http

        clients = arguments.client.split(",")
        result = run_http(clients, arguments.seconds, arguments.concurrency, arguments.rate)
    elif arguments.kind == "recorder":
        from workbench.bench.ab import run_recorder

        options = _options(arguments, prefix_caching=False)
        result = run_recorder(options, arguments.seconds, arguments.repeat)
    else:
        from workbench.bench.ab import run_prefix

        result = run_prefix(
            lambda caching: _options(arguments, prefix_caching=caching),
            arguments.prefix,
            arguments.rate,
            arguments.duration,
        )
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        _print(result)
    return EXIT_OK


def _verdicts(arguments: argparse.Namespace) -> int:
    from workbench.bench.verdict_table import verdict_table
    from workbench.bench.verdicts import Extent, run_verdicts

    pairs, experiments = (20, 10) if arguments.quick else (200, 100)
    extent = Extent(
        pairs if arguments.pairs is None else arguments.pairs,
        experiments if arguments.experiments is None else arguments.experiments,
        arguments.repeat,
    )
    result = run_verdicts(extent, progress=partial(_tell, extent.experiments))
    print(json.dumps(result, indent=1) if arguments.json else verdict_table(result))
    return EXIT_OK


def _tell(of: int, done: int) -> None:
    """How far it is, to a terminal alone."""
    if sys.stderr.isatty():
        end = "\n" if done == of else ""
        print(f"\rexperiment {done} of {of}", end=end, file=sys.stderr, flush=True)


def _options(arguments: argparse.Namespace, **more: Any) -> EngineOptions:
    return replace(engine_options(arguments, ENGINE_FLAGS), **more)


def _print(result: dict[str, Any], indent: int = 0) -> None:
    """Nested figures as indented lines; a list of rows as one line each."""
    for key, value in result.items():
        if isinstance(value, dict):
            print(" " * indent + f"{key}:")
            _print(value, indent + 2)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(" " * indent + f"{key}:")
            for row in value:
                cells = "  ".join(f"{name} {_figure(cell)}" for name, cell in row.items())
                print(" " * (indent + 2) + cells)
        else:
            print(" " * indent + f"{key}: {_figure(value)}")


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_figure(each) for each in value)
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
