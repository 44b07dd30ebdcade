"""A row of a text set as a dialogue: who says what, whatever the row calls it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

DIALOGUE_RULES: Final = (
    "Messages up to an answer are one turn, so two user messages in a row are asked together. "
    "Answers in a row are one answer. What an assistant says before the first message of a user "
    "or a tool is left out, and so are empty messages, but for the empty result of a tool. "
    "Messages after the last answer are left out; if there is no answer at all they are one turn."
)
"""How messages become turns, in words."""

_ROLES: Final = MappingProxyType(
    {
        **dict.fromkeys(("user", "human", "prompter"), "user"),
        **dict.fromkeys(
            ("assistant", "gpt", "chatgpt", "bing", "bard", "model", "ai", "function_call"),
            "assistant",
        ),
        **dict.fromkeys(("system", "developer"), "system"),
        **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
    }
)
_ANSWERS: Final = ("completion", "output", "response", "answer")
_KEYS: Final = "conversations, conversation, messages, turns, prompt or text"


class DialogueError(Exception):
    """A row that is no dialogue: what was expected, and what is there instead."""

    def __init__(self, expected: str, found: object) -> None:
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        super().__init__(
            f"expected {expected}, found {text if len(text) < 60 else text[:57] + '…'}"
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message: `role` is "system", "user", "assistant" or "tool"."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class TextTurn:
    """What is new in a prompt, and the answer that the set records to it; None for none."""

    messages: tuple[Message, ...]
    answer: str | None = None


def dialogue_of(row: object) -> tuple[TextTurn, ...]:
    """The turns of one row, by `DIALOGUE_RULES`; empty if nobody asks anything.

    Reads `conversations` or `conversation` (from/value, as ShareGPT) and `messages`
    (role/content, as the APIs), `turns` (the user's messages, as Spec-Bench), `prompt` (with
    `completion`, `output`, `response` or `answer` where there is one), and `text`.
    Raises `DialogueError` for anything else.
    """
    if not isinstance(row, dict):
        raise DialogueError(f"an object with {_KEYS}", row)
    fields = cast("dict[str, object]", row)
    for key in ("conversations", "conversation", "messages"):
        if fields.get(key) is not None:
            return _turns([_message(each) for each in _list(fields[key], key)])
    if fields.get("turns") is not None:
        asked = [_string(each, "a string in turns") for each in _list(fields["turns"], "turns")]
        return tuple(TextTurn((Message("user", text),)) for text in asked if text)
    for key in ("prompt", "text"):
        if fields.get(key) is not None:
            text = _string(fields[key], f"a string as {key}")
            answers = (fields.get(name) for name in _ANSWERS if key == "prompt")
            answer = next((each for each in answers if isinstance(each, str) and each), None)
            return (TextTurn((Message("user", text),), answer),) if text else ()
    raise DialogueError(f"one of {_KEYS}", f"the keys {', '.join(map(str, fields)) or 'none'}")


def _turns(messages: Sequence[Message]) -> tuple[TextTurn, ...]:
    turns: list[TextTurn] = []
    asked: list[Message] = []
    for message in messages:
        if message.role != "assistant":
            if message.text or message.role == "tool":
                asked.append(message)
        elif not message.text:
            continue
        elif _asks(asked):
            turns.append(TextTurn(tuple(asked), message.text))
            asked = []
        elif turns:
            last = turns[-1]
            turns[-1] = TextTurn(last.messages, f"{last.answer}\n{message.text}")
    if not turns and _asks(asked):
        turns.append(TextTurn(tuple(asked)))
    return tuple(turns)


def _asks(messages: Sequence[Message]) -> bool:
    return any(message.role != "system" for message in messages)


def _message(value: object) -> Message:
    if not isinstance(value, dict):
        raise DialogueError("a message with role and content (or from and value)", value)
    fields = cast("dict[str, object]", value)
    said = fields.get("role", fields.get("from"))
    role = _ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise DialogueError(f"a role, one of {', '.join(_ROLES)}", said)
    lines = [_content(fields.get("content", fields.get("value")))]
    calls = fields.get("tool_calls") or fields.get("function_call") or []
    lines += [_call(call) for call in (calls if isinstance(calls, list) else [calls])]
    return Message(role, "\n".join(line for line in lines if line))


def _content(content: object) -> str:
    """Text of a message: a string, null, or a list of parts, of which those with text count."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in _list(content, "content"):
        text = cast("dict[str, object]", part).get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
    return "\n".join(texts)


def _call(call: object) -> str:
    """A tool call as the model writes it: one JSON object of name and arguments."""
    if not isinstance(call, dict):
        raise DialogueError("a tool call with a function", call)
    function = cast("dict[str, object]", call).get("function", call)
    if not isinstance(function, dict) or "name" not in function:
        raise DialogueError("a tool call with a function's name", call)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        # A model may write what is no JSON: that is kept as it is.
        with suppress(ValueError):
            arguments = json.loads(arguments)
    named = {"name": function["name"], "arguments": arguments}
    return json.dumps(named, ensure_ascii=False)


def _list(value: object, key: str) -> list[object]:
    if not isinstance(value, list):
        raise DialogueError(f"a list as {key}", value)
    return cast("list[object]", value)


def _string(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise DialogueError(expected, value)
    return value
