"""From what `--model` says to a configuration, tensors and a tokenizer."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.models.config import ModelConfig
from engines.models.embedded import DEFAULT_MODEL, cached_model, embedded_model
from engines.models.embedded_wheel import GGUF_SHA256
from engines.models.gguf import read_gguf
from engines.models.gguf_model import gguf_config, hugging_face_tensors
from engines.models.safetensors_folder import (
    TOKENIZER,
    folder_config,
    folder_tensors,
    folder_tokenizer,
    weight_files,
)
from engines.models.shapes import SHAPES, named_shape
from engines.models.tokenizer import tokenizer_from_gguf, tokenizer_from_json

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = ["DEFAULT_MODEL", "ModelSource", "model_shape", "resolve_model", "resolve_tokenizer"]

_EMBEDDED_NAMES = (DEFAULT_MODEL, "smollm2")
_EMBEDDED_SHAPE = "smollm2-135m"
_RANDOM = "random:"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that was found, and how to read it.

    Attributes:
        name: the canonical name of an embedded or random model, else the path as it was given.
        kind: "embedded", "folder", "gguf" or "random".
        path: the folder or file that the weights are read from; None for random ones.
        checksum: SHA-256 that pins the weights, where it is known without reading them all.
    """

    name: str
    kind: str
    config: ModelConfig
    path: Path | None
    checksum: str | None = None

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """CPU tensors one by one, under Hugging Face names.

        A folder's tensors have their stored dtype and are read-only views of the mapped file;
        a GGUF file's are 32-bit floats. `lm_head.weight` is absent where the embeddings are tied.

        Raises:
            ModelError: the weights are random, or cannot be read.
        """
        if self.path is None:
            raise ModelError(
                f"{self.name}: random weights are drawn where they are needed, not read; "
                f"give a model with weights"
            )
        if self.kind == "gguf":
            return _gguf_tensors(self.path, self.config)
        return folder_tensors(self.path)

    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer; None for random weights and for folders without one.

        Raises:
            ModelError: there is a tokenizer, but it is broken or of an unsupported kind.
        """
        if self.path is None:
            return None
        if self.kind == "gguf":
            return tokenizer_from_gguf(read_gguf(self.path).metadata, str(self.path))
        return folder_tokenizer(self.path)


def resolve_model(name: str, progress: Callable[[str], None] | None = None) -> ModelSource:
    """The model called `name`: an embedded one, `random:SHAPE`, a folder, or a GGUF file.

    The embedded model's names win over a folder called the same; `./smollm2` means the folder.
    Weights are not read yet, but what must be there is looked for.

    Args:
        progress: told in a few words what takes long (the embedded model's first use).

    Raises:
        ModelError: there is no such model, or it cannot be read; the message lists what there
            is, nearest first.
    """
    wanted = name.strip()
    if wanted.lower() in _EMBEDDED_NAMES:
        folder = embedded_model(progress)
        config = folder_config(folder, DEFAULT_MODEL)
        return ModelSource(DEFAULT_MODEL, "embedded", config, folder, GGUF_SHA256)
    if wanted.lower().startswith(_RANDOM):
        config = named_shape(wanted[len(_RANDOM) :].strip().lower())
        return ModelSource(f"{_RANDOM}{config.name}", "random", config, None)
    path = _existing_path(wanted)
    if path is None:
        raise ModelError(_unknown(wanted))
    if path.is_dir():
        config = folder_config(path, path.resolve().name)
        weight_files(path)
        return ModelSource(wanted, "folder", config, path)
    if path.suffix.lower() != ".gguf":
        raise ModelError(
            f"{path}: is neither a folder nor a .gguf file; give the folder that holds config.json "
            f"and safetensors, or a GGUF file"
        )
    return ModelSource(wanted, "gguf", gguf_config(read_gguf(path), path.stem), path)


def model_shape(name: str) -> tuple[ModelConfig, bool]:
    """The shape of the model called `name`, and whether it is on this machine: nothing is fetched
    or converted, and the embedded model's shape is known before it is here.

    Raises:
        ModelError: as `resolve_model`.
    """
    if name.strip().lower() in _EMBEDDED_NAMES and cached_model() is None:
        return replace(SHAPES[_EMBEDDED_SHAPE], name=DEFAULT_MODEL), False
    return resolve_model(name).config, True


def resolve_tokenizer(name: str, progress: Callable[[str], None] | None = None) -> Tokenizer | None:
    """The tokenizer of a model by any name that `resolve_model` takes; of a folder that holds a
    `tokenizer.json` and no model; or of such a file. None for a model without one.

    Raises:
        ModelError: there is no such model or file, or it cannot be read.
    """
    path = _existing_path(name.strip())
    if path is not None and path.is_dir() and (path / TOKENIZER).is_file():
        return tokenizer_from_json(path / TOKENIZER)
    if path is not None and path.suffix == ".json":
        return tokenizer_from_json(path)
    return resolve_model(name, progress).tokenizer()


def _gguf_tensors(path: Path, config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for name, values in hugging_face_tensors(read_gguf(path), config):
        yield name, torch.from_numpy(values)


def _existing_path(wanted: str) -> Path | None:
    try:
        path = Path(wanted).expanduser()
        return path if wanted and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, not permitted, no such home
        return None


def _unknown(wanted: str) -> str:
    """What to say where a name means nothing: all that there is, nearest first."""
    known = [*_EMBEDDED_NAMES, *(f"{_RANDOM}{shape}" for shape in SHAPES)]
    # A shape is often meant by its bare name, and a model by the end of its path on a hub.
    plain = {name.removeprefix(_RANDOM): name for name in known}
    last = wanted.rstrip("/").rpartition("/")[2].lower()
    near = [plain[match] for match in difflib.get_close_matches(last, plain, n=3, cutoff=0.5)]
    names = near + [name for name in known if name not in near]
    return (
        f"no model is called {wanted!r}, and no such folder or file exists; there are "
        f"{', '.join(names)}, and any path to a Hugging Face folder or a .gguf file"
    )
