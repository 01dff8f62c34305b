"""A `.tiktoken` file."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.tokens.tokenizer import present

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
"""Unicode's normal forms."""


class TiktokenFile:
    """A `.tiktoken` file, a line `base64 rank` for each token, read by the tiktoken library.

    `pattern` cuts a text into the words within which bytes are merged. `specials` follow the file's tokens in this order,
    behind `unused` ids that stand for nothing. `form`: the Unicode normal form that texts are brought to first.
    """

    def __init__(
        self,
        file: Path,
        pattern: str,
        specials: Sequence[str],
        *,
        form: Form | None = None,
        unused: int = 0,
    ) -> None:
        from tiktoken import Encoding

        self._ranks = _ranks(file)
        first = len(self._ranks) + unused
        self._special_ids = {token: first + place for place, token in enumerate(specials)}
        self._form: Form | None = form
        self._encoding = Encoding(
            file.stem, pat_str=pattern, mergeable_ranks=self._ranks, special_tokens=self._special_ids
        )
        self.specials = frozenset(self._special_ids.values())

    def __len__(self) -> int:
        """All ids, the special and the unused ones included."""
        return self._encoding.n_vocab

    def encode(self, text: str, known: Collection[str] | None = None) -> list[int]:
        """See `Tokenizer`. `known`: the special tokens that are read as such, None for all; others are text."""
        if self._form is not None:
            text = unicodedata.normalize(self._form, text)
        allowed = self._special_ids.keys() if known is None else known
        return self._encoding.encode(text, allowed_special=set(allowed), disallowed_special=())

    def decode(self, ids: Sequence[int], shown: Collection[int] = ()) -> str:
        """See `Tokenizer`. Rows of the embedding beyond the vocabulary are no text either."""
        wanted = [number for number in ids if number < len(self._ranks) or number in shown]
        return self._encoding.decode(wanted, errors="replace")

    def id_of(self, token: str) -> int | None:
        found = self._special_ids.get(token)
        return self._ranks.get(token.encode("utf-8", "replace")) if found is None else found


def _ranks(file: Path) -> dict[bytes, int]:
    """The tokens of a `.tiktoken` file with their ranks, which count from 0."""
    present(file)
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise BadCheckpoint(f"{file}: line {number} is no token with its rank; download the file again") from None
    if sorted(ranks.values()) != list(range(len(ranks))) or not all(bytes([byte]) in ranks for byte in range(256)):
        raise BadCheckpoint(f"{file}: ranks or single bytes are missing from it; download the file again")
    return ranks
