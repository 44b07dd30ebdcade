"""Provenance: on what, and with which versions, a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from profiles.hardware import describe

PACKAGES = (
    "workbench", "torch", "numpy", "polars", "tokenizers", "safetensors", "nvtx", "nvidia-ml-py",
    "psutil", "triton",
)  # fmt: skip

SETTINGS = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Hardware, operating system, Python, package versions and the commit of this program.

    Environment variables are not recorded, but for a few by name that steer torch.
    """
    return {
        "hardware": describe().as_dict(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "packages": {name: version for name in PACKAGES if (version := installed_version(name))},
        "commit": commit(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "load_average": list(os.getloadavg()),
    }


def commit() -> str | None:
    """The git commit that this program's source is at, "-dirty" where it was changed; else None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def installed_version(name: str) -> str | None:
    """The version of a package that is installed, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
