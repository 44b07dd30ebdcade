"""The blocks that prompts are made of: their sizes, and names by which equal ones are found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workloads.traces.trace import Ints, Prefixes


def prefix_names(prefixes: Prefixes) -> tuple[Ints, int, bool]:
    """A name for each block, int64 `[ids]`, what all names are below, and whether ids are names.

    Two blocks have the same name just where they and all blocks before them in their prompts have
    the same ids. That is what a prefix cache can share. In a trace that keeps the promise of
    `Prefixes` the ids are such names themselves; one whose ids speak of the block alone gets names
    of its own.
    """
    ids, count = _dense_ids(prefixes.hash_ids)
    if _always_after_the_same(prefixes.offsets, ids, count):
        return ids, count, True
    return *_names_by_depth(prefixes.offsets, ids, count), False


def _dense_ids(hash_ids: Ints) -> tuple[Ints, int]:
    """Ids that say the same, all from 0 up to below the number that comes with them.

    Published ids are mostly counted from 0 already and then stay as they are; others are ranked.
    """
    if not len(hash_ids):
        return hash_ids, 0
    highest = int(hash_ids.max())
    if int(hash_ids.min()) >= 0 and highest < 4 * len(hash_ids):
        return hash_ids, highest + 1
    known, ranks = np.unique(hash_ids, return_inverse=True)
    return ranks.astype(np.int64, copy=False), len(known)


def _always_after_the_same(offsets: Ints, ids: Ints, count: int) -> bool:
    """Whether every id of `_dense_ids` always comes after the same one."""
    before = np.empty_like(ids)
    before[1:] = ids[:-1]
    starts = offsets[:-1][np.diff(offsets) > 0]
    before[starts] = -1
    expected = np.empty(count, np.int64)
    expected[ids] = before
    return bool((expected[ids] == before).all())


def _names_by_depth(offsets: Ints, ids: Ints, count: int) -> tuple[Ints, int]:
    """All first blocks are named, then all second blocks by (name of the first, id), and so on."""
    names = np.empty_like(ids)
    starts, counts = offsets[:-1], np.diff(offsets)
    rows = np.flatnonzero(counts > 0)
    parents = np.zeros(len(rows), np.int64)
    depth = used = 0
    while len(rows):
        keys = parents * count + ids[starts[rows] + depth]
        known, ranks = np.unique(keys, return_inverse=True)
        names[starts[rows] + depth] = parents = ranks + used
        used += len(known)
        depth += 1
        deeper = counts[rows] > depth
        rows, parents = rows[deeper], parents[deeper]
    return names, used


def rows_of_blocks(prefixes: Prefixes) -> npt.NDArray[np.int32]:
    """The row that each id belongs to, int32 `[ids]`."""
    counts = np.diff(prefixes.offsets)
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def tokens_of_blocks(prefixes: Prefixes, input_tokens: Ints) -> npt.NDArray[np.int32]:
    """Tokens of the prompt in each block, int32 `[ids]`: less than a block only in the last."""
    size = prefixes.block_tokens
    counts = np.diff(prefixes.offsets)
    # What is left of the prompt where its row's first block would begin at the first id of all.
    left = np.repeat(input_tokens + prefixes.offsets[:-1] * size, counts)
    left -= np.arange(len(left), dtype=np.int64) * size
    return np.clip(left, 0, size, out=left).astype(np.int32)


def first_ids(prefixes: Prefixes, counts: Ints) -> Prefixes:
    """The same prompts with only the first `counts` (int64 `[rows]`) ids of each."""
    held = np.diff(prefixes.offsets)
    if (held <= counts).all():
        return prefixes
    place = np.arange(len(prefixes.hash_ids)) - np.repeat(prefixes.offsets[:-1], held)
    kept = place < np.repeat(counts, held)
    return Prefixes(
        prefixes.block_tokens,
        prefixes.hash_ids[kept],
        offsets_of(np.minimum(held, counts)),
    )


def take_rows(prefixes: Prefixes, rows: Ints) -> Prefixes:
    """The prompts of `rows`, in that order."""
    counts = np.diff(prefixes.offsets)[rows]
    offsets = offsets_of(counts)
    places = np.repeat(prefixes.offsets[rows] - offsets[:-1], counts)
    places += np.arange(len(places))
    return Prefixes(prefixes.block_tokens, prefixes.hash_ids[places], offsets)


def offsets_of(counts: Ints) -> Ints:
    """Where each row's ids begin, and the end: int64 `[rows + 1]`."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
