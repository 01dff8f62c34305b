"""What this process may have of its machine: memory and cores, within the limits of the container or job that it is in."""

from __future__ import annotations

import math
import os
import resource
import sys
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


def peak_bytes() -> int:
    """The most memory that this process has held, in bytes."""
    status = PROC / "self" / "status"
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.is_file() else {}
    if "VmHWM" in lines:
        return int(lines["VmHWM"].split()[0]) * 1024
    # On Linux this would count the process that started this one too, as large as it was then.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cores() -> int:
    """The cores that this process may keep busy: those that it may run on, or fewer where their time is rationed."""
    held = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([held, *_rations()]))


def _groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """This process' control group and all that this one is in, and whether they are of version 1.

    A container may not see the groups that it is named by, but always has its own at the root.
    """
    told = PROC / "self" / "cgroup"
    for line in told.read_text().splitlines() if told.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root):
                yield folder, bool(controllers)


def _rations() -> Iterator[int]:
    """Cores' worth of time that groups may use, rounded up."""
    for folder, is_v1 in _groups("cpu"):
        try:
            if is_v1:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            else:
                quota, period = (folder / "cpu.max").read_text().split()
        except OSError:
            continue
        if quota not in ("max", "-1"):
            yield math.ceil(int(quota) / int(period))


def _limits() -> Iterator[tuple[int, int]]:
    """The limits on this process' memory, and what is held of each."""
    for folder, is_v1 in _groups("memory"):
        yield from _limit(folder, *(V1 if is_v1 else V2))


def _limit(folder: Path, most: str, used: str, cached: str) -> Iterator[tuple[int, int]]:
    try:
        limit = (folder / most).read_text().strip()
        held = int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if limit != "max":
        yield int(limit), held - int(stat.get(cached, 0))
