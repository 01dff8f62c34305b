"""Tokenizers read from `.tiktoken` files: what is a token in a text, what is text again, and which files are refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import tiktoken

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.tokens import TiktokenFile

PATTERN = r"\p{N}| ?\p{L}+|[^\p{L}\p{N}]+"
SPECIALS = ("<|end|>", "<a>", "</a>")
TOKENS = [*(bytes([255 - byte]) for byte in range(256)), b"th", b"the", " é".encode()]


def write(file: Path, tokens: list[bytes]) -> Path:
    file.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    return file


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TiktokenFile:
    return TiktokenFile(write(tmp_path_factory.mktemp("tokens") / "a.tiktoken", TOKENS), PATTERN, SPECIALS, form="NFC")


def test_ids_are_the_librarys(tokenizer: TiktokenFile) -> None:
    ranks = {token: rank for rank, token in enumerate(TOKENS)}
    library = tiktoken.Encoding("a", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    for text in ("the other thing", "12 é!", "", "\n\n the"):
        assert tokenizer.encode(text) == library.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_follow_the_files_own(tokenizer: TiktokenFile) -> None:
    first = len(TOKENS)
    assert [tokenizer.id_of(token) for token in SPECIALS] == [first, first + 1, first + 2]
    assert tokenizer.specials == {first, first + 1, first + 2}
    assert len(tokenizer) == first + 3
    assert (tokenizer.id_of("the"), tokenizer.id_of(" é"), tokenizer.id_of("cat")) == (257, 258, None)


def test_only_known_special_tokens_are_read(tokenizer: TiktokenFile) -> None:
    a, end = tokenizer.id_of("<a>"), tokenizer.id_of("<|end|>")
    assert tokenizer.encode("the<a>the<|end|>") == [257, a, 257, end]
    some = tokenizer.encode("the<a>the<|end|>", ["<a>"])
    assert some[:3] == [257, a, 257] and end not in some
    assert not tokenizer.specials & set(tokenizer.encode("<a><|end|>", ()))


def test_special_tokens_are_no_text_unless_shown(tokenizer: TiktokenFile) -> None:
    ids = tokenizer.encode("<a>the</a><|end|>")
    assert tokenizer.decode(ids) == "the"
    assert tokenizer.decode(ids, [ids[0]]) == "<a>the"
    assert tokenizer.decode(ids, tokenizer.specials) == "<a>the</a><|end|>"
    assert tokenizer.decode([*ids, len(tokenizer) + 5], tokenizer.specials) == "<a>the</a><|end|>"


def test_texts_are_brought_to_one_form_and_half_characters_are_replaced(tokenizer: TiktokenFile) -> None:
    assert tokenizer.encode("caf e\u0301") == tokenizer.encode("caf \u00e9")
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("é")[:1]) == "\ufffd"


def test_without_a_form_a_text_stays_as_it_is(tmp_path: Path) -> None:
    plain = TiktokenFile(write(tmp_path / "a.tiktoken", TOKENS), PATTERN, SPECIALS)
    assert plain.decode(plain.encode("e\u0301")) == "e\u0301"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dGhl\n", "line 1 is no token"),
        (b"dGhl x\n", "line 1 is no token"),
        (b"d!hl 3\n", "line 1 is no token"),
        (b"dGhl 0\n", "single bytes are missing"),
        (b"", "single bytes are missing"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.tiktoken"
    file.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=message) as refused:
        TiktokenFile(file, PATTERN, SPECIALS)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_with_a_gap_in_its_ranks_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tiktoken", TOKENS)
    file.write_bytes(file.read_bytes().replace(b" 258\n", b" 259\n"))
    with pytest.raises(BadCheckpoint, match="ranks or single bytes are missing"):
        TiktokenFile(file, PATTERN, SPECIALS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"a\.tiktoken: the tokenizer is missing"):
        TiktokenFile(tmp_path / "a.tiktoken", PATTERN, SPECIALS)
