"""`openai:NAME`: a model behind any OpenAI-compatible endpoint (vLLM, SGLang, hosted ones), named by `base_url`."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flamingo_lab.asking import Asking
from flamingo_lab.backends import Backend
from flamingo_lab.errors import BadEndpoint, BadPrompt, BadSetting, LabError, MissingPackage
from flamingo_lab.model import Answer, Failure, Limits, Rank, Request, Sent

if TYPE_CHECKING:
    from flamingo_lab.endpoint.client import Client, Endpoint, Failed

KEY_VARIABLE = "OPENAI_API_KEY"

LIMITS = ("max_tokens", "max_completion_tokens")
"""What endpoints call the largest number of new tokens: the usual name, and that of models that think first."""

REFUSE_PICTURES = (400, 404, 415, 422)
"""How endpoints of models that read words alone answer a request with a picture."""


@dataclass(frozen=True)
class EndpointModel(Asking):
    """A model behind an endpoint. `served` is what the endpoint calls it, `limit` one of `LIMITS`.

    Its weights are out of sight: `digest` names the endpoint and the model, and cannot tell when these are changed.
    """

    served: str
    endpoint: Endpoint
    limit: str = LIMITS[0]
    limits: Limits = field(default_factory=Limits)

    @property
    def name(self) -> str:
        """The model's name, with the backend's prefix."""
        return f"{BACKEND.prefix}:{self.served}"

    @property
    def digest(self) -> str:
        """Names all that is known of what answers."""
        return hashlib.sha256(json.dumps([BACKEND.prefix, self.endpoint.base_url, self.served]).encode()).hexdigest()

    @property
    def about(self) -> Mapping[str, Any]:
        """Facts for the record; there is no key among them."""
        return {"family": "endpoint", "backend": BACKEND.prefix, "device": self.endpoint.base_url}

    def sent(self, request: Request) -> Sent:
        """The request as it would reach the endpoint, whose token ids are not known.

        Raises `BadSetting` for options to be ranked where the endpoint tells no log-probabilities, for which it is tried once.
        """
        from flamingo_lab.endpoint import messages

        messages.check(request)
        if request.prompt.images and self.limits.images == 0:
            raise BadSetting(
                f"{self.name} at {self.endpoint.base_url} takes no pictures; it can judge words (flab grade), not answer "
                "questions about pictures"
            )
        if isinstance(request.decoding, Rank) and not self._gives_logprobs:
            raise BadSetting(
                f"{self.name} at {self.endpoint.base_url} tells no log-probabilities, so it cannot rank options; "
                "let it answer in words"
            )
        text = messages.marked(request.prompt)
        return Sent(text, (), len(request.prompt.images), request.prompt.shots)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """An answer a request, as they come; several requests are on their way at once."""
        from flamingo_lab.endpoint.client import Client
        from flamingo_lab.endpoint.workers import concurrently

        stop = threading.Event()
        with Client(self.endpoint, stop) as client:
            yield from concurrently(
                lambda request: self._answer(client, request), requests, self.endpoint.concurrency, stop
            )

    def _answer(self, client: Client, request: Request) -> Answer:
        """The answer to one request, with its error where there is none."""
        began = time.perf_counter()
        try:
            answer = self._asked(client, request)
        except Exception as error:  # whatever one question does, the others are still asked
            answer = Answer(request.id, error=_failure(error), stopped_by="error")
        return replace(answer, seconds=time.perf_counter() - began)

    def _asked(self, client: Client, request: Request) -> Answer:
        from flamingo_lab.endpoint import messages

        messages.check(request)
        body = messages.body(self.served, request, self.limit)
        images, shots = messages.counted(body["messages"])
        declared = len(request.prompt.images), request.prompt.shots
        if (images, shots) != declared:
            raise BadPrompt(
                f"{images} pictures and {shots} shots would reach the endpoint, {declared[0]} and {declared[1]} were declared"
            )
        return client.chat(body, lambda reply: messages.answer(request, reply, images))

    @cached_property
    def _gives_logprobs(self) -> bool:
        from flamingo_lab.endpoint import messages
        from flamingo_lab.endpoint.client import Failed

        asked = replace(messages.trial(), decoding=Rank(("red", "white")))
        try:
            return self._try(messages.body(self.served, asked, self.limit), messages.gives_logprobs)
        except Failed as error:
            if error.status in (400, 422):  # it does not know what is asked for
                return False
            raise BadEndpoint(self._advice(error)) from None

    def tried(self) -> EndpointModel:
        """The model, after one request has been answered: with a picture, else without one, so that words can be judged.

        Raises `BadEndpoint` with what to do.
        """
        from flamingo_lab.endpoint import messages
        from flamingo_lab.endpoint.client import Failed

        trial = messages.trial()
        try:
            self._try(messages.body(self.served, trial, self.limit), lambda reply: messages.answer(trial, reply, 1))
        except Failed as error:
            if self.limit == LIMITS[0] and error.status == 400 and LIMITS[1] in str(error):
                return replace(self, limit=LIMITS[1]).tried()
            if error.status in REFUSE_PICTURES and self._answers_words():
                return replace(self, limits=Limits(images=0))
            raise BadEndpoint(self._advice(error)) from None
        return self

    def _answers_words(self) -> bool:
        from flamingo_lab.endpoint import messages
        from flamingo_lab.endpoint.client import Failed

        trial = messages.trial(has_picture=False)
        try:
            self._try(messages.body(self.served, trial, self.limit), lambda reply: messages.answer(trial, reply, 0))
        except Failed:
            return False
        return True

    def _try(self, body: Mapping[str, Any], read: Any) -> Any:
        from flamingo_lab.endpoint.client import Client

        with Client(self.endpoint, threading.Event(), is_first=True) as client:
            return client.chat(body, read)

    def _advice(self, error: Failed) -> str:
        where = self.endpoint.base_url
        if error.kind == "Connection":
            return f"{where} cannot be reached ({error}); is it running, and is --base-url right?"
        if error.status in (401, 403):
            key = "refuses the key that it is given" if self.endpoint.key else "wants a key, and none is given"
            return f"{where} {key}: put it into {KEY_VARIABLE}, or name another variable with --api-key-env ({error})"
        if error.status == 404:
            return f"{where} has no model {self.served!r}, or is no base URL: most of them end in /v1 ({error})"
        return f"{where} does not answer a question about a picture, asked of {self.served!r}: {error}"


def _failure(error: Exception) -> Failure:
    """Why there is no answer. Where it happened is told of errors that are nobody's expectation."""
    from flamingo_lab.endpoint.client import Failed

    if isinstance(error, Failed):
        return Failure(error.kind, str(error))
    where = "" if isinstance(error, LabError) else "".join(traceback.format_tb(error.__traceback__))
    return Failure(type(error).__name__, str(error), hashlib.sha256(where.encode()).hexdigest()[:12] if where else "")


def open_model(
    name: str,
    *,
    base_url: str | None = None,
    api_key_env: str | None = None,
    concurrency: int = 8,
    requests_per_minute: float | None = None,
    timeout_seconds: float = 120.0,
    retries: int = 5,
) -> EndpointModel:
    """The model of this name behind the endpoint, which is asked one question first. Raises `LabError` kinds.

    `base_url` is what stands before `/chat/completions`. The key is in the environment variable `api_key_env`, by default
    OPENAI_API_KEY, and nowhere else. See `Endpoint` for the others.
    """
    try:
        from flamingo_lab.endpoint.client import Endpoint
    except ModuleNotFoundError as error:
        raise MissingPackage(f"openai:{name} needs {error.name}: pip install 'flamingo-lab[endpoint]'") from None
    if concurrency < 1 or retries < 0 or timeout_seconds <= 0 or (requests_per_minute or 1) <= 0:
        raise BadSetting(
            "--concurrency must be 1 or more, --retries 0 or more, --timeout-seconds and --requests-per-minute more than 0"
        )
    key = os.environ.get(api_key_env or KEY_VARIABLE, "").strip()
    if api_key_env is not None and not key:
        raise BadSetting(f"--api-key-env {api_key_env}: there is no such environment variable, or it is empty")
    if not (key.isascii() and key.isprintable()):
        raise BadSetting(f"{api_key_env or KEY_VARIABLE} holds signs that no key has; set it anew")
    endpoint = Endpoint(
        _address(name, base_url), key or None, concurrency, requests_per_minute, timeout_seconds, retries
    )
    return EndpointModel(name, endpoint).tried()


def _address(name: str, base_url: str | None) -> str:
    """The endpoint's address, fit for a record. Raises `BadSetting`."""
    if not base_url:
        raise BadSetting(f"openai:{name} needs --base-url URL, the address before /chat/completions")
    try:
        parts = urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        raise BadSetting("--base-url is no address; http://127.0.0.1:8000/v1 would be one") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadSetting(
            "--base-url is kept in records, so it holds no name, key or query; a key goes into the environment"
        )
    if not is_address:
        raise BadSetting(f"--base-url {base_url} is no address; http://127.0.0.1:8000/v1 would be one")
    return base_url.rstrip("/").removesuffix("/chat/completions")


BACKEND = Backend("openai", "a model behind an OpenAI-compatible endpoint", open_model)
