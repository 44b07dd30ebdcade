"""The block pool's rules, one by one, and against a model of it under arbitrary calls."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engines.errors import EngineConfigError, IntegrityError
from engines.scheduling.blocks import NULL_BLOCK, ROOT_HASH, BlockPool, chain_hash


def names(*blocks: list[int]) -> list[bytes]:
    """Content names of a prompt that fills `blocks`."""
    chain, parent = [], ROOT_HASH
    for tokens in blocks:
        parent = chain_hash(parent, np.array(tokens, np.int32).tobytes())
        chain.append(parent)
    return chain


def cached_table(pool: BlockPool, hashes: list[bytes]) -> list[int]:
    """The blocks of a sequence that has computed all of `hashes` and has ended."""
    table = [pool.allocate() for _ in hashes]
    for block, content in zip(table, hashes, strict=True):
        pool.publish(block, content)
    pool.release(table)
    return table


def test_the_null_block_is_never_handed_out() -> None:
    pool = BlockPool(num_blocks=5, block_size=4)
    blocks = [pool.allocate() for _ in range(pool.num_usable)]
    assert sorted(blocks) == [1, 2, 3, 4]
    assert NULL_BLOCK not in blocks
    with pytest.raises(IntegrityError, match="none is available"):
        pool.allocate()


@pytest.mark.parametrize(("num_blocks", "block_size"), [(1, 4), (0, 4), (4, 0), (4, -1)])
def test_an_impossible_pool_is_refused(num_blocks: int, block_size: int) -> None:
    with pytest.raises(EngineConfigError, match=r"num_blocks|block_size"):
        BlockPool(num_blocks, block_size)


def test_a_hash_names_a_block_together_with_all_before_it() -> None:
    same_tokens = names([1, 2], [1, 2])
    assert same_tokens[0] != same_tokens[1]
    assert names([1, 2], [5, 6])[1] != names([3, 4], [5, 6])[1]
    assert names([1, 2], [5, 6])[0] == names([1, 2], [7, 8])[0]


def test_match_stops_at_the_first_unknown_block() -> None:
    pool = BlockPool(8, 2)
    hashes = names([1, 2], [3, 4], [5, 6])
    table = cached_table(pool, hashes)
    assert pool.match(hashes) == table
    assert pool.match(names([1, 2], [9, 9], [5, 6])) == table[:1]
    assert pool.match(names([9, 9], [3, 4])) == []


def test_free_blocks_are_used_before_cached_ones() -> None:
    pool = BlockPool(4, 2)
    (cached,) = cached_table(pool, names([1, 2]))
    assert cached not in [pool.allocate(), pool.allocate()]
    assert pool.evictions == 0
    assert pool.allocate() == cached
    assert pool.evictions == 1


def test_the_least_recently_used_block_is_evicted_first() -> None:
    pool = BlockPool(4, 2)
    old, middle, new = (cached_table(pool, names([n, n]))[0] for n in range(3))
    pool.acquire([old])  # used again: now the most recent
    pool.release([old])
    assert [pool.allocate() for _ in range(3)] == [middle, new, old]


def test_of_one_prefix_the_end_is_evicted_before_its_beginning() -> None:
    pool = BlockPool(4, 2)
    hashes = names([1, 2], [3, 4], [5, 6])
    first, second, third = cached_table(pool, hashes)
    assert pool.allocate() == third
    assert pool.match(hashes) == [first, second]
    assert pool.allocate() == second
    assert pool.match(hashes) == [first]


def test_an_evicted_block_is_no_longer_found() -> None:
    pool = BlockPool(2, 2)
    hashes = names([1, 2])
    cached_table(pool, hashes)
    block = pool.allocate()
    assert pool.match(hashes) == []
    assert not pool.is_published(block)


def test_a_shared_block_is_freed_with_its_last_reference() -> None:
    pool = BlockPool(4, 2)
    hashes = names([1, 2])
    (block,) = cached_table(pool, hashes)
    pool.acquire([block])
    pool.acquire([block])
    assert (pool.refcount(block), pool.num_live, pool.num_cached) == (2, 1, 0)
    pool.release([block])
    assert (pool.refcount(block), pool.num_live) == (1, 1)
    pool.release([block])
    assert (pool.num_live, pool.num_cached) == (0, 1)
    with pytest.raises(IntegrityError, match="released more often"):
        pool.release([block])


def test_of_two_blocks_with_one_content_the_first_keeps_the_name() -> None:
    pool = BlockPool(4, 2)
    (content,) = names([1, 2])
    first, second = pool.allocate(), pool.allocate()
    pool.publish(first, content)
    pool.publish(second, content)
    assert pool.match([content]) == [first]
    pool.release([second])
    assert (pool.num_cached, pool.num_available) == (0, 2), "the copy is free at once"
    pool.check_integrity([[first]])


def test_cached_blocks_that_are_acquired_are_no_longer_available() -> None:
    pool = BlockPool(4, 2)
    hashes = names([1, 2], [3, 4])
    table = cached_table(pool, hashes)
    pool.acquire(table[:1])
    assert pool.num_available == 2
    assert pool.num_revived(table) == 1, "the other one was live already"


def test_without_prefix_caching_nothing_is_kept() -> None:
    pool = BlockPool(4, 2, prefix_caching=False)
    hashes = names([1, 2])
    cached_table(pool, hashes)
    assert pool.match(hashes) == []
    assert (pool.num_cached, pool.num_available) == (0, 3)


def test_forgetting_drops_cached_content_and_leaves_live_content() -> None:
    pool = BlockPool(6, 2)
    gone, kept = names([1, 2]), names([3, 4])
    cached_table(pool, gone)
    live = cached_table(pool, kept)
    pool.acquire(live)
    assert pool.forget_cached() == 1
    assert (pool.match(gone), pool.match(kept)) == ([], live)
    pool.check_integrity([live])


def test_live_blocks_are_told_apart_by_their_references() -> None:
    pool = BlockPool(8, 2)
    table = cached_table(pool, names([1, 2], [3, 4]))
    seen = []
    for _ in range(17):
        pool.acquire(table[:1])
        seen.append(pool.live_by_references.index(1))
    assert seen == [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4], "1, 2, 4, 8 and 16"
    private = pool.allocate()
    assert pool.live_by_references == (1, 0, 0, 0, 1)
    for _ in range(16):
        pool.release(table[:1])
    assert pool.live_by_references == (2, 0, 0, 0, 0)
    pool.check_integrity([table[:1], [private]])


def test_cached_blocks_are_told_apart_by_how_often_they_were_found_again() -> None:
    pool = BlockPool(4, 2)
    hashes = names([1, 2], [3, 4])
    table = cached_table(pool, hashes)
    assert pool.cached_by_reuses == (2, 0, 0, 0, 0)
    seen = []
    for _ in range(9):
        pool.acquire(table[:1])
        assert pool.cached_by_reuses == (1, 0, 0, 0, 0), "the other one"
        pool.release(table[:1])
        seen.append(pool.cached_by_reuses.index(1, 1))
    assert seen == [1, 2, 2, 3, 3, 3, 3, 4, 4], "1, 2, 4 and 8"
    for _ in range(3):
        pool.allocate()
    assert pool.cached_by_reuses == (0, 0, 0, 0, 0)
    pool.check_integrity([[1], [2], [3]])


def test_new_content_in_a_block_begins_cold() -> None:
    pool = BlockPool(2, 2)
    (block,) = cached_table(pool, names([1, 2]))
    pool.acquire([block])
    pool.release([block])
    assert pool.cached_by_reuses == (0, 1, 0, 0, 0)
    assert cached_table(pool, names([3, 4])) == [block]
    assert pool.cached_by_reuses == (1, 0, 0, 0, 0)
    pool.acquire([block])
    pool.release([block])
    assert pool.forget_cached() == 1
    assert cached_table(pool, names([5, 6])) == [block]
    assert pool.cached_by_reuses == (1, 0, 0, 0, 0)


def test_integrity_counts_the_hotness_again() -> None:
    pool = BlockPool(4, 2)
    table = cached_table(pool, names([1, 2]))
    pool.acquire(table)
    pool.acquire(table)
    pool.check_integrity([table, table])
    pool._hotness.fell(1)
    with pytest.raises(IntegrityError, match="by hotness"):
        pool.check_integrity([table, table])


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ([], "block 1 has 1 references.* 0 tables"),
        ([[1], [1]], "block 1 has 1 references.* 2 tables"),
        ([[1, 0]], "null block"),
    ],
)
def test_integrity_names_what_is_wrong(tables: list[list[int]], complaint: str) -> None:
    pool = BlockPool(4, 2)
    assert pool.allocate() == 1
    with pytest.raises(IntegrityError, match=complaint):
        pool.check_integrity(tables)


class PoolMachine(RuleBasedStateMachine):
    """The pool beside a model of it: tables that hold blocks, and what each block contains."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(7, 2)
        self.tables: list[tuple[list[int], list[bytes]]] = []
        self.contents: dict[int, bytes] = {}

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def start(self, tokens: list[int]) -> None:
        hashes = names(*([token, token] for token in tokens))
        hits = self.pool.match(hashes)
        assert [self.contents[block] for block in hits] == hashes[: len(hits)], "a false hit"
        needed = len(hashes) - len(hits)
        if self.pool.num_available - self.pool.num_revived(hits) < needed:
            return
        self.pool.acquire(hits)
        table = list(hits)
        for content in hashes[len(hits) :]:
            block = self.pool.allocate()
            assert not any(block in others for others, _ in self.tables), "held by another"
            assert block not in table
            self.contents[block] = content
            self.pool.publish(block, content)
            table.append(block)
        self.tables.append((table, hashes))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tables) - 1))
        table, hashes = self.tables.pop(index)
        assert [self.contents[block] for block in table] == hashes, "a held block was overwritten"
        self.pool.release(table)

    @rule()
    def forget(self) -> None:
        self.pool.forget_cached()

    @invariant()
    def holds(self) -> None:
        self.pool.check_integrity(table for table, _ in self.tables)
        held = Counter(block for table, _ in self.tables for block in table)
        assert self.pool.num_live == len(held) == sum(self.pool.live_by_references)
        assert self.pool.live_by_references[0] == sum(count == 1 for count in held.values())
        assert self.pool.num_cached == sum(self.pool.cached_by_reuses)


TestPoolAgainstModel = PoolMachine.TestCase
TestPoolAgainstModel.settings = settings(
    max_examples=60, stateful_step_count=30, derandomize=True, deadline=None, database=None
)
