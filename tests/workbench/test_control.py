"""Turning a run's knobs while it goes: the words, the socket, the loop, and real processes."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import numpy as np
import polars as pl
import psutil
import pytest
from processes import TINY, start, wait_for

from engines.compute.worker import Computed
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges
from workbench.errors import RunError, StoreError
from workbench.launch import control as launch_control
from workbench.launch.control import ControlServer, Course
from workbench.launch.finish import finish_run
from workbench.runs import control, control_socket
from workbench.runs.control import send
from workbench.runs.folder import RunFolder
from workbench.runs.knobs import Ask, Knobs
from workbench.runs.runner import NoRecord, StopRequest, drive
from workbench.runs.store import load_run, recover, remove
from workbench.runs.tables import load_tables
from workbench.spec import RunSpec
from workloads.request import Request
from workloads.traffic import OpenLoop

MS = 1_000_000


class Source:
    def build(self, request_id, scheduled_ns):
        return Request(request_id, scheduled_ns, np.arange(8, dtype=np.int32), 3)


class Clock:
    def __init__(self):
        self.now, self.slept = 0, []

    def __call__(self):
        self.now += 100
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += max(1, int(seconds * 1e9))


class Notes(NoRecord):
    def __init__(self):
        self.records, self.events = [], []

    def ended(self, record):
        self.records.append(record)

    def step(self, result):
        self.records += result.records

    def event(self, time_ns, kind, detail, request_id=-1):
        self.events.append((time_ns, kind, detail))


class TimedKnobs(Knobs):
    """Asks at given times of the loop's clock, and keeps the loop's looks."""

    def __init__(self, clock, asks, **words):
        self.clock, self.asks, self.looks = clock, list(asks), []
        super().__init__(**words)

    @property
    def pending(self):
        self.looks.append(self.clock.now)
        while self.asks and self.asks[0][0] <= self.clock.now:
            self._pending.append(self.asks.pop(0)[1])
        return self._pending

    @pending.setter
    def pending(self, value):
        self._pending = value


class Worker:
    """Every step takes 5 ms."""

    def __init__(self, clock):
        self.clock = clock

    overlaps = False

    def launch(self, plan, table):
        return Computed(self.execute(plan, table))

    def collect(self, launched):
        return launched

    def execute(self, plan, table):
        self.clock.now += 5 * MS
        return np.ones(int(plan.samples.sum()), np.int32)

    def close(self): ...


def run(times_ms, asks_ms, drain_ms=10**6, stop=None, **words):
    clock, notes = Clock(), Notes()
    config = SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=16, max_model_len=64)
    engine = MonolithicEngine(Scheduler(config, BlockPool(64, 4)), Worker(clock), clock, Ranges())
    knobs = TimedKnobs(clock, [(at * MS, ask) for at, ask in asks_ms], **words)
    traffic = OpenLoop(Source(), np.array([t * MS for t in times_ms], np.int64))
    end = drive(
        engine, traffic, notes, clock, stop or StopRequest(), drain_ms * MS, 50 * MS,
        lambda _: None, clock.sleep, knobs=knobs,
    )  # fmt: skip
    records = sorted(notes.records, key=lambda record: record.request_id)
    return end, [record.scheduled_ns / MS for record in records], notes, clock, knobs


# -- the loop -----------------------------------------------------------------------------------


def test_a_pause_holds_arrivals_in_an_idle_loop_that_sleeps_and_listens():
    asks = [(100, Ask("knob", "arrivals paused", 0.0)), (900, Ask("knob", "resumed", 1.0))]
    end, scheduled, notes, _, knobs = run([0, 50, 200, 300], asks)
    lasted = [at / MS for at, kind, _ in notes.events if kind == "knob"]
    assert 100 <= lasted[0] < 121 and 900 <= lasted[1] < 921, "heard within a slice of 20 ms"
    pause = lasted[1] - lasted[0]
    assert scheduled == [0, 50, pytest.approx(200 + pause), pytest.approx(300 + pause)]
    for record in notes.records:
        assert record.status == "ok" and record.admitted_ns - record.scheduled_ns < 6 * MS
    in_pause = [at for at in knobs.looks if lasted[0] < at / MS < lasted[1]]
    assert len(in_pause) < 120, "it does not spin"
    assert end.offered == knobs.offered == 4
    assert end.last_scheduled_ns / MS == scheduled[-1]


def test_another_rate_moves_what_is_left():
    _, scheduled, _, _, _ = run([0, 400, 800], [(0, Ask("knob", "rate 2 x", 2.0))])
    assert scheduled == [0, pytest.approx(200, abs=1), pytest.approx(400, abs=1)]


def test_the_drain_counts_from_the_last_arrival_as_it_came():
    asks = [(10, Ask("", "", 0.0)), (2000, Ask("", "", 1.0))]
    end, scheduled, _, _, _ = run([0, 100], asks, drain_ms=50)
    assert end.unfinished == 0 and scheduled[1] > 2000


def test_a_stop_ends_a_paused_run():
    stop = StopRequest()
    stop.listeners.append(lambda reason, at_once: None)
    asks = [(10, Ask("", "", 0.0)), (500, Ask("mark", "enough"))]

    class Stopping(Notes):
        def event(self, time_ns, kind, detail, request_id=-1):
            super().event(time_ns, kind, detail)
            if kind == "mark":
                stop.ask("stopped on request", at_once=False)

    clock, notes = Clock(), Stopping()
    config = SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=16, max_model_len=64)
    engine = MonolithicEngine(Scheduler(config, BlockPool(64, 4)), Worker(clock), clock, Ranges())
    knobs = TimedKnobs(clock, [(at * MS, ask) for at, ask in asks])
    traffic = OpenLoop(Source(), np.array([0, 100 * MS], np.int64))
    end = drive(
        engine, traffic, notes, clock, stop, 10**12, 50 * MS, lambda _: None, clock.sleep,
        knobs=knobs,
    )  # fmt: skip
    assert end.interrupted == "stopped on request" and end.offered == 1
    assert end.ended_ns < 600 * MS


def test_a_mark_is_recorded_and_moves_nothing():
    _, scheduled, notes, _, _ = run([0, 100], [(50, Ask("mark", "look here"))])
    assert scheduled == [0, 100]
    assert [(kind, detail) for _, kind, detail in notes.events if kind == "mark"] == [
        ("mark", "look here")
    ]


def test_other_load_processes_hear_of_a_pace_before_it_holds():
    told = []
    asks = [(100, Ask("knob", "rate 2 x", 2.0))]
    _, scheduled, notes, _, _ = run(
        [0, 140, 400], asks, tell=lambda *words: told.append(words), lead_ns=50 * MS
    )
    ((at_ns, speed),) = told
    assert speed == 2.0 and 150 * MS <= at_ns < 171 * MS
    assert scheduled[:2] == [0, 140] and scheduled[2] == pytest.approx((400 + at_ns / MS) / 2)
    assert [time_ns for time_ns, kind, _ in notes.events if kind == "knob"] == [at_ns]


# -- the socket ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", RunSpec().as_dict(), "run")


@pytest.fixture
def served(folder):
    """A folder whose runner this process is, and what its loop would see."""
    lock = folder.lock()
    course, knobs, stop = Course("running", 2.0), Knobs(), StopRequest()
    with ControlServer(folder, course, knobs, stop) as server:
        folder.update(state="running", control=str(server.path))
        yield folder, server, course, knobs, stop
    os.close(lock)


def asked(knobs):
    taken = [(ask.kind, ask.detail, ask.speed) for ask in knobs.pending]
    knobs.pending.clear()
    return taken


def test_the_rate_is_turned_against_the_plan_or_the_present(served):
    folder, _, _, knobs, _ = served
    reply = send(folder, "rate", factor=1.5)
    assert reply["said"] == "rate 1.5 x: 3.00 req/s"
    assert (reply["factor"], reply["rate_per_s"], reply["paused"]) == (1.5, 3.0, False)
    assert send(folder, "rate", by=0.5)["factor"] == 0.75
    assert asked(knobs) == [
        ("knob", "rate 1.5 x: 3.00 req/s", 1.5),
        ("knob", "rate 0.75 x: 1.50 req/s", 0.75),
    ]
    assert send(folder, "status")["factor"] == 0.75 and not asked(knobs)


def test_a_pause_keeps_the_rate_for_later(served):
    folder, _, _, knobs, _ = served
    assert send(folder, "pause")["speed"] == 0
    assert "already" in send(folder, "pause")["said"]
    reply = send(folder, "rate", factor=2)
    assert (reply["factor"], reply["speed"], reply["rate_per_s"]) == (2.0, 0.0, 0.0)
    assert send(folder, "resume")["speed"] == 2.0
    assert "not paused" in send(folder, "resume")["said"]
    assert asked(knobs) == [
        ("knob", "arrivals paused", 0.0),
        ("knob", "rate 2 x: 4.00 req/s, once arrivals resume", None),
        ("knob", "arrivals resumed", 2.0),
    ]


@pytest.mark.parametrize(
    ("command", "fields", "message"),
    [
        ("rate", {"factor": 0.01}, "from 0.05 to 20"),
        ("rate", {"factor": 1e400}, "from 0.05 to 20"),
        ("rate", {"factor": float("nan")}, "from 0.05 to 20"),
        ("rate", {"factor": 10**400}, "no request"),
        ("rate", {"by": 21}, "from 0.05 to 20"),
        ("rate", {"factor": "fast"}, "give a number"),
        ("rate", {"factor": True}, "give a number"),
        ("rate", {}, "either factor"),
        ("rate", {"factor": 1, "by": 1}, "either factor"),
        ("mark", {"text": "x" * 201}, "200 characters"),
        ("mark", {"text": "\x1b\n\x07"}, "empty"),
        ("mark", {"text": 7}, "takes text"),
        ("puase", {}, "did you mean 'pause'"),
        ("?", {}, "known are rate, pause"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_with_the_reason(served, command, fields, message):
    folder, _, _, knobs, stop = served
    with pytest.raises(RunError, match=message):
        send(folder, command, **fields)
    assert not asked(knobs) and not stop.wanted
    assert send(folder, "status")["ok"]


def test_a_mark_keeps_what_can_be_shown(served):
    folder, _, _, knobs, _ = served
    assert (
        send(folder, "mark", text=" new\x1b[31m\n model  é ")["said"] == "marked: new [31m model é"
    )
    assert asked(knobs) == [("mark", "new [31m model é", None)]


def test_a_closed_loop_has_no_rate_but_pauses(served):
    folder, _, course, knobs, _ = served
    course.closed, course.rate_per_s = True, None
    with pytest.raises(RunError, match="closed loop has no rate"):
        send(folder, "rate", factor=2)
    assert send(folder, "pause")["rate_per_s"] is None
    assert asked(knobs) == [("knob", "arrivals paused", 0.0)]


def test_there_is_no_pace_before_and_after_the_arrivals(served):
    folder, _, course, knobs, stop = served
    course.phase = "calibrating"
    with pytest.raises(RunError, match="is calibrating: its arrivals have not begun"):
        send(folder, "rate", factor=2)
    with pytest.raises(RunError, match="no moment to mark"):
        send(folder, "mark", text="here")
    course.phase = "draining"
    with pytest.raises(RunError, match="arrivals have ended"):
        send(folder, "pause")
    send(folder, "mark", text="here")
    assert asked(knobs) == [("mark", "here", None)]
    course.phase = "loading"
    send(folder, "stop")
    assert stop.wanted and not stop.at_once


def test_stop_is_patient_and_halt_is_not(served):
    folder, _, _, _, stop = served
    send(folder, "stop")
    assert (stop.reason, stop.at_once) == ("stopped on request", False)
    assert "already" in send(folder, "stop")["said"] and not stop.at_once
    send(folder, "halt")
    assert stop.at_once


def test_clients_that_talk_nonsense_get_an_error_and_stop_nobody(served):
    folder, server, _, _, _ = served

    def say(words):
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(server.path))
            channel.sendall(words)
            channel.shutdown(socket.SHUT_WR)
            return channel.makefile("rb").read()

    for words in (b"\n", b"{", b"[" * 60000 + b"\n", b"\xff\xfe\n", b"x" * 60000, b"", b"7\n"):
        assert json.loads(say(words))["ok"] is False
    with socket.socket(socket.AF_UNIX) as channel:  # one that goes without a word
        channel.connect(str(server.path))
    with pytest.raises((ConnectionError, json.JSONDecodeError)):
        json.loads(say(b"x" * (1 << 20)))  # far too long: answered or cut off, never read whole
    assert send(folder, "status")["phase"] == "running"


def test_who_says_nothing_is_left_after_a_while(served):
    folder, server, _, _, _ = served
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(server.path))
        assert send(folder, "status")["ok"]


def test_another_users_client_is_not_heard(served, monkeypatch):
    folder, _, _, knobs, _ = served
    with monkeypatch.context() as patched:
        patched.setattr(launch_control, "is_own_peer", lambda _: False)
        with pytest.raises((StoreError, RunError), match=r"is gone|no answer"):
            send(folder, "pause")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StoreError, match="another user's"):
        send(folder, "pause")
    assert not asked(knobs)


def test_the_socket_is_its_owners_and_goes_with_the_server(served):
    folder, server, *_ = served
    assert server.path == folder.path / "control.sock"
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    server.close()
    assert not server.path.exists()
    with pytest.raises(StoreError, match="is gone"):
        send(folder, "status")
    server.close()


def test_a_long_path_gets_a_short_socket_aside(tmp_path):
    deep = tmp_path / ("long-" * 20)
    folder = RunFolder.create(deep / "run", RunSpec().as_dict(), "run")
    lock = folder.lock()
    with ControlServer(folder, Course("running"), Knobs(), StopRequest()) as server:
        folder.update(state="running", control=str(server.path))
        aside = server.path.parent
        assert len(str(server.path)) < 100 and stat.S_IMODE(aside.stat().st_mode) == 0o700
        assert send(folder, "status")["phase"] == "running"
    assert not aside.exists()
    os.close(lock)


def test_runs_without_a_runner_or_a_channel_say_so(folder):
    with pytest.raises(StoreError, match=r"gone; `workbench runs recover`"):
        send(folder, "status")
    lock = folder.lock()
    with pytest.raises(StoreError, match="no control channel: its runner opened none"):
        send(folder, "status")
    folder.update(control=None, control_error="Read-only file system")
    with pytest.raises(StoreError, match="no control channel: Read-only file system"):
        send(folder, "status")
    os.close(lock)
    folder.update(state="finished")
    with pytest.raises(StoreError, match="has ended \\(finished\\)"):
        send(folder, "status")


def test_a_runner_that_does_not_answer_is_given_up(folder, monkeypatch):
    lock = folder.lock()
    monkeypatch.setattr(control, "TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder.path / "control.sock"))
        listener.listen()
        folder.update(state="running", control=str(folder.path / "control.sock"))
        with pytest.raises(RunError, match="did not answer"):
            send(folder, "status")
    os.close(lock)


@pytest.mark.parametrize("end", [lambda run: recover(run, finish_run), remove])
def test_a_killed_runs_socket_is_removed_with_its_end(tmp_path, end):
    deep = tmp_path / ("long-" * 20)
    folder = RunFolder.create(deep / "run", RunSpec().as_dict(), "run")
    path = control_socket.place_socket(folder)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    folder.update(control=str(path), state="running")
    end(load_run(folder))
    assert not path.parent.exists()


def test_a_recorded_path_is_no_permission_to_remove_it(folder, tmp_path):
    mine = tmp_path / "control.sock"
    mine.write_text("precious")
    other = tmp_path / "workbench-x"
    other.mkdir()
    (other / "control.sock").write_text("precious")
    for path in (mine, other / "control.sock"):
        folder.update(control=str(path), state="running")
        finish_run(folder, "killed", "")
        assert path.read_text() == "precious"


# -- real processes -----------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def phase(folder):
    try:
        return send(folder, "status")["phase"]
    except (StoreError, RunError):
        return None


def offered(folder):
    return send(folder, "status")["offered"]


def test_a_real_run_is_turned_marked_and_stopped(home, tmp_path):
    folder = RunFolder(tmp_path / "run")
    process = start("run", *TINY, "--out", str(folder.path), "--rate", "20", "--duration", "600")
    wait_for(lambda: phase(folder) == "running" and offered(folder) > 2)
    assert send(folder, "rate", factor=2)["rate_per_s"] == 40
    send(folder, "pause")
    wait_for(lambda: offered(folder) == (time.sleep(0.2), offered(folder))[1])
    send(folder, "mark", text="quiet now")
    held = offered(folder)
    send(folder, "resume")
    wait_for(lambda: offered(folder) > held + 5)
    assert send(folder, "stop")["ok"]
    stdout, stderr = process.communicate(timeout=60)
    content = folder.read()
    assert process.returncode == 1 and "stopped on request" in stderr
    assert (content["state"], content["reason"]) == ("interrupted", "stopped on request")
    assert [knob["what"] for knob in content["knobs"]] == [
        "rate 2 x: 40.00 req/s", "arrivals paused", "arrivals resumed",
    ]  # fmt: skip
    assert "control" not in content and not (folder.path / "control.sock").exists()
    note = "The rate was changed while it ran (once), and arrivals were paused while it ran (once)"
    assert any(sentence.startswith(note) for sentence in content["summary"]["notes"])
    assert note in " ".join(stdout.split())
    tables = load_tables(folder)
    events = tables["events"].filter(pl.col("kind").is_in(["knob", "mark"]))
    assert events["detail"].to_list()[2] == "quiet now"
    paused_ns, resumed_ns = events.filter(pl.col("kind") == "knob")["time_ns"][1:]
    inside = tables["requests"].filter(pl.col("scheduled_ns").is_between(paused_ns, resumed_ns - 1))
    assert inside.is_empty()


def test_a_run_is_stopped_while_it_loads(home, tmp_path):
    folder = RunFolder(tmp_path / "run")
    process = start("run", *TINY, "--out", str(folder.path), "--duration", "600")
    wait_for(lambda: phase(folder) in ("loading", "calibrating", "running"))
    send(folder, "halt")
    process.communicate(timeout=60)
    content = folder.read()
    assert (content["state"], content["reason"]) == ("interrupted", "stopped on request")
    assert process.returncode == 1 and load_tables(folder)["requests"].height == 0


def test_a_detached_runner_outlives_who_started_it(home, tmp_path):
    folder = RunFolder(tmp_path / "run")
    program = (
        "import sys, time; from pathlib import Path\n"
        "from workbench.launch.launcher import Runner, create_run\n"
        "from workbench.runs.store import RunStore; from workbench.spec import RunSpec\n"
        "spec = RunSpec.model_validate({'model': {'name': 'random:tiny', 'device': 'cpu'},\n"
        "    'engine': {'max_model_len': 512}, 'traffic': {'rate': 20.0, 'duration': 2.0}})\n"
        "runner = Runner(create_run(spec, Path(sys.argv[1]), RunStore()), detached=True)\n"
        "print(runner.pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        wait_for(lambda: folder.path.joinpath("segments", "00000000.seg").exists())
        starter.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid) or not folder.is_alive)
    content = folder.read()
    assert (content["state"], content["reason"]) == ("finished", "")
    assert content["summary"]["requests"]["recorded"] > 20
