"""What the tests of the workbench share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from frames import frame, requests_of
from recorded import recorded_run

from workbench.runs.folder import RunFolder
from workbench.runs.schema import Table


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of 40 requests with limits; only to be read."""
    path = tmp_path_factory.mktemp("recorded") / "20260101-120000-chat-0000"
    return recorded_run(path, slo={"ttft": 2000.0, "tpot": 60.0})


@pytest.fixture
def requests_frame() -> Callable[..., pl.DataFrame]:
    """Builds `requests` from rows in ms: keys without suffix are stamps in ms."""
    return requests_of


@pytest.fixture
def table_frame() -> Callable[[Table, list[dict[str, Any]]], pl.DataFrame]:
    """Builds a table from rows."""
    return frame
