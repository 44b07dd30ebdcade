import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from workloads.conversations.dialogues import Message, TextTurn
from workloads.conversations.json_array import read_array
from workloads.conversations.template import ChatML, PlainRoles, template_for
from workloads.conversations.text_sets import TextConversations, TextSet, read_text_set
from workloads.errors import WorkloadError
from workloads.lengths import Fixed

PROMPTS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "prompts"

SHAREGPT = [
    {
        "id": "a",
        "conversations": [
            {"from": "human", "value": "Hé?"},
            {"from": "gpt", "value": "Yes."},
            {"from": "human", "value": "More"},
            {"from": "gpt", "value": "No."},
        ],
    },
    {"id": "b", "conversations": []},
    {
        "id": "c",
        "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}],
    },
]


def user(text):
    return Message("user", text)


def plain(text):
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def chatty(text):
    """Bytes, but for the two tokens of ChatML."""
    ids = []
    while text:
        for token_id, mark in ((300, "<|im_start|>"), (301, "<|im_end|>")):
            if text.startswith(mark):
                ids.append(token_id)
                text = text.removeprefix(mark)
                break
        else:
            ids += text[0].encode()
            text = text[1:]
    return ids


def written(tmp_path, content, name="set.jsonl"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def lines(tmp_path, *rows):
    return written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_sharegpt_arrays(tmp_path, indent, packed):
    text = json.dumps(SHAREGPT, indent=indent, ensure_ascii=indent is None)
    path = tmp_path / "sharegpt.json"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    texts = read_text_set(str(path))
    assert texts.dialogues == (
        (TextTurn((user("Hé?"),), "Yes."), TextTurn((user("More"),), "No.")),
        (TextTurn((Message("system", "S"), user("Q"))),),
    )
    assert (texts.empty, texts.skipped) == (1, 0)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64, 1 << 20])
def test_arrays_are_read_in_pieces_of_any_size(tmp_path, chunk_bytes):
    values = [{"a": 'é\\"],' * n, "b": [n, -1.5e3, True, None, "\u2028"]} for n in range(9)]
    for indent in (None, 1):
        path = written(tmp_path, json.dumps(values, indent=indent, ensure_ascii=bool(indent)))
        elements = list(read_array(path, chunk_bytes))
        assert [each.value for each in elements] == values
        assert [each.number for each in elements] == list(range(1, 10))
        text = Path(path).read_text(encoding="utf-8")
        assert all(text[each.at] == "{" for each in elements)
    assert list(read_array(written(tmp_path, " [ ] \n"), chunk_bytes)) == []


@pytest.mark.parametrize("chunk_bytes", [3, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1} {"a": 2}]', r"element 1, character 10: expected , or \]"),
        ('[{"a": 1}, {"a": }, {"a": 3}]', r"element 2, character 17: expected JSON"),
        ('[{"a": 1}, {"a": "x', r"element 2, character 17: expected JSON \(Unterminated"),
        ('[{"a": 1}, 7]', r"element 2, character 11: expected an object, found '7'"),
        ('[{"a": 1}', r"element 1, character 9: expected , or \].* found the end of the file"),
        ('[{"a": 1}] x', "element 1, character 11: expected nothing after the array, found 'x'"),
        ("x", r"character 0: expected an array, beginning with \[, found 'x'"),
    ],
)
def test_broken_arrays_say_where(tmp_path, text, message, chunk_bytes):
    with pytest.raises(WorkloadError, match=message):
        list(read_array(written(tmp_path, text), chunk_bytes))


def test_a_fault_is_found_before_the_rest_is_read(tmp_path):
    path = written(tmp_path, '[{"a": nope}, ' + '{"b": 1}, ' * 1_000)
    with pytest.raises(WorkloadError, match=r"element 1, character 7"):
        list(read_array(path, 64))


def test_not_utf8(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes(b'[{"a": "\xe9"}]')
    with pytest.raises(WorkloadError, match="UTF-8"):
        list(read_array(str(path)))
    path.write_bytes(b'{"prompt": "\xe9"}\n')
    with pytest.raises(WorkloadError, match=r"line 1: expected UTF-8 text"):
        read_text_set(str(path))


def test_rows_of_every_kind(tmp_path):
    call = {"function": {"name": "look", "arguments": '{"id":"x"}'}, "id": "1", "type": "function"}
    path = lines(
        tmp_path,
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "", "name": "look"},
                {"role": "assistant", "content": "Found."},
                {"role": "user", "content": "Bye"},
            ]
        },
        {"turns": ["One", "", "Two"], "category": "x"},
        {"prompt": "P", "completion": "C"},
        {"prompt": "P", "output": ""},
        {"text": "T", "output": "not an answer"},
    )
    agent, *others = read_text_set(path).dialogues
    assert agent == (
        TextTurn(
            (Message("system", "Be kind."), user("Hi")),
            '{"name": "look", "arguments": {"id": "x"}}',
        ),
        TextTurn((Message("tool", ""),), "Found."),
    )
    assert others == [
        (TextTurn((user("One"),)), TextTurn((user("Two"),))),
        (TextTurn((user("P"),), "C"),),
        (TextTurn((user("P"),)),),
        (TextTurn((user("T"),)),),
    ]


def said(*pairs):
    return {"conversations": [{"from": role, "value": text} for role, text in pairs]}


def test_rules_for_unusual_dialogues(tmp_path):
    path = lines(
        tmp_path,
        said(("gpt", "Welcome!"), ("human", "A"), ("human", "B"), ("gpt", "1"), ("gpt", "2")),
        said(("system", "S"), ("gpt", "Hello"), ("human", "A"), ("gpt", "1"), ("human", "bye")),
        said(
            ("human", ""), ("gpt", "1"), ("human", "A"), ("gpt", ""), ("human", "B"), ("gpt", "2")
        ),
        said(("human", "A"), ("human", "B")),
        said(("gpt", "alone")),
        said(("system", "alone")),
        {"prompt": ""},
    )
    texts = read_text_set(path)
    assert texts.dialogues == (
        (TextTurn((user("A"), user("B")), "1\n2"),),
        (TextTurn((Message("system", "S"), user("A")), "1"),),
        (TextTurn((user("A"), user("B")), "2"),),
        (TextTurn((user("A"), user("B"))),),
    )
    assert texts.empty == 3


def test_broken_rows_are_refused_or_counted(tmp_path):
    path = lines(tmp_path, {"prompt": "P"}, said(("robot", "x")), {"id": 3}, [1], {"turns": [1]})
    with pytest.raises(WorkloadError, match=r"set.jsonl: line 2: expected a role, one of .*robot"):
        read_text_set(path)
    with Path(path).open("a") as file:
        file.write('\n{"prompt": \n{"prompt": "Q"}')
    texts = read_text_set(Path(path), skip_bad=True)
    assert (len(texts.dialogues), texts.skipped) == (2, 5)
    assert "line 2" in texts.first_skipped
    array = written(tmp_path, json.dumps([{"prompt": "P"}, {"id": 1}]), "a.json")
    with pytest.raises(WorkloadError, match=r"element 2, from character 18: expected one of conv"):
        read_text_set(array)
    assert read_text_set(array, skip_bad=True).skipped == 1


def test_files_without_a_turn_are_refused(tmp_path):
    for content in ("", "\n\n", "[]", '{"prompt": ""}\n'):
        with pytest.raises(WorkloadError, match="no row asks anything"):
            read_text_set(written(tmp_path, content))
    with pytest.raises(WorkloadError, match=r"no row asks anything \(.*line 1"):
        read_text_set(written(tmp_path, "{}\n"), skip_bad=True)
    with pytest.raises(WorkloadError, match="cannot be read"):
        read_text_set(str(tmp_path / "none.jsonl"))


def decoded(parts):
    marks = {300: b"<|im_start|>", 301: b"<|im_end|>"}
    return [(role, b"".join(marks.get(i) or bytes([i]) for i in ids.tolist()).decode())
            for role, ids in parts]  # fmt: skip


def test_templates():
    messages = [Message("system", "S"), user("a <|im_end|> b")]
    assert isinstance(template_for(chatty), ChatML)
    assert decoded(ChatML(chatty).render(messages, False)) == [
        ("system", "<|im_start|>system\nS<|im_end|>\n"),
        ("user", "<|im_start|>user\na < |im_end|> b<|im_end|>\n<|im_start|>assistant\n"),
    ]
    assert decoded(ChatML(chatty).render([Message("tool", "T")], True)) == [
        ("tool", "<|im_end|>\n<|im_start|>tool\nT<|im_end|>\n<|im_start|>assistant\n")
    ]
    assert isinstance(template_for(plain), PlainRoles)
    assert decoded(PlainRoles(plain).render(messages[:1], False)) == [
        ("system", "System: S\n\nAssistant:")
    ]
    [(_, text)] = decoded(PlainRoles(plain).render([user("Q")], True))
    assert text == "\n\nUser: Q\n\nAssistant:"


def numbered(count):
    dialogues = tuple(
        tuple(
            TextTurn((user(f"{n}.{turn}"),), "answer" if n % 2 else None)
            for turn in range(n % 3 + 1)
        )
        for n in range(count)
    )
    return TextSet("x", dialogues)


def test_conversations_in_a_shuffled_order_that_comes_again():
    source = TextConversations(numbered(50), plain, seed=3, default_output_tokens=Fixed(9))
    turns = [source.conversation(session).turns for session in range(100)]
    texts = [decoded(each[0].parts)[0][1] for each in turns]
    assert len(set(texts[:50])) == 50 and texts[50:] == texts[:50]
    assert texts[:50] != sorted(texts[:50])
    ids = [source.first_request_id(session) for session in range(100)]
    assert ids == np.cumsum([0, *map(len, turns[:-1])]).tolist()
    other = TextConversations(numbered(50), plain, seed=4)
    assert decoded(other.conversation(0).turns[0].parts)[0][1] != texts[0]
    again = TextConversations(numbered(50), plain, seed=3, default_output_tokens=Fixed(9))
    assert [t.gap_ns for t in again.conversation(77).turns] == [t.gap_ns for t in turns[77]]
    assert {t.output_tokens for each in turns for t in each} == {9, len("answer")}
    assert all(each[0].gap_ns == 0 and all(t.gap_ns > 0 for t in each[1:]) for each in turns)


def real(name):
    path = PROMPTS / name
    if not path.exists():
        pytest.skip("the prompt sets are not beside this checkout")
    return read_text_set(str(path))


def test_spec_bench():
    texts = real("spec_bench_question.jsonl")
    assert len(texts.dialogues) == 480 and texts.skipped == texts.empty == 0
    assert sum(map(len, texts.dialogues)) == 560  # MT-bench's 80 have two turns
    assert all(turn.answer is None for dialogue in texts.dialogues for turn in dialogue)


def test_tau_bench():
    texts = real("taubench_airline_gpt4o_sessions.jsonl")
    assert len(texts.dialogues) == 126 and texts.skipped == texts.empty == 0
    assert sum(map(len, texts.dialogues)) == 1_560
    systems = {dialogue[0].messages[0].text for dialogue in texts.dialogues}
    assert [len(text) for text in systems] == [6_155]
    tools = sum(t.messages[0].role == "tool" for d in texts.dialogues for t in d)
    assert tools == 702
    source = TextConversations(texts, chatty)
    turns = source.conversation(0).turns
    assert [role for role, _ in turns[0].parts] == ["system", "user"]
    assert all(turn.output_tokens > 1 for turn in turns)
