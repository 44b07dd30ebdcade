"""`workbench perplexity`: how well a model predicts a text, under any settings of the engine."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.analysis.quantities import counted
from workbench.cli.engine_flags import add_engine_flags, engine_options
from workbench.cli.progress_line import progress_line
from workbench.errors import EXIT_OK, SpecError, did_you_mean
from workbench.launch.threads import spin_briefly

if TYPE_CHECKING:
    from engines.options import EngineOptions

FLAGS = (
    "--model", "--device", "--dtype", "--threads", "--block-size", "--max-num-batched-tokens",
    "--attention", "--kernels", "--quantization", "--kv-cache-dtype",
)  # fmt: skip
"""The flags of `workbench run` that matter to a single prompt."""

UNQUANTISED = "quantization=none,kv-cache-dtype=auto"

EPILOG = """\
examples:
  workbench perplexity --text book.txt
  workbench perplexity --text book.txt --device cuda --quantization fp8 --against
  workbench perplexity --text book.txt --kv-cache-dtype fp8 --against kv-cache-dtype=auto
  workbench perplexity --text book.txt --attention triton --against attention=reference

Each token but the first is scored once, after at least window - stride tokens before it. Tokens
pass through the engine's own decoder, attention backend and KV cache.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, its windows, and the engine's flags."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--text", metavar="FILE", type=Path, required=True, help="the text, in UTF-8"
    )
    parser.add_argument(
        "--window", type=int, metavar="TOKENS", help="default the model's positions, at most 2048"
    )
    parser.add_argument("--stride", type=int, metavar="TOKENS", help="default half a window")
    parser.add_argument("--limit", type=int, metavar="TOKENS", help="only the text's first TOKENS")
    parser.add_argument(
        "--against",
        nargs="?",
        const=UNQUANTISED,
        metavar="FLAG=VALUE,…",
        help=f"score the same windows with these flags instead, too, and tell the difference "
        f"(alone: {UNQUANTISED})",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_engine_flags(parser, FLAGS)


def execute(arguments: argparse.Namespace) -> int:
    """Scores the text, once or twice, and prints the figures."""
    spin_briefly(os.environ)
    options = engine_options(arguments, FLAGS)
    others = None
    if arguments.against is not None:
        others = engine_options(arguments, FLAGS, _read_against(arguments.against))
        if others == options:
            raise SpecError(
                f"--against {arguments.against}: both sides have the same settings; give this one "
                "--quantization or --kv-cache-dtype, or name what the other has instead"
            )
        if others.model != options.model:
            raise SpecError("--against model=…: both sides must have the same model's tokens")
    result = _measure(arguments, options, others)
    print(json.dumps(result, indent=1, allow_nan=False) if arguments.json else _table(result))
    return EXIT_OK


def _measure(
    arguments: argparse.Namespace, options: EngineOptions, others: EngineOptions | None
) -> dict[str, Any]:
    from workbench.bench.perplexity import difference, figures, read_text, score, tokenise

    plain = read_text(arguments.text)
    with progress_line() as show:
        text = tokenise(
            plain, options.model, arguments.window, arguments.stride, arguments.limit, show
        )
        scores = score(options, text, show)
        against = None if others is None else score(others, text, show)
    result: dict[str, Any] = {
        "text": str(arguments.text),
        "bytes": text.num_bytes,
        "tokens": int(scores.tokens.sum()),
        "windows": len(text.windows),
        "window": text.window,
        "stride": text.stride,
    } | figures(scores, text)
    if against is not None:
        result["against"] = figures(against, text)
        result["difference"] = difference(scores, against)
    return result


def _read_against(text: str) -> dict[str, str]:
    """ "attention=reference,dtype=float32" as texts by flag."""
    values = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        flag = f"--{name.strip().removeprefix('--')}"
        if flag not in FLAGS or not equals:
            known = ", ".join(each.removeprefix("--") for each in FLAGS)
            raise SpecError(
                f"--against {text!r}: {part!r} is no FLAG=VALUE; {did_you_mean(flag, FLAGS)}flags "
                f"are {known}"
            )
        values[flag] = value.strip()
    return values


def _table(result: dict[str, Any]) -> str:
    sides = [result, *([result["against"]] if "against" in result else [])]
    lines = [
        f"{result['text']}: {counted(result['tokens'], 'token')} scored in "
        f"{counted(result['windows'], 'window')} of {result['window']:,}, "
        f"stride {result['stride']:,}"
    ]
    if len(sides) > 1:
        lines.append(f"{'':<18}{'this':>16}{'the other':>16}")
    rows = (
        ("perplexity", "perplexity", ".4f"),
        ("NLL a token, nats", "nll_per_token", ".6f"),
        ("bits a byte", "bits_per_byte", ".4f"),
        ("tokens/s", "tokens_per_s", ",.0f"),
    )
    for label, key, form in rows:
        cells = ["–" if side[key] is None else format(side[key], form) for side in sides]
        lines.append(f"{label:<18}" + "".join(f"{cell:>16}" for cell in cells))
    names = [name for name in SHOWN if any(side["settings"].get(name) for side in sides)]
    for name in names:
        cells = [str(side["settings"].get(name) or "–") for side in sides]
        lines.append(f"{name.replace('_', ' '):<18}" + "".join(f"{cell:>16}" for cell in cells))
    if "difference" in result:
        change = result["difference"]
        error = change["standard_error_percent"]
        lines.append(
            f"perplexity {change['perplexity_percent']:+.3f} % against the other "
            f"(standard error {'–' if error is None else f'{error:.3f} %'})"
        )
    return "\n".join(lines)


SHOWN = ("device", "dtype", "attention", "kernels", "quantization", "kv_dtype")
"""Settings that the table tells, of all that the engine says of itself."""
