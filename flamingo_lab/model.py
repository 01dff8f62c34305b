"""The one contract of everything that answers: engines, endpoints, guided search and test doubles are all a `Model`.

Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from flamingo_lab.errors import BadPrompt, BadSetting
from flamingo_lab.prompt import Image, Prompt, is_all

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Greedy:
    """The most likely token at each step."""


@dataclass(frozen=True)
class Sample:
    """Tokens drawn at a temperature from the smallest set that holds `top_p` of the probability.

    The noise comes from (seed, request id, step) alone, so an answer does not depend on its company.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


BeamCounts = Literal["new", "prompt+new"]
"""What a beam's length is: its new tokens, or those without the stop token behind the whole prompt."""


@dataclass(frozen=True)
class Beam:
    """Beam search; a finished beam scores its summed log-probability over its length to the power `length_penalty`.

    `counts`: what its length is, None for what the family's authors count.
    """

    beams: int = 3
    length_penalty: float = 1.0
    counts: BeamCounts | None = None


@dataclass(frozen=True)
class Rank:
    """The likeliest of given options, by summed or mean log-probability of the option's tokens.

    `ends`: the family's stop token counts as the last one of each option.
    """

    options: tuple[str, ...]
    normalise: Literal["sum", "mean"] = "sum"
    ends: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.options, str):  # a sequence too, of its letters
            raise BadSetting(f"Rank({self.options!r}): the options are a tuple, Rank(({self.options!r}, ...))")


Decoding = Greedy | Sample | Beam | Rank


def check(decoding: Decoding) -> None:
    """Refuse numbers that no search can use. Raises `BadSetting`."""
    match decoding:
        case Sample(temperature=temperature, top_p=top_p):
            if not (0 <= temperature < math.inf and 0 < top_p <= 1):
                raise BadSetting(f"temperature {temperature} must be 0 or more, top_p {top_p} above 0 and at most 1")
        case Beam(beams=beams, length_penalty=penalty):
            if beams < 1:
                raise BadSetting(f"{beams} beams: at least 1 is needed")
            if not math.isfinite(penalty):
                raise BadSetting(f"length penalty {penalty}: a finite number is needed")
        case _:
            pass


@dataclass(frozen=True)
class Request:
    """What is asked of a model. `stop` and `forbidden` are strings added to the family's own stop and forbidden tokens.

    `is_cut`: a prompt may be cut at its end where the authors' code cuts it; otherwise such a prompt is an error.
    `padded_to`: the prompt's length where a beam's length counts it; the authors count the padding of their batch. None
    counts the prompt alone, so that the answer does not depend on any company.
    `padding`: positions that are counted before the prompt. The authors' batches put them before shorter prompts, and
    where a model's numbers depend on them (Qwen-VL), this is how to get theirs; ours are the same in any batch.
    """

    id: str
    prompt: Prompt
    decoding: Decoding = field(default_factory=Greedy)
    max_new_tokens: int = 32
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    is_cut: bool = False
    padded_to: int | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        if not is_all((self.prompt,), Prompt):
            raise BadPrompt(f"{self.prompt!r:.60} is no prompt; Prompt.ask(...) and Prompt.raw(...) make one")


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer: the error's kind, its one-line message, and a digest of where it happened."""

    kind: str
    message: str
    digest: str = ""


StoppedBy = Literal["stop token", "stop text", "length", "rank", "error"]


@dataclass(frozen=True)
class Answer:
    """What came back. `token_ids` are the new tokens, the stop token included if one was produced.

    `logprob`: sum over the new tokens, the beam's score under `Beam`, the chosen option's score under `Rank`.
    `option_is_greedy`: for each ranked option, whether greedy decoding would have begun with its tokens; None where the
    model does not tell. `prompt_tokens` and `images` count what reached the model; `counted_tokens` are the new tokens of
    a model that tells no ids. With `error` set, `text` is empty and means nothing.
    """

    id: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprob: float | None = None
    option_logprobs: tuple[float, ...] | None = None
    option_is_greedy: tuple[bool, ...] | None = None
    prompt_tokens: int = 0
    counted_tokens: int = 0
    images: int = 0
    seconds: float = 0.0
    stopped_by: StoppedBy = "length"
    error: Failure | None = None
    trace: Mapping[str, Any] | None = None

    @property
    def new_tokens(self) -> int:
        """How many new tokens there are."""
        return len(self.token_ids) or self.counted_tokens


@dataclass(frozen=True)
class Sent:
    """A prompt as the model gets it: text with `<image:DIGEST>` marks, token ids, and how many pictures and shots it holds."""

    text: str
    ids: tuple[int, ...]
    images: int
    shots: int


@dataclass(frozen=True)
class Limits:
    """What a model can take: positions in tokens, pictures in one prompt (None = any number)."""

    positions: int | None = None
    images: int | None = None


class Model(Protocol):
    """Anything that answers. `digest` names all that can change an answer besides the request."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def about(self) -> Mapping[str, Any]:
        """Facts for the record: family, parameters, dtype, device, backend, weights folder."""
        ...

    def sent(self, request: Request) -> Sent:
        """The request as it would reach the model, without asking it. Raises `LabError` where it cannot be rendered."""
        ...

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in any order, each as soon as it is known; a failed request is an answer with `error`."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """What a model can do besides answering: say in numbers what a picture looks like, so that similar ones are found."""

    def embeds_digest(self) -> str:
        """Names all that can change a vector besides the picture: the tower's weights, the pre-processing, the dtype."""
        ...

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """One vector of length 1 a picture, (images, width). Raises `BadImage`; `BadSetting` where there is no tower."""
        ...


class Session(Protocol):
    """Requests in several parts, one after the other; what one part computed may serve the next. Each is asked to its end."""

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Model`."""
        ...

    def close(self) -> None:
        """Let go of what is kept."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A `Model` that can keep what it has computed, pictures above all, for requests that are not known yet."""

    def session(self) -> Session:
        """A new one, with nothing kept."""
        ...


@runtime_checkable
class Holds(Protocol):
    """A `Model` that computes here, or in processes of its own, and knows what memory that takes."""

    def peak_bytes(self) -> int:
        """The most that one of its processes has held of its device's memory, 0 where none has told yet."""
        ...


@runtime_checkable
class Counts(Protocol):
    """A `Model` that tells what it computed since it was loaded, in counts that are the same on any machine, and how long."""

    def counters(self) -> Mapping[str, float]:
        """Prompt tokens asked and computed, pictures referenced and encoded, decode steps, positions fed, padding among them."""
        ...

    def stages(self) -> Mapping[str, float]:
        """Seconds by stage, as seen by the thread that computes."""
        ...
