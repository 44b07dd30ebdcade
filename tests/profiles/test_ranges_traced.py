"""An engine's ranges in a captured trace: nested, numbered, and on the clock of the steps."""

from __future__ import annotations

import time

import pytest
import torch
from traced_steps import ProfiledDomain, trace_steps

from engines.attention.base import AttentionShape
from engines.attention.reference import ReferenceAttention
from engines.compute.worker import TorchWorker, allocate_kv
from engines.models.config import ModelConfig
from engines.models.decoder import Decoder
from engines.monolithic import MonolithicEngine
from engines.scheduling.blocks import BlockPool
from engines.scheduling.config import SchedulerConfig
from engines.scheduling.scheduler import Scheduler
from profiles.ranges import Ranges

CONFIG = ModelConfig(
    name="tiny", vocab_size=256, hidden_size=32, intermediate_size=64, num_layers=1,
    num_heads=2, num_kv_heads=1, head_dim=16, max_position=128, tie_embeddings=True,
)  # fmt: skip
SLACK_NS = 1_000_000


@pytest.fixture(scope="module")
def engine() -> MonolithicEngine:
    device, dtype = torch.device("cpu"), torch.float32
    decoder = Decoder(CONFIG, 128, device, dtype)
    torch.manual_seed(0)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    shape = AttentionShape(CONFIG.num_heads, CONFIG.num_kv_heads, CONFIG.head_dim, None)
    attention = ReferenceAttention(shape, 16, device, dtype)
    ranges = Ranges(ProfiledDomain())
    worker = TorchWorker(decoder, allocate_kv(decoder, 65, 16, dtype), attention, ranges)
    scheduler = Scheduler(SchedulerConfig(4, 64, 128), BlockPool(65, 16))
    return MonolithicEngine(scheduler, worker, time.time_ns, ranges)


def test_every_step_is_a_range_with_its_parts_inside_and_its_number(
    engine: MonolithicEngine,
) -> None:
    trace = trace_steps(engine, prompts=3, prompt_tokens=20, max_tokens=5)
    assert len(trace.steps) >= 5
    for step in trace.steps:
        whole = trace.step_range(step.index)
        parts = [part for part in trace.named(step.kind) if whole.holds(part)]
        assert len(parts) == 1, f"step {step.index}, {step.kind}"
        assert any(whole.holds(sampled) for sampled in trace.named("sample"))
        assert whole.start_ns - SLACK_NS <= step.start_ns <= step.end_ns
        assert step.end_ns <= whole.end_ns + SLACK_NS, "by the trace's clock and by the run's"
        assert parts[0].start_ns >= step.start_ns - SLACK_NS
        assert parts[0].end_ns <= step.end_ns + SLACK_NS
