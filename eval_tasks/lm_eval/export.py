"""Our tasks as lm-eval's: our questions in our wording, scored by our metrics, for any of its models.

>>> lm_eval.simple_evaluate(model="hf-multimodal", model_args=..., tasks=[exported(task.get("chartqa"), data)])
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

from eval_tasks.errors import UnknownTask
from eval_tasks.lm_eval.requests import MARK
from eval_tasks.metrics import Item, MetricName, Prediction, Targets
from eval_tasks.scoring import mark
from eval_tasks.task import Sample, Task
from eval_tasks.wording import Wording
from flamingo_lab.prompt import Image, Part

PREFIX = "flab-"
"""What stands before the name of one of our tasks where lm-eval's are named too."""

NUMBER = "number"
"""The field of a document that says which of our samples it is."""


NEXT = "\n"
"""What ends an answer in running text: the next question stands on a line of its own, and a raw text has no other end."""


class Scored(float):
    """A sample's score that keeps what was scored, so that a set's figure can be made of it."""

    item: Item

    @classmethod
    def of(cls, score: float, item: Item) -> Scored:
        """The score of an item."""
        made = cls(score)
        made.item = item
        return made


def exported(
    task: Task, data: Path | None = None, *, split: str | None = None, wording: str | None = None, running: bool = False
) -> ConfigurableTask:
    """The task as one of lm-eval's, asked without worked examples. `running`: in the running text of base models.

    A base model needs `running`: the bare question is a chat model's turn, and its answers would have no end.
    Generations are stripped once, as `flab eval` does. Raises `UnknownTask` for a wording that ranks options, and for a
    metric that only a whole set has: lm-eval scores one document at a time.
    """
    words = task.wording(wording)
    if words.rank is not None:
        raise UnknownTask(
            f"{task.name}: the wording {words.name!r} ranks options; export one that is answered in words"
        )
    names = task.metrics_of(words, frozenset())
    if whole := [name for name in names if task.metric(name).needs_all]:
        raise UnknownTask(
            f"{task.name}: {whole[0]} is a figure of a whole set, and lm-eval scores one document at a time"
        )
    samples = task.samples(split or task.split, data)

    def documents(**_: Any) -> Mapping[str, datasets.Dataset]:
        rows = [{NUMBER: number, "id": sample.id} for number, sample in enumerate(samples)]
        return {task.split: datasets.Dataset.from_list(rows)}

    def sample(document: Mapping[str, Any]) -> Sample:
        return samples[document[NUMBER]]

    until = [*task.stop, *([NEXT] if running else [])]
    config: dict[str, Any] = {
        "task": PREFIX + task.name,
        "custom_dataset": documents,
        "test_split": task.split,
        "output_type": "generate_until",
        "doc_to_text": lambda document: _text(words, sample(document), running=running),
        "doc_to_image": lambda document: [image.load() for image in sample(document).images],
        "doc_to_target": lambda document: list(sample(document).targets),
        "process_results": lambda document, said: _scores(task, names, sample(document), said[0]),
        "metric_list": [
            {"metric": str(name), "aggregation": _whole(task, name), "higher_is_better": True} for name in names
        ],
        "generation_kwargs": {"until": until, "do_sample": False, "max_gen_toks": task.max_new_tokens},
        "num_fewshot": 0,
        "metadata": {"version": 1},
    }
    return ConfigurableTask(config=config)


def _text(words: Wording, sample: Sample, *, running: bool) -> str:
    """The question with marks for its pictures."""
    parts: Sequence[Part] = words.parts(sample)
    if not running:
        return _marked(parts)
    lead = list(itertools.takewhile(lambda part: isinstance(part, Image), parts))
    begun = words.running.partition("{answer}")[0].rstrip(" ")
    return _marked(lead) + begun.replace("{text}", _marked(parts[len(lead) :]))


def _marked(parts: Sequence[Part]) -> str:
    return "".join(MARK if isinstance(part, Image) else part for part in parts)


def _scores(task: Task, names: Sequence[MetricName], sample: Sample, said: str) -> dict[str, Scored]:
    """A generation's scores under each of the task's metrics."""
    targets = Targets(sample.targets, sample.choices, sample.facts)
    item = Item(Prediction(said.strip()), targets, sample.id, sample.document, sample.slices)
    return {str(name): Scored.of(task.metric(name).outcomes([item])[0].score, item) for name in names}


def _whole(task: Task, name: MetricName) -> Callable[[Sequence[Scored]], float | None]:
    """The task's own figure of a set, the mean of its parts where the task has parts."""
    return lambda found: mark(name, [one.item for one in found], task.mean_of, task.metric(name)).scores[0].value
