"""lm-eval's tasks as ours: its rendered documents are our samples, its filters and metrics our metrics.

Asked like any task of ours: worked examples with their pictures, never from the same document, in the wording's form for
base models and as turns for chat models. `running` is the way to lm-eval's own prompts, word for word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_tasks.errors import BadRow, UnknownTask
from eval_tasks.lm_eval import PREFIX, harness, scores
from eval_tasks.lm_eval.requests import MARK, Untold, as_pictures, generation
from eval_tasks.metrics import Item, Metric, MetricName
from eval_tasks.task import Sample, Task
from eval_tasks.wording import LETTERS, Wording

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

SHOTS = "shots"
"""The split of the documents that lm-eval itself would take worked examples from."""


def named(name: str, *, download: bool = False) -> list[Task]:
    """The tasks that `lm-eval:NAME` stands for: one, or those of a group. Raises `TaskError` kinds."""
    found = harness.load([name.removeprefix(PREFIX)], download=download)
    return [bridged(task) for task in found.tasks.values()]


def bridged(task: ConfigurableTask) -> Bridged:
    """A task of lm-eval's as one of ours. Raises `UnknownTask` for one whose questions are no single requests."""
    config = task.config
    if (kind := _beyond(task)) is not None:
        raise UnknownTask(
            f"lm-eval's {task.task_name} {kind}, which is asked by: flab lm-eval --tasks {task.task_name}"
        )
    split = str(config.test_split or config.validation_split)
    facts = {
        "name": PREFIX + task.task_name,
        "title": f"lm-eval's {task.task_name}",
        "paper": "https://github.com/EleutherAI/lm-evaluation-harness",
        "source": " ".join(str(part) for part in (config.dataset_path, config.dataset_name) if part) or "its own code",
        "licence": "that of its data set",
        "split": split,
        "splits": (split, SHOTS),
        "splits_for_shots": (SHOTS,),
        "needs_data": False,
        "metrics": scores.names(task),
        "wordings": (_wording(task),),
        **_generation(task),
    }
    return type("Bridged", (Bridged,), facts)(task)


class Bridged(Task):
    """A subclass for each task states its facts."""

    def __init__(self, task: ConfigurableTask) -> None:
        self._task = task
        self._documents: Any = task.eval_docs

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The documents, rendered by the task. `data` is not read: the task's own file says where its documents are."""
        documents = self._documents if split == self.split else list(self._task.fewshot_docs() or ())
        return [self._sample(split, number, document) for number, document in enumerate(documents)]

    def metrics_of(self, wording: Wording, options: frozenset[str]) -> tuple[MetricName, ...]:
        """All of the task's metrics."""
        return self.metrics

    def metric(self, name: MetricName) -> Metric:
        """One of the task's own metrics behind one of its filters."""
        return scores.metric(self._task, name, lambda items: self._values(name, items))

    def _sample(self, split: str, number: int, document: Mapping[str, Any]) -> Sample:
        task, where = self._task, f"{self.name}, document {number} of {split}"
        is_ranked = task.OUTPUT_TYPE != "generate_until"
        target = task.doc_to_target(document)
        choices = tuple(map(str, task.doc_to_choice(document))) if task.config.doc_to_choice else ()
        if task.OUTPUT_TYPE == "loglikelihood":
            choices, target = (str(target).lstrip(" "),), 0
        rights = _rights(target, choices, where)
        images = as_pictures(task.doc_to_image(document) if task.config.doc_to_image else None, f"{self.name}-{number}")
        question, marks = _marked(self._question(document), len(images), where)
        return Sample(
            id=str(number) if split == self.split else f"{split}-{number}",
            images=images,
            question=question,
            targets=tuple(map(_letter, rights)) if is_ranked else _texts(target, choices, rights),
            document=images[0].digest if images else _digest(document),
            choices=choices if is_ranked else (),
            marks=marks,
            answer=choices[rights[0]] if rights else "",
        )

    def _question(self, document: Mapping[str, Any]) -> str:
        """The task's words for a document, with those that it begins the answer with."""
        from lm_eval.api.utils import requires_delimiter

        task = self._task
        question = str(task.doc_to_text(document))
        if begun := task.doc_to_prefix(document):
            question += (task.config.target_delimiter if requires_delimiter(question, begun) else "") + begun
        return question

    def _values(self, name: MetricName, items: Sequence[Item]) -> Sequence[Any]:
        """What the task makes of answers: each document's, through its filters."""
        from lm_eval.api.instance import Instance

        task = self._task
        asked: list[list[Instance]] = []
        for item in items:
            document = self._documents[int(item.id)]
            said = self._said(item)
            where = (task.task_name, int(item.id), 1)
            made = [Instance(_kind(task), document, (item.id,), place, metadata=where) for place in range(len(said))]
            for instance, one in zip(made, said, strict=True):
                instance.resps = [one]
            asked.append(made)
        task._instances = [instance for made in asked for instance in made]  # pyright: ignore[reportPrivateUsage]
        if not task.instances:
            return []
        task.apply_filters()
        scores.seeded()
        results = (
            task.process_results(made[0].doc, [instance.filtered_resps[name.variant] for instance in made])
            for made in asked
        )
        return [result.get(name.metric) for result in results]

    def _said(self, item: Item) -> list[Any]:
        """An answer as lm-eval's models would have given it: text, or each option's likelihood."""
        if self._task.OUTPUT_TYPE == "generate_until":
            return [item.prediction.text]
        likelihoods = [sum(tokens) for tokens in item.prediction.option_logprobs or ()]
        greedy = item.prediction.option_is_greedy or [Untold("the model")] * len(likelihoods)
        return list(zip(likelihoods, greedy, strict=True))


def _kind(task: ConfigurableTask) -> Any:
    return "loglikelihood" if task.OUTPUT_TYPE == "multiple_choice" else task.OUTPUT_TYPE


def _beyond(task: ConfigurableTask) -> str | None:
    """What is in the way of asking each document by one request, in words; None for nothing."""
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return "scores whole texts"
    if task.multiple_input:
        return "puts its options into the question"
    if "acc_mutual_info" in task.aggregation():
        return "scores options without their question too"
    return "asks each question more than once" if task.config.repeats > 1 else None


def _wording(task: ConfigurableTask) -> Wording:
    """How documents are put. Its source names what the task's file holds, so that another file's run is another run."""
    config = task.config
    return Wording(
        name="lm-eval",
        source=f"the file of lm-eval's {task.task_name}, {_digest(task.dump_config())[:12]}",
        running="{text}" + config.target_delimiter + "{answer}",
        system=config.description.strip() or None,
        says_option="text",
        rank=None if task.OUTPUT_TYPE == "generate_until" else "sum",
    )


def _generation(task: ConfigurableTask) -> dict[str, Any]:
    """How answers are decoded. Raises `BadSetting` for a setting that would be left out."""
    if task.OUTPUT_TYPE != "generate_until":
        return {}
    how = generation(task.config.generation_kwargs or {}, 0)
    return {"decoding": how.decoding, "max_new_tokens": how.max_new_tokens, "stop": how.stop}


def _rights(target: Any, choices: Sequence[str], where: str) -> list[int]:
    """The numbers of the right options."""
    if not choices:
        return []
    listed = target if isinstance(target, list) else [target]
    found: list[Any] = [choices.index(one) if isinstance(one, str) and one in choices else one for one in listed]
    if not found or not all(isinstance(one, int) and 0 <= one < len(choices) for one in found):
        raise BadRow(f"{where}: the target {target!r} is none of the {len(choices)} options")
    return found


def _texts(target: Any, choices: Sequence[str], rights: Sequence[int]) -> tuple[str, ...]:
    if choices:
        return tuple(choices[number] for number in rights)
    return tuple(map(str, target)) if isinstance(target, list) else (str(target),)


def _letter(number: int) -> str:
    return LETTERS[number] if number < len(LETTERS) else str(number)


def _marked(question: str, pictures: int, where: str) -> tuple[str, tuple[str, ...]]:
    """The question with marks that tell its pictures apart, and the marks; none where all stand before the words."""
    pieces = question.split(MARK)
    if len(pieces) == 1:
        return question, ()
    if len(pieces) - 1 != pictures:
        raise BadRow(f"{where}: {len(pieces) - 1} marks {MARK} for {pictures} pictures")
    marks = tuple(f"{MARK[:-1]} {number}>" for number in range(1, pictures + 1))
    return pieces[0] + "".join(mark + piece for mark, piece in zip(marks, pieces[1:], strict=True)), marks


def _digest(document: Mapping[str, Any]) -> str:
    """Names a document by what it holds."""
    return hashlib.sha256(json.dumps(dict(document), sort_keys=True, default=str).encode()).hexdigest()
