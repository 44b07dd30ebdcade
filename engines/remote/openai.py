"""The requests: bodies for a server's dialect, which is learnt from what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engines.remote.options import RemoteOptions
from workloads.request import Request

_SEEDS = 1 << 31  # some servers keep 32 bits
_DISPENSABLE = ("ignore_eos", "stream_options", "seed", "top_k", "top_p", "temperature")


class TokenText(Protocol):
    """The local tokenizer, as far as it is needed here."""

    def decode(self, ids: npt.NDArray[np.int32]) -> str: ...
    def encode(self, text: str) -> list[int]: ...


class Dialect:
    """How this server is spoken to: what is sent at first, less what it turned out to refuse.

    Attributes:
        chat: requests go to /chat/completions.
        limit_field: "max_tokens" or "max_completion_tokens".
        refused: fields that this server answers by 400, and that are sent no more.
    """

    def __init__(self, options: RemoteOptions, model: str, text: TokenText) -> None:
        self._options = options
        self._model = model
        self._text = text
        self.chat = options.api != "completions"
        self.limit_field = "max_tokens"
        self.refused: set[str] = set()

    @property
    def path(self) -> str:
        end = "/chat/completions" if self.chat else "/completions"
        return self._options.address.path + end

    def fields(self, request: Request) -> dict[str, Any]:
        """The body of a request, before it is JSON."""
        sampling = request.sampling
        fields: dict[str, Any] = {"model": self._model}
        if self.chat:
            fields["messages"] = self._messages(request)
        elif self._options.prompt_form == "tokens":
            fields["prompt"] = request.prompt_token_ids.tolist()
        else:
            fields["prompt"] = self._text.decode(request.prompt_token_ids)
        optional: dict[str, Any] = {
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "seed": sampling.seed % _SEEDS,
        }
        if sampling.top_p != 1.0:
            optional["top_p"] = sampling.top_p
        if sampling.top_k:
            optional["top_k"] = sampling.top_k
        if sampling.ignore_eos and self._options.ignore_eos:
            optional["ignore_eos"] = True
        fields |= {self.limit_field: request.max_tokens, "stream": True}
        fields |= {name: optional[name] for name in optional if name not in self.refused}
        return fields | dict(self._options.extra_body)

    def _messages(self, request: Request) -> list[dict[str, str]]:
        ids = request.prompt_token_ids
        if not request.parts:
            return [{"role": "user", "content": self._text.decode(ids)}]
        messages, begin = [], 0
        for part in request.parts:
            content = self._text.decode(ids[begin : begin + part.tokens])
            messages.append({"role": part.role, "content": content})
            begin += part.tokens
        return messages

    def learn(self, status: int, message: str, sent: Mapping[str, Any]) -> str | None:
        """From a refusal: what is done differently now, in words; None if it teaches nothing.

        Args:
            message: the server's. sent: the body that it refused.
        """
        if (
            "messages" in sent
            and self._options.api == "auto"
            and (
                (status in (404, 405) and "model" not in message.lower())
                or "chat template" in message.lower()
            )
        ):
            self.chat = False
            return "the server has no chat: its /completions is used"
        if status not in (400, 422):
            return None
        if "max_tokens" in sent and "max_completion_tokens" in message:
            self.limit_field = "max_completion_tokens"
            return "the server wants max_completion_tokens for max_tokens"
        for name in _DISPENSABLE:
            if name in sent and name in message and name not in self._options.extra_body:
                self.refused.add(name)
                return f"the server refuses {name}: it is sent no more"
        return None
