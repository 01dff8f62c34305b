"""A `tokenizer.json` of the tokenizers library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.tokens.tokenizer import present, tidied


class TokenizerFile:
    """A `tokenizer.json`, read by the `tokenizers` library as it stands.

    transformers' AutoTokenizer rebuilds such files and gives other ids for LLaMA's, so it is never used. `added`: special
    tokens that the authors' loader appends. `tidies`: decoded text loses blanks before punctuation, as transformers of
    2023 had it where a folder's settings were silent, but for LLaMA's.
    """

    def __init__(self, file: Path, added: Sequence[str] = (), *, tidies: bool = False) -> None:
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Library

        present(file)
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
        return tidied(text) if self._tidies else text

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)
