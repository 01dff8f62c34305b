"""lm-eval's own tasks by name or file; without a network unless that is allowed, and with one line for whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_tasks.errors import BadRow, MissingData, MissingTool, UnknownTask
from eval_tasks.nearest import near

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

NEEDS_CODE = "UNSAFE_CODE"
"""What lm-eval marks tasks with that run programs which models have written."""


@dataclass(frozen=True)
class Loaded:
    """Tasks by name, those of groups among them, and the groups that were named with the groups in them."""

    tasks: dict[str, ConfigurableTask]
    groups: dict[str, Group]


def load(names: Sequence[str], folders: Sequence[Path] = (), *, download: bool = False) -> Loaded:
    """Tasks, groups and tags by name, or by the path of a YAML file; `folders` hold further YAML files.

    Raises `UnknownTask` with the nearest names, `MissingData` for a data set that is not on this machine, `BadRow` for a
    file that lm-eval cannot read, and `MissingTool` where lm-eval is not installed.
    """
    for folder in folders:
        if not folder.is_dir():
            raise MissingData(f"{folder}: no such folder of lm-eval's YAML files")
    # lm-eval takes seconds to read its 13,000 files, which a task of the user's own file does not need.
    are_files = all(Path(name).is_file() for name in names)
    manager = _manager(tuple(folders), with_defaults=not are_files)
    tasks: dict[str, ConfigurableTask] = {}
    groups: dict[str, Group] = {}
    for name in names:
        if name not in manager.all_tasks and not Path(name).is_file():
            alike = near(name, manager.all_tasks)
            there = (
                f"did you mean {' or '.join(alike)}?" if alike else "it has no name like it, and there is no such file"
            )
            raise UnknownTask(f"lm-eval has no task {name!r}: {there}")
        found = _load(manager, name, download=download)
        tasks |= found["tasks"]
        groups |= found.get("groups", {})
    for name, task in tasks.items():
        if getattr(task, NEEDS_CODE, False):
            raise UnknownTask(f"lm-eval's {name} runs programs that the model has written, which is not done here")
    return Loaded(tasks, groups)


@cache
def _manager(folders: tuple[Path, ...], *, with_defaults: bool) -> TaskManager:
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise MissingTool(f"lm-eval's tasks need {error.name}: pip install 'flamingo-lab[lm-eval]'") from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=list(folders) or None, include_defaults=with_defaults)


def _load(manager: TaskManager, name: str, *, download: bool) -> Any:
    try:
        with _network(download):
            return manager.load(name)
    except Exception as error:  # what is in the YAML file, and the code it names, may raise anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        if _is_absence(error) and not download:
            raise MissingData(
                f"lm-eval's {name}: its data set is not on this machine and nothing is fetched without --download ({said})"
            ) from None
        raise BadRow(f"lm-eval cannot load {name} ({said})") from None


def _is_absence(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that something was looked for and is not there."""
    while error is not None:
        if isinstance(error, ConnectionError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _network(is_allowed: bool) -> Generator[None]:
    """The switch of the two packages that would fetch a data set."""
    from datasets import config, disable_progress_bars, enable_progress_bars
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if not is_allowed:
        config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        disable_progress_bars()  # they are for what is fetched
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        enable_progress_bars()
