"""What the tests of the lab share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs that were made once are kept, to be copied."""
    return tmp_path_factory.mktemp("templates")
