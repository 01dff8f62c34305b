"""How an endpoint is called: at a pace, with time limits, and again after failures that pass. Needs httpx and tenacity."""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import tenacity

from flamingo_lab.endpoint.messages import Malformed

T = TypeVar("T")

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which the same request may be answered."""

LONGEST_HOLD_SECONDS = 300.0
"""An endpoint that wants a longer pause than this is not waited for."""

CONNECT_SECONDS = 10.0
"""An endpoint that cannot be connected to in this time is not there."""

SHOWN_LETTERS = 300
"""Of an endpoint's own words about an error."""


@dataclass(frozen=True)
class Endpoint:
    """Where an endpoint is, and how it is asked. `base_url` ends before `/chat/completions`.

    A failed request is sent again at most `retries` times, after random pauses of at most `first_pause_seconds`, then
    twice that and so on, up to `longest_pause_seconds`, and not before the endpoint wants it.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout_seconds: float = 120.0
    retries: int = 5
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0


class Failed(Exception):
    """A request without a usable reply. `kind` in a word or two; `status` is HTTP's, None where none came.

    `is_passing`: it may be answered when it is sent again, `pause_seconds` later at the earliest.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        is_passing: bool = False,
        pause_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.is_passing = is_passing
        self.pause_seconds = pause_seconds


class Pace:
    """When the next request may go: at most so many a minute, and none while the endpoint wants a pause."""

    def __init__(self, per_minute: float | None, stop: threading.Event) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when a request may go, or at once when everything stops."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._interval
        self._stop.wait(start - now)

    def hold(self, seconds: float) -> None:
        """Let nothing go for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Client:
    """Connections to an endpoint, for any number of threads. `stop` ends all waiting.

    `is_first`: nothing has been answered yet, and an endpoint that is not there will not be there in a minute either.
    """

    def __init__(self, endpoint: Endpoint, stop: threading.Event, *, is_first: bool = False) -> None:
        self._endpoint = endpoint
        self._stop = stop
        self._is_first = is_first
        self._connect_seconds = min(CONNECT_SECONDS, endpoint.timeout_seconds)
        self._pace = Pace(endpoint.requests_per_minute, stop)
        key = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self._http = httpx.Client(
            headers={"Content-Type": "application/json", **key},
            timeout=httpx.Timeout(endpoint.timeout_seconds, connect=self._connect_seconds, pool=None),
            limits=httpx.Limits(max_connections=endpoint.concurrency),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._http.close()

    def chat(self, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the reply to a chat request. Raises `Failed`, and whatever `read` raises but `Malformed`."""
        endpoint = self._endpoint
        content = json.dumps(body).encode()
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failed) and error.is_passing),
            stop=tenacity.stop_after_attempt(endpoint.retries + 1) | tenacity.stop_when_event_set(self._stop),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )
        return again(self._once, content, read)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        endpoint = self._endpoint
        error = state.outcome.exception() if state.outcome else None
        wanted = error.pause_seconds if isinstance(error, Failed) else 0.0
        pauses = tenacity.wait_random_exponential(
            multiplier=endpoint.first_pause_seconds, max=endpoint.longest_pause_seconds
        )
        return wanted + pauses(state)

    def _once(self, content: bytes, read: Callable[[Any], T]) -> T:
        self._pace.wait()
        if self._stop.is_set():
            raise Failed("Stopped", "it was stopped before an answer came")
        try:
            reply = self._http.post(f"{self._endpoint.base_url}/chat/completions", content=content)
        except httpx.ConnectTimeout:
            waited = f"no connection within {self._connect_seconds:g} seconds"
            raise Failed("Connection", waited, is_passing=not self._is_first) from None
        except httpx.TimeoutException:
            waited = f"no answer within {self._endpoint.timeout_seconds:g} seconds"
            raise Failed("Timeout", waited, is_passing=not self._is_first) from None
        except httpx.RequestError as error:
            is_passing = not (self._is_first and isinstance(error, httpx.ConnectError))
            raise Failed("Connection", self._clean(str(error)) or type(error).__name__, is_passing=is_passing) from None
        if not reply.is_success:
            raise self._refused(reply)
        try:
            return read(reply.json())
        except (Malformed, ValueError) as error:
            raise Failed("Malformed", f"the reply cannot be read: {self._clean(str(error))}", is_passing=True) from None

    def _refused(self, reply: httpx.Response) -> Failed:
        """What an HTTP status other than 200 means."""
        status = reply.status_code
        pause = _retry_after(reply.headers.get("Retry-After"))
        is_passing = status in PASSING and pause <= LONGEST_HOLD_SECONDS
        if is_passing and pause:
            self._pace.hold(pause)
        said = self._clean(_told(reply.text)) or reply.reason_phrase
        wanted = f" (to be asked again in {pause:.0f} seconds)" if pause > LONGEST_HOLD_SECONDS else ""
        message = f"HTTP {status}: {said}{wanted}"
        return Failed(f"HTTP {status}", message, status=status, is_passing=is_passing, pause_seconds=pause)

    def _clean(self, text: str) -> str:
        """An endpoint's words on one line, without the key that it may repeat."""
        if self._endpoint.key:
            text = text.replace(self._endpoint.key, "[the key]")
        return " ".join(text.split())[:SHOWN_LETTERS]


def _told(text: str) -> str:
    """What a body says about an error: its message in one of the usual places, else all of it."""
    try:
        held = json.loads(text)
    except ValueError:
        return text
    for key in ("error", "message", "detail"):
        if isinstance(held, dict) and key in held:
            held = held[key]
    return held if isinstance(held, str) else json.dumps(held)


def _retry_after(text: str | None) -> float:
    """The seconds that a `Retry-After` header asks for, as a number or as a date; 0 without one."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
