"""How a published processor is spoken to: by its chat template, or in running text where it has none. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import merged, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part, Prompt, Turn
from flamingo_lab.wording import Running

RUNNING = "running"
"""The name of running text, beside those of a folder's chat templates."""


@dataclass(frozen=True)
class Said:
    """A prompt as it reaches the processor, template and all: strings and pictures in order, no two strings in a row."""

    parts: tuple[Part, ...]
    shots: int

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, in the order in which the model meets them."""
        return pictures(self.parts)

    @property
    def text(self) -> str:
        """The text, with each picture's digest where it stands."""
        return "".join(part if isinstance(part, str) else f"<image:{part.digest[:12]}>" for part in self.parts)


class Speech(Protocol):
    """A way to speak to a model."""

    def say(self, prompt: Prompt, answer: str = "") -> Said:
        """The prompt, with the beginning of an answer behind it. Raises `BadPrompt` where it cannot be said."""
        ...


@dataclass(frozen=True)
class RunningText:
    """Questions and answers as a base model reads them."""

    wording: Running = field(default_factory=Running)

    def say(self, prompt: Prompt, answer: str = "") -> Said:
        """See `Speech`."""
        if prompt.is_raw:
            return raw(prompt, answer)
        parts = tuple(merged(self.wording.say(prompt, ("", ""))))
        return Said(begun(parts, self.wording.begin(prompt, answer)) if answer else parts, prompt.shots)


Form = Callable[[Turn], dict[str, Any]]
"""A turn as a chat template reads it."""


class Reach(NamedTuple):
    """In which form a template reads prompts of one build, and how many shown answers it lets through."""

    form: Form
    shots: int


@dataclass(frozen=True)
class Template:
    """A published chat template. `mark` is what it puts for each picture.

    Whether everything that is said comes through is tried once for each build of a prompt: roles, strings and pictures
    in their order.
    """

    processor: Any
    template: str
    mark: str
    _known: dict[object, Reach] = field(default_factory=dict[object, Reach], repr=False)

    def say(self, prompt: Prompt, answer: str = "") -> Said:
        """See `Speech`."""
        if prompt.is_raw:
            return raw(prompt, answer)
        strings = [part for turn in prompt.turns for part in turn.parts if isinstance(part, str)]
        refuse_mark("".join(strings), self.mark, 0)
        reach = self._reach(prompt.turns)
        messages = [reach.form(turn) for turn in prompt.turns]
        text = self._render(messages)
        # Shown answers that are left out are counted instead: see `Reach`.
        is_whole = reach.shots == sum(turn.role == "assistant" for turn in prompt.turns)
        for turn in prompt.turns:
            for part in turn.parts if is_whole or turn.role != "assistant" else ():
                if isinstance(part, str) and part.strip() not in text:
                    raise BadPrompt(f"the model's chat template changes what is said: {part!r}")
        if answer:
            shown = self._render([*messages, reach.form(Turn("assistant", (answer,)))], is_open=False)
            text = _answered(text, shown, answer)
        return Said(tuple(self._pieces(text, prompt.images)), reach.shots)

    def _render(self, messages: Sequence[dict[str, Any]], *, is_open: bool = True) -> str:
        """The messages as one text; open ends with the beginning of the model's own turn."""
        from jinja2 import TemplateError

        try:
            return self.processor.apply_chat_template(
                list(messages), chat_template=self.template, add_generation_prompt=is_open
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise BadPrompt(f"the model's chat template refuses the prompt: {error}") from None

    def _pieces(self, text: str, images: Sequence[Image]) -> Iterator[Part]:
        first, *others = text.split(self.mark)
        self._check_marks(len(others), len(images))
        if first:
            yield first
        for image, piece in zip(images, others, strict=True):
            yield image
            if piece:
                yield piece

    def _reach(self, turns: Sequence[Turn]) -> Reach:
        """How far prompts of this build get through. Raises `BadPrompt` where a picture or a question does not."""
        build = tuple((turn.role, tuple(isinstance(part, str) for part in turn.parts)) for turn in turns)
        if build not in self._known:
            self._known[build] = self._tried(turns)
        return self._known[build]

    def _tried(self, turns: Sequence[Turn]) -> Reach:
        trials = [
            replace(
                turn,
                parts=tuple(f"word{n}x{i}x" if isinstance(part, str) else part for i, part in enumerate(turn.parts)),
            )
            for n, turn in enumerate(turns)
        ]
        images = sum(isinstance(part, Image) for turn in turns for part in turn.parts)
        found: list[Reach] = []
        reason = BadPrompt("the model's chat template lets nothing through")
        for form in (in_parts, in_strings):
            try:
                text = self._render([form(turn) for turn in trials])
                shots = self._counted(text, trials, images)
            except BadPrompt as error:
                reason = error
                continue
            found.append(Reach(form, shots))
        if not found:
            raise reason
        return max(found, key=lambda reach: reach.shots)

    def _counted(self, text: str, trials: Sequence[Turn], images: int) -> int:
        """How many shown answers stand in the text. Raises `BadPrompt` where something else that was said does not."""
        self._check_marks(text.count(self.mark), images)
        shots = 0
        for turn in trials:
            strings = [part for part in turn.parts if isinstance(part, str)]
            # In quotes it stands where a template that wants a string has printed a list.
            is_whole = all(text.count(part) == 1 and f"'{part}'" not in text for part in strings)
            if turn.role == "assistant":
                shots += is_whole
            elif not is_whole:
                raise BadPrompt(f"the model's chat template leaves out what a {turn.role} turn says")
        return shots

    def _check_marks(self, marks: int, images: int) -> None:
        if marks != images:
            raise BadPrompt(f"the model's chat template puts {marks} marks {self.mark} for {images} pictures")


def in_parts(turn: Turn) -> dict[str, Any]:
    """A turn whose content is a list of strings and pictures."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in turn.parts]
    return {"role": turn.role, "content": content}


def in_strings(turn: Turn) -> dict[str, Any]:
    """A turn whose content is a string, where it holds no picture."""
    if pictures(turn.parts):
        return in_parts(turn)
    return {"role": turn.role, "content": "".join(part for part in turn.parts if isinstance(part, str))}


def raw(prompt: Prompt, answer: str) -> Said:
    """A raw prompt as it stands."""
    parts = tuple(merged(prompt.turns[0].parts))
    return Said(begun(parts, answer) if answer else parts, prompt.shots)


def begun(parts: Sequence[Part], answer: str) -> tuple[Part, ...]:
    """The parts with the beginning of an answer at the end of the last string."""
    if parts and isinstance(parts[-1], str):
        return (*parts[:-1], parts[-1].rstrip(" ") + answer)
    return (*parts, answer)


def _answered(opened: str, shown: str, answer: str) -> str:
    """The text that opens the model's turn, with the answer as the template shows answers of earlier turns."""
    opening = opened.rstrip()
    place = shown.find(answer, len(opening))
    is_same = shown.startswith(opening) and place >= 0 and not shown[len(opening) : place].strip()
    return shown[: place + len(answer)] if is_same else opened + answer
