"""Text to ids and back, through the library that the published tokenizer file belongs to. One kind of file a module."""

from __future__ import annotations

from flamingo_lab.tokens.byte_pairs import BytePairFiles
from flamingo_lab.tokens.json_file import TokenizerFile
from flamingo_lab.tokens.pieces import SentencePieceFile
from flamingo_lab.tokens.ranks import TiktokenFile
from flamingo_lab.tokens.tokenizer import Tokenizer

__all__ = ["BytePairFiles", "SentencePieceFile", "TiktokenFile", "Tokenizer", "TokenizerFile"]
