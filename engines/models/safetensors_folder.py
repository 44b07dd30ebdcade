"""A Hugging Face model folder: `config.json`, safetensors, and perhaps a `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import ModelError
from engines.models.config import ModelConfig, from_hugging_face
from engines.models.tokenizer import tokenizer_from_json

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"


def folder_config(folder: Path, name: str) -> ModelConfig:
    """The shape of the model in `folder`, under the name `name`.

    Raises:
        ModelError: `config.json` is absent, broken, or of a model that is not supported.
    """
    raw = _read_json(folder / CONFIG)
    try:
        return from_hugging_face(raw, name)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"{folder / CONFIG}: a value is missing or of the wrong kind ({error!r}); "
            f"get the file again"
        ) from error


def folder_tokenizer(folder: Path) -> Tokenizer | None:
    """The folder's tokenizer, or None where it has no `tokenizer.json`.

    Raises:
        ModelError: there is one, but it cannot be read.
    """
    path = folder / TOKENIZER
    return tokenizer_from_json(path) if path.is_file() else None


def weight_files(folder: Path) -> dict[Path, list[str] | None]:
    """The files that hold the weights, each with its tensors (None: all that are in it).

    One `model.safetensors` goes before an index, as transformers has it.

    Raises:
        ModelError: no weights, a broken index, or one that names absent files or files elsewhere.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: None}
    index = folder / INDEX
    if not index.is_file():
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        raise ModelError(
            f"{folder}: there is neither {WEIGHTS} nor {INDEX}"
            + (
                "; pickled weights can run code and are not read: convert them to safetensors"
                if pickled
                else "; give the folder of a Hugging Face model with safetensors"
            )
        )
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index}: has no 'weight_map'; get the file again")
    files: dict[Path, list[str] | None] = {}
    for tensor, file_name in weight_map.items():
        # A plain name, compared as text: links inside the folder are its owner's choice (the
        # Hugging Face cache is made of them), a path in a downloaded index is not.
        if not isinstance(file_name, str) or not file_name.endswith(".safetensors"):
            raise ModelError(
                f"{index}: {tensor!r} is said to be in {file_name!r}, no safetensors file"
            )
        if Path(file_name).name != file_name or "\\" in file_name or "\0" in file_name:
            raise ModelError(
                f"{index}: {tensor!r} is said to be in {file_name!r}, outside the folder; "
                f"files must lie beside the index"
            )
        names = files.setdefault(folder / file_name, [])
        assert names is not None
        names.append(tensor)
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise ModelError(f"{index}: names files that are absent: {', '.join(absent)}; get them")
    return files


def folder_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and CPU tensor of one weight after another, in the stored dtype.

    Tensors are views of the mapped file: nothing is read before it is used.

    Raises:
        ModelError: as `weight_files`, or a file that is truncated, damaged or lacks a tensor that
            the index says is in it.
    """
    from safetensors import safe_open

    for path, names in weight_files(folder).items():
        # The library raises its own error, OSError and others for what is wrong in a file; not so
        # for what the caller does with a tensor, so nothing is yielded inside the try.
        try:
            file: Any = safe_open(path, framework="pt", device="cpu")
            stored = set(file.keys())
        except Exception as error:
            raise _unreadable(path, error) from error
        missing = [name for name in names or () if name not in stored]
        if missing:
            raise ModelError(
                f"{path}: lacks {missing[0]!r}, which {INDEX} says is in it; get the file again"
            )
        with file:
            for name in names or sorted(stored):
                try:
                    tensor = file.get_tensor(name)
                except Exception as error:
                    raise _unreadable(path, error) from error
                yield name, tensor


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path}: cannot be read ({error}); it is damaged or was not downloaded whole, "
        f"get the file again"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path}: there is no such file; give the folder of a Hugging Face model"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); get the file again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: is not a JSON object; get the file again")
    return value
