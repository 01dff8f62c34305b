"""SEAL as one model: ask, hear what is missing, search for it, ask again with what was found (V*, arXiv 2312.14135).

After penghao-wu/vstar, vstar_bench_eval.py. What a search did stands in `Answer.trace`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from flamingo_lab.asking import Asking
from flamingo_lab.engine.budget import peak_bytes
from flamingo_lab.engine.plan import failed
from flamingo_lab.errors import BadPrompt, LabError
from flamingo_lab.model import Answer, Greedy, Limits, Rank, Request, Sent
from flamingo_lab.prepared import Seats
from flamingo_lab.prompt import Image, Part, Prompt, Turn
from flamingo_lab.search import focus, together
from flamingo_lab.search.guided import Outcome, Search, Settings, search
from flamingo_lab.search.locate import SearchModel
from flamingo_lab.search.phrases import Parser, spacy

VQA, VSM = "vqa", "vsm"
"""The roles of the two models."""

FIRST_TOKENS = 200
"""Of the first answer, in which the model may say what it lacks; the evaluation's limit."""

WINDOW = 64
"""Questions that pass the three stages together, while both models fit into memory."""

WINDOW_IN_TURN = 2048
"""The same where the models make room for each other, and each stage reads one of them anew."""


@dataclass
class Question:
    """A request on its way: its first answer, what is missing, and what the searches for that came to."""

    request: Request
    image: Image
    first: Answer
    missing: tuple[str, ...] = ()
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    seconds: float = 0.0

    @property
    def found(self) -> list[focus.Found]:
        """Everything that was found, in the order in which it was missing."""
        return [
            focus.Found(name, box)
            for name, outcome in zip(self.missing, self.outcomes, strict=True)
            for box in outcome.places
        ]


@dataclass(frozen=True)
class VStar(Asking):
    """Two models and the search between them, a `Model`. `parse` reads the phrases that say where something may be."""

    name: str
    models: Seats
    settings: Settings = field(default_factory=Settings)
    parse: Parser = spacy

    @property
    def digest(self) -> str:
        """Names both models and how the search is set."""
        parts = [self.models.models[role].unread.digest for role in (VQA, VSM)]
        return hashlib.sha256("\n".join((*parts, repr(self.settings))).encode()).hexdigest()

    @property
    def limits(self) -> Limits:
        """Positions of the model that answers; one picture."""
        return Limits(positions=self.models.models[VQA].architecture.decoder.positions, images=1)

    def peak_bytes(self) -> int:
        """See `Holds`."""
        return peak_bytes(self.models.models[VQA].device)

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts for the record, of both models together."""
        vqa, vsm = (self.models.models[role].unread.about for role in (VQA, VSM))
        return {
            **vqa,
            "family": self.name,
            "parameters": vqa["parameters"] + vsm["parameters"],
            "weights": f"{vqa['weights']}, {vsm['weights']}",
            "in memory": "both models" if self.models.all_fit else "one model at a time",
        }

    def sent(self, request: Request) -> Sent:
        """The request as it is first asked. What a search adds to it is known when it is answered."""
        only_picture(request.prompt)
        renderer = self.models.models[VQA].unread.renderer
        rendered = renderer.render(request.prompt)
        return Sent(renderer.marked(rendered), rendered.ids, len(rendered.images), rendered.shots)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """An answer a request, in windows that pass the stages together."""
        stream = iter(requests)
        size = WINDOW if self.models.all_fit else WINDOW_IN_TURN
        while window := list(itertools.islice(stream, size)):
            yield from self._answer_all(window)

    def _answer_all(self, requests: Sequence[Request]) -> Iterator[Answer]:
        questions: list[Question] = []
        for result in self._first(requests):
            if isinstance(result, Answer):
                yield result
            else:
                questions.append(result)
        broken = self._search(questions)
        for number, error in broken.items():
            yield failed(questions[number].request.id, error)
        whole = [question for number, question in enumerate(questions) if number not in broken]
        yield from self._last(whole)

    def _first(self, requests: Sequence[Request]) -> Iterator[Question | Answer]:
        """Every request with its first answer; the reason where there can be none."""
        shown: dict[str, tuple[Request, Image]] = {}
        for number, request in enumerate(requests):
            try:
                shown[str(number)] = request, only_picture(request.prompt)
            except LabError as error:
                yield failed(request.id, error)
        asked = [
            Request(key, request.prompt, Greedy(), FIRST_TOKENS, is_cut=request.is_cut)
            for key, (request, _) in shown.items()
        ]
        for first in self.models.take(VQA).answers(asked) if asked else ():
            request, image = shown[first.id]
            if first.error is not None:
                yield replace(first, id=request.id)
            else:
                yield Question(request, image, first, focus.missing(first.text), seconds=first.seconds)

    def _search(self, questions: Sequence[Question]) -> dict[int, Exception]:
        """Search for all that is missing, and note it in the questions. The errors by the question's number."""
        wanted = [(number, name) for number, question in enumerate(questions) for name in question.missing]
        if not wanted:
            return {}
        searches = [partial(self._begin, questions[number].image, name) for number, name in wanted]
        ended = together.run(SearchModel(self.models.take(VSM)), searches)
        broken: dict[int, Exception] = {}
        for place, (number, _) in enumerate(wanted):
            outcome, seconds = ended[place]
            questions[number].seconds += seconds
            if isinstance(outcome, Exception):
                broken.setdefault(number, outcome)
            else:
                questions[number].outcomes.append(outcome)
        return broken

    def _begin(self, image: Image, name: str) -> Search:
        picture = image.load()
        return search(picture, name, self.settings, self.settings.smallest(picture.size), self.parse)

    def _last(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Every question asked again with what was found; the first answer where it is already what was asked for."""
        again: dict[str, Question] = {}
        asked: list[Request] = []
        for question in questions:
            if is_answered(question):
                yield self._finished(question, question.first, question.request.prompt)
                continue
            try:
                prompt = self._focused(question)
            except LabError as error:
                yield failed(question.request.id, error)
                continue
            asked.append(replace(question.request, id=str(len(asked)), prompt=prompt))
            again[asked[-1].id] = question
        prompts = {request.id: request.prompt for request in asked}
        for answer in self.models.take(VQA).answers(asked) if asked else ():
            question = again[answer.id]
            question.seconds += answer.seconds
            yield self._finished(question, answer, prompts[answer.id])

    def _focused(self, question: Question) -> Prompt:
        """The prompt with the picture in its new form, and what was found before the question.

        QUIRK: where nothing was searched and options are ranked, the authors show the middle of the picture instead of
        padding it (golden seal_vqa, mc_no_search).
        """
        px = self.models.models[VQA].architecture.tower.image_px
        found, image = question.found, question.image
        if not found:
            is_cropped = isinstance(question.request.decoding, Rank) and not question.missing
            return shown(question.request.prompt, focus.middle(image, px) if is_cropped else image, ())
        whole, details = focus.shown(image, found, px)
        return shown(question.request.prompt, whole, tuple(focus.focus(found, details, image.size)))

    def _finished(self, question: Question, answer: Answer, prompt: Prompt) -> Answer:
        """The answer under the request's own id, with one picture, and with what led to it."""
        if answer.error is not None:
            return replace(answer, id=question.request.id)
        return replace(
            answer, id=question.request.id, images=1, seconds=question.seconds, trace=trace(question, prompt)
        )


def only_picture(prompt: Prompt) -> Image:
    """The one picture that is asked about. Raises `BadPrompt`."""
    if prompt.is_raw:
        raise BadPrompt("guided search adds to the question, which a raw prompt does not show; ask in turns")
    if len(prompt.images) != 1 or prompt.images[0].is_object:
        raise BadPrompt(f"guided search looks at one picture, and the prompt holds {len(prompt.images)}; use no shots")
    return prompt.images[0]


def is_answered(question: Question) -> bool:
    """Whether the first answer is what the request asks for: nothing missing, no options, no further rules."""
    request, first = question.request, question.first
    plain = replace(request, id="", max_new_tokens=0) == Request(
        "", request.prompt, max_new_tokens=0, is_cut=request.is_cut
    )
    is_whole = first.stopped_by == "stop token" and len(first.token_ids) <= request.max_new_tokens
    return plain and not question.missing and is_whole


def shown(prompt: Prompt, image: Image, before: Sequence[Part]) -> Prompt:
    """The prompt with another form of its picture, and `before` in front of the last turn's words."""
    turns = [
        Turn(turn.role, tuple(image if isinstance(part, Image) else part for part in turn.parts))
        for turn in prompt.turns
    ]
    last = turns[-1].parts
    place = next((number + 1 for number, part in enumerate(last) if isinstance(part, Image)), 0)
    turns[-1] = replace(turns[-1], parts=(*last[:place], *before, *last[place:]))
    return replace(prompt, turns=tuple(turns))


def trace(question: Question, prompt: Prompt) -> dict[str, Any]:
    """The visual working memory: what was missing, how it was searched for, and what was shown of it. Plain JSON.

    Boxes are (x, y, width, height), crops (left, top, right, bottom), both in pixels of the whole picture.
    """
    whole, *details = prompt.images
    said = (part for part in prompt.turns[-1].parts if part is not whole)
    return {
        "first_answer": question.first.text,
        "missing": list(question.missing),
        "searches": [
            {
                "target": name,
                "is_found": outcome.is_successful,
                "instances": None if outcome.boxes is None else len(outcome.boxes),
                "boxes": [list(box) for box in outcome.places],
                "path_length": outcome.path_length,
                "final": outcome.final,
                "path": [
                    {
                        "patch": list(visit.patch),
                        "level": visit.level,
                        "parent": visit.parent,
                        "priority": visit.score,
                        "confidence": visit.best,
                        "cue": None if visit.cue is None else {"answer": visit.cue[0], "phrase": visit.cue[1]},
                    }
                    for visit in outcome.path
                ],
            }
            for name, outcome in zip(question.missing, question.outcomes, strict=True)
        ],
        "shown": [
            {"name": one.name, "box": list(one.box), "crop": list(focus.crop(one.box, question.image.size))}
            for one in question.found[: len(details)]
        ],
        "is_padded": whole.digest == question.image.digest,
        "question": "".join(part if isinstance(part, str) else "<object>" for part in said),
    }
