"""lm-eval asks its tasks of a model, word for word as it asks any other, and the answers land in our store.

The prompts, worked examples, filters and metrics are lm-eval's; the journal, the record of each sample and the intervals are
ours. Killed anywhere, the same command goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lm_eval.api.group import Group
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.evaluator import evaluate

from eval_tasks import run_record
from eval_tasks.errors import BadRow
from eval_tasks.lm_eval import PREFIX, scores
from eval_tasks.lm_eval.answered import Answered
from eval_tasks.lm_eval.model import LabLM, arguments, pictures
from eval_tasks.lm_eval.requests import prompt
from eval_tasks.runner import Progress
from flamingo_lab.errors import BadPrompt, LabError
from flamingo_lab.model import Answer, Model, Request
from leaderboards.journal import Journal
from leaderboards.records import Run
from leaderboards.store import Store


@dataclass(frozen=True)
class Settings:
    """How lm-eval asks. None leaves a choice to its task; `generation` are settings put over the task's own.

    `chat`: in the model's own template, worked examples as turns; otherwise as running text, sent as it stands.
    """

    num_fewshot: int | None = None
    limit: int | None = None
    chat: bool = False
    system: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = DEFAULT_OTHER_SEED
    max_error_rate: float = 0.01


def run(
    model: Model,
    task: ConfigurableTask,
    settings: Settings,
    store: Store,
    *,
    command: str = "",
    planned: Callable[[str, int], None] = lambda run_id, questions: None,
    progress: Progress = lambda done, total, errors: None,
) -> Run:
    """The record of a finished run of one task: made now, gone on with, or found complete.

    A sample with a request that has no answer counts as an error and takes no part in the scores. lm-eval's task keeps the
    settings; for others it is loaded anew.
    """
    began = time.perf_counter()
    _set(task, settings)
    scores.seeded()
    _build(task, settings, LabLM(model))
    requests: list[Instance] = list(task.instances)
    if not settings.chat:
        _check(model, requests[0])
    run_id, task_digest = _names(model, task, settings, requests)
    planned(run_id, _documents(task))
    with store.begin(run_id) as folder:
        if (folder.path / "run.json").is_file():
            before = store.run(run_id)
            if before.status != "running":
                return before
            record = before
        else:
            record = _opened(model, task, settings, run_id, task_digest, command)
            folder.state(record)
        asking = _Asking(model, folder.journal, progress)
        lm = LabLM(model, seed=settings.seed, ask=asking, keeps_failures=True)
        task.set_fewshot_seed(seed=settings.seed)
        scores.seeded()
        said = evaluate(
            lm,
            {"tasks": {task.task_name: task}},
            limit=settings.limit,
            bootstrap_iters=0,
            log_samples=True,
            system_instruction=settings.system,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
        )
        assert said is not None  # one process has one rank
        answered = Answered(model, task, lm, said.get("samples", {})[task.task_name])
        marked = {str(name): answered.marked(name) for name in scores.names(task)}
        samples = [answered.record(run_id, place, marked) for place in range(len(answered.items))]
        seconds = sum(held["seconds"] for held in folder.journal.held) + time.perf_counter() - began
        found = tuple(score for one in marked.values() for score in one.scores)
        finished = run_record.closed(model, record, samples, found, settings.max_error_rate)
        finished = replace(finished, seconds=seconds, questions_per_second=len(samples) / seconds)
        folder.finish(finished, samples)
        return finished


def _set(task: ConfigurableTask, settings: Settings) -> None:
    """The settings over the task's own, by the rules of lm-eval's `simple_evaluate`."""
    if settings.generation and task.OUTPUT_TYPE == "generate_until":
        task.set_config("generation_kwargs", dict(settings.generation), update=True)
    # A task whose file says 0 is never asked with examples.
    if settings.num_fewshot is not None and task.get_config("num_fewshot") != 0:
        task.set_config("num_fewshot", settings.num_fewshot)
    task.set_fewshot_seed(seed=settings.seed)


def _build(task: ConfigurableTask, settings: Settings, lm: LabLM) -> None:
    try:
        task.build_all_requests(
            limit=settings.limit,
            system_instruction=settings.system,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
            chat_template=lm.apply_chat_template if settings.chat else None,
        )
    except LabError:
        raise
    except Exception as error:  # templates and functions of the task's file may raise anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadRow(f"lm-eval cannot put the questions of {task.task_name} ({said})") from None


def _check(model: Model, instance: Instance) -> None:
    """Refuse, before anything is asked, a model that takes no text as it stands."""
    context = arguments(instance)[0] if instance.request_type != "loglikelihood_rolling" else ""
    try:
        model.sent(Request("", prompt(context, pictures(instance))))
    except BadPrompt as error:
        raise BadPrompt(f"{error} (--apply-chat-template asks lm-eval's tasks in turns)") from None


def _names(model: Model, task: ConfigurableTask, settings: Settings, requests: Sequence[Instance]) -> tuple[str, str]:
    """The run's id and the task's digest: all that can change an answer or a score."""
    config = json.dumps(task.dump_config(), sort_keys=True, default=str)
    task_digest = hashlib.sha256(config.encode()).hexdigest()
    asked = [
        [
            one.doc_id,
            one.idx,
            str(arguments(one)[0]),
            str(arguments(one)[1:2]),
            [image.digest for image in pictures(one)],
        ]
        for one in requests
    ]
    held = [model.digest, task_digest, asked, settings.chat, settings.seed, settings.max_error_rate, str(task.VERSION)]
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16], task_digest


class _Asking:
    """Answers by a journal and, where it lacks them, by the model; each is journaled as it comes."""

    def __init__(self, model: Model, journal: Journal, progress: Progress) -> None:
        self._model = model
        self._journal = journal
        self._progress = progress
        self._held = {held["id"]: run_record.from_line(held) for held in journal.held}
        self._errors = sum(answer.error is not None for answer in self._held.values())

    def __call__(self, requests: Sequence[Request]) -> Mapping[str, Answer]:
        missing = [request for request in requests if request.id not in self._held]
        total = len(self._held) + len(missing)
        # Closed at once on an interruption, so that no model goes on working behind it.
        with closing(self._stream(missing)) as stream:
            for answer in stream:
                self._journal.append(run_record.to_line(answer))
                self._held[answer.id] = answer
                self._errors += answer.error is not None
                self._progress(len(self._held), total, self._errors)
        return {request.id: self._held[request.id] for request in requests}

    def _stream(self, requests: Sequence[Request]) -> Generator[Answer]:
        yield from self._model.answers(requests)


def _opened(
    model: Model, task: ConfigurableTask, settings: Settings, run_id: str, task_digest: str, command: str
) -> Run:
    config = task.config
    return run_record.opened(
        model,
        run_id=run_id,
        command=command,
        task=PREFIX + task.task_name,
        task_digest=task_digest,
        split=str(config.test_split or config.validation_split),
        num_fewshot=int(config.num_fewshot or 0),
        shot_selection="lm-eval",
        phrasing="lm-eval-chat" if settings.chat else "lm-eval",
        decoding=_decoding(task),
        seed=settings.seed,
        limit=settings.limit,
        n=_documents(task),
        settings=asdict(settings),
    )


def _documents(task: ConfigurableTask) -> int:
    return len({one.doc_id for one in task.instances})


def _decoding(task: ConfigurableTask) -> str:
    if task.OUTPUT_TYPE != "generate_until":
        return "rank(sum)"
    held = task.config.generation_kwargs or {}
    return ", ".join(f"{key}={value!r}" for key, value in sorted(held.items()))


@dataclass(frozen=True)
class Grouped:
    """A figure of a group: what lm-eval makes of its tasks'."""

    group: str
    metric: str
    variant: str
    value: float
    n: int


def grouped(groups: Mapping[str, Group], runs: Sequence[Run]) -> list[Grouped]:
    """The figures of the groups that have any, by lm-eval's own rule for each."""
    told = {run.task.removeprefix(PREFIX): _told(run) for run in runs}
    found: list[Grouped] = []
    for name, group in groups.items():
        figures: dict[str, Any] = dict(group.aggregate(told))  # pyright: ignore[reportArgumentType] - keys are anything
        for key, value in figures.items():
            metric, comma, variant = key.partition(",")
            if comma and not metric.endswith("_stderr"):
                found.append(Grouped(name, metric, variant, float(value), figures["sample_len"]))
    return found


def _told(run: Run) -> dict[str, Any]:
    """A run's scores in the form of lm-eval's results."""
    figures = {f"{score.metric},{score.variant}": score.value for score in run.scores if score.value is not None}
    errors = {f"{score.metric}_stderr,{score.variant}": score.stderr or "N/A" for score in run.scores}
    return {"sample_len": run.n - run.n_errors, **figures, **errors}
