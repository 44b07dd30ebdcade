"""A stand-in for the package `flashinfer`: computes what its wrappers are told to, in torch.

The wrappers check their arguments as the library's own do, and read the cache by page lists only.
"""

from __future__ import annotations

from typing import Any

import torch

Cache = tuple[torch.Tensor, torch.Tensor]


def _index(values: torch.Tensor) -> list[int]:
    assert values.dtype == torch.int32 and values.device.type == "cpu" and values.dim() == 1
    result: list[int] = values.tolist()
    return result


class _Wrapper:
    """What both wrappers keep of a plan, and how they attend by it."""

    def __init__(self, workspace: torch.Tensor, layout: str) -> None:
        assert workspace.dtype == torch.uint8 and layout == "NHD"
        self.plans: list[dict[str, Any]] = []

    def keep(
        self,
        starts: list[int],
        indptr: torch.Tensor,
        indices: torch.Tensor,
        last_page_len: torch.Tensor,
        heads: tuple[int, int, int, int],
        options: dict[str, Any],
    ) -> None:
        begins, last = _index(indptr), _index(last_page_len)
        assert begins[0] == 0 and begins[-1] == len(indices) and len(begins) == len(last) + 1
        assert len(starts) == len(begins) and all(1 <= n <= heads[3] for n in last)
        self.starts, self.begins, self.last = starts, begins, last
        self.pages, self.heads, self.options = _index(indices), heads, options
        self.plans.append(options)

    def run(self, query: torch.Tensor, cache: Cache, *, out: torch.Tensor) -> torch.Tensor:
        heads, kv_heads, head_dim, page_size = self.heads
        assert query.shape == out.shape == (self.starts[-1], heads, head_dim)
        assert query.dtype == out.dtype == self.options["q_data_type"]
        for tensor in cache:
            assert tensor.shape[1:] == (page_size, kv_heads, head_dim)
            assert tensor.dtype == self.options["kv_data_type"]
        for sequence, last in enumerate(self.last):
            pages = self.pages[self.begins[sequence] : self.begins[sequence + 1]]
            length = (len(pages) - 1) * page_size + last
            keys, values = (t[pages].flatten(0, 1)[:length] for t in cache)
            first, end = self.starts[sequence], self.starts[sequence + 1]
            for token in range(first, end):
                out[token] = self._attend(query[token], keys, values, length - end + token)
        return out

    def _attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, position: int
    ) -> torch.Tensor:
        """One token's output: it sees the keys up to `position`, `window_left` back at most."""
        window = self.options["window_left"]
        seen = slice(0 if window < 0 else max(0, position - window), position + 1)
        group = self.heads[0] // self.heads[1]
        k, v = (t[seen].double().repeat_interleave(group, dim=1) for t in (keys, values))
        weights = torch.einsum("hd,nhd->hn", query.double(), k) * self.options["sm_scale"]
        return torch.einsum("hn,nhd->hd", weights.softmax(-1), v).to(query.dtype)


class BatchDecodeWithPagedKVCacheWrapper(_Wrapper):
    def __init__(self, workspace: torch.Tensor, layout: str, use_tensor_cores: bool) -> None:
        super().__init__(workspace, layout)
        self.use_tensor_cores = use_tensor_cores

    def plan(
        self,
        indptr: torch.Tensor,
        indices: torch.Tensor,
        last_page_len: torch.Tensor,
        *heads: int,
        window_left: int,
        sm_scale: float,
        q_data_type: torch.dtype,
        kv_data_type: torch.dtype,
    ) -> None:
        options = {
            "window_left": window_left,
            "sm_scale": sm_scale,
            "q_data_type": q_data_type,
            "kv_data_type": kv_data_type,
        }
        one_each = list(range(len(last_page_len) + 1))
        num_heads, kv_heads, head_dim, page_size = heads
        shape = (num_heads, kv_heads, head_dim, page_size)
        self.keep(one_each, indptr, indices, last_page_len, shape, options)


class BatchPrefillWithPagedKVCacheWrapper(_Wrapper):
    def __init__(self, workspace: torch.Tensor, layout: str, backend: str) -> None:
        super().__init__(workspace, layout)
        assert backend in ("fa2", "fa3")
        self.backend = backend

    def plan(
        self,
        qo_indptr: torch.Tensor,
        indptr: torch.Tensor,
        indices: torch.Tensor,
        last_page_len: torch.Tensor,
        *heads: int,
        causal: bool,
        window_left: int,
        sm_scale: float,
        q_data_type: torch.dtype,
        kv_data_type: torch.dtype,
    ) -> None:
        assert causal
        options = {
            "window_left": window_left,
            "sm_scale": sm_scale,
            "q_data_type": q_data_type,
            "kv_data_type": kv_data_type,
        }
        num_heads, kv_heads, head_dim, page_size = heads
        shape = (num_heads, kv_heads, head_dim, page_size)
        self.keep(_index(qo_indptr), indptr, indices, last_page_len, shape, options)
