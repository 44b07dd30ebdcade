"""Options that the tests take."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-operations",
        type=int,
        default=100_000,
        metavar="N",
        help="random operations of the scheduler fuzz, over all configurations (default 100000)",
    )


@pytest.fixture(scope="session")
def fuzz_operations(request: pytest.FixtureRequest) -> int:
    operations: int = request.config.getoption("--fuzz-operations")
    return operations
