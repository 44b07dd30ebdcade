"""The engines come without Triton and flashinfer: only what uses them imports them."""

from __future__ import annotations

import subprocess
import sys

MODULES = [
    "engines.attention.flashinfer",
    "engines.attention.reference",
    "engines.capabilities",
    "engines.compute.buckets",
    "engines.compute.perplexity",
    "engines.compute.probe",
    "engines.compute.step_buffers",
    "engines.kernels.fp8",
    "engines.kernels.reference",
    "engines.kv_cache",
    "engines.memory",
    "engines.models.decoder",
    "engines.registry",
    "engines.scratch",
]


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_engines_import_where_triton_is_not_installed() -> None:
    run(
        "import importlib, sys\n"
        "sys.modules['triton'] = sys.modules['flashinfer'] = None\n"
        f"for name in {MODULES}: importlib.import_module(name)\n"
        "from engines.capabilities import installed\n"
        "assert not installed()"
    )


def test_where_it_is_installed_it_is_not_imported_before_it_is_needed() -> None:
    run(
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import engines.registry\n"
        "heavy = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert not heavy & {'triton', 'flashinfer'}, heavy"
    )


def test_what_is_possible_is_told_without_torch() -> None:
    run(
        "import sys, engines.capabilities\n"
        "heavy = {'torch', 'triton', 'flashinfer'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
