"""How turns are said: as running text by a base model, in a template by a chat model. Data; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import Token, Words, merged
from flamingo_lab.prompt import Image, Part, Prompt, Turn

TEXT = "{text}"
"""Where a turn's own words stand in the forms below."""

NUMBER = "{n}"
"""Where a picture's number within its turn stands in what is put around its mark."""


@dataclass(frozen=True)
class Running:
    """The prompt's own running text.

    `ends` and then `separator` follow each shown answer; a prompt's own separator goes before the family's. `says`: this
    family's form where its authors had another one than the paper's. `stop` texts and `stop_tokens` end an answer; `shown`
    special tokens stay in its text. `cuts_end`: see `Chat`. `cuts`: what the authors' evaluation cuts off answers to a
    running text before it scores them, by its name in `eval_tasks/postprocess.py`; the answers themselves are whole.
    """

    separator: str = "\n"
    ends: str = ""
    says: Mapping[str, str] = field(default_factory=dict[str, str])
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    stops_from: int = 1
    strips: bool = False
    cuts_end: bool = False
    shown: tuple[str, ...] = ()
    cuts: Mapping[str, str] = field(default_factory=dict[str, str])

    def say(self, prompt: Prompt, picture: tuple[str, str]) -> Iterator[Part]:
        """Questions and answers as running text, each question's leading pictures before its first word."""
        before, after = self._form(prompt)
        opening, takes_text, middle = before.rstrip(" ").partition(TEXT)
        separator = self.separator if prompt.separator is None else prompt.separator
        for turn in prompt.turns:
            if turn.role == "system":
                yield words(turn) + separator
            elif turn.role == "assistant":
                yield self.begin(prompt, words(turn)) + after + self.ends + separator
            else:
                lead = next((i for i, part in enumerate(turn.parts) if isinstance(part, str)), len(turn.parts))
                yield from turn.parts[:lead]
                body = turn.parts[lead:] if takes_text else ()
                yield from (opening, *body, middle)

    def begin(self, prompt: Prompt, answer: str) -> str:
        """The beginning of an answer as it follows the prompt, with the blanks that the form has before it."""
        before, _ = self._form(prompt)
        return before[len(before.rstrip(" ")) :] + answer

    def _form(self, prompt: Prompt) -> tuple[str, str]:
        """What stands before and behind the answer."""
        before, _, after = self.says.get(prompt.running, prompt.running).partition("{answer}")
        return before, after


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

    def begin(self, prompt: Prompt, answer: str) -> str:
        """The beginning of an answer as it follows the opening."""
        before = self.assistant.partition(TEXT)[0]
        return before.removeprefix(self.opening) + answer


@dataclass(frozen=True)
class Piecewise:
    """Turns between two tokens, every piece of a turn encoded by itself: its role, a newline, its words (Qwen's ChatML).

    No merge crosses a border, and what a user types is never a token of the template. A system turn is always said.
    `ends`: tokens that end the model's turn; the first of `stop_tokens` follows them, as the authors' code forces it.
    `shown`: special tokens that stay in an answer's text. `loses_last`: an answer that was cut at its length loses its
    last token, as theirs does. The other fields are those of `Chat`.
    """

    start: str
    end: str
    default_system: str
    picture: tuple[str, str] | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    stops_from: int = 1
    strips: bool = True
    shown: tuple[str, ...] = ()
    cuts_end: bool = False
    loses_last: bool = False

    def say(self, prompt: Prompt, picture: tuple[str, str]) -> Iterator[Part]:
        """The turns in order, then the opening of the model's own."""
        system, past, question = self._split(prompt)
        yield from self._turn(system, picture)
        for exchange in past:
            yield from self._past(exchange, picture)
        for turn in question:
            yield Words("\n")
            yield from self._turn(turn, picture)
        yield from (Words("\n"), Token(self.start), Words("assistant"), Words("\n"))

    def begin(self, prompt: Prompt, answer: str) -> str:
        """The beginning of an answer as it follows the opening."""
        return Words(answer)

    def within(
        self, prompt: Prompt, window: int, picture: tuple[str, str], tokens_of: Callable[[Iterable[Part]], int]
    ) -> Prompt:
        """The prompt with its latest turns alone: all before the question takes fewer tokens than the window.

        The first exchange that does not fit ends the look back. The question itself is neither counted nor cut.
        """
        system, past, question = self._split(prompt)
        used = tokens_of(self._turn(system, picture))
        kept: list[Turn] = []
        for exchange in reversed(past):
            used += tokens_of(self._past(exchange, picture))
            if used >= window:
                break
            kept[:0] = exchange
        return replace(prompt, turns=(system, *kept, *question))

    def _split(self, prompt: Prompt) -> tuple[Turn, list[list[Turn]], list[Turn]]:
        """The system turn, what was said before, each question with its answer, and the last question."""
        turns = list(prompt.turns)
        is_given = bool(turns) and turns[0].role == "system"
        system = turns.pop(0) if is_given else Turn("system", (self.default_system,))
        exchanges: list[list[Turn]] = []
        for turn in turns:
            if turn.role == "assistant" and exchanges:
                exchanges[-1].append(turn)
            else:
                exchanges.append([turn])
        return system, exchanges[:-1], exchanges[-1] if exchanges else []

    def _past(self, exchange: Sequence[Turn], picture: tuple[str, str]) -> Iterator[Part]:
        for turn in exchange:
            yield Words("\n")
            yield from self._turn(turn, picture)
        if exchange[-1].role != "assistant":
            # QUIRK: a newline more behind a question that was not answered (golden qwen_vl_tokenizer, chat_open_turn).
            yield Words("\n")

    def _turn(self, turn: Turn, picture: tuple[str, str]) -> Iterator[Part]:
        parts = framed(turn.parts, self.picture or picture) if turn.role == "user" else (words(turn),)
        yield from (Token(self.start), Words(turn.role), Words("\n"))
        yield from (Words(part) if isinstance(part, str) else part for part in merged(parts))
        yield Token(self.end)


Wording = Running | Chat | Piecewise


def framed(parts: Sequence[Part], picture: tuple[str, str]) -> Iterator[Part]:
    """The parts of a turn with what stands around each picture; a detail stands within the text."""
    before, after = picture
    number = 0
    for part in parts:
        if isinstance(part, Image) and not part.is_object:
            number += 1
            yield from (before.replace(NUMBER, str(number)), part, after)
        else:
            yield part


def words(turn: Turn) -> str:
    """The text of a turn that may hold no pictures."""
    if any(isinstance(part, Image) for part in turn.parts):
        raise BadPrompt(f"a {turn.role} turn holds a picture; only the user may show one")
    return "".join(str(part) for part in turn.parts)
