import numpy as np
import pytest

from workloads.catalogue import workload
from workloads.errors import WorkloadError
from workloads.lengths import Fixed
from workloads.request import SamplingParams
from workloads.synthetic import SyntheticRequests
from workloads.text import TokenStream, byte_encoder
from workloads.workload import Workload

STREAM = TokenStream(np.arange(50_000, dtype=np.int32))


def fixed(prompt, output, prefix=0):
    return Workload("fixed", "for tests", "none", Fixed(prompt), Fixed(output), prefix)


def same(a, b):
    return np.array_equal(a.prompt_token_ids, b.prompt_token_ids) and (
        (a.request_id, a.max_tokens, a.sampling, a.fitted)
        == (b.request_id, b.max_tokens, b.sampling, b.fitted)
    )


def test_a_request_is_the_same_in_any_order_and_at_any_stamp():
    ids = [0, 511, 512, 5_000, 3, 1_023]
    first = {i: SyntheticRequests(workload("chat"), STREAM, seed=4).build(i, 0) for i in ids}
    source = SyntheticRequests(workload("chat"), STREAM, seed=4)
    for i in reversed(ids):
        assert same(source.build(i, i * 10), first[i])
        assert source.build(i, 77).scheduled_ns == 77


def test_another_seed_asks_something_else():
    one = SyntheticRequests(workload("chat"), STREAM, seed=1).build(0, 0)
    two = SyntheticRequests(workload("chat"), STREAM, seed=2).build(0, 0)
    assert one.prompt_token_ids[0] != two.prompt_token_ids[0]
    assert one.sampling.seed != two.sampling.seed


def test_no_two_prompts_begin_alike():
    source = SyntheticRequests(workload("chat"), STREAM)
    assert len({int(source.build(i, 0).prompt_token_ids[0]) for i in range(5_000)}) == 5_000


def test_shared_prefix_then_own_text():
    source = SyntheticRequests(fixed(20, 5, prefix=1_000), STREAM, seed=9)
    prompts = [source.build(i, 0).prompt_token_ids for i in range(50)]
    assert all(len(prompt) == 1_020 for prompt in prompts)
    assert all(np.array_equal(prompt[:1_000], np.arange(1_000)) for prompt in prompts)
    assert len({int(prompt[1_000]) for prompt in prompts}) == 50


def test_prompts_are_fitted_and_keep_their_first_tokens():
    wanted = SyntheticRequests(fixed(300, 50, prefix=100), STREAM).build(7, 0)
    cut = SyntheticRequests(fixed(300, 50, prefix=100), STREAM, max_model_len=200).build(7, 0)
    assert not wanted.fitted and cut.fitted
    assert (cut.prompt_tokens, cut.max_tokens) == (150, 50)
    assert np.array_equal(cut.prompt_token_ids, wanted.prompt_token_ids[:150])
    within_prefix = SyntheticRequests(fixed(300, 50, prefix=100), STREAM, max_model_len=80)
    assert np.array_equal(within_prefix.build(7, 0).prompt_token_ids, np.arange(40))


def test_sampling_is_passed_on_with_a_seed_of_its_own():
    asked = SamplingParams(temperature=0.8, top_k=40, top_p=0.9, seed=123, ignore_eos=False)
    source = SyntheticRequests(fixed(5, 5), STREAM, sampling=asked)
    got = [source.build(i, 0).sampling for i in range(100)]
    assert {(s.temperature, s.top_k, s.top_p, s.ignore_eos) for s in got} == {(0.8, 40, 0.9, False)}
    assert len({s.seed for s in got}) == 100
    assert all(0 <= s.seed < 1 << 63 for s in got)
    assert SyntheticRequests(fixed(5, 5), STREAM).build(0, 0).sampling.ignore_eos


def test_types_that_leave_are_plain():
    request = SyntheticRequests(workload("chat"), STREAM, max_model_len=512).build(0, 0)
    assert type(request.max_tokens) is int and type(request.fitted) is bool
    assert type(request.sampling.seed) is int
    assert request.prompt_token_ids.dtype == np.int32


def test_bytes_of_the_real_text():
    stream = TokenStream.encoded(byte_encoder(32_000))
    prompt = SyntheticRequests(fixed(64, 5), stream).build(0, 0).prompt_token_ids
    assert len(prompt) == 64 and prompt.max() < 256


@pytest.mark.parametrize("options", [{"seed": -1}, {"max_model_len": 1}])
def test_bad_options_are_refused(options):
    with pytest.raises(WorkloadError):
        SyntheticRequests(workload("chat"), STREAM, **options)
