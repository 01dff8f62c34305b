"""Text to ids and back, through the library that the published tokenizer file belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from flamingo_lab.errors import BadCheckpoint


class Tokenizer(Protocol):
    """What the renderer and the decoding need of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text that may hold special tokens; nothing is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...

    def id_of(self, token: str) -> int | None:
        """A token's id, None if the vocabulary lacks it."""
        ...


class TokenizerFile:
    """A `tokenizer.json`, read by the `tokenizers` library as it stands.

    transformers' AutoTokenizer rebuilds such files and gives other ids for LLaMA's, so it is never used.
    """

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer as Library

        if not file.is_file():
            raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
        try:
            self._tokenizer = Library.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise BadCheckpoint(f"{file}: not a tokenizer file ({error})") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)
