"""What lm-eval asks of a model, as our requests: a context with marks for its pictures, and settings of generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from flamingo_lab.errors import BadPrompt, BadSetting
from flamingo_lab.model import Beam, Decoding, Greedy, Sample
from flamingo_lab.prompt import Image, Part, Prompt, Turn

MARK = "<image>"
"""Where a picture stands in lm-eval's texts, whatever the model calls it."""

PICTURES = "visual"
"""The key of an instance's pictures in its last argument."""

DEFAULT_TOKENS = 256
"""lm-eval's `DEFAULT_MAX_GEN_TOKS`."""

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the largest number of new tokens; the first that is given counts, as in lm-eval's `normalize_gen_kwargs`."""

KNOWN = {*LENGTHS, "until", "do_sample", "temperature", "top_p", "num_beams", "length_penalty"}


class Conversation(str):
    """A context that keeps its turns: lm-eval hands a chat template's result through as a string and nothing else."""

    turns: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, str]]) -> Conversation:
        """The messages, readable as a string."""
        made = cls("\n".join(f"{message['role']}: {message['content']}" for message in messages))
        made.turns = tuple((message["role"], message["content"]) for message in messages)
        return made


class Untold:
    """Stands where a model does not tell whether greedy decoding would say an option. No metric can take it for a no."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __bool__(self) -> NoReturn:
        raise BadSetting(
            f"{self._name} does not tell whether an option is what greedy decoding says; this metric needs it"
        )

    __int__ = __index__ = __float__ = __bool__


@dataclass(frozen=True)
class Generation:
    """How a context is gone on from."""

    decoding: Decoding
    max_new_tokens: int
    stop: tuple[str, ...]


def prompt(context: str, pictures: Sequence[Image] = ()) -> Prompt:
    """The context with its pictures at their marks, or before the last turn's words where it has no marks.

    A string is sent as it stands, a `Conversation` in the model's own template. Raises `BadPrompt` where marks and pictures
    are not the same number: lm-eval puts the pictures of worked examples into no request.
    """
    turns = context.turns if isinstance(context, Conversation) else (("user", context),)
    marks = sum(content.count(MARK) for _, content in turns)
    if marks and marks != len(pictures):
        raise BadPrompt(
            f"lm-eval's context has {marks} marks for {len(pictures)} pictures; it leaves out those of worked examples: ask "
            "without examples, or ask flab's own task"
        )
    left = iter(pictures)
    made = [Turn(_role(role), tuple(_parts(content, left))) for role, content in turns]
    if not marks:
        made[-1] = Turn("user", (*pictures, *made[-1].parts))
    return Prompt(tuple(made), is_raw=not isinstance(context, Conversation))


def as_pictures(held: Any, name: str) -> tuple[Image, ...]:
    """What a task's `doc_to_image` gives: nothing, a decoded picture, or a list of them."""
    listed: list[Any] = held if isinstance(held, list) else [] if held is None else [held]
    return tuple(Image(one, name=f"{name}-{number}") for number, one in enumerate(listed))


def pair(context: str, continuation: str) -> tuple[str, str]:
    """Both without white space at the context's end, which goes over to the continuation, as in lm-eval's `_encode_pair`."""
    if isinstance(context, Conversation):
        return context, continuation
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def generation(settings: Mapping[str, Any], seed: int) -> Generation:
    """lm-eval's settings of generation. Raises `BadSetting` for one that would be left out."""
    unknown = sorted(name for name in settings.keys() - KNOWN if settings[name] is not None)
    if unknown:
        raise BadSetting(
            f"lm-eval's task sets {unknown[0]}={settings[unknown[0]]!r} for generation; known are {', '.join(sorted(KNOWN))}"
        )
    until = settings.get("until") or []
    length = next((settings[name] for name in LENGTHS if settings.get(name) is not None), DEFAULT_TOKENS)
    stop = (until,) if isinstance(until, str) else tuple(until)
    return Generation(_decoding(settings, seed), int(length), stop)


def _decoding(settings: Mapping[str, Any], seed: int) -> Decoding:
    """As lm-eval's `normalize_gen_kwargs` reads them: `do_sample` decides, and a temperature where it is not said."""
    temperature, beams = settings.get("temperature"), int(settings.get("num_beams") or 1)
    draws = settings.get("do_sample")
    if draws is None:
        draws = bool(temperature)
    if draws and temperature != 0:
        if beams > 1:
            raise BadSetting(f"lm-eval's task draws tokens among {beams} beams, which is not known here")
        return Sample(1.0 if temperature is None else float(temperature), float(settings.get("top_p") or 1.0), seed)
    return Beam(beams, float(settings.get("length_penalty") or 1.0)) if beams > 1 else Greedy()


def _role(role: str) -> Any:
    if role not in ("system", "user", "assistant"):
        raise BadPrompt(f"a turn of {role!r} is none of system, user and assistant")
    return role


def _parts(content: str, pictures: Any) -> list[Part]:
    """Words, and the next pictures at their marks."""
    parts: list[Part] = []
    for number, words in enumerate(content.split(MARK)):
        parts += [next(pictures)] if number else []
        parts += [words] if words else []
    return parts
