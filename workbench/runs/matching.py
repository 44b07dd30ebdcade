"""What a word means among runs: an id or its beginning, a group, a name, a pattern, a place from
the end, or a tag."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from workbench.errors import StoreError

if TYPE_CHECKING:
    from workbench.runs.store import StoredRun

Runs = Sequence["StoredRun"]
Tags = Callable[["StoredRun"], Collection[str]]

TAG = "tag:"
_MOST_NAMED = 5


def matching(word: str, runs: Runs, tags: Tags) -> Runs:
    """The runs that `word` means, in their order; none where it means nothing.

    Args:
        runs: oldest first; tags: a run's tags, asked for only where they matter.

    Raises:
        StoreError: "last~9" of fewer runs, or the beginning of several ids.
    """
    if is_glob(word):
        return [run for run in runs if fnmatchcase(run.run_id, word) or fnmatchcase(run.name, word)]
    if word == "last" or word.startswith("last~"):
        return _from_the_end(word, runs)
    if word.startswith(TAG):
        return [run for run in runs if word.removeprefix(TAG) in tags(run)]
    for found in _plainly(word, runs):
        if found:
            return found
    return _beginning(word, runs) or [run for run in runs if word in tags(run)]


def is_glob(word: str) -> bool:
    """Whether it is a pattern, and no id or name, which have none of these characters."""
    return any(letter in word for letter in "*?[")


def words_for(runs: Runs, tags: Tags) -> Iterator[str]:
    """Ids, groups, names and tags: what could have been meant."""
    for run in runs:
        yield run.run_id
        yield from tags(run)
        if run.name:
            yield run.name
        if run.group is not None:
            yield run.group.id


def _plainly(word: str, runs: Runs) -> Iterator[Runs]:
    yield [run for run in runs if run.run_id == word]
    yield [run for run in runs if run.group is not None and run.group.id == word]
    yield [run for run in runs if run.name and run.name == word]


def _beginning(word: str, runs: Runs) -> Runs:
    found = [run for run in runs if word and run.run_id.startswith(word)]
    if len({_unit(run) for run in found}) > 1:
        several = ", ".join(run.run_id for run in found[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise StoreError(f"{word!r} means several runs: {several}{more}; give more of the id")
    return found


def _from_the_end(word: str, runs: Runs) -> Runs:
    back = word.removeprefix("last").removeprefix("~") or "0"
    if not (back.isascii() and back.isdigit()):
        raise StoreError(f"{word!r}: write last, last~1, last~2, …")
    newest_first = list(dict.fromkeys(_unit(run) for run in reversed(runs)))
    if newest_first and int(back) >= len(newest_first):
        raise StoreError(
            f"{word!r}: there are {len(newest_first)} runs, those of a group counted as one"
        )
    return [run for run in runs if _unit(run) == newest_first[int(back)]]


def _unit(run: StoredRun) -> tuple[str, bool]:
    """What is counted as one: a group, or a run that is alone."""
    return (run.run_id, False) if run.group is None else (run.group.id, True)
