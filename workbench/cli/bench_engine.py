"""`workbench bench engine`: its options, and its figures as a table."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from workbench.analysis.engine_parts import engine_parts
from workbench.analysis.quantities import counted
from workbench.cli.engine_flags import add_engine_flags, engine_options
from workbench.cli.progress_line import progress_line
from workbench.errors import EXIT_OK

EPILOG = """\
works, all requests at once, EOS ignored:
  nano     256 prompts of 100 to 1024 tokens, as many out, temperature 0.6 (nano-vllm's)
  decode   1 prompt of 512 tokens, 256 out: ms a step
  prefill  4 prompts of 8000 tokens, 1 out: time to the last first token
  idle     256 prompts of 512 tokens, 128 out: what the GPU waits between steps

examples:
  workbench bench engine --model random:qwen3-0.6b --device cuda
  workbench bench engine --model random:llama-3.1-8b --work decode --no-graphs
  workbench bench engine --model random:llama-3.1-8b --work nano --quantization fp8 --json
  workbench bench engine --model random:tiny --device cpu --work decode --requests 4
"""

DEFAULT_MODEL = "random:qwen3-0.6b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The work and the engine's flags."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--work", default="nano", metavar="NAME", help="nano (default), decode, prefill, idle, all"
    )
    parser.add_argument("--requests", type=int, metavar="N", help="default the work's own")
    parser.add_argument("--input-tokens", type=int, metavar="N", help="of each prompt, not of nano")
    parser.add_argument(
        "--output-tokens", type=int, metavar="N", help="of each answer, not of nano"
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="median of N, default 3")
    parser.add_argument(
        "--ceilings",
        default="measured",
        metavar="KIND",
        help="what the device can do: measured (default, a second) or spec (published)",
    )
    add_engine_flags(parser, defaults={"--model": DEFAULT_MODEL})


def execute(arguments: argparse.Namespace) -> int:
    """Runs the work and prints its figures."""
    options = engine_options(arguments)
    from workbench.bench.speed import run_speed
    from workbench.bench.speed_work import works_for

    works = works_for(
        arguments.work, arguments.requests, arguments.input_tokens, arguments.output_tokens
    )
    words = ["workbench", *sys.argv[1:]]
    with progress_line() as show:
        result = run_speed(options, works, arguments.repeat, arguments.ceilings, words, show)
    print(json.dumps(result, indent=1, allow_nan=False) if arguments.json else table(result))
    return EXIT_OK


def table(result: dict[str, Any]) -> str:
    """The figures of every work as lines."""
    engine, ceilings = result["engine"], result["ceilings"]
    shown = ", ".join(part for part in (engine["dtype"], engine_parts(engine)) if part)
    rates = [_scaled(ceilings["bytes_per_s"], "B/s"), _scaled(ceilings["flop_per_s"], "FLOP/s")]
    if engine["quantization"] != "none":
        rates.append(f"quantised {_scaled(ceilings['quantised_flop_per_s'], 'FLOP/s')}")
    lines = [
        f"{engine['model']} on {engine['device_name']}: {shown}",
        f"ceilings: {', '.join(rates)} ({ceilings['source']})",
    ]
    for row in result["works"]:
        lines += ["", *_lines(row, ceilings)]
    return "\n".join(lines)


def _lines(row: dict[str, Any], ceilings: dict[str, Any]) -> list[str]:
    every = ", ".join(f"{each:,.0f}" for each in row["every_output_tokens_per_s"])
    lines = [
        f"{row['work']}: {counted(row['requests'], 'request')}, "
        f"{row['prompt_tokens']:,} tokens in, {row['output_tokens']:,} out",
        f"  output tokens/s   {row['output_tokens_per_s']:,.0f} (runs: {every})",
        f"  seconds           {row['seconds']:.4f}, {row['prompt_tokens_per_s']:,.0f} prompt "
        f"tokens/s",
        f"  steps             {row['steps']:,}, {_split(row)}",
    ]
    decode = row["decode_steps"]
    if decode is not None:
        lines += [
            f"  decode of {decode['batch']:<8,}{decode['ms_p50']:.3f} ms a step, p99 "
            f"{decode['ms_p99']:.3f}; floor {decode['floor_ms']:.3f}, "
            f"{decode['times_floor']:.2f} times that",
            f"                    {_split(decode)}",
        ]
    of_bytes = row["tb_per_s"] * 1e12 / ceilings["bytes_per_s"]
    moved, rate = _scaled(row["bytes"], "B"), _scaled(row["tb_per_s"] * 1e12, "B/s")
    flop, flop_rate = _scaled(row["flop"], "FLOP"), _scaled(row["tflop_per_s"] * 1e12, "FLOP/s")
    lines += [
        f"  memory            {moved}, {rate} ({of_bytes:.0%} of the ceiling)",
        f"  arithmetic        {flop}, {flop_rate}",
        f"  floor             {row['floor_seconds']:.4g} s, {row['times_floor']:.2f} times that",
    ]
    return lines


def _split(row: dict[str, Any]) -> str:
    """Where the time of a mean step went."""
    step, idle = row["step_ms"], row["gpu_idle_share"]
    parts = ("gpu", "gap", "schedule", "launch")
    told = ", ".join(f"{part} {_ms(step[part])}" for part in parts)
    idle_text = "–" if idle is None else f"{idle:.1%}"
    return f"mean {_ms(step['period'])} ms ({told}); GPU idle {idle_text}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _scaled(value: float, unit: str) -> str:
    """Three figures with the prefix that fits: "4.14 TB/s"."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= factor:
            form = ".3g" if value < 1e15 else ",.0f"
            return f"{value / factor:{form}} {prefix}{unit}"
    return f"{value:,.0f} {unit}"
