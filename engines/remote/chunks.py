"""One chunk of a streamed answer, as OpenAI's protocol and its dialects write it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Chunk:
    """What a chunk told.

    Attributes:
        text: what the model wrote: content, reasoning, and tool calls alike. A chunk that names
            the role alone has none, and holds no token.
        finish: the finish_reason, if it came.
        usage: the usage object, final or running (vLLM's continuous_usage_stats), if it came.
        timing: the server's own times of the request (`metrics` of vLLM's kind, `timings` of
            llama.cpp's), if it tells them.
        error: the message of an error object.
    """

    text: str = ""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    timing: dict[str, Any] | None = None
    error: str | None = None


def read_chunk(data: bytes) -> Chunk:
    """Reads one event's data.

    Raises:
        ValueError: it is no JSON object.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    chunk = Chunk()
    if content.get("error"):
        chunk.error = error_message(content)
        return chunk
    choices = content.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = choices[0]
        finish = choice.get("finish_reason")
        if finish is not None:
            chunk.finish = str(finish)
        delta = choice.get("delta")
        chunk.text = _written(delta) if isinstance(delta, dict) else _text(choice.get("text"))
    for usage in (content.get("usage"),):
        if isinstance(usage, dict):
            chunk.usage = usage
    timing = content.get("metrics") or content.get("timings")
    if isinstance(timing, dict):
        chunk.timing = timing
    return chunk


def error_message(content: Any) -> str:
    """What an answer of `{"error": …}` or one of its relatives says; empty if nothing."""
    if not isinstance(content, dict):
        return ""
    error = content.get("error", content)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error.get("type") or error
    return error if isinstance(error, str) else json.dumps(error)


def count_of(usage: dict[str, Any] | None, *path: str) -> int | None:
    """The whole number at `path` of a usage object; None where it isn't told."""
    value: Any = usage
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _written(delta: dict[str, Any]) -> str:
    """Everything that a delta adds to the answer."""
    text = _text(delta.get("content"))
    if len(delta) == 1 and text:
        return text
    text = _text(delta.get("reasoning_content") or delta.get("reasoning")) + text
    for call in delta.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            text += _text(function.get("name")) + _text(function.get("arguments"))
    return text + _text(delta.get("refusal"))
