"""Why a panel has nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.options import REMOTE
from workbench.analysis.lookup import at
from workbench.viewing.record import RunRecord

_UNTOLD = "a remote server doesn't tell"


def why_absent(panel: str, content: Mapping[str, Any], record: RunRecord) -> str:
    """In words; of a panel that has lines, what it would say without them."""
    remote = at(content, "engine", "name") == REMOTE
    if panel in ("gpu", "power", "cpu"):
        return _no_samples("host" if panel == "cpu" else "gpu", content, record)
    if panel == "ttft":
        return "no request has a first token yet"
    if panel == "tpot":
        return "no request with two tokens or more has ended yet"
    if panel == "tokens":
        return "no token has come out yet"
    if remote:
        server = record.frame("server")
        if panel == "kv" and server.height:
            return "the server's metrics don't tell its KV usage"
        return _UNTOLD if not server.height else "the server's metrics don't tell its queue"
    return "no step has been computed yet"


def _no_samples(device: str, content: Mapping[str, Any], record: RunRecord) -> str:
    reasons = at(content, "telemetry", "reasons") or {}
    told = [
        str(reason)
        for name, reason in reasons.items()
        if name.split(".")[0].rstrip("0123456789") == device
    ]
    if told:
        return told[0]
    if at(content, "spec", "profile") == "none":
        return "telemetry is off (--profile none)"
    if device == "host" or not record.frame("devices").height:
        return "no sample yet"
    return "no GPU is measured"
