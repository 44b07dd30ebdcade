"""The KV block pool: who holds which fixed-size block of the KV cache, and what is in it.

    block id   0 | 1 2 3 4 5 6 7 8 9 …
               N | L L S C C L F F F        N null: never handed out, the target of padding
                                            L live: named by one block table
                                            S shared: named by several (a common prefix), read-only
                                            C cached: named by none, content kept for reuse
                                            F free: named by none, no content

A block is free, live (shared is live with more than one reference) or cached, never two of them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from engines.errors import EngineConfigError, IntegrityError
from engines.scheduling.hotness import FALLS, RISES, Hotness

NULL_BLOCK = 0
ROOT_HASH = b"workbench.kv"


def chain_hash(parent: bytes, token_ids: bytes) -> bytes:
    """The name of a full block's content: its tokens, int32 as bytes, and through `parent` all
    before it."""
    return blake2b(parent + token_ids, digest_size=16).digest()


class BlockPool:
    """Reference-counted KV blocks with prefix reuse and least-recently-used eviction.

    Allocation takes a free block first and otherwise evicts the cached block whose last use is
    longest ago. A block is published under its content's hash once every slot in it is computed;
    from then on it is read-only.

    Raises:
        EngineConfigError: fewer than two blocks (one is the null block) or an impossible size.
    """

    def __init__(self, num_blocks: int, block_size: int, prefix_caching: bool = True) -> None:
        if block_size < 1:
            raise EngineConfigError(f"block_size = {block_size}: a block holds at least one token")
        if num_blocks < 2:
            raise EngineConfigError(
                f"num_blocks = {num_blocks}: at least 2 are needed, as block 0 is the null block"
            )
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self.evictions = 0
        self._free = list(range(num_blocks - 1, 0, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._refcounts = [0] * num_blocks
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._hotness = Hotness(num_blocks)

    @property
    def num_usable(self) -> int:
        """All blocks but the null block."""
        return self.num_blocks - 1

    @property
    def num_available(self) -> int:
        """Blocks that can be allocated now: free ones and cached ones."""
        return len(self._free) + len(self._cached)

    @property
    def num_live(self) -> int:
        return self.num_usable - self.num_available

    @property
    def num_cached(self) -> int:
        return len(self._cached)

    @property
    def live_by_references(self) -> tuple[int, ...]:
        """Live blocks by the block tables that name them: 1, 2 to 3, 4 to 7, 8 to 15, and more."""
        return self._hotness.live_by_references(self.num_live)

    @property
    def cached_by_reuses(self) -> tuple[int, ...]:
        """Cached blocks by how often their content was found again since it was computed:
        never, once, 2 to 3 times, 4 to 7 times, and more."""
        return self._hotness.cached_by_reuses()

    def refcount(self, block: int) -> int:
        return self._refcounts[block]

    def is_published(self, block: int) -> bool:
        return block in self._hash_of

    def match(self, hashes: Sequence[bytes]) -> list[int]:
        """The blocks that hold the longest known prefix of `hashes`; nothing is acquired."""
        blocks = []
        for content in hashes:
            block = self._block_of.get(content)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def num_revived(self, blocks: Iterable[int]) -> int:
        """How many of `blocks` are cached now, so that acquiring them lowers `num_available`."""
        return sum(block in self._cached for block in blocks)

    def acquire(self, blocks: Iterable[int]) -> None:
        """Adds one reference to each of `blocks`, taken from `match`."""
        refcounts, hotness, reuses = self._refcounts, self._hotness, self._hotness.reuses
        for block in blocks:
            count = refcounts[block] + 1
            refcounts[block] = count
            if count == 1:
                del self._cached[block]
                hotness.revived(block)
            elif count in RISES:
                hotness.rose(count)
            reuses[block] += 1

    def allocate(self) -> int:
        """A private, writable block with one reference.

        Raises:
            IntegrityError: nothing is available; callers ask `num_available` first.
        """
        if self._free:
            block = self._free.pop()
        elif self._cached:
            block, _ = self._cached.popitem(last=False)
            del self._block_of[self._hash_of.pop(block)]
            self._hotness.forgotten(block)
            self.evictions += 1
        else:
            raise IntegrityError("a KV block was allocated although none is available")
        self._refcounts[block] = 1
        return block

    def allocate_many(self, count: int) -> list[int]:
        """As many private blocks. Raises as `allocate` does."""
        if count > len(self._free):
            return [self.allocate() for _ in range(count)]
        at = len(self._free) - count
        blocks = self._free[at:]
        del self._free[at:]
        for block in blocks:
            self._refcounts[block] = 1
        blocks.reverse()
        return blocks

    def publish(self, block: int, content: bytes) -> None:
        """Names a full, computed block so that later prompts can share it.

        Where another block already holds the same content, that one keeps the name.
        """
        if self.prefix_caching and content not in self._block_of:
            self._hash_of[block] = content
            self._block_of[content] = block

    def release(self, blocks: Sequence[int]) -> None:
        """Drops one reference from each block of a table.

        The tail goes first, so that of one prefix the end is evicted before its beginning.
        """
        for block in reversed(blocks):
            count = self._refcounts[block] - 1
            if count < 0:
                raise IntegrityError(f"KV block {block} was released more often than acquired")
            self._refcounts[block] = count
            if count:
                if count in FALLS:
                    self._hotness.fell(count)
            elif block in self._hash_of:
                self._cached[block] = None
                self._hotness.kept(block)
            else:
                self._free.append(block)

    def forget_cached(self) -> int:
        """Drops every cached block's content and returns how many there were."""
        dropped = len(self._cached)
        for block in self._cached:
            del self._block_of[self._hash_of.pop(block)]
            self._hotness.forgotten(block)
            self._free.append(block)
        self._cached.clear()
        return dropped

    def check_integrity(self, tables: Iterable[Sequence[int]]) -> None:
        """Verifies every invariant of the pool against the block tables that are in use.

        Raises:
            IntegrityError: the first invariant that does not hold, with the block's id.
        """
        expected = Counter(block for table in tables for block in table)
        free, cached = set(self._free), set(self._cached)
        if len(free) != len(self._free):
            raise IntegrityError("a block is twice in the free list")
        if NULL_BLOCK in free or NULL_BLOCK in cached or NULL_BLOCK in expected:
            raise IntegrityError("the null block was handed out or freed")
        if free & cached:
            raise IntegrityError(f"blocks {sorted(free & cached)} are both free and cached")
        for block in range(1, self.num_blocks):
            count = self._refcounts[block]
            if count != expected.get(block, 0):
                raise IntegrityError(
                    f"block {block} has {count} references, {expected.get(block, 0)} tables name it"
                )
            if (count > 0) == (block in free or block in cached):
                raise IntegrityError(f"block {block} with {count} references is in the wrong set")
            if count > 1 and block not in self._hash_of:
                raise IntegrityError(f"block {block} is shared but its content has no name")
            if block in free and block in self._hash_of:
                raise IntegrityError(f"free block {block} still has a content name")
            if block in cached and block not in self._hash_of:
                raise IntegrityError(f"cached block {block} has no content name")
        if len(self._block_of) != len(self._hash_of) or any(
            self._block_of.get(content) != block for block, content in self._hash_of.items()
        ):
            raise IntegrityError("content names and blocks do not map one to one")
        self._check_hotness()

    def _check_hotness(self) -> None:
        references = (count for count in self._refcounts if count)
        counted = self._hotness.counted(references, self._cached)
        if counted != (self.live_by_references, self.cached_by_reuses):
            raise IntegrityError(
                f"blocks by hotness are {self.live_by_references} live and "
                f"{self.cached_by_reuses} cached, counted one by one {counted}"
            )
        for block, reuses in enumerate(self._hotness.reuses):
            if reuses and block not in self._hash_of:
                raise IntegrityError(f"block {block} was found by a content that has no name")
