import json

import pytest

from workloads.errors import WorkloadError
from workloads.traces.detect import detect_format, format_of, leading_keys
from workloads.traces.formats import READERS, read_trace

MOONCAKE = {"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [0]}
SESSION = {"id": "a", "block_size": 64, "requests": [{"t": 0, "in": 64, "hash_ids": [1]}]}

KNOWN = [
    ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44"),
    ("azure", "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"),
    ("burstgpt", "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,x,1,1"),
    (
        "burstgpt",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n",
    ),
    ("mooncake", json.dumps(MOONCAKE)),
    ("bailian", json.dumps({"chat_id": 1, "parent_chat_id": -1, **MOONCAKE})),
    ("weka", json.dumps(SESSION)),
    ("weka", json.dumps(SESSION, indent=2)),
    ("weka", json.dumps(SESSION)[:50]),
    ("native", json.dumps({"workbench_trace": 1, "block_tokens": None})),
    ("sharegpt", json.dumps([{"id": "x", "conversations": [{"from": "human", "value": "hi"}]}])),
    ("sharegpt", json.dumps([{"conversations": []}], indent=1)),
    ("sharegpt", json.dumps({"conversations": []}) + "\n"),
    ("text", json.dumps({"task_id": 0, "messages": [{"role": "system", "content": "x"}]})),
    ("text", json.dumps({"question_id": 81, "turns": ["one", "two"]})),
    ("text", json.dumps({"prompt": "hello"})),
    ("text", json.dumps({"text": "hello"})),
    ("text", '{"text": "' + "never ending " * 20),
]


@pytest.mark.parametrize(("name", "head"), KNOWN)
def test_the_format_is_known_by_its_content(tmp_path, name, head):
    path = tmp_path / "misleading.parquet"
    path.write_text(head)
    assert detect_format(path) == name
    path.write_bytes(b"\xef\xbb\xbf" + head.encode())
    assert detect_format(path) == name


def test_every_trace_format_has_a_reader():
    assert {name for name, _ in KNOWN} - {"sharegpt", "text"} == set(READERS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a,b,c\n1,2,3\n", "azure and burstgpt.*begins with 'a,b,c'"),
        (b'{"x": 1}', "mooncake"),
        (b"[1, 2]", "begins with"),
        (b'"an open quote, a', "begins with"),
        (b"PAR1\0\0\x01", "binary"),
        (b"\xff\xfea\0b\0", "binary"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"", "empty"),
        (b"\n  \r\n", "empty"),
    ],
)
def test_other_files_are_refused_with_what_is_known(tmp_path, data, says):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(WorkloadError, match=f"(?s){path}.*{says}"):
        detect_format(path)


@pytest.mark.parametrize("record", [{"conversations": []}, {"prompt": "x"}])
def test_texts_cannot_be_read_as_a_trace(tmp_path, record):
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(WorkloadError, match="no stamps"):
        read_trace(path)


def test_a_folder_is_sessions_or_nothing(tmp_path):
    with pytest.raises(WorkloadError, match=r"no \.json"):
        detect_format(tmp_path)
    (tmp_path / "a.jsonl").write_text(json.dumps(MOONCAKE))
    with pytest.raises(WorkloadError, match="this has mooncake"):
        detect_format(tmp_path)


def test_keys_are_found_as_far_as_the_text_goes():
    text = json.dumps({"a": {"inner": [1, {"b": "}"}]}, "c,": 'x"', "d": [1, 2, 3]})
    assert leading_keys(text) == {"a", "c,", "d"}
    assert leading_keys(text[: text.index('"d"') + 1]) == {"a", "c,"}
    assert format_of(b"{") is None
    assert leading_keys('{"a": ' + "[" * 100_000) == {"a"}
