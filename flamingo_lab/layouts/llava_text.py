"""How the descendants of LLaVA read `tokenizer.model`, which tokens their loaders add to it, and how a picture is marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flamingo_lab.family import Folder
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.tokens import SentencePieceFile


def tokenizer(home: Folder, config: Mapping[str, Any], *, is_fast: bool = False, strips: bool) -> SentencePieceFile:
    """The tokenizer in the folder `home`, with the tokens that a model's config.json makes its loader add.

    `is_fast`: whether the authors took the fast tokenizer; `strips`: whether white space beside an added token is lost,
    see `SentencePieceFile`.
    """
    settings = home.json("tokenizer_config.json")
    described = settings.get("added_tokens_decoder", {})
    added = {token["content"]: int(number) for number, token in described.items()}
    return SentencePieceFile(
        home.path / "tokenizer.model",
        added | home.json("added_tokens.json"),
        appended=tuple(_appended(config)),
        rule="fast" if is_fast else "slow" if settings.get("legacy") is False else "legacy",
        strips=strips,
    )


def _appended(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("mm_use_im_patch_token", True):
        yield "<im_patch>"
    if config.get("mm_use_im_start_end", False):
        yield from ("<im_start>", "<im_end>")


def markup(home: Folder, config: Mapping[str, Any]) -> Chunks:
    """Each picture's mark stands on a line of its own, between two tokens where the model was trained so."""
    settings = home.json("tokenizer_config.json")
    named = settings.get("bos_token") or "<s>"
    start = named["content"] if isinstance(named, dict) else named
    is_framed = config.get("mm_use_im_start_end", False)
    return Chunks(
        start=start if settings.get("add_bos_token", True) else None,
        picture=("<im_start>", "<im_end>\n") if is_framed else ("", "\n"),
    )
