"""A server of known timing, and an engine that speaks to it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from engines.remote.build import build_remote
from engines.remote.options import RemoteOptions
from workbench.bench.timed_server import TimedOptions, TimedServer
from workbench.runs.clock import RunClock
from workloads.request import Request, SamplingParams


@dataclass
class Rig:
    """An engine, its clock, and everything that came out of it."""

    built: object
    clock: RunClock
    records: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    emissions: list = field(default_factory=list)

    @property
    def engine(self):
        return self.built.engine

    def submit(self, request_id, max_tokens=8, seed=None, **more):
        prompt = np.array(self.built.encode("Say what you see."), np.int32)
        seed = request_id if seed is None else seed
        request = Request(
            request_id, self.clock(), prompt, max_tokens, SamplingParams(seed=seed), **more
        )
        rejected = self.engine.submit(request)
        if rejected is not None:
            self.records[request_id] = rejected

    def step(self, until_ns=None):
        result = self.engine.step(until_ns)
        if result is not None:
            for record in result.records:
                assert record.request_id not in self.records
                self.records[record.request_id] = record
            self.events += result.events
            self.emissions += zip(
                result.emitted_ids.tolist(),
                result.emitted_ns.tolist(),
                result.emitted_tokens.tolist(),
                strict=True,
            )
        return result

    def finish(self, within_s=30.0):
        end = self.clock() + int(within_s * 1e9)
        while self.engine.has_work:
            self.step()
            self.engine.check_integrity()
            assert self.clock() < end, "requests did not end"
        self.step()
        return self.records

    def serve(self, count, **more):
        for request_id in range(count):
            self.submit(request_id, **more)
        return self.finish()

    def emitted(self, request_id):
        """(stamp, tokens) in the order of the stamps."""
        return sorted((ns, tokens) for each, ns, tokens in self.emissions if each == request_id)


@pytest.fixture(autouse=True)
def no_foreign_settings(monkeypatch):
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def serve():
    servers = []

    def start(**options) -> TimedServer:
        servers.append(TimedServer(TimedOptions(**options)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Callable[..., Rig]:
    rigs = []

    def to(server, **options) -> Rig:
        clock = RunClock()
        url = server if isinstance(server, str) else server.url
        options = {"scrape_s": 0.0, **options}
        rigs.append(Rig(build_remote(RemoteOptions(url, **options), clock), clock))
        return rigs[-1]

    yield to
    for rig in rigs:
        rig.engine.close()
