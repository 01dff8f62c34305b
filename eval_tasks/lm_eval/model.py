"""Any `Model` as one of lm-eval's model classes: log-likelihoods and generation, with pictures and without.

>>> lm_eval.simple_evaluate(model=LabLM(fl.load("flamingo-tiny")), tasks=["hellaswag"])
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from eval_tasks.lm_eval.requests import PICTURES, Conversation, Untold, as_pictures, generation, pair, prompt
from eval_tasks.lm_eval.windows import windows
from flamingo_lab.errors import BadPrompt, BadSetting, LabError
from flamingo_lab.model import Answer, Failure, Model, Rank, Request
from flamingo_lab.prompt import Image, Prompt

NEVER = float("-inf")

Ask = Callable[[Sequence[Request]], Mapping[str, Answer]]
"""Gives the answers to requests by their ids."""


class LabLM(LM):
    """`ask` answers the requests, by default the model itself.

    A request without an answer raises `LabError` once the others are answered; with `keeps_failures` lm-eval goes on with
    the least that there could be, and `failure` says what must not be scored.
    """

    MULTIMODAL = True

    def __init__(self, model: Model, *, seed: int = 0, ask: Ask | None = None, keeps_failures: bool = False) -> None:
        super().__init__()
        self.model = model
        self.answers: dict[int, list[Answer]] = {}
        self._seed = seed
        self._ask = ask or self._by_model
        self._keeps_failures = keeps_failures

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval's caches know the template by."""
        return self.model.digest

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into its own results."""
        return {
            "model": self.model.name,
            "model_sha": self.model.digest,
            "model_dtype": self.model.about.get("dtype", ""),
        }

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template's name; it is the model's own, and none of its words are lm-eval's to choose."""
        return str(self.model.about.get("wording", "")) if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The turns, which the model itself puts into its template."""
        if not add_generation_prompt:
            raise BadPrompt(
                "this task begins the model's answer (gen_prefix), which no template here can: ask it without one"
            )
        return Conversation.of(chat_history)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, Any]]:
        """Each continuation's summed log-probability, and whether greedy decoding says it.

        Continuations of one context are branches of one request, so the context is computed once.
        """
        groups = [list(group) for _, group in itertools.groupby(map(Continued.of, requests), Continued.before)]
        asked = [self._ranked(group) for group in groups]
        answers = self._answered(asked)
        found: list[tuple[float, Any]] = []
        for group, request in zip(groups, asked, strict=True):
            assert isinstance(request.decoding, Rank)
            for one in group:
                answer = answers[request.id]
                self.answers.setdefault(id(one.instance), []).append(answer)
                found.append(self._likelihood(answer, request.decoding.options.index(one.continuation)))
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Each text's summed log-probability behind the model's opening token; a long one in windows (see `windows`)."""
        pieces = [self._pieces(instance) for instance in requests]
        answers = self._answered(list(itertools.chain.from_iterable(pieces)))
        found: list[float] = []
        for instance, asked in zip(requests, pieces, strict=True):
            mine = [answers[request.id] for request in asked]
            failed = [answer for answer in mine if answer.error]
            self.answers.setdefault(id(instance), []).append((failed or mine)[0])
            found.append(NEVER if failed else sum(answer.logprob or 0.0 for answer in mine))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Each context's continuation, cut before the first of its stop strings."""
        asked: list[Request] = []
        seen: dict[str, int] = {}
        for instance in requests:
            context, settings = arguments(instance)[:2]
            how = generation(settings, self._seed)
            words = prompt(context, pictures(instance))
            request = Request("", words, how.decoding, how.max_new_tokens, stop=how.stop)
            named = self._named(request)
            # A context that is asked again has another draw.
            seen[named.id] = seen.get(named.id, -1) + 1
            asked.append(replace(named, id=f"{named.id}-{seen[named.id]}" if seen[named.id] else named.id))
        answers = self._answered(asked)
        for instance, request in zip(requests, asked, strict=True):
            self.answers.setdefault(id(instance), []).append(answers[request.id])
        return [answers[request.id].text for request in asked]

    def failure(self, instance: Instance) -> Failure | None:
        """Why an instance has no answer, None where it has."""
        return next((answer.error for answer in self.answers.get(id(instance), []) if answer.error), None)

    def _ranked(self, group: Sequence[Continued]) -> Request:
        """Continuations of one context, each once, as one request."""
        first = group[0]
        if not first.context and not first.images:
            self._check_opening()
        options = dict.fromkeys(one.continuation for one in group)
        return self._named(Request("", prompt(first.context, first.images), Rank(tuple(options))))

    def _likelihood(self, answer: Answer, number: int) -> tuple[float, Any]:
        if answer.error or answer.option_logprobs is None:
            return NEVER, False
        told = answer.option_is_greedy
        return answer.option_logprobs[number], Untold(self.model.name) if told is None else told[number]

    def _pieces(self, instance: Instance) -> list[Request]:
        """A text as requests, each of which ranks a piece of it behind what stands before."""
        text = arguments(instance)[0]
        self._check_opening()
        cut = windows(text, self._tokens, self.model.limits.positions)
        return [self._named(Request("", Prompt.raw(before), Rank((piece,)))) for before, piece in cut]

    def _tokens(self, text: str) -> int:
        return len(self.model.sent(Request("", Prompt.raw(text))).ids)

    def _check_opening(self) -> None:
        """Refuse to say how likely a text's first token is where no token would stand before it."""
        if not self._tokens("") and self._tokens("a"):
            raise BadSetting(
                f"{self.model.name} puts no token before a text, so that the first one has no probability; this task needs it"
            )

    def _named(self, request: Request) -> Request:
        """The request under a name that all which can change its answer decides."""
        turns = [[turn.role, *map(_identity, turn.parts)] for turn in request.prompt.turns]
        decoding = [type(request.decoding).__name__, asdict(request.decoding)]
        held = [turns, request.prompt.is_raw, decoding, request.max_new_tokens, request.stop]
        return replace(request, id=hashlib.sha256(json.dumps(held).encode()).hexdigest()[:24])

    def _answered(self, requests: Sequence[Request]) -> Mapping[str, Answer]:
        unlike = list({request.id: request for request in requests}.values())
        answers = self._ask(unlike)
        failed = [answer for answer in answers.values() if answer.error is not None]
        if failed and failed[0].error and not self._keeps_failures:
            raise LabError(
                f"{len(failed)} of {len(unlike)} requests have no answer; one says: {failed[0].error.message}"
            )
        return answers

    def _by_model(self, requests: Sequence[Request]) -> Mapping[str, Answer]:
        return {answer.id: answer for answer in self.model.answers(requests)}


@dataclass(frozen=True)
class Continued:
    """A continuation of a context with its pictures, and the instance that asks how likely it is."""

    instance: Instance
    context: str
    continuation: str
    images: tuple[Image, ...]

    @classmethod
    def of(cls, instance: Instance) -> Continued:
        """What an instance of log-likelihood asks."""
        context, continuation = arguments(instance)[:2]
        return cls(instance, *pair(context, continuation), pictures(instance))

    def before(self) -> tuple[str, tuple[str, ...]]:
        """What stands before the continuation."""
        return self.context, tuple(image.digest for image in self.images)


def arguments(instance: Instance) -> tuple[Any, ...]:
    """What an instance asks: a context with a continuation or with settings, then its pictures; or a text."""
    return instance.args


def pictures(instance: Instance) -> tuple[Image, ...]:
    """An instance's pictures."""
    held = next((extra.get(PICTURES) for extra in arguments(instance)[2:]), None)
    return as_pictures(held, f"{instance.task_name}-{instance.doc_id}")


def _identity(part: str | Image) -> str:
    """A part in a request's name; no text begins like a picture's."""
    return part if isinstance(part, str) else f"\0picture {part.digest}"
