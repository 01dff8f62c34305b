"""How a published processor takes pictures: by marks in its text, between its strings, or beside them.

Which of these it is, is tried once when a model is loaded: no processor says it of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flamingo_lab.errors import BadCheckpoint, BadPrompt
from flamingo_lab.markup import refuse_mark
from flamingo_lab.pretrained.saying import Said
from flamingo_lab.prompt import Image, Part

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Side = Literal["left", "right"]

TRIAL_PX = (64, 48)
"""Width and height of the picture with which a processor is tried."""


class Handing(Protocol):
    """A way to hand prompts to a processor."""

    def ids(self, said: Said) -> tuple[int, ...]:
        """The prompt's ids, one for each picture's mark where it has one. Raises `BadPrompt` if it cannot be handed so."""
        ...

    def is_plain(self, said: Said) -> bool:
        """Whether the tokenizer adds its own special tokens. Prompts of one batch agree in this."""
        ...

    def inputs(self, batch: Sequence[Said], side: Side) -> Mapping[str, Any]:
        """What the model takes, as tensors, shorter prompts padded at this side."""
        ...


@dataclass(frozen=True)
class Marked:
    """A mark stands for each picture in the text, and the processor puts a picture's tokens there."""

    processor: Any
    mark: str

    def ids(self, said: Said) -> tuple[int, ...]:
        """See `Handing`."""
        return tuple(self.processor.tokenizer(self._text(said), add_special_tokens=self.is_plain(said))["input_ids"])

    def is_plain(self, said: Said) -> bool:
        """See `Handing`. A template that begins with the token of beginnings needs no second one."""
        first = self.processor.tokenizer.bos_token
        return not (first and said.parts and isinstance(said.parts[0], str) and said.parts[0].startswith(first))

    def inputs(self, batch: Sequence[Said], side: Side) -> Mapping[str, Any]:
        """See `Handing`."""
        images = [[opened(image) for image in said.images] for said in batch]
        return call(
            self.processor,
            side,
            text=[self._text(said) for said in batch],
            images=images if any(images) else None,
            add_special_tokens=self.is_plain(batch[0]),
        )

    def _text(self, said: Said) -> str:
        for part in said.parts:
            if isinstance(part, str):
                refuse_mark(part, self.mark, 0)
        return "".join(part if isinstance(part, str) else self.mark for part in said.parts)


@dataclass(frozen=True)
class Interleaved:
    """Strings and pictures are handed in one list, and the processor puts its own marks."""

    processor: Any

    def ids(self, said: Said) -> tuple[int, ...]:
        """See `Handing`. They do not depend on the pictures, whose tokens are elsewhere."""
        blank = trial()
        parts = [part if isinstance(part, str) else blank for part in self._parts(said)]
        return tuple(call(self.processor, "left", text=[parts])["input_ids"][0].tolist())

    def is_plain(self, said: Said) -> bool:
        """See `Handing`: it is left to the processor."""
        return True

    def inputs(self, batch: Sequence[Said], side: Side) -> Mapping[str, Any]:
        """See `Handing`."""
        text = [[part if isinstance(part, str) else opened(part) for part in self._parts(said)] for said in batch]
        return call(self.processor, side, text=text)

    def _parts(self, said: Said) -> tuple[Part, ...]:
        for part in said.parts:
            if isinstance(part, str) and "://" in part and " " not in part.strip(" "):
                raise BadPrompt(f"{part!r} would be fetched as a picture by the model's processor; put words beside it")
        return said.parts


@dataclass(frozen=True)
class Beside:
    """One picture is handed beside the text, before which the model sees it."""

    processor: Any

    def ids(self, said: Said) -> tuple[int, ...]:
        """See `Handing`."""
        return tuple(self.processor.tokenizer(self._text(said))["input_ids"])

    def is_plain(self, said: Said) -> bool:
        """See `Handing`."""
        return True

    def inputs(self, batch: Sequence[Said], side: Side) -> Mapping[str, Any]:
        """See `Handing`."""
        images = [opened(image) for said in batch for image in said.images]
        return call(self.processor, side, text=[self._text(said) for said in batch], images=images)

    def _text(self, said: Said) -> str:
        if len(said.images) != 1 or not isinstance(said.parts[0], Image):
            raise BadPrompt(f"this model takes one picture, before the words; the prompt holds {len(said.images)}")
        return "".join(part for part in said.parts if isinstance(part, str))


def choose(processor: Any, mark: str | None) -> Handing:
    """The way in which this processor takes pictures; `mark` is what it says stands for one. Raises `BadCheckpoint`."""
    picture = trial()
    if mark is not None:
        by_mark = _tried(processor, text=[f"{mark}a"], images=[[picture]])
        without = _tried(processor, text=["a"], images=[[picture]])
        # A processor that puts marks by itself would put one too many.
        if by_mark is not None and (without is None or by_mark <= without):
            return Marked(processor, mark)
    if _tried(processor, text=[["a", picture, "b"]]) is not None:
        return Interleaved(processor)
    if _tried(processor, text=["a"], images=[picture]) is not None:
        return Beside(processor)
    raise BadCheckpoint(f"{type(processor).__name__} takes a picture with text in none of the ways that are known here")


def call(processor: Any, side: Side, **given: Any) -> Mapping[str, Any]:
    """What the processor makes of this, as tensors."""
    processor.tokenizer.padding_side = side
    return processor(padding=True, return_tensors="pt", **given)


def opened(image: Image) -> Picture:
    """The picture in RGB, as transformers opens pictures."""
    return image.load().convert("RGB")


def trial() -> Picture:
    """A grey picture."""
    from PIL import Image as pil

    return pil.new("RGB", TRIAL_PX, (128, 128, 128))


def _tried(processor: Any, **given: Any) -> int | None:
    """How many ids it gives, None where it refuses."""
    try:
        return call(processor, "left", **given)["input_ids"].shape[-1]
    except Exception:  # whatever a processor raises, it does not take pictures so
        return None
