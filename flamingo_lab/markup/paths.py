"""Pictures as their paths between two tokens, an id a byte, over which the picture's own tokens are laid (Qwen-VL)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import Rendered, Slot, Token, Words, known, merged, pictures, refuse_mark
from flamingo_lab.prompt import Image, Part
from flamingo_lab.tokens import TiktokenFile, Tokenizer

START, END, PAD = "<img>", "</img>", "<imgpad>"

SPAN = 256
"""Places between the two tokens."""

LONGEST_BYTES = SPAN - 2
"""Of a path: the authors' model reads it up to the first padding, and does not look at the last place."""


class PathTokens(TiktokenFile):
    """A tiktoken tokenizer that writes `<img>path</img>` as the path's bytes, padded to `SPAN`, and reads it back.

    QUIRK: a byte's id is its value, whichever token has that id (golden qwen_vl_tokenizer, img_short).
    """

    def encode(self, text: str, known: Collection[str] | None = None) -> list[int]:
        """See `TiktokenFile`. Raises `BadPrompt` for a picture without an end and for a path that is too long."""
        ids = super().encode(text, known)
        start, end = self.id_of(START), self.id_of(END)
        behind = ids[len(ids) - ids[::-1].index(end) :] if end in ids else ids
        if start in behind:
            raise BadPrompt(f"{START} without {END} behind it, in {text[-60:]!r}")
        return self._between(ids, self._folded)

    def decode(self, ids: Sequence[int], shown: Collection[int] = ()) -> str:
        """See `TiktokenFile`. Raises `BadPrompt` where what stands between the two tokens is no path.

        A start without an end stays as it is: an answer is not lost for it, as it is in the authors' code.
        """
        return super().decode(self._between(ids, self._unfolded), shown)

    def _between(self, ids: Sequence[int], each: Callable[[list[int]], list[int]]) -> list[int]:
        """The ids with what stands between each start and its end replaced."""
        start, end = known(self, START), known(self, END)
        replaced: list[int] = []
        rest = list(ids)
        while start in rest and end in rest[rest.index(start) :]:
            first = rest.index(start)
            last = rest.index(end, first)
            replaced += [*rest[: first + 1], *each(rest[first + 1 : last]), end]
            rest = rest[last + 1 :]
        return replaced + rest

    def _folded(self, words: list[int]) -> list[int]:
        path = self._encoding.decode_bytes(words)
        if len(path) > SPAN:
            raise BadPrompt(too_long(path.decode("utf-8", "replace")))
        return [*path, *[known(self, PAD)] * (SPAN - len(path))]

    def _unfolded(self, span: list[int]) -> list[int]:
        padding = known(self, PAD)
        path = span[: span.index(padding)] if padding in span else [SPAN]
        try:
            return super().encode(bytes(path).decode("utf-8"), ())
        except ValueError:
            raise BadPrompt(f"what stands between {START} and {END} is no path of a picture") from None


@dataclass(frozen=True)
class Paths:
    """A picture is its name between the two tokens. Needs `PathTokens`.

    Plain strings are read as they stand, with all special tokens in them; in a template's `Words` only `known` ones are
    tokens.
    """

    known: tuple[str, ...] = ()
    picture: tuple[str, str] = ("", "")

    @property
    def mark(self) -> str:
        """What stands for a picture in a text, before its name."""
        return START

    def encode(
        self,
        parts: Sequence[Part],
        tokenizer: Tokenizer,
        tokens_of: Callable[[Image], int],
        *,
        ends_utterances: bool | None,
    ) -> Rendered:
        """See `Markup`; `ends_utterances` means nothing here."""
        assert isinstance(tokenizer, PathTokens)  # the family pairs the two
        images = pictures(parts)
        text = "".join(f"{START}{part.name}{END}" if isinstance(part, Image) else part for part in parts)
        refuse_mark(text, START, len(images))
        ids: list[int] = []
        slots: list[Slot] = []
        for part in merged(parts):
            if isinstance(part, Image):
                slots.append(Slot(len(ids) + 1, SPAN, len(slots), 0, tokens_of(part)))
                ids += span(part, tokenizer)
            elif isinstance(part, Token):
                ids.append(known(tokenizer, part))
            else:
                ids += tokenizer.encode(part, self.known if isinstance(part, Words) else None)
        return Rendered(tuple(ids), text, images, slots=tuple(slots))


def span(image: Image, tokenizer: PathTokens) -> list[int]:
    """A picture's name between the two tokens. Raises `BadPrompt` for a name that the model could not read there."""
    ids = tokenizer.encode(f"{START}{image.name}{END}")
    if len(ids) != SPAN + 2:
        raise BadPrompt(f"{image.name}: a picture's name may not hold {END}; rename it")
    if ids[LONGEST_BYTES + 1] != known(tokenizer, PAD):
        raise BadPrompt(too_long(image.name))
    return ids


def too_long(path: str) -> str:
    """What to say of a path that is too long."""
    return f"{path[:60]}...: a picture's path may take {LONGEST_BYTES} bytes here; name it relative to its folder"
