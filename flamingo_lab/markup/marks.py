"""Pictures as tokens of the vocabulary, at which nothing but attention across to the picture happens (Flamingo's line)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.markup import NONE, Rendered, known, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer


@dataclass(frozen=True)
class Marks:
    """The whole sequence is one text, encoded at once.

    `around` stands on both sides of a picture's mark, once between adjacent ones. `utterance_end`, where the tokenizer
    knows it, is put between two consecutive strings of a raw prompt. After `end` a token sees no picture. `strips`:
    strings lose blanks (not newlines) at both ends, as in the authors' processor.
    """

    mark: str
    start: str = ""
    end: str | None = None
    around: str = ""
    utterance_end: str | None = None
    strips: bool = False
    picture: tuple[str, str] = ("", "")

    def encode(
        self,
        parts: Sequence[Part],
        tokenizer: Tokenizer,
        tokens_of: Callable[[Image], int],
        *,
        ends_utterances: bool | None,
    ) -> Rendered:
        """See `Markup`. `ends_utterances` None: where the tokenizer knows the token (the authors' default)."""
        end = self.utterance_end
        puts_end = end is not None and (
            tokenizer.id_of(end) is not None if ends_utterances is None else ends_utterances
        )
        text = self._text(parts, (end or "") if puts_end else "")
        images = pictures(parts)
        refuse_mark(text, self.mark, len(images))
        ids = tokenizer.encode(text)
        return Rendered(tuple(ids), text, images, sees=self._sees(ids, tokenizer))

    def _text(self, parts: Sequence[Part], utterance_end: str) -> str:
        pieces = [self.start]
        previous: Part | None = None
        for part in parts:
            if isinstance(part, Image):
                pieces += ["" if isinstance(previous, Image) else self.around, self.mark, self.around]
            else:
                pieces += [utterance_end if isinstance(previous, str) else "", part.strip(" ") if self.strips else part]
            previous = part
        return "".join(pieces)

    def _sees(self, ids: Sequence[int], tokenizer: Tokenizer) -> tuple[int, ...]:
        """The last picture before each token, the mark itself included; none before the first, none behind an end token."""
        image_id = known(tokenizer, self.mark)
        end_id = known(tokenizer, self.end) if self.end else None
        seen: list[int] = []
        last, current = NONE, NONE
        for token in ids:
            if token == image_id:
                last += 1
                current = last
            seen.append(current)
            if token == end_id:
                current = NONE
        return tuple(seen)
