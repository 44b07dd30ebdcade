"""From the text of a query to its words, numbers and signs, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workbench.errors import SpecError

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "contains"})

COMPARISONS = ("=", "!=", ">", ">=", "<", "<=")

TokenKind = Literal["number", "word", "keyword", "string", "sign", "end"]

_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[A-Za-zµ_][A-Za-z0-9_]*)
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<sign>\.\.|==|!=|>=|<=|[=<>()+\-*/,])""",
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_INSTEAD = {"&": "and", "|": "or", "!": "not", "%": "a fraction, such as 0.3", "[": "(", "]": ")"}


class QueryError(SpecError):
    """A query that can't be understood; its text is shown with a caret under the place.

    `reason` says what is wrong and what is allowed; `position` and `length` say where in `query`,
    in characters.
    """

    def __init__(self, reason: str, query: str, position: int, length: int = 1) -> None:
        self.reason = reason
        self.query = query
        self.position = position
        self.length = max(1, length)
        line = "".join(char if char.isprintable() else " " for char in query)
        super().__init__(f"{reason}\n  {line}\n  {' ' * position}{'^' * self.length}")


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a query; `text` is what was written, but keywords and `==` are brought to one
    form and strings have lost their quotes."""

    kind: TokenKind
    text: str
    position: int
    length: int


def tokens_of(query: str) -> list[Token]:
    """The tokens of `query`, with one of kind "end" after the last.

    Raises:
        QueryError: a character that no token begins with, or a text without its closing quote.
    """
    tokens = []
    position = _skip_space(query, 0)
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None:
            raise QueryError(_why_not(query[position]), query, position)
        tokens.append(_token(match))
        position = _skip_space(query, match.end())
    tokens.append(Token("end", "", len(query), 1))
    return tokens


def _token(match: re.Match[str]) -> Token:
    text, start, length = match[0], match.start(), len(match[0])
    if match["number"] is not None:
        return Token("number", text, start, length)
    if match["string"] is not None:
        return Token("string", text[1:-1], start, length)
    if match["sign"] is not None:
        return Token("sign", "=" if text == "==" else text, start, length)
    if text.lower() in KEYWORDS:
        return Token("keyword", text.lower(), start, length)
    return Token("word", text, start, length)


def _skip_space(query: str, position: int) -> int:
    space = _SPACE.match(query, position)
    return space.end() if space else position


def _why_not(char: str) -> str:
    if char in "\"'":
        return f"this text has no closing {char}"
    if char in _INSTEAD:
        return f"{char!r} means nothing here; write {_INSTEAD[char]}"
    return f"{char!r} means nothing here"
