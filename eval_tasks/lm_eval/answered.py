"""The samples of a task that lm-eval has evaluated, as records of our store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from eval_tasks.lm_eval import scores
from eval_tasks.lm_eval.model import Continued, LabLM, arguments, pictures
from eval_tasks.lm_eval.requests import prompt
from eval_tasks.metrics import Item, MetricName, Prediction, Targets
from eval_tasks.scoring import Marked, mark
from flamingo_lab.errors import LabError
from flamingo_lab.model import Model, Request
from leaderboards.records import SampleRecord


class Answered:
    """The samples of an evaluated task. `logged` are lm-eval's: one for each document behind each filter."""

    def __init__(self, model: Model, task: ConfigurableTask, lm: LabLM, logged: Sequence[Mapping[str, Any]]) -> None:
        self._model = model
        self._task = task
        self._lm = lm
        self._logged = {(one["filter"], one["doc_id"]): one for one in logged}
        self._asked: dict[int, list[Instance]] = {}
        for instance in task.instances:
            assert instance.doc_id is not None  # lm-eval numbers the documents that it builds requests for
            self._asked.setdefault(instance.doc_id, []).append(instance)
        self.items = [self._item(number) for number in self._asked]

    def marked(self, name: MetricName) -> Marked:
        """Each sample's outcome under a metric, and the task's scores."""
        ours = scores.metric(self._task, name, lambda items: [self._value(name, item) for item in items])
        return mark(name, self.items, metric=ours)

    def record(self, run_id: str, place: int, marked: Mapping[str, Marked]) -> SampleRecord:
        """The record of a document, whose requests may be several: options, or repeated draws."""
        number = list(self._asked)[place]
        instances, item = self._asked[number], self.items[place]
        answers = [answer for instance in instances for answer in self._lm.answers[id(instance)]]
        unlike = list({answer.id: answer for answer in answers}.values())
        failure = next((answer.error for answer in unlike if answer.error), None)
        outcomes = {key: one for key, found in marked.items() if (one := found.outcomes[place]) is not None}
        options = self._options(instances)
        shown = pictures(instances[0])
        text = None if failure else item.prediction.text
        return SampleRecord(
            run_id=run_id,
            sample_id=item.id,
            document=item.document,
            image_digests=[image.digest for image in shown],
            image_paths=[image.name for image in shown],
            question=str(self._task.doc_to_text(instances[0].doc)),
            targets=item.targets.texts,
            choices=item.targets.choices,
            prompt=self._sent(instances[0]),
            shot_ids=[],
            answer_raw=text,
            answer=text,
            logprob=None if failure else max((score for score in options), default=unlike[0].logprob),
            option_logprobs=None if failure else options or None,
            scores={key: one.score for key, one in outcomes.items()},
            slices={},
            error_kind=failure.kind if failure else None,
            error=failure.message if failure else None,
            prompt_tokens=sum(answer.prompt_tokens for answer in unlike),
            generated_tokens=sum(answer.new_tokens for answer in unlike),
            n_images=len(shown),
            seconds=sum(answer.seconds for answer in unlike),
            trace=None,
            problems={key: one.problem for key, one in outcomes.items() if one.problem},
            terms={key: held for found in marked.values() for key, held in found.terms[place].items()},
        )

    def _value(self, name: MetricName, item: Item) -> Any:
        return self._logged[name.variant, int(item.id)].get(name.metric)

    def _item(self, number: int) -> Item:
        instances = self._asked[number]
        first = instances[0]
        shown = pictures(first)
        options = self._options(instances)
        choices = tuple(Continued.of(one).continuation for one in instances) if options else ()
        text = choices[options.index(max(options))] if options else str(first.resps[0])
        target = self._task.doc_to_target(first.doc)
        return Item(
            Prediction(text, tuple((score,) for score in options) or None),
            Targets(tuple(map(str, target)) if isinstance(target, list) else (str(target),), choices),
            id=str(number),
            document=shown[0].digest if shown else str(number),
            has_answer=all(self._lm.failure(one) is None for one in instances),
        )

    def _options(self, instances: Sequence[Instance]) -> list[float]:
        """The log-probabilities of options, none where the task ranks nothing."""
        is_ranked = instances[0].request_type == "loglikelihood"
        return [float(one.resps[0][0]) for one in instances] if is_ranked else []

    def _sent(self, instance: Instance) -> str:
        """The first of a sample's requests as it reached the model; as lm-eval wrote it, where it could not."""
        context = "" if instance.request_type == "loglikelihood_rolling" else arguments(instance)[0]
        try:
            return self._model.sent(Request("", prompt(context, pictures(instance)))).text
        except LabError:
            return str(context)
