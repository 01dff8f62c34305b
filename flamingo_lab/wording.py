"""How turns are said: as running text by a base model, in a template by a chat model. Data; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flamingo_lab.errors import BadPrompt
from flamingo_lab.prompt import Image, Part, Prompt, Turn

TEXT = "{text}"
"""Where a turn's own words stand in the forms below."""


@dataclass(frozen=True)
class Running:
    """The prompt's own running text, `separator` after each shown answer.

    `says`: this family's form where its authors had another one than the paper's. `gap` stands between the prompt and the
    answer. `stop` texts and `stop_tokens` end an answer. `cuts_end`: see `Chat`.
    """

    separator: str = "\n"
    gap: str = " "
    says: Mapping[str, str] = field(default_factory=dict[str, str])
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    stops_from: int = 1
    strips: bool = False
    cuts_end: bool = False

    def say(self, prompt: Prompt, picture: tuple[str, str]) -> Iterator[Part]:
        """Questions and answers as running text, each question's leading pictures before its first word."""
        before, _, after = self.says.get(prompt.running, prompt.running).partition("{answer}")
        opening, takes_text, middle = before.partition(TEXT)
        for turn in prompt.turns:
            if turn.role == "system":
                yield words(turn) + self.separator
            elif turn.role == "assistant":
                yield self.gap + words(turn) + after + self.separator
            else:
                lead = next((i for i, part in enumerate(turn.parts) if isinstance(part, str)), len(turn.parts))
                yield from turn.parts[:lead]
                body = turn.parts[lead:] if takes_text else ()
                yield from (opening, *body, middle.rstrip(" "))

    def begin(self, answer: str) -> str:
        """The beginning of an answer as it follows the prompt."""
        return self.gap + answer


@dataclass(frozen=True)
class Chat:
    """Turns in a template. `user`, `assistant` and `system` hold `TEXT` where a turn's words stand.

    `opening` begins the model's own turn and is left to it; a shown answer stands behind the same words. `default_system`
    is said where the prompt brings no system turn; `first_user`: the first question behind the system's words.
    `picture`: what stands around a picture's mark, None for the family's own. `stops_from`: the new token from which on
    `stop` texts are looked for. `strips`: an answer loses white space at both ends, as the authors' scripts do.
    `cuts_end`: one of `stop` is cut off only where an answer ends with it; what follows it in the same token stays, and it.
    """

    user: str
    assistant: str
    opening: str
    system: str = TEXT
    default_system: str = ""
    first_user: str | None = None
    picture: tuple[str, str] | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    stops_from: int = 1
    strips: bool = True
    cuts_end: bool = False

    def say(self, prompt: Prompt, picture: tuple[str, str]) -> Iterator[Part]:
        """The turns in order, then the opening of the model's own."""
        turns = prompt.turns
        if turns and turns[0].role == "system":
            system, turns = words(turns[0]), turns[1:]
        else:
            system = self.default_system
        if system:
            yield self.system.replace(TEXT, system)
        for number, turn in enumerate(turns):
            if turn.role == "assistant":
                yield self.assistant.replace(TEXT, words(turn))
            else:
                form = self.first_user if number == 0 and system and self.first_user is not None else self.user
                before, _, after = form.partition(TEXT)
                yield before
                yield from framed(turn.parts, self.picture or picture)
                yield after
        yield self.opening

    def begin(self, answer: str) -> str:
        """The beginning of an answer as it follows the opening."""
        before = self.assistant.partition(TEXT)[0]
        return before.removeprefix(self.opening) + answer


Wording = Running | Chat


def framed(parts: Sequence[Part], picture: tuple[str, str]) -> Iterator[Part]:
    """The parts of a turn with what stands around each picture; a detail stands within the text."""
    before, after = picture
    for part in parts:
        if isinstance(part, Image) and not part.is_object:
            yield from (before, part, after)
        else:
            yield part


def words(turn: Turn) -> str:
    """The text of a turn that may hold no pictures."""
    if any(isinstance(part, Image) for part in turn.parts):
        raise BadPrompt(f"a {turn.role} turn holds a picture; only the user may show one")
    return "".join(str(part) for part in turn.parts)
