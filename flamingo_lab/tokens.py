"""Text to ids and back, through the library that the published tokenizer file belongs to."""

from __future__ import annotations

import base64
import itertools
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from flamingo_lab.errors import BadCheckpoint

MARK = "\u2581"
"""SentencePiece's mark of a word's start."""

Rule = Literal["legacy", "slow", "fast"]

TIDIED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What transformers' `clean_up_tokenization` takes the blanks out of, in its order."""

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
"""Unicode's normal forms."""

DUMMY = "\n"
"""A text before the real one, behind which SentencePiece puts no word-start mark."""


class Tokenizer(Protocol):
    """What the renderer and the decoding need of a tokenizer."""

    @property
    def specials(self) -> frozenset[int]:
        """Ids that stand for no text."""
        ...

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

    transformers' AutoTokenizer rebuilds such files and gives other ids for LLaMA's, so it is never used. `added`: special
    tokens that the authors' loader appends. `tidies`: decoded text loses blanks before punctuation, as transformers of
    2023 had it where a folder's settings were silent.
    """

    def __init__(self, file: Path, added: Sequence[str] = (), *, tidies: bool = False) -> None:
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Library

        if not file.is_file():
            raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
        try:
            self._tokenizer = Library.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise BadCheckpoint(f"{file}: not a tokenizer file ({error})") from None
        self._tidies = tidies
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
        self.specials = frozenset(
            number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        )

    def __len__(self) -> int:
        """All tokens, the added ones included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        for blanks in TIDIED if self._tidies else ():
            text = text.replace(blanks, blanks.strip(" "))
        return text

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)


class SentencePieceFile:
    """A `tokenizer.model`, read by the sentencepiece library, with the rules of the slow `LlamaTokenizer` around it.

    A text is split at special and added tokens, longest first; each piece between them is encoded by itself. `rule`: which
    of transformers' tokenizers is followed. "legacy": every piece gets the model's word-start mark; "slow": only the
    first one does; "fast": every piece does, and a run of bytes that is no whole text is decoded to a replacement
    character for each of them. `strips`: white space
    beside an added token is dropped (transformers before 4.37, for tokens added as plain strings). `added`: ids of
    tokens beyond the model's own; `appended`: tokens that follow them, where they are not among them. `shows_added`:
    these are words of their own in a decoded text (transformers, for tokens that no map names as special).
    """

    def __init__(
        self,
        file: Path,
        added: Mapping[str, int],
        *,
        appended: Sequence[str] = (),
        rule: Rule,
        strips: bool,
        shows_added: bool = False,
    ) -> None:
        from sentencepiece import SentencePieceProcessor

        if not file.is_file():
            raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
        self._model = SentencePieceProcessor()
        try:
            self._model.Load(str(file))
        except (RuntimeError, OSError) as error:
            raise BadCheckpoint(f"{file}: not a SentencePiece model ({str(error).splitlines()[0]})") from None
        self._rule = rule
        self._strips = strips
        self._shows_added = shows_added
        of_model = (self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        self._own = {self._model.IdToPiece(number): number for number in of_model if number >= 0}
        self._added = {token: number for token, number in added.items() if token not in self._own}
        for token in appended:
            if token not in self._added:
                self._added[token] = max([self._model.GetPieceSize() - 1, *self._added.values()]) + 1
        self._known = self._own | self._added
        self._split = re.compile("(" + "|".join(map(re.escape, sorted(self._known, key=len, reverse=True))) + ")")
        self._texts = {number: token for token, number in self._known.items()}
        self.specials = frozenset(self._known.values())

    def __len__(self) -> int:
        """All tokens, the added ones included."""
        return max(self._model.GetPieceSize(), max(self._known.values()) + 1)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for is_first, piece in self._pieces(text):
            if piece in self._known:
                ids.append(self._known[piece])
            elif piece:
                ids += self._plain(piece, is_first=is_first)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        if self._shows_added:
            return " ".join(self._words(ids))
        wanted = [number for number in ids if number not in self._texts]
        if self._rule != "fast":
            return self._model.DecodeIds(wanted)
        from tokenizers import decoders

        pieces = [self._model.IdToPiece(number) for number in wanted]
        steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        return decoders.Sequence(steps).decode(pieces)

    def id_of(self, token: str) -> int | None:
        if token in self._known:
            return self._known[token]
        found = self._model.PieceToId(token)
        return None if found == self._model.unk_id() else found

    def _words(self, ids: Sequence[int]) -> Iterator[str]:
        """The texts between added tokens, each decoded by itself, and these tokens."""
        shown = [number for number in ids if self._texts.get(number) not in self._own]
        for is_added, run in itertools.groupby(shown, self._texts.__contains__):
            if is_added:
                yield from (self._texts[number] for number in run)
            else:
                yield self._model.DecodeIds(list(run))

    def _pieces(self, text: str) -> Iterator[tuple[bool, str]]:
        pieces = self._split.split(text)
        for place, piece in enumerate(pieces):
            if self._strips and piece not in self._known:
                if place > 0 and pieces[place - 1] in self._added:
                    piece = piece.lstrip()
                if place + 1 < len(pieces) and pieces[place + 1] in self._added:
                    piece = piece.rstrip()
            yield place == 0, piece

    def _plain(self, piece: str, *, is_first: bool) -> list[int]:
        if self._rule != "slow":
            return self._model.EncodeAsIds(piece)
        mark = MARK if is_first else ""
        encoded = self._model.EncodeAsIds(DUMMY + mark + piece)
        dummy = self._model.EncodeAsIds(DUMMY)
        return encoded[len(dummy) :]


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
        for file in files:
            if not file.is_file():
                raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
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
        for blanks in TIDIED if self._tidies else ():
            text = text.replace(blanks, blanks.strip(" "))
        return text

    def id_of(self, token: str) -> int | None:
        found = self._added.get(token)
        return self._tokenizer.token_to_id(token) if found is None else found

    def _plain(self, ids: Iterable[int]) -> str:
        letters = "".join(self._tokenizer.id_to_token(number) or "" for number in ids)
        return bytes(BYTE_OF[letter] for letter in letters).decode("utf-8", errors="replace")


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
    if not file.is_file():
        raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
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


def splitter(tokens: Collection[str]) -> Callable[[str], list[str]]:
    """What splits a text at these tokens, the longest first where several begin at one place; empty pieces are left out."""
    if not tokens:
        return lambda text: [text] if text else []
    pattern = re.compile("(" + "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) + ")")
    return lambda text: [piece for piece in pattern.split(text) if piece]


def _byte_of() -> dict[str, int]:
    """The byte behind each letter of a byte-level vocabulary: printable ones are themselves, the others follow from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF = _byte_of()
