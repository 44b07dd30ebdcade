"""How much of the machine this process may use: its CPU affinity and its control groups.

A container sees the whole machine in /proc, and is stopped at its group's limit; threads and
caches sized for the machine then make a run slower, not faster.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def usable_cores(machine_cores: int, root: Path = _ROOT) -> int:
    """Cores that this process can keep busy, at least 1.

    The fewest of: the machine's logical cores, those in its affinity mask, and its control
    groups' share, rounded down.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine_cores
    quota = cgroup_cores(root)
    return max(1, min(machine_cores, affinity, math.floor(quota or machine_cores)))


def cgroup_cores(root: Path = _ROOT) -> float | None:
    """CPU time that the control groups allow, in cores; None where they set no limit."""
    limits = []
    for group in _groups(root, "cpu"):
        limit, period = None, None
        if (group / "cpu.max").is_file():  # version 2: "max 100000" or "150000 100000"
            limit, period = [*_words(group / "cpu.max"), None, None][:2]
        elif (group / "cpu.cfs_quota_us").is_file():  # version 1: -1 is no limit
            limit = next(iter(_words(group / "cpu.cfs_quota_us")), None)
            period = next(iter(_words(group / "cpu.cfs_period_us")), None)
        if limit and period and limit.isdecimal() and int(period) > 0:
            limits.append(int(limit) / int(period))
    return min(limits, default=None)


def cgroup_memory_bytes(root: Path = _ROOT) -> int | None:
    """Memory that the control groups allow, in bytes; None where they set no limit.

    Version 1 says "no limit" with a number near 2⁶³: take the least of this and the machine's.
    """
    limits = []
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            word = next(iter(_words(group / name)), "")
            if word.isdecimal():
                limits.append(int(word))
    return min(limits, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's groups for a controller, and of all groups around them.

    Inside a container the path in /proc may be the host's, which is not mounted there; the
    mounted top is then the container's own group, and it is always among the folders.
    """
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            tops = (mount, mount / "unified")
        elif controller in controllers.split(","):
            tops = (mount / controllers, mount / controller)
        else:
            continue
        for top in tops:
            group = top / path.strip("/")
            while group != top:
                yield group
                group = group.parent
            yield top


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # another system, or a controller that is not there
        return []
