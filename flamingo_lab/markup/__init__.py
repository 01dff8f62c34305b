"""How strings and pictures become one sequence of ids: one way a file. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flamingo_lab.errors import BadPrompt
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer

NONE = -1
"""The picture index of a token that sees none."""

PICTURE = -1
"""The id of a position that a picture token takes in an expanded sequence."""


class Token(str):
    """A special token that a template puts. Whatever else is spelt like it stays text."""


class Words(str):
    """A piece of a template or of a turn that is encoded by itself, so that nothing merges across its ends."""


class Slot(NamedTuple):
    """Where picture tokens go: `length` ids from `start` give way to `tokens` tokens of picture `image`, from its `first`."""

    start: int
    length: int
    image: int
    first: int
    tokens: int


class Fill(NamedTuple):
    """Picture tokens in an expanded sequence: `tokens` of picture `image`, from its `first`, stand from `position` on."""

    position: int
    image: int
    first: int
    tokens: int


class Expanded(NamedTuple):
    """A sequence position by position: ids with `PICTURE` where picture tokens stand, and which tokens those are.

    `padding`: positions that are counted before the first; `prompt`: ids of the prompt as its authors count it, `asked`:
    ids that were fed together before any answer; None where that is all.
    """

    ids: tuple[int, ...]
    sees: tuple[int, ...]
    fills: tuple[Fill, ...]
    padding: int = 0
    prompt: int | None = None
    asked: int | None = None

    @property
    def asked_positions(self) -> int:
        """Positions that are fed together, padding counted."""
        return self.padding + (len(self.ids) if self.asked is None else self.asked)

    @property
    def prompt_positions(self) -> int:
        """Positions that the prompt takes, padding counted."""
        return self.padding + (len(self.ids) if self.prompt is None else self.prompt)


@dataclass(frozen=True)
class Rendered:
    """A prompt as the authors' code feeds it to the model.

    `sees` holds the index into `images` of the picture that each id may look at across, `NONE` for no picture; `slots`
    the places where pictures stand in the sequence itself. A family uses one of the two. `marks`: what stands for each
    picture in the text, where that is not the same for all.
    """

    ids: tuple[int, ...]
    text: str
    images: tuple[Image, ...]
    sees: tuple[int, ...] = ()
    slots: tuple[Slot, ...] = ()
    shots: int = 0
    marks: tuple[str, ...] = ()

    def expanded(self) -> Expanded:
        """The sequence as it passes the decoder."""
        ids: list[int] = []
        fills: list[Fill] = []
        end = 0
        for slot in self.slots:
            ids += self.ids[end : slot.start]
            fills.append(Fill(len(ids), slot.image, slot.first, slot.tokens))
            ids += [PICTURE] * slot.tokens
            end = slot.start + slot.length
        ids += self.ids[end:]
        return Expanded(tuple(ids), self.sees or (NONE,) * len(ids), tuple(fills))


Finish = Callable[[Sequence[int], Tokenizer, Sequence[tuple[int, int]]], Sequence[int]]
"""What becomes of an answer's ids before they are decoded, by the sizes (width, height) of the prompt's pictures."""


class Markup(Protocol):
    """A family's way to write pictures into text. `mark` stands for a picture in the text; `picture` around it in a turn."""

    @property
    def mark(self) -> str: ...

    @property
    def picture(self) -> tuple[str, str]: ...

    def encode(
        self,
        parts: Sequence[Part],
        tokenizer: Tokenizer,
        tokens_of: Callable[[Image], int],
        *,
        ends_utterances: bool | None,
    ) -> Rendered:
        """The sequence of the parts as they stand.

        `tokens_of` gives a picture's tokens; `ends_utterances`: see `Prompt`. Raises `BadPrompt`.
        """
        ...


def pictures(parts: Iterable[Part]) -> tuple[Image, ...]:
    """The pictures among the parts."""
    return tuple(part for part in parts if isinstance(part, Image))


def merged(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts with neighbouring strings made one, but for those that stand by themselves."""
    text = ""
    for part in parts:
        if isinstance(part, str) and not isinstance(part, Token | Words):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text


def known(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the markup needs."""
    found = tokenizer.id_of(token)
    if found is None:
        raise BadPrompt(f"the tokenizer does not know {token}; its files are not those of this model")
    return found


def refuse_mark(text: str, mark: str, images: int) -> None:
    """Refuse a text in which the picture's mark stands more often than there are pictures."""
    if text.count(mark) != images:
        raise BadPrompt(f"the prompt's text holds the mark {mark}, which stands for a picture; take it out")
