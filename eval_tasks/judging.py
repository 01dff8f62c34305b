"""Answers that a judge grades: a second run, over the answers of a first one, by any model (MM-Vet, LLaVA-Bench).

The judge is asked like any model: planned, journaled, gone on with. The run's record is the graded model's, with the judge
beside it, and what the judge said is kept as the answer. What the metric reads is the grade in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from eval_tasks.errors import BadRow, NoAnswer, UnknownTask
from eval_tasks.metrics import Item, Prediction
from eval_tasks.plan import Asked, Naming, Plan, Settings, digest
from eval_tasks.rubrics import Rubric
from eval_tasks.scoring import check
from eval_tasks.task import Sample, Task
from eval_tasks.wording import Wording
from flamingo_lab.errors import BadPrompt
from flamingo_lab.model import Answer, Limits, Model, Request, Sent
from flamingo_lab.model import Sample as Drawn
from flamingo_lab.prompt import Prompt
from leaderboards.records import Run
from leaderboards.store import Store


@dataclass(frozen=True)
class Judge:
    """A model as a judge, which is asked again where no grade can be read; `Answer.trace` holds what it said before."""

    model: Model
    rubric: Rubric

    @property
    def name(self) -> str:
        """The model's own."""
        return self.model.name

    @property
    def digest(self) -> str:
        """The model's own; how it is asked stands in the plan."""
        return self.model.digest

    @property
    def limits(self) -> Limits:
        """The model's own."""
        return self.model.limits

    @property
    def about(self) -> Mapping[str, Any]:
        """The model's own."""
        return self.model.about

    def sent(self, request: Request) -> Sent:
        """See `Model`."""
        return self.model.sent(request)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """The first answer to each request in which a grade can be read, else the last one."""
        waiting = {request.id: request for request in requests}
        said: dict[str, list[str]] = {}
        for number in range(self.rubric.tries):
            asked = [self._again(request, number) for request in waiting.values()] if number else waiting.values()
            for answer in self.model.answers(list(asked)):
                is_read = answer.error is not None or self.rubric.read(answer.text) is not None
                if is_read or number + 1 == self.rubric.tries:
                    before = said.get(answer.id)
                    yield replace(answer, trace={"unreadable": before}) if before else answer
                    del waiting[answer.id]
                else:
                    said.setdefault(answer.id, []).append(answer.text)

    def _again(self, request: Request, number: int) -> Request:
        *before, question = request.prompt.turns
        words = replace(question, parts=(*question.parts[:-1], f"{question.parts[-1]}{self.rubric.again}"))
        temperature = self.rubric.warmer * (number - 1)
        decoding = Drawn(temperature, seed=number) if temperature else request.decoding
        return replace(request, prompt=replace(request.prompt, turns=(*before, words)), decoding=decoding)


def plan(judge: Judge, task: Task, graded: Run, store: Store, settings: Settings, gradings: int | None) -> Plan:
    """What the judge will be asked about the answers of a run. `settings` says where the benchmark's files are.

    Raises `UnknownTask` where nothing of the run waits for a judge, `BadRow` where the benchmark's files have changed.
    """
    rubric, metrics = judge.rubric, task.metrics
    check(task, None, False, metrics)
    count = rubric.gradings if gradings is None else gradings
    task_digest = digest([task.name, graded.split, rubric.source, rubric.tries, [str(metric) for metric in metrics]])
    naming = Naming(judge.digest, task_digest, graded.run_id, settings.max_error_rate)
    answers = _answers(graded, store)
    samples = {sample.id: sample for sample in task.samples(graded.split, settings.data)}
    asked: list[Asked] = []
    for key, (question, answer) in answers.items():
        if key not in samples or samples[key].question != question:
            raise BadRow(f"{task.name}: the question {key} is another one than when run {graded.run_id[:8]} asked it")
        for number in range(1, count + 1):
            grading = {"grading": str(number)} | dict(samples[key].slices)
            asked.append(naming.named(_ask(judge, replace(samples[key], id=f"{key}/{number}", slices=grading), answer)))
    wording = Wording("judge", rubric.source)
    return Plan(
        task=task,
        settings=replace(settings, num_fewshot=graded.num_fewshot, shot_selection=graded.shot_selection),
        wording=wording,
        metrics=metrics,
        split=graded.split,
        decoding=rubric.decoding,
        asked=asked,
        run_id=naming.run_id(),
        task_digest=task_digest,
        mean_of=[f"grading={number}" for number in range(1, count + 1)],
        heard=lambda item: heard(rubric, item),
        graded=graded,
    )


def rubric_of(task: Task) -> Rubric:
    """How the task's answers are graded. Raises `UnknownTask` where no judge does that."""
    if task.rubric is None:
        raise UnknownTask(f"{task.name} is scored without a judge; its runs have their scores already")
    return task.rubric


def heard(rubric: Rubric, item: Item) -> Item:
    """The item with the judge's grade in the place of its words, and the reference's grade as the target if it has one."""
    grade, *reference = rubric.read(item.prediction.text) or rubric.unread
    targets = replace(item.targets, texts=tuple(reference)) if reference else item.targets
    return replace(item, prediction=Prediction(grade), targets=targets)


def _answers(graded: Run, store: Store) -> dict[str, tuple[str, str | None]]:
    """Question and answer of each of the run's samples, in their order; no answer where the model failed."""
    if graded.judge is not None:
        raise UnknownTask(f"run {graded.run_id[:8]} is a grading already; name the run whose answers it graded")
    if graded.status == "running":
        raise UnknownTask(f"run {graded.run_id[:8]} is not finished; the same flab eval command goes on with it")
    found = store.samples(graded.run_id).project("sample_id, question, answer").fetchall()
    return {key: (question, answer) for key, question, answer in found}


def _ask(judge: Judge, sample: Sample, answer: str | None) -> Asked:
    rubric = judge.rubric
    request = Request(sample.id, Prompt.ask(), rubric.decoding, rubric.max_new_tokens)
    if answer is None:
        return Asked(sample, (), request, None, NoAnswer("the model gave no answer that could be graded"))
    try:
        words = rubric.ask(sample, answer)
        request = replace(request, prompt=Prompt.ask(words, system=rubric.system, running="{text}{answer}"))
        return Asked(sample, (), request, judge.sent(request))
    except BadPrompt as error:
        return Asked(sample, (), request, None, error)
