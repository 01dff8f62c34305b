"""A `tokenizer.model` of SentencePiece."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.tokens.tokenizer import present

MARK = "\u2581"
"""SentencePiece's mark of a word's start."""

Rule = Literal["legacy", "slow", "fast"]

DUMMY = "\n"
"""A text before the real one, behind which SentencePiece puts no word-start mark."""


class SentencePieceFile:
    """A `tokenizer.model`, read by the sentencepiece library, with the rules of the slow `LlamaTokenizer` around it.

    A text is split at special and added tokens, longest first; each piece between them is encoded by itself. `rule`: which
    of transformers' tokenizers is followed. "legacy": every piece gets the model's word-start mark; "slow": only the
    first one does; "fast": every piece does, and a run of bytes that is no whole text is decoded to a replacement
    character for each of them. `strips`: white space beside an added token is dropped (transformers before 4.37, for tokens
    added as plain strings). `added`: ids of tokens beyond the model's own; `appended`: tokens that follow them, where they
    are not among them. `shows_added`: these are words of their own in a decoded text (transformers, for tokens that no map
    names as special).
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

        present(file)
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
