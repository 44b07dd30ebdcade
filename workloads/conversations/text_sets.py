"""Sets of real prompts and conversations, and their conversations in a model's own tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from workloads.conversations.conversation import Conversation, Turn
from workloads.conversations.dialogues import DialogueError, TextTurn, dialogue_of
from workloads.conversations.gaps import TOOL_GAP, USER_GAP, Gap
from workloads.conversations.json_array import read_array
from workloads.conversations.template import template_for
from workloads.draws import Purpose, random_bits, uniforms
from workloads.errors import WorkloadError
from workloads.lengths import LengthDistribution, Lognormal
from workloads.text import Encode
from workloads.traces.stream import read_chunks, read_head

_HEAD_BYTES: Final = 4096

DEFAULT_OUTPUT_TOKENS: Final = Lognormal.from_mean_and_median(211, 129, minimum=7, maximum=1_000)
"""Answers where the set records none: as in Azure's conversation trace of 2023 (see `chat`)."""


@dataclass(frozen=True, slots=True)
class TextSet:
    """The dialogues of a file, in its order.

    Attributes:
        path: the file, as it was given.
        dialogues: each one or more turns.
        empty: rows that are no mistake but in which nobody asks anything; they are left out.
        skipped: rows that were broken and left out; `first_skipped` says what was wrong with the
            first.
    """

    path: str
    dialogues: tuple[tuple[TextTurn, ...], ...]
    empty: int = 0
    skipped: int = 0
    first_skipped: str = ""


def read_text_set(path: str | Path, skip_bad: bool = False) -> TextSet:
    """The dialogues of a file (see `dialogues.dialogue_of` for the rows it may have).

    A file that begins with [ is one JSON array of rows (ShareGPT), any other has a row a line;
    both may be compressed with gzip or zstd. The texts are held in memory, not the file.

    With `skip_bad`, broken rows are left out and counted; an array that is no JSON cannot be read
    on past its fault. Otherwise the first broken row raises `WorkloadError`: file, line or element,
    what was expected and what was found. So does a file that cannot be read or holds no turn.
    """
    path = str(path)
    dialogues, empty, skipped, first_skipped = [], 0, 0, ""
    is_array = read_head(path, _HEAD_BYTES).lstrip()[:1] == b"["
    for where, row in _elements(path) if is_array else _lines(path):
        try:
            turns = dialogue_of(_parsed(row) if isinstance(row, bytes) else row)
        except DialogueError as error:
            message = f"{path}: {where}: {error}"
            if not skip_bad:
                raise WorkloadError(message) from error
            skipped += 1
            first_skipped = first_skipped or message
            continue
        if turns:
            dialogues.append(turns)
        else:
            empty += 1
    if not dialogues:
        because = f" ({first_skipped})" if first_skipped else ""
        raise WorkloadError(f"{path}: no row asks anything{because}")
    return TextSet(path, tuple(dialogues), empty, skipped, first_skipped)


class TextConversations:
    """A `ConversationSource`: dialogues of `text_set`, written with `template.template_for`.

    They come in an order shuffled from the seed, each once, and then in the same order again.
    An answer is as long as the recorded one, in the model's tokens; where there is none its length
    is drawn from `default_output_tokens`. Histories have the run's own answers, not the recorded
    ones. The time from an answer to the next turn is drawn from `tool_gap` where a tool's result
    opens that turn, else from `user_gap`.

    A conversation is encoded when it is asked for. Raises `WorkloadError` for a bad seed.
    """

    __slots__ = (
        "_default_output_tokens",
        "_encode",
        "_first_ids",
        "_order",
        "_seed",
        "_template",
        "_tool_gap",
        "_user_gap",
        "text_set",
    )

    def __init__(
        self,
        text_set: TextSet,
        encode: Encode,
        *,
        seed: int = 0,
        default_output_tokens: LengthDistribution = DEFAULT_OUTPUT_TOKENS,
        user_gap: Gap = USER_GAP,
        tool_gap: Gap = TOOL_GAP,
    ) -> None:
        self.text_set = text_set
        self._encode = encode
        self._template = template_for(encode)
        self._seed = seed
        self._default_output_tokens = default_output_tokens
        self._user_gap = user_gap
        self._tool_gap = tool_gap
        count = len(text_set.dialogues)
        drawn = random_bits(seed, np.arange(count), Purpose.DIALOGUE_ORDER)
        self._order = np.argsort(drawn, kind="stable")
        turns = np.array([len(text_set.dialogues[i]) for i in self._order], dtype=np.int64)
        self._first_ids = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(turns)])

    def conversation(self, session_id: int) -> Conversation:
        """See `ConversationSource`."""
        dialogue = self.text_set.dialogues[int(self._order[session_id % len(self._order)])]
        ids = self.first_request_id(session_id) + np.arange(len(dialogue))
        drawn = self._default_output_tokens.quantile(
            uniforms(self._seed, ids, Purpose.OUTPUT_LENGTH)
        )
        gaps = uniforms(self._seed, ids, Purpose.TURN_GAP)
        turns = []
        for number, turn in enumerate(dialogue):
            gap = self._tool_gap if turn.messages[0].role == "tool" else self._user_gap
            turns.append(
                Turn(
                    parts=self._template.render(turn.messages, follows_answer=number > 0),
                    output_tokens=(
                        int(drawn[number])
                        if turn.answer is None
                        else max(1, len(self._encode(turn.answer)))
                    ),
                    gap_ns=round(float(gap.quantile_s(gaps[number])) * 1e9) if number else 0,
                )
            )
        return Conversation(session_id, tuple(turns))

    def first_request_id(self, session_id: int) -> int:
        """See `ConversationSource`."""
        rounds, place = divmod(session_id, len(self._order))
        return rounds * int(self._first_ids[-1]) + int(self._first_ids[place])


def _elements(path: str) -> Iterator[tuple[str, object]]:
    for element in read_array(path):
        yield f"element {element.number}, from character {element.at}", element.value


def _lines(path: str) -> Iterator[tuple[str, object]]:
    for chunk in read_chunks(path):
        for line, text in enumerate(chunk.text.split(b"\n")[:-1], chunk.first_line):
            if text.strip():
                yield f"line {line}", text


def _parsed(line: bytes) -> object:
    try:
        row: object = json.loads(line)
    except UnicodeDecodeError as error:
        raise DialogueError("UTF-8 text", f"{error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        found = f"{error.msg} at column {error.colno}"
        raise DialogueError("a JSON object a line, or one array", found) from error
    except RecursionError as error:
        raise DialogueError("JSON of reasonable depth", "too many brackets") from error
    return row
