"""Perplexity of a text under an engine's settings, and how much other settings change it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.compute.perplexity import Window, sliding_windows
from engines.models.source import resolve_model
from engines.options import EngineOptions
from engines.scoring import build_scorer
from workbench.errors import WorkbenchError

DEFAULT_WINDOW = 2048

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TokenText:
    """A text as a model's tokens, cut into windows.

    Attributes:
        token_ids: int64 `[tokens]`, without special tokens.
        num_bytes: of UTF-8 of the tokens that are scored: all but the first.
    """

    token_ids: npt.NDArray[np.int64]
    num_bytes: int
    windows: Sequence[Window]
    window: int
    stride: int


@dataclass(frozen=True, slots=True)
class Scores:
    """What came of a text's windows under one engine's settings.

    Attributes:
        nll: float64 `[windows]`, the sum of `-ln p` of each window's scored tokens.
        tokens: int64 `[windows]`, how many they are.
        seconds: that it took, without loading the model.
    """

    nll: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    seconds: float
    settings: dict[str, object]

    @property
    def mean_nll(self) -> float:
        """Nats a token."""
        return float(self.nll.sum() / self.tokens.sum())


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        WorkbenchError: it cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise WorkbenchError(f"--text {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise WorkbenchError(f"--text {path}: not UTF-8 at byte {error.start}") from None
    if not text:
        raise WorkbenchError(f"--text {path}: the file is empty")
    return text


def tokenise(
    text: str,
    model: str,
    window: int | None,
    stride: int | None,
    limit: int | None,
    progress: Progress,
) -> TokenText:
    """The text in the model's tokens and windows; nothing of its weights is loaded.

    Args:
        window: tokens; None is the model's positions, at most 2,048.
        stride: tokens; None is half a window.
        limit: how many of the first tokens are taken; None is all.

    Raises:
        WorkbenchError: the model has no tokenizer, or too few positions for the window.
        EngineError: the model is unknown, or the windows are impossible.
    """
    source = resolve_model(model, progress)
    tokenizer = source.tokenizer()
    if tokenizer is None:
        raise WorkbenchError(
            f"--model {source.name}: there is no tokenizer, so a text has no tokens; take a model "
            "with a tokenizer.json (see `workbench models`)"
        )
    positions = source.config.max_position
    if window is not None and window > positions:
        raise WorkbenchError(
            f"--window {window}: {source.config.name} knows {positions} positions; take at most "
            "as many"
        )
    if limit is not None and limit < 2:
        raise WorkbenchError(f"--limit {limit}: at least 2 tokens are needed, to score one")
    tokenizer.no_truncation()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids, places = encoding.ids[:limit], encoding.offsets[:limit]
    size = min(positions, DEFAULT_WINDOW) if window is None else window
    step = max(1, size // 2) if stride is None else stride
    windows = sliding_windows(len(ids), size, step)
    num_bytes = len(text[places[1][0] : places[-1][1]].encode())
    return TokenText(np.array(ids, np.int64), num_bytes, windows, size, step)


def score(options: EngineOptions, text: TokenText, progress: Progress) -> Scores:
    """Scores every window with the parts that an engine with these options has.

    Raises:
        EngineError: the model or an option is impossible here.
    """
    built = build_scorer(options, text.window, progress)
    sums = []
    started = time.perf_counter()
    for number, window in enumerate(text.windows, start=1):
        token_ids = text.token_ids[window.start : window.end]
        first_scored = window.first_scored - window.start
        nll = built.scorer.negative_log_likelihoods(token_ids, first_scored)
        sums.append(float(nll.sum()))
        progress(f"window {number} of {len(text.windows)}")
    seconds = time.perf_counter() - started
    counts = np.array([window.num_scored for window in text.windows], np.int64)
    return Scores(np.array(sums), counts, seconds, built.settings)


def figures(scores: Scores, text: TokenText) -> dict[str, Any]:
    """Perplexity and what it follows from."""
    tokens = int(scores.tokens.sum())
    return {
        "nll_per_token": scores.mean_nll,
        "perplexity": math.exp(scores.mean_nll),
        "bits_per_byte": float(scores.nll.sum()) / math.log(2) / text.num_bytes
        if text.num_bytes
        else None,
        "tokens_per_s": tokens / scores.seconds,
        "seconds": scores.seconds,
        "settings": scores.settings,
    }


def difference(scores: Scores, against: Scores) -> dict[str, float | None]:
    """The change of perplexity from `against` to `scores`, in percent, with its standard error.

    Both scored the same windows. The error is that of the mean difference of a token, paired, with
    windows as what was drawn (a ratio estimator: Cochran, Sampling Techniques, 1977); None where
    there is only one.
    """
    tokens, gaps = scores.tokens, scores.nll - against.nll
    mean = float(gaps.sum() / tokens.sum())
    error = None
    if len(gaps) > 1:
        squares = float(((gaps - mean * tokens) ** 2).sum())
        error = math.sqrt(squares * len(gaps) / (len(gaps) - 1)) / float(tokens.sum())
    factor = math.exp(mean)
    return {
        "nll_per_token": mean,
        "perplexity_percent": 100 * (factor - 1),
        "standard_error_percent": None if error is None else 100 * factor * error,
    }
