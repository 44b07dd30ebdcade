"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-operations",
        type=int,
        default=100_000,
        metavar="N",
        help="random operations of the scheduler fuzz, over all configurations (default 100000)",
    )
    parser.addoption(
        "--update-snapshots",
        action="store_true",
        help="write the screens' snapshots anew in place of comparing with them",
    )


@pytest.fixture(scope="session")
def fuzz_operations(request: pytest.FixtureRequest) -> int:
    operations: int = request.config.getoption("--fuzz-operations")
    return operations


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small matrices are computed faster by one thread, by far where other work wants the cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
