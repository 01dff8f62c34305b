"""A run: plan, ask what the journal lacks, score, write the records. Killed anywhere, the same command goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace

from eval_tasks.errors import PromptMismatch
from eval_tasks.metrics import Item, Outcome, Prediction, Targets
from eval_tasks.plan import Asked, Plan, Settings, plan, splits_for_shots
from eval_tasks.reading import encodable
from eval_tasks.run_record import closed, from_line, opened
from eval_tasks.scoring import mark, ungraded
from eval_tasks.session import Session
from eval_tasks.shots import Looked
from eval_tasks.task import Task
from flamingo_lab.model import Answer, Failure, Model
from leaderboards.errors import ResultsError
from leaderboards.records import Run, SampleRecord, Term
from leaderboards.store import Store

FEATURES = "features"
"""The folder in the results that keeps what was found out about pictures."""

OF_THE_GRADED = ("model", "model_digest", "family", "parameters", "backend", "dtype", "phrasing", "seed", "limit")
"""What the record of a judge's run takes from the run that it grades."""

Progress = Callable[[int, int, int], None]
"""Called with how many answers there are, of how many, and how many of them are errors."""


def run(
    model: Model,
    task: Task,
    settings: Settings,
    store: Store,
    *,
    command: str = "",
    planned: Callable[[Plan], None] = lambda plan: None,
    progress: Progress = lambda done, total, errors: None,
    looked: Looked = lambda what, done, total: None,
) -> Run:
    """The record of a finished run: made now, gone on with, or found complete.

    A sample without an answer counts as an error, is shown beside the score and takes no part in it. Above
    `max_error_rate` the status is "too many errors". Raises the packages' own errors; an interrupted run can be gone on
    with by the same call.
    """
    began = time.perf_counter()
    settings = replace(settings, features=settings.features or store.path / FEATURES)
    making = plan(model, task, settings, looked)
    return carry_out(model, making, store, began, command=command, planned=planned, progress=progress)


def carry_out(
    model: Model,
    making: Plan,
    store: Store,
    began: float,
    *,
    command: str = "",
    planned: Callable[[Plan], None] = lambda plan: None,
    progress: Progress = lambda done, total, errors: None,
) -> Run:
    """The record of a planned run, see `run`; `began` is when its planning did, on the clock `time.perf_counter`."""
    planned(making)
    with store.begin(making.run_id) as folder:
        if (folder.path / "run.json").is_file():
            before = store.run(making.run_id)
            if before.status != "running":
                return before
            record = before
        else:
            record = _opened(model, making, command)
            folder.state(record)
        session = Session(model, folder, record, began)
        try:
            answers = _answers(model, making, session, progress)
        except BaseException:
            with suppress(ResultsError):  # a full disk is told by what it refused first
                session.keep()
            raise
        record, answered_at = session.record, time.perf_counter()
        items = [making.heard(_item(asked, answers[asked.sample.id])) for asked in making.asked]
        marked = {str(name): mark(name, items, making.mean_of, making.task.metric(name)) for name in making.metrics}
        samples = [
            _sample(
                record.run_id,
                asked,
                answers[asked.sample.id],
                item,
                {key: one.outcomes[n] for key, one in marked.items()},
                {key: held for one in marked.values() for key, held in one.terms[n].items()},
            )
            for n, (asked, item) in enumerate(zip(making.asked, items, strict=True))
        ]
        scores = tuple(score for one in marked.values() for score in one.scores) or ungraded(making.task, items)
        finished = closed(model, record, samples, scores, making.settings.max_error_rate)
        scoring = time.perf_counter() - answered_at
        seconds = record.seconds + scoring
        finished = replace(
            finished,
            seconds=seconds,
            stages={**record.stages, "score": scoring},
            questions_per_second=len(samples) / seconds,
            counters=_shares(finished.counters),
        )
        folder.finish(finished, samples)
        return finished


def _answers(model: Model, making: Plan, session: Session, progress: Progress) -> Mapping[str, Answer]:
    """Every answer by sample id: those of the journal, then those asked now, each journaled as it comes."""
    asked = {one.sample.id: one for one in making.asked}
    answers = {held["id"]: from_line(held) for held in session.journal.held}
    errors = sum(answer.error is not None for answer in answers.values())
    progress(len(answers), len(asked), errors)

    def keep(answer: Answer) -> None:
        nonlocal errors
        # An endpoint's JSON may hold half a surrogate pair, which no file can.
        answer = replace(answer, text=encodable(answer.text))
        session.append(answer)
        answers[answer.id] = answer
        errors += answer.error is not None
        progress(len(answers), len(asked), errors)

    missing = [one for one in making.asked if one.sample.id not in answers]
    for one in missing:
        if one.error is not None:
            failure = Failure(type(one.error).__name__, str(one.error))
            keep(Answer(one.sample.id, error=failure, stopped_by="error"))
    # Closed at once on an interruption, so that no model goes on working behind it.
    with closing(_stream(model, [one for one in missing if one.error is None])) as stream:
        for answer in stream:
            declared = asked[answer.id].images
            if answer.error is None and answer.images != declared:
                raise PromptMismatch(
                    f"{making.task.name} {answer.id}: {answer.images} pictures reached {model.name}, "
                    f"but {declared} were declared; the run is not scored"
                )
            keep(answer)
    return answers


def _stream(model: Model, asked: Sequence[Asked]) -> Generator[Answer]:
    yield from model.answers([one.request for one in asked])


def _item(asked: Asked, answer: Answer) -> Item:
    """A question with its answer, which is stripped once, here."""
    sample, scores = asked.sample, answer.option_logprobs
    return Item(
        prediction=Prediction(
            answer.text.strip(),
            None if scores is None else tuple((score,) for score in scores),
            option_is_greedy=answer.option_is_greedy,
        ),
        targets=Targets(sample.targets, sample.choices, sample.facts),
        id=sample.id,
        document=sample.document,
        slices=sample.slices,
        has_answer=answer.error is None,
    )


def _sample(
    run_id: str,
    asked: Asked,
    answer: Answer,
    item: Item,
    outcomes: Mapping[str, Outcome | None],
    terms: Mapping[str, Sequence[Term]],
) -> SampleRecord:
    """The record of one sample: the raw text of the answer is kept beside what was scored."""
    sample = asked.sample
    failed = answer.error is not None
    known = {key: outcome for key, outcome in outcomes.items() if outcome is not None}
    images = asked.request.prompt.images
    return SampleRecord(
        run_id=run_id,
        sample_id=sample.id,
        document=sample.document,
        image_digests=[image.digest for image in images] if asked.sent else [],
        image_paths=[image.name for image in images],
        question=sample.question,
        targets=sample.targets,
        choices=sample.choices,
        prompt=asked.sent.text if asked.sent else "",
        shot_ids=[shot.id for shot in asked.shots],
        answer_raw=None if failed else answer.text,
        answer=None if failed else item.prediction.text,
        logprob=answer.logprob,
        option_logprobs=answer.option_logprobs,
        scores={key: outcome.score for key, outcome in known.items()},
        slices=sample.slices,
        error_kind=answer.error.kind if answer.error else None,
        error=answer.error.message if answer.error else None,
        prompt_tokens=answer.prompt_tokens,
        generated_tokens=answer.new_tokens,
        n_images=answer.images,
        seconds=answer.seconds,
        trace=None if answer.trace is None else json.dumps(answer.trace),
        problems={key: outcome.problem for key, outcome in known.items() if outcome.problem},
        terms=terms,
    )


def _shares(counters: Mapping[str, float]) -> dict[str, float]:
    """The counters, with padding as a share of what was fed."""
    held = dict(counters)
    fed, padding = held.pop("positions_fed", 0), held.pop("positions_padding", 0)
    return held | {"padding_share": padding / fed} if fed else held


def _opened(model: Model, making: Plan, command: str) -> Run:
    """The record of a run that is about to ask. A judge's run is one of the model that it grades."""
    settings, graded = making.settings, making.graded
    held = asdict(settings)
    held |= {
        "options": sorted(settings.options),
        "data": None if settings.data is None else str(settings.data),
        "features": str(settings.features),
        "also": [str(metric) for metric in settings.also],
        "decoding": making.how,
        "chosen_decoding": None if settings.decoding is None else making.how,
        "cut": making.cut,
    }
    if graded is not None:
        held |= {"graded": graded.run_id, "judge_digest": model.digest, "judge_about": dict(model.about)}
    made = opened(
        model,
        run_id=making.run_id,
        command=command,
        task=making.task.name,
        task_digest=making.task_digest,
        split=making.split,
        num_fewshot=settings.num_fewshot,
        shot_selection=settings.shot_selection,
        phrasing=making.wording.name,
        decoding=making.how,
        seed=settings.seed,
        limit=settings.limit,
        n=len(making.asked),
        settings=held,
        mean_of=tuple(making.mean_of),
    )
    takes_shots = any(one.shots for one in making.asked)
    splits = [making.split, *(splits_for_shots(making.task, making.split, settings.options) if takes_shots else ())]
    if version := making.task.version(settings.data, splits):
        made = replace(made, versions={**made.versions, "data": version})
    if graded is None:
        return made
    return replace(made, judge=model.name, **{name: getattr(graded, name) for name in OF_THE_GRADED})
