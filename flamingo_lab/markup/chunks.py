"""Pictures as placeholders between chunks of text, each chunk encoded by itself (LLaVA's line).

The rule is `tokenizer_image_token` of haotian-liu/LLaVA, llava/mm_utils.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.markup import Rendered, Slot, merged, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer

PLACEHOLDER = -200
"""The id that stands for a picture in the authors' sequences."""


@dataclass(frozen=True)
class Chunks:
    """Text between pictures is encoded chunk by chunk; `start` stands once, before the first one.

    `picture`: what a turn has before and behind a picture's mark.
    """

    mark: str = "<image>"
    start: str | None = "<s>"
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
        start = tokenizer.id_of(self.start) if self.start else None
        ids = [] if start is None else [start]
        slots: list[Slot] = []
        for part in merged(parts):
            if isinstance(part, Image):
                slots.append(Slot(len(ids), 1, len(slots), 0, tokens_of(part)))
                ids.append(PLACEHOLDER)
            else:
                ids += tokenizer.encode(part)
        return Rendered(tuple(ids), text, images, slots=tuple(slots))
