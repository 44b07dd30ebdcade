"""Wall-clock time of a run's stamps.

A run's stamps count from its start on a monotonic clock; its record tells what the wall clock was
then. Older records tell only when the run was created, before the model was loaded: from there all
stamps are early by the same amount. Differences between them are exact either way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workbench.exporting.source import RunSource, content_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def origin_ns(source: RunSource) -> int:
    """The Unix time that the run's stamps count from, ns; 0 where its record does not tell."""
    told = content_of(source, "clock", "origin_unix_ns")
    if isinstance(told, int) and not isinstance(told, bool):
        return told
    try:
        created = datetime.fromisoformat(str(source.content.get("created")))
    except ValueError:
        return 0
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    return (created - _EPOCH) // timedelta(microseconds=1) * 1000


def instant(source: RunSource, stamp_ns: int) -> datetime:
    """A stamp of the run on the wall clock, UTC."""
    return _EPOCH + timedelta(microseconds=(origin_ns(source) + stamp_ns) // 1000)
