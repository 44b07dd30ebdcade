"""Sizes of tiles and pipelines for the attention kernels, by shape and by shared memory."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """How the decode kernel is cut.

    Attributes:
        tile: tokens of a turn of the loop.
        num_warps, num_stages: Triton's; of the stages all but one are tiles in flight.
        programs_per_sm: how many of its programs run at once on a multiprocessor.
        smallest_chunk: tokens below which a sequence isn't cut further, a multiple of `tile`.
        pinned: whether values in 8 bits are converted as they lie in memory.
    """

    tile: int
    num_warps: int
    num_stages: int
    programs_per_sm: int
    smallest_chunk: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class PrefillConfig:
    """How the prefill kernel is cut.

    Attributes:
        block_m: queries of a program.
        block_n: tokens of a turn of its loop.
        num_warps, num_stages: Triton's; the stages are tiles in flight.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


def decode_config(
    padded_dim: int, query_rows: int, element_bytes: int, shared_bytes: int
) -> DecodeConfig:
    """The choice for Hopper, with fewer tiles in flight where shared memory is smaller.

    Measured on an H200 in bfloat16: head size 128, 256 sequences of 832 tokens: 4.34 TB/s with 32
    query heads on 8 KV heads, 4.37 with 16; head size 64, 9 on 3: 3.83. One sequence of 512
    tokens, the same three: 6.4, 5.8 and 4.6 µs. In FP8 the first is 3.32 TB/s.

    Args:
        padded_dim: the head size, rounded up to a power of two.
        query_rows: rows of the query matrix, at least 16.
        element_bytes: of the cache.
        shared_bytes: that one program may have.
    """
    small = padded_dim <= 128 and query_rows <= 32
    if element_bytes == 1:
        config = DecodeConfig(64 if small else 32, 2 if small else 4, 3, 4, 64, pinned=True)
    elif padded_dim <= 64:
        config = DecodeConfig(64, 2, 3, 5, 64)
    else:
        config = DecodeConfig(64 if small else 32, 4, 3, 3, 64)
    while config.num_stages > 2 and decode_shared_bytes(config, padded_dim, element_bytes) > min(
        shared_bytes, 75_000
    ):
        config = replace(config, num_stages=config.num_stages - 1)
    return config


def decode_shared_bytes(config: DecodeConfig, padded_dim: int, element_bytes: int) -> int:
    """Shared memory of the tiles in flight and of the query and weights beside them."""
    token_bytes = padded_dim * element_bytes + (4 if element_bytes == 1 else 0)
    in_flight = 2 * config.tile * token_bytes * (config.num_stages - 1)
    converted = config.tile * padded_dim * 2 if config.pinned else 0
    return in_flight + converted + 16 * padded_dim * 2 + 16 * config.tile * 2


def prefill_config(
    padded_dim: int, element_bytes: int, shared_bytes: int, hopper: bool
) -> PrefillConfig:
    """The choice for Hopper, with smaller tiles where shared memory is smaller.

    Measured on an H200, 32 query heads on 8 KV heads, head size 128, in bfloat16: 458 TFLOP/s for
    a prompt of 8,192 tokens, 364 for four of 2,048, 292 for eight of 1,024, 458 for 2,048 after
    6,144, by tiles of 64 queries; 460, 356, 273 and 464 by tiles of 128. In whole steps, where the
    GPU is at its power limit, Llama-3.1-8B takes 0.867 s for 4 × 8,000 tokens with the former and
    0.832 with the latter. With a cache in FP8: 282 for the first, 196 for eight of 1,024.

    Args:
        padded_dim: the head size, rounded up to a power of two.
        element_bytes: of the cache.
        shared_bytes: that one program may have.
        hopper: whether the machine multiplies by groups of four warps.
    """
    if not hopper:
        config = PrefillConfig(64 if padded_dim > 128 else 128, 32, 4 if padded_dim < 128 else 8, 2)
    elif padded_dim > 128:
        config = PrefillConfig(128, 16 * element_bytes, 8, 2)
    elif element_bytes == 1:
        config = PrefillConfig(64, 128, 4, 2)
    elif padded_dim > 64:
        config = PrefillConfig(128, 64, 8, 3)
    else:
        config = PrefillConfig(64, 64, 4, 3)
    while config.block_n > 16 and prefill_shared_bytes(config, padded_dim, element_bytes) > (
        shared_bytes
    ):
        config = replace(config, block_n=config.block_n // 2)
    return config


def prefill_shared_bytes(config: PrefillConfig, padded_dim: int, element_bytes: int) -> int:
    """Shared memory of the queries and of the tiles in flight, with scales if they have any."""
    token_bytes = padded_dim * element_bytes + (4 if element_bytes == 1 else 0)
    return 2 * config.block_n * config.num_stages * token_bytes + config.block_m * padded_dim * 2
