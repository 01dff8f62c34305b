"""A `vocab.json` with its `merges.txt`, of byte-level pairs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.tokens.tokenizer import present, splitter, tidied


class BytePairFiles:
    """`vocab.json` and `merges.txt` of byte-level pairs (GPT-2's), with the rules of transformers' slow tokenizers around them.

    A text is split at special and added tokens, longest first; each piece between them is encoded by itself. `added`: ids
    of the tokens that are not made by merges; `specials`: which of them stand for no text. `tidies`: decoded text loses
    blanks before punctuation.

    QUIRK: the other added tokens (runs of blanks, in Phi) are decoded with a blank on both sides, as `_decode` of 4.37 has
    it (tests/test_tokens.py).
    """

    def __init__(self, folder: Path, added: Mapping[str, int], specials: Collection[str], *, tidies: bool) -> None:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, pre_tokenizers

        files = (folder / "vocab.json", folder / "merges.txt")
        present(*files)
        try:
            self._tokenizer = Library(models.BPE.from_file(*map(str, files)))
        except Exception as error:  # the library raises plain Exception
            raise BadCheckpoint(f"{folder}: vocab.json and merges.txt are no tokenizer ({error})") from None
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._added = dict(added)
        self._tidies = tidies
        self._split = splitter(self._added)
        self._texts = {number: token for token, number in added.items() if token not in specials}
        self.specials = frozenset(added[token] for token in specials if token in added)

    def __len__(self) -> int:
        """All tokens, the added ones included."""
        return max(self._tokenizer.get_vocab_size(), *(number + 1 for number in self._added.values()))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in self._split(text):
            number = self._added.get(piece)
            ids += [number] if number is not None else self._tokenizer.encode(piece).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        pieces: list[str] = []
        wanted = [number for number in ids if number not in self.specials]
        for is_added, run in itertools.groupby(wanted, self._texts.__contains__):
            if is_added:
                pieces += [self._texts[number] for number in run]
            else:
                pieces.append(self._plain(run))
        text = " ".join(piece for piece in pieces if piece)
        return tidied(text) if self._tidies else text

    def id_of(self, token: str) -> int | None:
        found = self._added.get(token)
        return self._tokenizer.token_to_id(token) if found is None else found

    def _plain(self, ids: Iterable[int]) -> str:
        letters = "".join(self._tokenizer.id_to_token(number) or "" for number in ids)
        return bytes(BYTE_OF[letter] for letter in letters).decode("utf-8", errors="replace")


def _byte_of() -> dict[str, int]:
    """The byte behind each letter of a byte-level vocabulary: printable ones are themselves, the others follow from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF = _byte_of()
