"""Pictures as runs of one token of the vocabulary, one for each picture token (transformers' converted layouts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.markup import Rendered, Slot, known, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer


@dataclass(frozen=True)
class Runs:
    """The whole sequence is one text behind `start`, encoded at once; each mark is repeated for its picture's tokens."""

    mark: str = "<image>"
    start: str = ""
    picture: tuple[str, str] = ("", "\n")

    def encode(
        self,
        parts: Sequence[Part],
        tokenizer: Tokenizer,
        tokens_of: Callable[[Image], int],
        *,
        ends_utterances: bool | None,
    ) -> Rendered:
        """See `Markup`; `ends_utterances` means nothing here."""
        images = pictures(parts)
        text = "".join(self.mark if isinstance(part, Image) else part for part in parts)
        refuse_mark(text, self.mark, len(images))
        mark = known(tokenizer, self.mark)
        ids: list[int] = []
        slots: list[Slot] = []
        for token in tokenizer.encode(self.start + text):
            if token == mark:
                count = tokens_of(images[len(slots)])
                slots.append(Slot(len(ids), count, len(slots), 0, count))
                ids += [mark] * count
            else:
                ids.append(token)
        return Rendered(tuple(ids), text, images, slots=tuple(slots))
