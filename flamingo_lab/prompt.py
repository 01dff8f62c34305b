"""What one says to a model: pictures, turns, worked examples and prompts. Needs no torch."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from flamingo_lab import decoding, host
from flamingo_lab.errors import BadImage, BadPrompt

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

THREADS = max(2, min(8, host.cores()))
"""Threads that read pictures beside what is computed; Pillow lets go of the interpreter while it decodes."""

MAX_DOWNLOAD_BYTES = 64 * 2**20

MAX_FILE_BYTES = 2**30
"""More than the largest picture that is decoded takes."""

T = TypeVar("T")

Role = Literal["system", "user", "assistant"]


class Image:
    """A picture, opened late and named by the SHA-256 of its decoded pixels, mode and size.

    `source`: a path, encoded bytes or a function that gives them, an `http(s):` or `data:` URL, or a `PIL.Image.Image`.
    `name` is what records and messages call it. Nothing is read before `load` or `digest`; every failure there is a
    `BadImage`.

    The other two matter to families that show one picture in two lengths and details of it beside it (SEAL):
    `is_object`: a detail, which stands within the text; `is_long`: the length, None for the family's own.
    """

    def __init__(
        self,
        source: str | PathLike[str] | bytes | Callable[[], bytes] | Picture,
        *,
        name: str | None = None,
        is_object: bool = False,
        is_long: bool | None = None,
    ) -> None:
        self.source = source
        self.is_object = is_object
        self.is_long = is_long
        self._read: decoding.Facts | None = None
        if name is not None:
            self.name = name
        elif isinstance(source, str | PathLike) and not str(source).startswith("data:"):
            self.name = str(source)
        else:
            self.name = "picture in memory"

    def __repr__(self) -> str:
        return f"Image({self.name!r})"

    def load(self) -> Picture:
        """The decoded picture, in the file's own mode. Nothing large is kept behind it; it is not to be changed."""
        from PIL import Image as pil

        return self.source if isinstance(self.source, pil.Image) else self._tried(decoding.take)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of mode, size and pixels; equal for equal pictures in whatever file format."""
        return self._facts.digest

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self._facts.size

    @property
    def is_digested(self) -> bool:
        """Whether the digest is known already; it travels with the picture."""
        return self._read is not None

    def is_same(self) -> bool:
        """Whether the source gives the picture that was digested, perhaps on another machine. Raises `BadImage`.

        A picture in memory travels itself, and one without a digest is compared with nothing.
        """
        is_elsewhere = callable(self.source) or isinstance(self.source, str | PathLike)
        if not self.is_digested or not is_elsewhere:
            return True
        before, self._read = self._read, None
        return before == self._facts

    @property
    def _facts(self) -> decoding.Facts:
        """Read once. No `cached_property`: before Python 3.12 that lets one thread at a time into all pictures together."""
        from PIL import Image as pil

        if self._read is None:
            held = self.source
            self._read = decoding.facts_of(held) if isinstance(held, pil.Image) else self._tried(decoding.facts)
        return self._read

    def _tried(self, read: Callable[[bytes], T]) -> T:
        """What is read of the encoded picture. Raises `BadImage` where it is none."""
        from PIL import Image as pil

        encoded = b""
        try:
            encoded = self._encoded()
            return read(encoded)
        except BadImage:
            raise
        except FileNotFoundError:
            raise BadImage(f"{self.name}: no such picture") from None
        except IsADirectoryError:
            raise BadImage(f"{self.name}: a folder; a picture is expected") from None
        except pil.DecompressionBombError as error:
            raise BadImage(
                f"{self.name}: more than {decoding.MAX_PIXELS:,} pixels ({error}); make it smaller"
            ) from None
        # Pillow's decoders raise SyntaxError, ValueError, struct.error, EOFError ... on damaged files.
        except Exception as error:
            if isinstance(error, pil.UnidentifiedImageError):  # its own words name an object in memory
                reason = "of no format that is known; is it a picture?" if encoded else "the file is empty"
            else:
                reason = f"cannot be decoded ({error})"
            raise BadImage(f"{self.name}: {reason}") from None

    def _encoded(self) -> bytes:
        if isinstance(self.source, bytes):
            return self.source
        if callable(self.source):
            return self.source()
        if not isinstance(self.source, str | PathLike):
            raise BadImage(
                f"{self.source!r:.60} is no picture: a path, a URL, encoded bytes or a PIL.Image.Image is one"
            )
        text = str(self.source)
        if text.startswith("data:"):
            return base64.b64decode(text.partition(",")[2], validate=False)
        if text.startswith(("http://", "https://")):
            with urllib.request.urlopen(text, timeout=30) as answer:
                return answer.read(MAX_DOWNLOAD_BYTES)
        file = Path(text)
        if file.is_file() and file.stat().st_size > MAX_FILE_BYTES:
            raise BadImage(f"{self.name}: more than {MAX_FILE_BYTES:,} bytes; make it smaller")
        return file.read_bytes()


Part = str | Image


def is_all(given: object, kind: type | UnionType) -> bool:
    """Whether it is a sequence of this kind alone, which callers from Python need not have checked."""
    return isinstance(given, Sequence) and all(isinstance(one, kind) for one in cast(Sequence[object], given))


@dataclass(frozen=True)
class Turn:
    """What one side says: text and pictures in any order."""

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not is_all(self.parts, str | Image):
            raise BadPrompt(f"{self.parts!r:.60}: strings and Image(...) are expected")


@dataclass(frozen=True, init=False)
class Shot:
    """A worked example: what is asked, and the answer that is shown."""

    parts: tuple[Part, ...]
    answer: str

    def __init__(self, *parts: Part, answer: str) -> None:
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "answer", answer)

    @cached_property
    def turns(self) -> tuple[Turn, Turn]:
        """What both sides say; one pair for all prompts that the example stands in."""
        return Turn("user", self.parts), Turn("assistant", (self.answer,))


QUESTION_ANSWER = "Question: {text} Answer: {answer}"
"""Flamingo's wording of question answering as running text (arXiv 2204.14198, appendix C)."""

CAPTION = "Output: {answer}"
"""Flamingo's wording of captioning and every other task that asks nothing."""


@dataclass(frozen=True)
class Prompt:
    """An interleaved prompt: turns that end with the user's, or a raw sequence that is sent as it stands.

    `running` is how a base model, which knows no turns, reads one question with its answer, and `separator` what stands
    behind it and behind a system turn, None for the family's own. A chat model ignores both.
    `ends_utterances` concerns raw prompts: whether the family's end-of-utterance token is put between two consecutive
    strings; None leaves it to the family, as the authors' processors do.
    `window`: the oldest turns are left out, so that what stands before the question takes fewer tokens (Qwen-VL's chat);
    None says all turns.
    """

    turns: tuple[Turn, ...]
    is_raw: bool = False
    running: str = QUESTION_ANSWER
    separator: str | None = None
    ends_utterances: bool | None = None
    window: int | None = None

    @classmethod
    def raw(cls, *parts: Part, ends_utterances: bool | None = None) -> Prompt:
        """Text and pictures in order, without any template."""
        return cls((Turn("user", parts),), is_raw=True, ends_utterances=ends_utterances)

    @classmethod
    def ask(
        cls,
        *parts: Part,
        shots: Sequence[Shot] = (),
        system: str | None = None,
        running: str = QUESTION_ANSWER,
        separator: str | None = None,
    ) -> Prompt:
        """A question after its worked examples, each with its pictures. Raises `BadPrompt` for what is none of these."""
        if not is_all(shots, Shot):
            raise BadPrompt(f"shots {shots!r:.60}: a list of Shot(...) is expected")
        turns = [Turn("system", (system,))] if system else []
        for shot in shots:
            turns += shot.turns
        return cls((*turns, Turn("user", parts)), running=running, separator=separator)

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, in the order in which the model meets them."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, Image))

    @property
    def shots(self) -> int:
        """How many worked examples stand before the question."""
        return sum(turn.role == "assistant" for turn in self.turns)
