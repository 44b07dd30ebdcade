"""The workloads of `workbench bench engine`."""

import numpy as np
import pytest

from workbench.bench.speed_work import nano_work, works_for
from workbench.errors import WorkbenchError


def test_nano_is_nano_vllms_benchmark():
    work = nano_work()
    assert len(work.prompts) == 256
    assert work.prompt_tokens == 142_827
    assert sum(work.output_tokens) == 133_966
    assert all(100 <= n <= 1024 for n in [*map(len, work.prompts), *work.output_tokens])
    assert len(work.prompts[0]) == 964  # random.Random(0).randint(100, 1024) is drawn first
    assert work.temperature == 0.6


def test_requests_ignore_eos_and_are_new_every_time():
    work = nano_work(2)
    first, again = (work.requests(10 * shift, shift, 512) for shift in (0, 1))
    assert [request.request_id for request in again] == [10, 11]
    for request, other, prompt in zip(first, again, work.prompts, strict=True):
        assert request.sampling.ignore_eos and request.sampling.temperature == 0.6
        assert request.prompt_token_ids.dtype == np.int32
        assert np.array_equal(request.prompt_token_ids, prompt % 512)
        assert not (request.prompt_token_ids == other.prompt_token_ids).any()
        assert other.prompt_token_ids.max() < 512


def test_a_warm_up_has_the_same_prompts_and_short_answers():
    requests = nano_work(3).requests(0, 0, 512, most_output=8)
    assert [request.max_tokens for request in requests] == [8, 8, 8]


def test_works_have_their_own_numbers_unless_told():
    (prefill,) = works_for("prefill", None, None, None)
    assert [len(prompt) for prompt in prefill.prompts] == [8000] * 4
    assert prefill.output_tokens == (1, 1, 1, 1)
    (decode,) = works_for("decode", 3, None, 7)
    assert [len(prompt) for prompt in decode.prompts] == [512] * 3
    assert decode.output_tokens == (7, 7, 7)
    assert [work.name for work in works_for("all", None, None, None)] == [
        "nano", "decode", "prefill", "idle",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        ("nan", None, None, None),
        ("nano", 0, None, None),
        ("nano", None, 5, None),
        ("all", 3, None, None),
        ("decode", 0, None, None),
        ("decode", None, 0, None),
        ("prefill", None, None, -1),
    ],
)
def test_what_cannot_be_is_refused(asked):
    with pytest.raises(WorkbenchError):
        works_for(*asked)
