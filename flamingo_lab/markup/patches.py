"""One picture as rows of patch tokens before the text, and a mark behind which the answer begins (Fuyu).

The rule is `FuyuProcessor` of transformers 4.35.0, models/fuyu/processing_fuyu.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.errors import BadImage
from flamingo_lab.locations import ANSWER, Locations
from flamingo_lab.markup import Rendered, Slot, known, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import Tokenizer


@dataclass(frozen=True)
class PatchRows:
    """`patch` once a patch and `row_end` behind each row, `start`, the text with its locations, and the answer's mark.

    The picture stands first wherever the prompt shows it: the authors' processor has no other place for it.

    QUIRK: a prompt without a picture is another one, `bare_start` and the text as it stands, without locations and mark
    (golden fuyu, text_only).
    """

    locations: Locations
    patch: str = "|SPEAKER|"
    row_end: str = "|NEWLINE|"
    start: str = "<s>"
    bare_start: str = "|ENDOFTEXT|"
    mark: str = "<image>"
    picture: tuple[str, str] = ("", "")

    def encode(
        self,
        parts: Sequence[Part],
        tokenizer: Tokenizer,
        tokens_of: Callable[[Image], int],
        *,
        ends_utterances: bool | None,
    ) -> Rendered:
        """See `Markup`; `tokens_of` and `ends_utterances` mean nothing here."""
        images = pictures(parts)
        said = "".join(part for part in parts if isinstance(part, str))
        text = self.mark * len(images) + said
        refuse_mark(text, self.mark, len(images))
        if not images:
            return Rendered((known(tokenizer, self.bare_start), *tokenizer.encode(said)), text, images)
        (image,) = images
        ids, slots = self._rows(image, tokenizer)
        ids += [known(tokenizer, self.start), *self.locations.encode(said, image.size, tokenizer)]
        return Rendered((*ids, known(tokenizer, ANSWER)), text, images, slots=slots)

    def _rows(self, image: Image, tokenizer: Tokenizer) -> tuple[list[int], tuple[Slot, ...]]:
        """The picture's ids, and where its patches go."""
        try:
            rows, columns = self.locations.patching.shape(image.size)
        except BadImage as error:
            raise BadImage(f"{image.name}: {error}") from None
        row = [known(tokenizer, self.patch)] * columns + [known(tokenizer, self.row_end)]
        slots = (Slot(place * len(row), columns, 0, place * columns, columns) for place in range(rows))
        return row * rows, tuple(slots)
