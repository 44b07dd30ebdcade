"""How many tokens each chunk of an answer held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise


def tokens_by_chunk(
    texts: Sequence[str], total: int | None, count: Callable[[str], int]
) -> list[int]:
    """Tokens of each chunk of text, which together are `total`, the server's count.

    As many tokens as chunks are one each. Otherwise each chunk is counted by the local tokenizer
    and the server's total is shared out in that proportion, at least one each where it is enough:
    the local tokenizer may not be the server's. Without a total (None) the whole text's local
    count stands in for it.
    """
    if total is None:
        total = count("".join(texts))
    if total == len(texts):
        return [1] * len(texts)
    weights = [max(1, count(text)) for text in texts]
    if total < len(texts):
        return _share(total, weights)
    spare = [weight - 1 for weight in weights]
    return [1 + more for more in _share(total - len(texts), spare if any(spare) else weights)]


def _share(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts, whose running sums are the nearest to the weights' own, from
    above: the first part has at least one of a total that is not 0."""
    whole = sum(weights)
    sums = [-(-total * part // whole) for part in accumulate(weights, initial=0)]
    return [after - before for before, after in pairwise(sums)]
