"""The same closed loop from `workbench run --target` and from a public client, side by side.

    python benchmarks/cross_check.py --server http://127.0.0.1:8192/v1 --model NAME \\
        --tokenizer FOLDER --peer guidellm|aiperf --peer-command PATH [--concurrency 1] [--pin 1]

Both tools take turns at one server, `--rounds` times, and each begins every other round. What is
compared are the figures that each tool recorded of its single requests, without the first
`--warmup-requests`: the mean and the median (p50) over requests, then the median over rounds, with
the lowest and the highest round beside it, so that noise is told from disagreement. The difference
is the median of those inside each round. Where the server is llama.cpp's and `--server-log` names
its log, its own clock is the third opinion.

docs/cross-check.md says how the definitions differ, and what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# The checkout that this file is in, wherever it is called from.
_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

import polars as pl  # noqa: E402
import psutil  # noqa: E402

from workbench.analysis.metrics import request_metrics  # noqa: E402

_NS_PER_S = 1_000_000_000
_IDLE_WAIT_S = 600
_TTFT, _TPOT = "TTFT, ms", "TPOT, ms"
_PROMPT_MS, _DECODE_MS = "prompt eval, ms", "eval ÷ (tokens − 1), ms"
_PROMPT_EVAL = re.compile(r"prompt eval time =\s+([\d.]+) ms")
_EVAL = re.compile(r"(?<!prompt) eval time =\s+([\d.]+) ms /\s+(\d+) tokens")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison: which of our columns stands against which of the peer's.

    Attributes:
        ours: a column of `request_metrics`, or of `_our_requests`. theirs: the peer's own name.
        column: the peer's column here, as `Peer.requests` names it.
    """

    name: str
    ours: str
    column: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Load:
    """What both tools are asked to do.

    Attributes:
        requests: those that count; `warmup_requests` more come before them.
    """

    server: str
    model: str
    tokenizer: str
    our_tokenizer: str
    api: str
    requests: int
    warmup_requests: int
    concurrency: int
    prompt_tokens: int
    output_tokens: int
    extra_body: str

    @property
    def all_requests(self) -> int:
        return self.requests + self.warmup_requests

    @property
    def host(self) -> str:
        """The server's address as the peers want it, without the version."""
        return self.server.rstrip("/").removesuffix("/v1")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one tool.

    Attributes:
        figures: by row; the mean over requests, and `NAME p50` their median.
        server: the server's own, by name; empty where there is no log.
    """

    figures: dict[str, float]
    server: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A public client: its command line, its report, and what its names mean in ours.

    Attributes:
        requests: reads a report's requests that ended well, as a frame with `begin_ns`, `end_ns`,
            `ttft_ms`, `tpot_ms`, `latency_ms`, `prompt_tokens` and `output_tokens`.
        throughput: the output throughput that the report itself gives, tok/s.
    """

    rows: tuple[Row, ...]
    command: Callable[[str, Load, Path, int], list[str]]
    requests: Callable[[Path], pl.DataFrame]
    throughput: Callable[[Path], float]
    throughput_name: str
    environment: Callable[[Load], dict[str, str]]


# guidellm: one process, a report of every request


def _guidellm_command(executable: str, load: Load, folder: Path, seed: int) -> list[str]:
    path = "/v1/completions" if load.api == "completions" else "/v1/chat/completions"
    backend = {
        "kind": "openai_http",
        "target": load.host,
        "model": load.model,
        "api_routes": {"/health": "v1/models"},
        "request_format": path,
        "extras": {"body": json.loads(load.extra_body)},
    }
    lengths = f"prompt_tokens={load.prompt_tokens},output_tokens={load.output_tokens}"
    return [
        *(executable, "run", "--disable-console-interactive", "--backend", json.dumps(backend)),
        *("--profile", f"kind=concurrent,streams={load.concurrency}"),
        *("--constraint", f"kind=max_requests,count={load.all_requests}"),
        *("--tokenizer", f"kind=huggingface_auto,model={load.tokenizer}"),
        *("--data", f"kind=synthetic_text,{lengths}", "--seed", f"kind=static,value={seed}"),
        *("--output", f"kind=json,path={folder / 'benchmarks.json'}"),
    ]


def _guidellm_report(folder: Path) -> dict[str, Any]:
    benchmarks = json.loads((folder / "benchmarks.json").read_text())["benchmarks"]
    report: dict[str, Any] = benchmarks[0]
    return report


def _guidellm_requests(folder: Path) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "begin_ns": round(each["request_start_time"] * _NS_PER_S),
                "end_ns": round(each["request_end_time"] * _NS_PER_S),
                "ttft_ms": each["time_to_first_token_ms"],
                "tpot_ms": each["inter_token_latency_ms"],
                "latency_ms": each["request_latency"] * 1e3,
                "prompt_tokens": each["prompt_tokens"],
                "output_tokens": each["output_tokens"],
            }
            for each in _guidellm_report(folder)["requests"]["successful"]
        ]
    )


def _guidellm_throughput(folder: Path) -> float:
    told = _guidellm_report(folder)["metrics"]["output_tokens_per_second"]["successful"]["mean"]
    return float(told)


def _guidellm_environment(load: Load) -> dict[str, str]:
    """A tokenizer that is here needs no question to a hub."""
    return {"HF_HUB_OFFLINE": "1"} if Path(load.tokenizer).exists() else {}


# aiperf: several processes, a line for every request


def _aiperf_command(executable: str, load: Load, folder: Path, seed: int) -> list[str]:
    return [
        *(executable, "profile", "-m", load.model, "-u", load.host, "--streaming"),
        *("--endpoint-type", load.api, "--use-legacy-max-tokens", "--use-server-token-count"),
        *("--extra-inputs", load.extra_body, "--tokenizer", load.tokenizer),
        *("--isl", str(load.prompt_tokens), "--isl-stddev", "0"),
        *("--osl", str(load.output_tokens), "--osl-stddev", "0"),
        *("--num-dataset-entries", str(load.all_requests), "--random-seed", str(seed)),
        *("--concurrency", str(load.concurrency), "--request-count", str(load.requests)),
        *("--warmup-request-count", str(load.warmup_requests), "--workers-max", "1"),
        *("--export-level", "records", "--no-gpu-telemetry", "--no-server-metrics"),
        *("--ui", "none", "--output-artifact-dir", str(folder)),
    ]


def _aiperf_requests(folder: Path) -> pl.DataFrame:
    rows = []
    for line in (folder / "profile_export.jsonl").read_text().splitlines():
        told = json.loads(line)
        about, metrics = told["metadata"], told["metrics"]
        if told.get("error") or about["was_cancelled"]:
            continue
        rows.append(
            {
                "begin_ns": about["request_start_ns"],
                "end_ns": about["request_end_ns"],
                "ttft_ms": metrics["time_to_first_token"]["value"],
                "tpot_ms": metrics["inter_token_latency"]["value"],
                "latency_ms": metrics["request_latency"]["value"],
                "prompt_tokens": metrics["usage_prompt_tokens"]["value"],
                "output_tokens": metrics["output_sequence_length"]["value"],
            }
        )
    return pl.DataFrame(rows)


def _aiperf_throughput(folder: Path) -> float:
    report = json.loads((folder / "profile_export_aiperf.json").read_text())
    return float(report["output_token_throughput"]["avg"])


PEERS = {
    "guidellm": Peer(
        rows=(
            Row(
                "TTFT from sending, ms",
                "engine_ttft_ms",
                "ttft_ms",
                "time_to_first_token_ms: first header written → first text",
            ),
            Row(
                _TTFT,
                "ttft_ms",
                "ttft_ms",
                "the same; ours is from the intended arrival, connecting included",
            ),
            Row(
                _TPOT,
                "tpot_ms",
                "tpot_ms",
                "inter_token_latency_ms: (last − first text) / (tokens − 1)",
            ),
            Row(
                "request latency, ms",
                "sent_to_end_ms",
                "latency_ms",
                "request_latency: first header written → end of the stream",
            ),
        ),
        command=_guidellm_command,
        requests=_guidellm_requests,
        throughput=_guidellm_throughput,
        throughput_name="output_tokens_per_second.mean",
        environment=_guidellm_environment,
    ),
    "aiperf": Peer(
        rows=(
            Row(
                _TTFT,
                "ttft_ms",
                "ttft_ms",
                "time_to_first_token: before connecting → first text",
            ),
            Row(
                _TPOT,
                "tpot_ms",
                "tpot_ms",
                "inter_token_latency: (latency − TTFT) / (tokens − 1)",
            ),
            Row(
                "E2E, ms",
                "e2e_ms",
                "latency_ms",
                "request_latency: before connecting → last text",
            ),
        ),
        command=_aiperf_command,
        requests=_aiperf_requests,
        throughput=_aiperf_throughput,
        throughput_name="output_token_throughput",
        environment=lambda _: {},
    ),
}

_OUR_WORDS = {
    "ttft_ms": "TTFT: first_token − scheduled",
    "engine_ttft_ms": "engine_ttft: first_token − admitted",
    "tpot_ms": "TPOT: (last_token − first_token) / (n_out − n_first)",
    "e2e_ms": "E2E: last_token − scheduled",
    "sent_to_end_ms": "finished − admitted",
}
_THROUGHPUT = "output tok/s"
_REPORTED = "output tok/s, as reported"
_TOKENS = ("prompt_tokens", "output_tokens")


# Running


def run_ours(load: Load, rows: tuple[Row, ...], folder: Path, seed: int, pin: str) -> Outcome:
    """Our side: a closed loop over a trace of as many rows as requests, which ends by itself."""
    trace = folder / "trace.jsonl"
    row = {"input_tokens": load.prompt_tokens, "output_tokens": load.output_tokens}
    lines = [{"workbench_trace": 1}] + [{"arrival_ns": i} | row for i in range(load.all_requests)]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [
        *(sys.executable, "-m", "workbench", "run", "--json", "--out", str(folder / "run")),
        *("--target", load.server, "--target-model", load.model, "--api", load.api),
        *("--tokenizer", load.our_tokenizer, "--trace", str(trace), "--warmup", "0"),
        *("--concurrency", str(load.concurrency), "--seed", str(seed)),
    ]
    told = json.loads(_call(command, pin, {"PYTHONPATH": str(_ROOT)}))
    requests = _our_requests(folder / "run")
    figures = _figures(load, requests, {row.name: row.ours for row in rows})
    figures[_REPORTED] = told["summary"]["throughput"]["output_tokens_per_s"]
    return Outcome(figures)


def _our_requests(folder: Path) -> pl.DataFrame:
    recorded = pl.read_parquet(folder / "requests.parquet").filter(pl.col("status") == "ok")
    return request_metrics(recorded).with_columns(
        pl.col("scheduled_ns").alias("begin_ns"),
        pl.col("finished_ns").alias("end_ns"),
        ((pl.col("finished_ns") - pl.col("admitted_ns")) / 1e6).alias("sent_to_end_ms"),
    )


def run_peer(peer: Peer, executable: str, load: Load, folder: Path, seed: int, pin: str) -> Outcome:
    """The other side."""
    _call(peer.command(executable, load, folder, seed), pin, peer.environment(load), folder)
    figures = _figures(load, peer.requests(folder), {row.name: row.column for row in peer.rows})
    figures[_REPORTED] = peer.throughput(folder)
    return Outcome(figures)


def _figures(load: Load, requests: pl.DataFrame, columns: dict[str, str]) -> dict[str, float]:
    """Of the requests after the warm-up: the same statistics for every tool."""
    if len(requests) != load.all_requests:
        raise SystemExit(f"{len(requests)} of {load.all_requests} requests ended well")
    kept = requests.sort("begin_ns").tail(load.requests)
    figures: dict[str, float] = {}
    for name, column in columns.items():
        values = kept[column].to_list()
        figures[name] = statistics.fmean(values)
        figures[f"{name} p50"] = statistics.median(values)
    took_ns = max(kept["end_ns"].to_list()) - min(kept["begin_ns"].to_list())
    figures[_THROUGHPUT] = sum(kept["output_tokens"].to_list()) / (took_ns / _NS_PER_S)
    figures |= {name: statistics.fmean(kept[name].to_list()) for name in _TOKENS}
    return figures


def _call(
    command: list[str], pin: str, environment: dict[str, str], folder: Path | None = None
) -> str:
    """What the command wrote to stdout; ends this program with its last words if it fails."""
    pinned = ["taskset", "-c", pin] if pin else []
    done = subprocess.run(
        [*pinned, *command],
        env={**os.environ, "DO_NOT_TRACK": "1", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stdout}{done.stderr[-4000:]}")
    return done.stdout


def wait_until_idle(percent: float) -> None:
    """Returns when the machine was busy less than `percent` for two seconds."""
    until = time.monotonic() + _IDLE_WAIT_S
    while psutil.cpu_percent(interval=2.0) >= percent:
        if time.monotonic() > until:
            sys.exit(f"the machine was not idle within {_IDLE_WAIT_S} s")


def read_server_log(log: Path, begin: int, load: Load) -> dict[str, float]:
    """llama.cpp's own times of what it served since the log was `begin` bytes long."""
    time.sleep(0.5)  # it writes after it answers
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode("utf-8", "replace")
    prompts = [float(ms) for ms in _PROMPT_EVAL.findall(text)]
    decodes = [float(ms) / (int(tokens) - 1) for ms, tokens in _EVAL.findall(text)]
    if not len(prompts) == len(decodes) == load.all_requests:
        sys.exit(f"{log} tells of {len(prompts)} requests, where {load.all_requests} were sent")
    return {
        _PROMPT_MS: statistics.fmean(prompts[load.warmup_requests :]),
        _DECODE_MS: statistics.fmean(decodes[load.warmup_requests :]),
    }


def _ratios(load: Load, figures: dict[str, float], served: dict[str, float]) -> dict[str, float]:
    """A tool's figures over the server's own of the same requests: here its drift cancels.

    Only for one request at a time: those that share steps are counted twice in the server's times.
    """
    if load.concurrency > 1:
        return {}
    tokens = figures["output_tokens"]
    busy_ms = served[_PROMPT_MS] + served[_DECODE_MS] * (tokens - 1)
    ttfts = [name for name in figures if name.startswith("TTFT") and name.endswith(", ms")]
    return {
        f"{name.removesuffix(', ms')} ÷ prompt eval": figures[name] / served[_PROMPT_MS]
        for name in ttfts
    } | {
        "TPOT ÷ (eval ÷ (tokens − 1))": figures[_TPOT] / served[_DECODE_MS],
        "time a request ÷ (prompt eval + eval)": 1e3 * tokens / figures[_THROUGHPUT] / busy_ms,
    }


# Comparing


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of the result: each tool's median over rounds, and its lowest and highest round.

    Attributes:
        difference_percent: ours against theirs, the median of the differences inside each round:
            its two runs are neighbours in time, and a machine that changes its speed between
            rounds changes both.
    """

    name: str
    ours: float
    our_range: tuple[float, float]
    theirs: float
    their_range: tuple[float, float]
    difference_percent: float


def compare(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> list[Compared]:
    """Line by line, over the rounds."""
    lines = []
    for name in ours[0]:
        mine, other = [each[name] for each in ours], [each[name] for each in theirs]
        differences = [100 * (a - b) / b for a, b in zip(mine, other, strict=True)]
        lines.append(
            Compared(
                name,
                statistics.median(mine),
                (min(mine), max(mine)),
                statistics.median(other),
                (min(other), max(other)),
                statistics.median(differences),
            )
        )
    return lines


def table(lines: list[Compared], peer: str, within_percent: float) -> str:
    """The lines as a Markdown table."""
    shown = [
        f"| | ours | rounds | {peer} | rounds | difference | within {within_percent:g} % |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        ranges = [f"{low:.4g}–{high:.4g}" for low, high in (line.our_range, line.their_range)]
        verdict = "yes" if abs(line.difference_percent) <= within_percent else "**no**"
        shown.append(
            f"| {line.name} | {line.ours:.4g} | {ranges[0]} | {line.theirs:.4g} | {ranges[1]} "
            f"| {line.difference_percent:+.2f} % | {verdict} |"
        )
    return "\n".join(shown)


def definitions(peer_name: str, peer: Peer) -> str:
    """What stands against what."""
    shown = [f"| | ours | {peer_name} |", "|---|---|---|"]
    shown += [f"| {row.name} | {_OUR_WORDS[row.ours]} | {row.theirs} |" for row in peer.rows]
    alike = "output tokens / (first request's begin → last one's end), after the warm-up"
    shown.append(f"| {_THROUGHPUT} | {alike} | the same, from its own stamps |")
    shown.append(f"| {_REPORTED} | the summary's output throughput | {peer.throughput_name} |")
    return "\n".join(shown)


def cross_check(asked: argparse.Namespace, load: Load) -> tuple[list[Outcome], list[Outcome]]:
    """Runs the rounds: ours and the peer's outcomes, in order."""
    peer = PEERS[asked.peer]
    sides: dict[str, Callable[[Path, int], Outcome]] = {
        "workbench": lambda folder, seed: run_ours(load, peer.rows, folder, seed, asked.pin),
        asked.peer: lambda folder, seed: run_peer(
            peer, asked.peer_command, load, folder, seed, asked.pin
        ),
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in sides}
    for number in range(asked.rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            if asked.wait_idle:
                wait_until_idle(asked.wait_idle)
            log_bytes = asked.server_log.stat().st_size if asked.server_log else 0
            with tempfile.TemporaryDirectory() as folder:
                outcome = sides[name](Path(folder), asked.seed + number)
            if asked.server_log:
                served = read_server_log(asked.server_log, log_bytes, load)
                outcome = Outcome(outcome.figures, served | _ratios(load, outcome.figures, served))
            outcomes[name].append(outcome)
            told = {**outcome.figures, **outcome.server}
            figures = ", ".join(f"{key} {value:.4g}" for key, value in told.items())
            print(f"round {number + 1}, {name}: {figures}", file=sys.stderr, flush=True)
    return outcomes["workbench"], outcomes[asked.peer]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="its URL, with /v1")
    parser.add_argument("--model", required=True, help="what the server calls its model")
    parser.add_argument("--tokenizer", required=True, help="a folder or name for the peer")
    parser.add_argument("--our-tokenizer", help="for workbench (default: the same)")
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--peer-command", help="its executable (default: its name)")
    parser.add_argument("--api", choices=("completions", "chat"), default="completions")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--warmup-requests", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument(
        "--extra-body",
        default='{"ignore_eos": true, "temperature": 0}',
        help="what the peer adds to each request, so that it asks for what workbench asks for",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the first round's prompts")
    parser.add_argument("--pin", default="", metavar="CORES", help="both clients, by taskset")
    parser.add_argument("--wait-idle", type=float, metavar="PERCENT", help="before each run")
    parser.add_argument("--server-log", type=Path, help="llama.cpp's, for its own times")
    parser.add_argument("--within", type=float, default=3.0, metavar="PERCENT")
    parser.add_argument("--json", type=Path, help="every round's figures go here")
    asked = parser.parse_args()
    asked.peer_command = asked.peer_command or asked.peer
    if asked.warmup_requests < 1:
        parser.error("--warmup-requests: a server's first request is never like the others")
    return asked


def main() -> None:
    asked = _arguments()
    load = Load(
        asked.server,
        asked.model,
        asked.tokenizer,
        asked.our_tokenizer or asked.tokenizer,
        asked.api,
        asked.requests,
        asked.warmup_requests,
        asked.concurrency,
        asked.prompt_tokens,
        asked.output_tokens,
        asked.extra_body,
    )
    ours, theirs = cross_check(asked, load)
    lines = compare([each.figures for each in ours], [each.figures for each in theirs])
    print(definitions(asked.peer, PEERS[asked.peer]), end="\n\n")
    print(table(lines, asked.peer, asked.within))
    if asked.server_log:
        served = compare([each.server for each in ours], [each.server for each in theirs])
        print("\nThe server's own clock, while each tool was sending:\n")
        print(table(served, asked.peer, asked.within))
    if asked.json:
        rounds = {"workbench": ours, asked.peer: theirs}
        saved = {name: [asdict(each) for each in of] for name, of in rounds.items()}
        asked.json.write_text(json.dumps({"load": asdict(load), **saved}, indent=1) + "\n")


if __name__ == "__main__":
    main()
