"""`workbench export`: a run's data for other tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import EXIT_OK, StoreError
from workbench.runs.schema import SAVED_TABLES

if TYPE_CHECKING:
    from workbench.exporting.source import RunSource

FORMATS = ("csv", "parquet", "jsonl", "aiperf", "guidellm")
ALL = "all"
EPILOG = """\
RUN is an id or its beginning, a name, a path, last, last~1, …

examples:
  workbench export last > requests.csv
  workbench export last --table steps --format jsonl | head
  workbench export chat-a --table all --format parquet --output chat-a/
  workbench export chat-a --table emissions --window --output emissions.parquet
  workbench export last --format aiperf --output artifacts/
  workbench export last --format guidellm --output benchmarks.json

docs/export.md says what is in each column, and what the metrics of AIPerf and GuideLLM are
computed from.
"""

_BY_SUFFIX = {f".{kind}": kind for kind in FORMATS[:3]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench export`."""
    parser.epilog = EPILOG
    parser.add_argument("run", metavar="RUN", help="which run")
    names = (*(table.name for table in SAVED_TABLES), ALL)
    parser.add_argument(
        "--table", action="append", choices=names, metavar="TABLE",
        help=f"what to export, several times for several: {', '.join(names)} (default: requests, "
        "with their metrics)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS,
        help="csv, parquet and jsonl for tables (default: as --output ends, or csv); aiperf and "
        "guidellm write the files that these programs write",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="PATH",
        help="a file, or a folder for several (default: stdout, where it is one file)",
    )  # fmt: skip
    parser.add_argument(
        "--window", action="store_true",
        help="only what belongs to the measured window: no warm-up, no drain",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def execute(arguments: argparse.Namespace) -> int:
    """Exports a run."""
    kind = _format(arguments)
    _refuse_impossible(arguments, kind)
    from workbench.exporting.source import RunSource
    from workbench.runs.store import RunStore

    source = RunSource(RunStore().find(arguments.run))
    for note in source.notes:
        print(f"workbench export: {note}", file=sys.stderr)
    if kind in _BY_SUFFIX.values():
        written = _export_tables(source, kind, arguments)
    else:
        written = _export_peer(source, kind, arguments)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)
    return EXIT_OK


def _format(arguments: argparse.Namespace) -> str:
    if arguments.format is not None:
        return str(arguments.format)
    suffix = arguments.output.suffix.lower() if arguments.output is not None else ""
    return _BY_SUFFIX.get(suffix, "csv")


def _refuse_impossible(arguments: argparse.Namespace, kind: str) -> None:
    """Raises `StoreError` for options that make no sense together."""
    several = len(set(arguments.table or ())) > 1 or ALL in (arguments.table or ())
    if arguments.table and kind not in _BY_SUFFIX.values():
        raise StoreError(
            f"--format {kind} has its own files, no tables; leave --table out, or choose "
            f"--format {', '.join(_BY_SUFFIX.values())}"
        )
    if arguments.output is None:
        if several or kind == "aiperf":
            what = "several tables" if several else "--format aiperf"
            raise StoreError(f"{what} is several files; name a folder for them with --output")
        if kind == "parquet" and sys.stdout.isatty():
            raise StoreError(
                "Parquet is not for a terminal; name a file with --output, or use --format csv"
            )


def _export_tables(source: RunSource, kind: str, arguments: argparse.Namespace) -> list[Path]:
    from workbench.exporting.destination import Files, folder_of_files, standard_output
    from workbench.exporting.tables import TABLE_FORMATS, table_named, write_table

    names = list(dict.fromkeys(arguments.table or ["requests"]))
    if ALL in names:
        tables = source.tables()
    else:
        tables = [table_named(source, name) for name in names]
    options: dict[str, Any] = {"in_window": arguments.window}
    output: Path | None = arguments.output
    if output is None:
        for_terminal = sys.stdout.isatty()
        with standard_output() as out:
            write_table(source, tables[0], kind, out, for_terminal=for_terminal, **options)
        return []
    if len(tables) > 1 or ALL in names:
        output = folder_of_files(output)
    paths = {table.name: _path(output, table.name + TABLE_FORMATS[kind]) for table in tables}
    with Files(paths, arguments.force) as files:
        for table in tables:
            with files.open(table.name) as file:
                write_table(source, table, kind, file, **options)
    return list(paths.values())


def _export_peer(source: RunSource, kind: str, arguments: argparse.Namespace) -> list[Path]:
    from workbench.exporting import aiperf, guidellm
    from workbench.exporting.destination import Files, folder_of_files, standard_output

    output: Path | None = arguments.output
    if output is None:
        with standard_output() as out:
            guidellm.write_report(source, out, in_window=arguments.window)
        return []
    if kind == "guidellm":
        paths = {guidellm.FILE: _path(output, guidellm.FILE)}
    else:
        output = folder_of_files(output)
        paths = {name: output / name for name in (aiperf.SUMMARY_FILE, aiperf.RECORDS_FILE)}
    with Files(paths, arguments.force) as files:
        if kind == "guidellm":
            with files.open(guidellm.FILE) as file:
                guidellm.write_report(source, file, in_window=arguments.window)
        else:
            with files.open(aiperf.RECORDS_FILE) as file:
                figures = aiperf.write_records(source, file, in_window=arguments.window)
            with files.open(aiperf.SUMMARY_FILE) as file:
                aiperf.write_summary(source, figures, file)
    return list(paths.values())


def _path(output: Path, name: str) -> Path:
    """Where a single file goes: `output` itself, or into it where it is a folder."""
    return output / name if output.is_dir() else output
