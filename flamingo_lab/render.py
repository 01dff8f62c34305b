"""From a prompt to token ids, and which picture each token may look at. Needs no torch.

prompt -> parts (text and pictures, in the wording of the family) -> text with marks -> ids -> sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from flamingo_lab.errors import BadPrompt
from flamingo_lab.prompt import Image, Part, Prompt, Turn
from flamingo_lab.tokens import Tokenizer

NONE = -1
"""The picture index of a token that sees none."""


@dataclass(frozen=True)
class Markup:
    """How a sequence of strings and pictures becomes one text.

    `around` stands on both sides of a picture's mark, once between adjacent ones. `utterance_end`, where the tokenizer
    knows it, is put between two consecutive strings of a raw prompt. After `end` a token sees no picture.
    """

    start: str
    end: str
    image: str
    around: str
    utterance_end: str


@dataclass(frozen=True)
class Wording:
    """How turns are said. `running`: as the prompt's own running text, one `separator` after each answer.

    `chat`: as turns, each opened by its role's name and closed by `turn_end`; `separator` stands between turns.
    `stop` ends an answer.
    """

    style: Literal["running", "chat"]
    separator: str = "\n"
    user: str = ""
    assistant: str = ""
    turn_end: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """A prompt as the model gets it.

    `sees` holds the index into `images` of the picture that each token may look at, `NONE` for no picture.
    """

    ids: tuple[int, ...]
    sees: tuple[int, ...]
    images: tuple[Image, ...]
    text: str
    shots: int


class Renderer:
    """Prompts to ids, by one family's markup and wording and one checkpoint's tokenizer."""

    def __init__(self, markup: Markup, wording: Wording, tokenizer: Tokenizer) -> None:
        self.markup = markup
        self.wording = wording
        self._tokenizer = tokenizer
        self._image_id = _known(tokenizer, markup.image)
        self._end_id = _known(tokenizer, markup.end)

    def render(self, prompt: Prompt, continuation: str = "") -> Rendered:
        """The prompt's ids; `continuation` is the beginning of the answer."""
        if prompt.is_raw:
            parts, ends_utterances = prompt.turns[0].parts, prompt.ends_utterances
        else:
            # Strings are stripped one by one later: a question and its shown answer have to be one string before.
            parts, ends_utterances = tuple(_merged(self._say(prompt))), False
        if continuation:
            parts = _extended(parts, continuation if prompt.is_raw else " " + continuation)
        return self.render_parts(parts, shots=prompt.shots, ends_utterances=ends_utterances)

    def render_parts(self, parts: Sequence[Part], *, shots: int = 0, ends_utterances: bool | None = None) -> Rendered:
        """The sequence as it stands. `ends_utterances` None: where the tokenizer knows the token (the authors' default)."""
        if ends_utterances is None:
            ends_utterances = self._tokenizer.id_of(self.markup.utterance_end) is not None
        text = self.text(parts, ends_utterances=ends_utterances)
        images = tuple(part for part in parts if isinstance(part, Image))
        ids = self._tokenizer.encode(text)
        if ids.count(self._image_id) != len(images):
            raise BadPrompt(
                f"the prompt's text holds the mark {self.markup.image}, which stands for a picture; take it out"
            )
        return Rendered(tuple(ids), self.sees(ids), images, text, shots)

    def text(self, parts: Sequence[Part], *, ends_utterances: bool) -> str:
        """One text, the pictures as marks. Strings lose blanks (not newlines) at both ends, as in the authors' processor."""
        pieces = [self.markup.start]
        previous: Part | None = None
        for part in parts:
            if isinstance(part, Image):
                pieces += [
                    "" if isinstance(previous, Image) else self.markup.around,
                    self.markup.image,
                    self.markup.around,
                ]
            else:
                pieces += [
                    self.markup.utterance_end if ends_utterances and isinstance(previous, str) else "",
                    part.strip(" "),
                ]
            previous = part
        return "".join(pieces)

    def sees(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The last picture before each token, the mark itself included; none before the first, none behind an end token."""
        seen: list[int] = []
        last, current = NONE, NONE
        for token in ids:
            if token == self._image_id:
                last += 1
                current = last
            seen.append(current)
            if token == self._end_id:
                current = NONE
        return tuple(seen)

    def marked(self, rendered: Rendered) -> str:
        """The text as sent, with each picture's digest in its mark."""
        pieces = rendered.text.split(self.markup.image)
        mark = self.markup.image.removesuffix(">")
        marks = [f"{mark}:{image.digest[:12]}>" for image in rendered.images]
        return "".join(piece + mark for piece, mark in zip(pieces, [*marks, ""], strict=True))

    def _say(self, prompt: Prompt) -> Iterator[Part]:
        return self._chat(prompt.turns) if self.wording.style == "chat" else self._running(prompt)

    def _running(self, prompt: Prompt) -> Iterator[Part]:
        """Questions and answers as running text, each question's leading pictures before its first word."""
        before, _, after = prompt.running.partition("{answer}")
        opening, takes_text, middle = before.partition("{text}")
        for turn in prompt.turns:
            if turn.role == "system":
                yield _joined(turn) + self.wording.separator
            elif turn.role == "assistant":
                yield " " + _joined(turn) + after + self.wording.separator
            else:
                lead = next((i for i, part in enumerate(turn.parts) if isinstance(part, str)), len(turn.parts))
                yield from turn.parts[:lead]
                body = turn.parts[lead:] if takes_text else ()
                yield from (opening, *body, middle.rstrip(" "))

    def _chat(self, turns: Sequence[Turn]) -> Iterator[Part]:
        """Turns opened by their role's name; the model's own turn is opened and left to it."""
        wording = self.wording
        names = {"user": wording.user, "assistant": wording.assistant, "system": ""}
        for number, turn in enumerate(turns):
            opening = (wording.separator if number else "") + names[turn.role]
            gap = " " if opening.strip() and isinstance(next(iter(turn.parts), None), str) else ""
            yield from (opening + gap, *turn.parts, wording.turn_end)
        yield wording.separator + wording.assistant


def _known(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.id_of(token)
    if found is None:
        raise BadPrompt(f"the tokenizer does not know {token}; its files are not those of this model")
    return found


def _joined(turn: Turn) -> str:
    """The text of a turn that may hold no pictures."""
    if any(isinstance(part, Image) for part in turn.parts):
        raise BadPrompt(f"a {turn.role} turn holds a picture; only the user may show one")
    return "".join(str(part) for part in turn.parts)


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with neighbouring strings made one."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def _extended(parts: Sequence[Part], continuation: str) -> tuple[Part, ...]:
    """The parts with more text at the end of the last string."""
    if parts and isinstance(parts[-1], str):
        return (*parts[:-1], parts[-1].rstrip(" ") + continuation)
    return (*parts, continuation)
