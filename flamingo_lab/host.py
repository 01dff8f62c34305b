"""What this process may have of its machine: memory and cores, within the limits of the container or job that it is in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Of a control group: its limit, what is used of that, and in `memory.stat` what of this the system gives back."""


def total_bytes() -> int:
    """All memory that this process could have."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(limit for limit, _ in _limits())])


def free_bytes() -> int:
    """Memory that nobody holds, caches of files not counted."""
    meminfo = PROC / "meminfo"
    if not meminfo.is_file():
        return total_bytes() // 2
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    return max(0, min([available, *(limit - held for limit, held in _limits())]))


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limits() -> Iterator[tuple[int, int]]:
    """The limits on this process, and what is held of each: of its control group and of all that this one is in."""
    told = PROC / "self" / "cgroup"
    for line in told.read_text().splitlines() if told.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (CGROUPS / "memory", V1) if controllers else (CGROUPS, V2)
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield from _limit(folder, *names)


def _limit(folder: Path, most: str, used: str, cached: str) -> Iterator[tuple[int, int]]:
    """The limit of one group. A container may not see the groups that it is named by, but always has its own at the root."""
    try:
        limit = (folder / most).read_text().strip()
        held = int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if limit != "max":
        yield int(limit), held - int(stat.get(cached, 0))
