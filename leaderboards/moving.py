"""Bringing stores together, and deleting runs: everything is looked at before anything is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from leaderboards.errors import BadStore, Conflict
from leaderboards.files import told
from leaderboards.journal import JOURNAL
from leaderboards.lock import LOCK, locked
from leaderboards.places import SAMPLES
from leaderboards.records import Run
from leaderboards.store import Store


@dataclass(frozen=True)
class Merged:
    """Which runs were brought, and which were there already with the same content."""

    brought: Sequence[str]
    there: Sequence[str]


def merge(target: Store, sources: Sequence[Store]) -> Merged:
    """Bring the runs of several stores into one; unfinished ones with their journals, so that they can be gone on with.

    Raises `Conflict` for a run that is there, or in two sources, with other content, `BadStore` for a source that holds
    none or a file that cannot be read; then nothing was brought.
    """
    held: dict[str, tuple[Store, Run]] = {run.run_id: (target, run) for run in target.runs()}
    wanted: dict[str, Store] = {}
    there: list[str] = []
    for source in sources:
        if target.path.resolve() == source.path.resolve():
            raise BadStore(f"{source.path}: the store that is merged into cannot be merged from as well")
        check_source(source)
        for run in source.runs():
            if run.run_id not in held:
                held[run.run_id] = source, run
                wanted[run.run_id] = source
            elif _is_same(held[run.run_id], (source, run)):
                there.append(run.run_id)
            else:
                raise Conflict(
                    f"run {run.run_id} is in {held[run.run_id][0].place.name} and in {source.place.name} with other "
                    "content; nothing was brought: delete one of them (flab results delete), then merge again"
                )
    for run_id, source in wanted.items():
        _bring(target, source, run_id)
    return Merged([*wanted], there)


def check_source(source: Store) -> None:
    """Refuse a folder that holds no runs, or one that cannot be read."""
    if not source.path.is_dir():
        raise BadStore(f"{source.path}: no such folder")
    problems = source.problems()
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadStore(f"{problems[0]}{more}; nothing was brought")
    if not source.runs():
        raise BadStore(f"{source.path}: no runs in it; a results folder has a folder named runs")


def _is_same(one: tuple[Store, Run], other: tuple[Store, Run]) -> bool:
    """Whether two runs have the same record and the same samples, written byte by byte alike or not."""
    (first, run), (second, again) = one, other
    if run != again:
        return False
    if run.status == "running":
        return _journal(first, run) == _journal(second, run)
    files = [Path(store.file_of(run.run_id)) for store in (first, second)]
    if files[0].read_bytes() == files[1].read_bytes():
        return True
    return first.samples(run.run_id).fetchall() == second.samples(run.run_id).fetchall()


def _journal(store: Store, run: Run) -> bytes:
    file = store.path / "runs" / run.run_id / JOURNAL
    return file.read_bytes() if file.is_file() else b""


def _bring(target: Store, source: Store, run_id: str) -> None:
    """Copy a run's folder under a name that no reader sees, then give it its own."""
    origin, goal = source.path / "runs" / run_id, target.path / "runs" / run_id
    hidden = goal.with_name(f".{run_id}.{os.getpid()}.tmp")
    with told(goal.parent):
        goal.parent.mkdir(parents=True, exist_ok=True)
        # A folder that may only be read has no writer that could be waited for.
        with locked(origin / LOCK) if os.access(origin, os.W_OK) else nullcontext():
            try:
                shutil.copytree(origin, hidden, ignore=shutil.ignore_patterns(LOCK, ".*"))
                hidden.rename(goal)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)


def delete(store: Store, run_ids: Sequence[str]) -> None:
    """Delete runs with all that is in their folders. A run that is being written is refused before any is deleted."""
    folders = [store.path / "runs" / run_id for run_id in run_ids]
    for folder in folders:
        with locked(folder / LOCK):
            pass
    for folder in folders:
        hidden = folder.with_name(f".{folder.name}.{os.getpid()}.deleted")
        with told(folder), locked(folder / LOCK):
            folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def size_bytes(store: Store, run_id: str) -> int:
    """How much a run takes on the disk."""
    return sum(file.stat().st_size for file in (store.path / "runs" / run_id).rglob("*") if file.is_file())


def keep_aside(store: Store, run: Run) -> Path:
    """Copy a finished run's record and samples into a folder `before-N` of the run, before it is marked anew."""
    folder = store.path / "runs" / run.run_id
    numbers = [int(name.name.removeprefix("before-")) for name in folder.glob("before-*")]
    aside = folder / f"before-{max(numbers, default=0) + 1}"
    hidden = folder / f".{aside.name}.{os.getpid()}.tmp"
    with told(aside):
        try:
            hidden.mkdir()
            shutil.copy2(folder / SAMPLES, hidden / SAMPLES)
            (hidden / "run.json").write_text(run.to_json(), encoding="utf-8")
            hidden.rename(aside)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    return aside
