"""Memory and cores of containers and jobs, from folders that are made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flamingo_lab import host
from tests.folders import ROOT

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a machine on which 400 GiB are free."""
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 512 * GIB // 4096}[name])
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {400 * GIB // 1024} kB\n")
    return tmp_path


def in_group(machine: Path, line: str, folder: str, files: tuple[str, str, str], limit: object, used: int) -> None:
    """Put this process into a group that has used so many GiB, 2 of them for files that are not in use."""
    (machine / "proc" / "self" / "cgroup").write_text(f"{line}\n")
    group = machine / "cgroup" / folder
    group.mkdir(parents=True, exist_ok=True)
    most, current, cached = files
    (group / most).write_text(f"{limit}\n")
    (group / current).write_text(f"{used * GIB}\n")
    (group / "memory.stat").write_text(f"anon 5\n{cached} {2 * GIB}\n")


def test_without_groups_it_is_the_machines(machine: Path) -> None:
    assert (host.free_bytes(), host.total_bytes()) == (400 * GIB, 512 * GIB)


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/", ".", host.V2),
        ("0::/slurm/job_7/step_0", "slurm/job_7", host.V2),
        ("7:cpu,memory:/kubepods/pod7", "memory/kubepods/pod7", host.V1),
        ("7:memory:/docker/named-outside", "memory", host.V1),
    ],
)
def test_a_group_that_this_process_is_in_is_its_limit(
    line: str, folder: str, files: tuple[str, str, str], machine: Path
) -> None:
    in_group(machine, line, folder, files, 64 * GIB, 12)
    assert (host.free_bytes(), host.total_bytes()) == (54 * GIB, 64 * GIB)
    in_group(machine, line, folder, files, 8 * GIB, 12)
    assert host.free_bytes() == 0


@pytest.mark.parametrize(
    ("line", "files", "limit"), [("0::/", host.V2, "max"), ("7:memory:/", host.V1, 9223372036854771712)]
)
def test_a_group_without_limit_is_none(line: str, files: tuple[str, str, str], limit: object, machine: Path) -> None:
    in_group(machine, line, "memory" if files is host.V1 else ".", files, limit, 12)
    assert (host.free_bytes(), host.total_bytes()) == (400 * GIB, 512 * GIB)


def test_other_groups_are_none_of_this_process(machine: Path) -> None:
    in_group(machine, "3:cpu:/job", "memory/job", host.V1, GIB, 1)
    assert host.free_bytes() == 400 * GIB


def test_cores_are_those_that_it_may_run_on(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 7}, raising=False)
    assert host.cores() == 3


@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/kubepods/pod7", {"kubepods/cpu.max": "150000 100000\n", "kubepods/pod7/cpu.max": "max 100000\n"}, 2),
        ("0::/", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, 16),
        ("4:cpu,cpuacct:/x", {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_cores_are_those_whose_time_a_group_may_use(
    line: str, files: dict[str, str], cores: int, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    (machine / "proc" / "self" / "cgroup").write_text(f"{line}\n")
    for name, content in files.items():
        file = machine / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    assert host.cores() == cores


def test_the_peak_is_this_process_own_whoever_started_it() -> None:
    """What `getrusage` says of a child begins with what its parent held."""
    held = np.ones(700 * 2**20, np.uint8)
    assert host.peak_bytes() > held.nbytes
    told = subprocess.run(
        [sys.executable, "-c", "from flamingo_lab import host; print(host.peak_bytes())"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert 2**20 < int(told.stdout) < held.nbytes


def test_without_proc_the_peak_is_what_the_system_tells(machine: Path) -> None:
    assert host.peak_bytes() > 2**20
