"""`workbench trace`: what a trace or a file of texts holds, and traces in the native format."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from workbench.cli.trace_flags import add_trace_flags, trace_options
from workbench.errors import EXIT_OK, SpecError
from workloads.traces.options import TraceOptions
from workloads.traces.trace import Trace

EPILOG = """\
examples:
  workbench trace info conversation_trace.jsonl
  workbench trace info AzureLLMInferenceTrace_conv.csv --window 10m..20m --json
  workbench trace convert conversation_trace.jsonl small.jsonl --limit 300 --scale-lengths 1/32
"""


TEXT_FORMATS = ("sharegpt", "text")
"""What `detect_format` calls files of texts, which have no stamps."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions on a trace and their options."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="rates, lengths, shared prefixes, and pictures of them")
    info.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a trace in any format that is known, or a set of texts",
    )
    info.add_argument("--json", action="store_true", help="the figures as JSON, no pictures")
    convert = actions.add_parser("convert", help="write it as JSONL of this program's own format")
    convert.add_argument("file", type=Path, metavar="FILE")
    convert.add_argument("out", type=Path, metavar="OUT.jsonl")
    convert.add_argument("--force", action="store_true", help="overwrite OUT.jsonl")
    for each in (info, convert):
        add_trace_flags(each)


def execute(arguments: argparse.Namespace) -> int:
    """Shows or converts a trace."""
    options = trace_options(arguments)
    if arguments.action == "info":
        _info(arguments.file, options, arguments.seed, arguments.json)
    else:
        _convert(arguments.file, arguments.out, options, arguments.seed, arguments.force)
    return EXIT_OK


def _read(path: Path, options: TraceOptions, seed: int) -> tuple[Trace, list[str]]:
    """The trace and what was changed; untouched, failed requests and all, where nothing was asked
    of it."""
    from workloads.traces.formats import read_trace
    from workloads.traces.transform import apply

    trace = read_trace(path, options)
    if _is_untouched(options):
        return trace, []
    changed, changes = apply(trace, options, seed)
    return changed, changes.sentences()


def _is_untouched(options: TraceOptions) -> bool:
    return replace(options, skip_bad=False) == TraceOptions()


def _info(path: Path, options: TraceOptions, seed: int, as_json: bool) -> None:
    from workloads.traces.detect import detect_format
    from workloads.traces.statistics import describe

    kind = detect_format(str(path))
    if kind in TEXT_FORMATS and _is_untouched(options):
        _text_info(path, kind, options.skip_bad, as_json)
        return
    trace, sentences = _read(path, options, seed)
    statistics = describe(trace)
    if as_json:
        facts: dict[str, Any] = {
            "file": trace.path,
            "format": trace.format,
            "origin": trace.origin,
            "skipped": trace.skipped,
            "first_skipped": trace.first_skipped,
            "sessions_own_clock": trace.sessions_own_clock,
            "changes": sentences,
        }
        print(json.dumps(facts | asdict(statistics), indent=1, allow_nan=False))
        return
    from workbench.analysis.trace_report import TraceReport

    _show(TraceReport(trace, statistics, sentences))


def _text_info(path: Path, kind: str, skip_bad: bool, as_json: bool) -> None:
    from workbench.analysis.text_report import text_facts, text_table
    from workloads.conversations.text_sets import read_text_set

    facts = text_facts(read_text_set(str(path), skip_bad))
    if as_json:
        print(json.dumps({"file": str(path), "format": kind} | asdict(facts), indent=1))
    else:
        _show(text_table(str(path), kind, facts))


def _show(what: Any) -> None:
    """On stdout, as wide as the terminal or 100 columns."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "100"))
    Console(width=width, highlight=False).print(what)


def _convert(path: Path, out: Path, options: TraceOptions, seed: int, force: bool) -> None:
    from workloads.traces.native import write_native

    if out.exists() and not force:
        raise SpecError(f"{out} exists; --force overwrites it")
    if not out.parent.is_dir():
        raise SpecError(f"{out} cannot be written: {out.parent} is not a folder")
    trace, sentences = _read(path, options, seed)
    aside = out.with_name(f".{out.name}.part")
    try:
        write_native(trace, str(aside))
        aside.rename(out)
    except OSError as error:
        raise SpecError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    print(f"{len(trace):,} requests written to {out}")
