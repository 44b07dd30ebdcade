"""What the tests of the workbench share."""

from __future__ import annotations

import pytest
from recorded import recorded_run

from workbench.runs.folder import RunFolder


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of 40 requests with limits; only to be read."""
    path = tmp_path_factory.mktemp("recorded") / "20260101-120000-chat-0000"
    return recorded_run(path, slo={"ttft": 2000.0, "tpot": 60.0})
