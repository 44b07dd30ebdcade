"""What a file of texts holds: conversations, turns, and characters, as it has no tokens."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from workbench.analysis.printable import plain
from workbench.analysis.quantities import count, number, percent
from workbench.analysis.report_tables import facts_table
from workloads.conversations.text_sets import TextSet


@dataclass(frozen=True, slots=True)
class TextFacts:
    """The facts about a `TextSet`.

    Attributes:
        conversations: with at least one turn; `empty` and `skipped` ones are not among them.
        turns, turns_max: of all conversations, and of the longest.
        answered: turns that come with an answer.
        asked_characters, answered_characters: of all turns, without what they repeat of the turns
            before.
    """

    conversations: int
    empty: int
    skipped: int
    first_skipped: str
    turns: int
    turns_max: int
    answered: int
    asked_characters: int
    answered_characters: int


def text_facts(texts: TextSet) -> TextFacts:
    """Counts conversations, turns and characters."""
    turns = [turn for dialogue in texts.dialogues for turn in dialogue]
    answers = [turn.answer for turn in turns if turn.answer is not None]
    return TextFacts(
        conversations=len(texts.dialogues),
        empty=texts.empty,
        skipped=texts.skipped,
        first_skipped=texts.first_skipped,
        turns=len(turns),
        turns_max=max(map(len, texts.dialogues), default=0),
        answered=len(answers),
        asked_characters=sum(len(message.text) for turn in turns for message in turn.messages),
        answered_characters=sum(map(len, answers)),
    )


def text_table(path: str, kind: str, facts: TextFacts) -> Table:
    """The facts for people; `kind` is the file's format."""
    turns = max(1, facts.turns)
    per_conversation = facts.turns / max(1, facts.conversations)
    rows = [
        ("File", plain(path)),
        ("Format", plain(kind)),
        ("Conversations", count(facts.conversations)),
        (
            "Turns",
            f"{count(facts.turns)}, {number(per_conversation)} a conversation on average, "
            f"{count(facts.turns_max)} at most",
        ),
        (
            "Asked",
            f"{count(facts.asked_characters)} characters, "
            f"{number(facts.asked_characters / turns)} a turn",
        ),
        (
            "Answered",
            f"{count(facts.answered_characters)} characters, in "
            f"{percent(100 * facts.answered / turns)} of the turns",
        ),
    ]
    if facts.empty:
        rows.append(("Left out", f"{count(facts.empty)} in which nobody asks anything"))
    if facts.skipped:
        rows.append(("Broken", f"{count(facts.skipped)}: {plain(facts.first_skipped)}"))
    return facts_table("Texts", rows)
