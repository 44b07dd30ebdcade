"""What the traffic is sent to: an engine in this process, or a server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.base import Clock, Engine
from profiles.ranges import open_ranges
from workbench.spec import RunSpec
from workloads.text import Encode, TokenStream, byte_encoder

if TYPE_CHECKING:
    from engines.compute.probe import Capacity

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Target:
    """An engine that is ready, and what traffic must know of it.

    Attributes:
        encode: text to token ids, without special tokens; None for a model without a tokenizer.
        vocab_size: token ids are below it.
        max_model_len: prompt and output tokens of one request; None where a server doesn't say.
        capacity: measures requests per second for input and output lengths in about so many
            seconds; None for a server.
        prefix_caching: the engine keeps the KV of prompts that it has seen.
        server_samples: drains what a server told of itself.
    """

    engine: Engine
    encode: Encode | None
    vocab_size: int
    max_model_len: int | None
    capacity: Callable[[Ints, Ints, float], Capacity] | None = None
    prefix_caching: bool = False
    server_samples: Callable[[], Mapping[str, npt.NDArray[Any]]] | None = None

    def token_stream(self) -> TokenStream:
        """Real English text in the model's tokens, or as bytes for one without a tokenizer."""
        return token_stream(self.encode, self.vocab_size)


def token_stream(encode: Encode | None, vocab_size: int) -> TokenStream:
    """See `Target.token_stream`."""
    return TokenStream.encoded(encode or byte_encoder(vocab_size))


def open_target(spec: RunSpec, clock: Clock, progress: Callable[[str], None]) -> Target:
    """The target that the spec names, loaded or found to answer.

    Raises:
        EngineError: the model or an option is impossible here, or the server can't be reached.
    """
    return _server(spec, clock, progress) if spec.target.url else _engine(spec, clock, progress)


def _engine(spec: RunSpec, clock: Clock, progress: Callable[[str], None]) -> Target:
    from engines.registry import build

    ranges = open_ranges("off" if spec.profile == "none" else "auto")
    built = build(spec.engine_options(), clock, ranges, progress)
    return Target(
        built.engine,
        built.encode,
        built.config.vocab_size,
        built.engine.max_model_len,
        built.capacity,
        spec.engine.prefix_caching,
    )


def _server(spec: RunSpec, clock: Clock, progress: Callable[[str], None]) -> Target:
    from engines.remote.build import build_remote

    built = build_remote(spec.remote_options(), clock, progress)
    return Target(
        built.engine,
        built.encode,
        built.vocab_size,
        built.max_model_len,
        server_samples=built.engine.drain_server_samples,
    )
