"""Request bodies, and what is learnt from refusals."""

import numpy as np

from engines.remote.openai import Dialect
from engines.remote.options import RemoteOptions
from workloads.request import Part, Request, SamplingParams


class Letters:
    def decode(self, ids):
        return "".join(chr(97 + i) for i in ids)

    def encode(self, text):
        return [ord(c) - 97 for c in text]


def dialect(**options):
    return Dialect(RemoteOptions("http://h/v1", **options), "m", Letters())


def request(parts=(), **sampling):
    ids = np.arange(5, dtype=np.int32)
    return Request(3, 0, ids, 9, SamplingParams(**sampling), parts=parts)


def test_a_chat_of_one_and_of_several():
    fields = dialect().fields(request(seed=4))
    assert fields == {
        "model": "m",
        "messages": [{"role": "user", "content": "abcde"}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "seed": 4,
        "ignore_eos": True,
    }
    parts = (Part("system", 2), Part("user", 1), Part("assistant", 1), Part("user", 1))
    messages = dialect().fields(request(parts))["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [
        ("system", "ab"), ("user", "c"), ("assistant", "d"), ("user", "e"),
    ]  # fmt: skip


def test_completions_take_text_or_tokens():
    assert dialect(api="completions").path == "/v1/completions"
    assert dialect(api="completions").fields(request())["prompt"] == "abcde"
    tokens = dialect(api="completions", prompt_form="tokens").fields(request())
    assert tokens["prompt"] == [0, 1, 2, 3, 4] and "messages" not in tokens


def test_sampling_and_extras():
    fields = dialect(ignore_eos=False, extra_body={"temperature": 1, "top_a": 2}).fields(
        request(temperature=0.7, top_p=0.9, top_k=5)
    )
    assert (fields["temperature"], fields["top_p"], fields["top_k"]) == (1, 0.9, 5)
    assert fields["top_a"] == 2 and "ignore_eos" not in fields


def test_refusals_teach_once_each():
    speaks = dialect()
    fields = speaks.fields(request())
    assert speaks.learn(400, "boom", fields) is None
    assert speaks.learn(500, "ignore_eos", fields) is None
    assert speaks.learn(400, "Unrecognized request argument: ignore_eos", fields)
    assert speaks.learn(422, "stream_options: extra inputs are not permitted", fields)
    assert speaks.learn(400, "use max_completion_tokens for max_tokens", fields)
    fields = speaks.fields(request())
    assert not {"ignore_eos", "stream_options", "max_tokens"} & set(fields)
    assert fields["max_completion_tokens"] == 9
    assert speaks.learn(400, "max_completion_tokens is too large", fields) is None
    assert speaks.learn(404, "The model `m` does not exist.", fields) is None
    assert speaks.learn(404, "Not Found", fields) and speaks.path == "/v1/completions"
    assert dialect(api="chat").learn(404, "Not Found", fields | {"messages": []}) is None
