"""`workbench compare`: runs side by side, whether the differences are real, and why."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.comparison.formats.every import FORMATS
from workbench.errors import EXIT_GATE_FAILED, EXIT_OK, SpecError, StoreError, WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.comparison.compare import MeasuredSide
    from workbench.comparison.comparison import Comparison
    from workbench.comparison.gate import Judgement

_SUFFIXES = {
    ".md": "md", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html", ".tex": "latex",
    ".parquet": "parquet", ".txt": "table",
}  # fmt: skip

EPILOG = """\
RUN is an id or its beginning, a name, a group (of run --repeat), a path, last, last~1, …, a tag, or
a pattern such as 'chat-*'. The first is the baseline. A RUN that means several runs of the same
spec is one side, judged by what differs between its runs; of different specs, one side of each.

a condition of --fail-if is
  ttft_p99 > +5%      a change against the baseline (also tpot_mean < -2ms)
  ttft_p99 > 500ms    a figure itself (also attainment < 90%, failed > 0)

exit codes: 0 fine, 2 bad use, 4 the evidence holds for a condition of --fail-if

examples:
  workbench compare last~1 last
  workbench compare before after --format md --output comparison.md
  workbench compare 'static-*' 'continuous-*' --output report.html
  workbench compare nightly --save-baseline baseline.json
  workbench compare last --baseline baseline.json --fail-if 'ttft_p99 > +5%' --fail-if 'failed > 0'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workbench compare`."""
    parser.epilog = EPILOG
    parser.add_argument("run", metavar="RUN", nargs="+", help="two or more; see below")
    parser.add_argument(
        "--baseline", metavar="FILE", type=Path, help="the baseline, kept in a file"
    )
    parser.add_argument(
        "--save-baseline",
        metavar="FILE",
        type=Path,
        help="keep the first RUN's figures in a file, for --baseline",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: what --output ends in, else table"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: stdout")
    parser.add_argument(
        "--fail-if",
        metavar="CONDITION",
        action="append",
        default=[],
        help="exit 4 where the evidence holds for it; may be given several times",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        action="append",
        default=[],
        help="only this metric, or pattern such as 'ttft_*'; may be given several times. Fewer "
        "metrics show smaller differences",
    )
    parser.add_argument(
        "--run-noise",
        metavar="X%",
        help="allowed for what differs from run to run where a side has a single run: standard "
        "deviation (default 3%%)",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Compares, writes, and judges the conditions."""
    from workbench.comparison.allowance import RUN_NOISE
    from workbench.comparison.compare import compare, measure
    from workbench.comparison.gate import judge, parse_condition
    from workbench.comparison.selecting import select
    from workbench.comparison.stored_baseline import read_baseline, write_baseline
    from workbench.runs.store import RunStore

    kind = _format(arguments)
    conditions = [parse_condition(text) for text in arguments.fail_if]
    noise = RUN_NOISE if arguments.run_noise is None else _share(arguments.run_noise)
    kept = [] if arguments.baseline is None else [read_baseline(arguments.baseline)]
    alone = bool(kept or arguments.save_baseline)
    selection = select(arguments.run, RunStore(), least=1 if alone else 2)
    for problem in selection.problems:
        print(f"workbench compare: {problem}", file=sys.stderr)
    with _as_runners_write():
        sides = [measure(side) for side in (*kept, *selection.sides)]
        if arguments.save_baseline is not None:
            write_baseline(arguments.save_baseline, sides[len(kept)])
            print(f"baseline kept in {arguments.save_baseline}", file=sys.stderr)
            if len(sides) < 2:
                return EXIT_OK
        only = arguments.metric and [*arguments.metric, *(each.metric for each in conditions)]
        comparison = compare(sides, run_noise=noise, only=only, problems=selection.problems)
        judgements = judge(conditions, comparison) if conditions else ()
        _write(comparison, sides, kind, arguments.output, judgements)
    for judgement in judgements:
        print(judgement.sentence, file=sys.stderr)
    failed = any(judgement.holds == "yes" for judgement in judgements)
    return EXIT_GATE_FAILED if failed else EXIT_OK


@contextlib.contextmanager
def _as_runners_write() -> Iterator[None]:
    """What odd values in a record come to. Raises `StoreError` for them."""
    try:
        yield
    except (WorkbenchError, UnicodeError):
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        said = " ".join(f"{error!r:.200}".split())
        raise StoreError(
            f"one of these runs has a record that no runner writes ({said}); compare them two by "
            "two to find it"
        ) from None


def _format(arguments: argparse.Namespace) -> str:
    output: Path | None = arguments.output
    kind: str | None = arguments.format
    if kind is None and output is not None:
        kind = _SUFFIXES.get(output.suffix.lower())
        if kind is None:
            raise SpecError(
                f"--output {output}: its ending says no format; give --format, one of "
                f"{', '.join(FORMATS)}"
            )
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise SpecError("Parquet is no text: give --output FILE.parquet, or a pipe")
    return kind or "table"


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SpecError(f"--run-noise {text}: a share from 0% to 100%, such as 3%")
    return share


def _write(
    comparison: Comparison,
    sides: Sequence[MeasuredSide],
    kind: str,
    output: Path | None,
    judgements: Sequence[Judgement],
) -> None:
    if kind == "table" and output is None:
        from rich.console import Console

        from workbench.comparison.formats.table import ComparisonTable

        width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "100"))
        Console(width=width, highlight=False).print(ComparisonTable(comparison))
        return
    from workbench.comparison.formats.every import write

    written = write(comparison, [side.runs for side in sides], kind, judgements)
    data = written.encode() if isinstance(written, str) else written
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    aside = output.with_name(f".{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(output)
    except OSError as error:
        raise StoreError(f"{output} can't be written: {error.strerror or error}") from None
    print(f"written to {output}", file=sys.stderr)
