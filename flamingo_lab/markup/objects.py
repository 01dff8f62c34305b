"""One picture and details of it, as two kinds of placeholders between chunks of text (SEAL).

The rule is `tokenizer_image_object_token` of penghao-wu/vstar, LLaVA/llava/mm_utils.py: whatever the marks say, the first
placeholder is the picture's and every later one an object's; so a prompt that says otherwise is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import Rendered, Slot, merged, pictures, refuse_mark
from flamingo_lab.markup.chunks import PLACEHOLDER
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer

OBJECT_PLACEHOLDER = -300
"""The id that stands for a detail in the authors' sequences."""


@dataclass(frozen=True)
class Objects:
    """Text between pictures is encoded chunk by chunk; `start` stands once, before the first one.

    `long_tokens` and `short_tokens`: of a picture in each of its two lengths, which its tokens hold one after the other.
    """

    long_tokens: int
    short_tokens: int
    mark: str = "<image>"
    object_mark: str = "<object>"
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
        """See `Markup`; `ends_utterances` means nothing here. A picture is long where nothing is said, an object short."""
        images = pictures(parts)
        if images and (images[0].is_object or not all(image.is_object for image in images[1:])):
            raise BadPrompt(
                "this model looks at one picture, and at objects cut out of it behind it; show it one picture"
            )
        marks = tuple(self.object_mark if image.is_object else self.mark for image in images)
        left = iter(marks)
        text = "".join(next(left) if isinstance(part, Image) else part for part in parts)
        for mark in (self.mark, self.object_mark):
            refuse_mark(text, mark, marks.count(mark))
        start = tokenizer.id_of(self.start) if self.start else None
        ids = [] if start is None else [start]
        slots: list[Slot] = []
        for part in merged(parts):
            if isinstance(part, Image):
                slots.append(self._slot(part, len(ids), len(slots)))
                ids.append(OBJECT_PLACEHOLDER if part.is_object else PLACEHOLDER)
            else:
                ids += tokenizer.encode(part)
        return Rendered(tuple(ids), text, images, slots=tuple(slots), marks=marks)

    def _slot(self, image: Image, start: int, number: int) -> Slot:
        is_long = not image.is_object if image.is_long is None else image.is_long
        first, tokens = (0, self.long_tokens) if is_long else (self.long_tokens, self.short_tokens)
        return Slot(start, 1, number, first, tokens)
