"""Tokenizers of published files: byte-level pairs, tiktoken ranks."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.family import Folder
from flamingo_lab.layouts import phi, qwen, stablelm
from flamingo_lab.tokens import BytePairFiles, TiktokenFile
from tests.families.tiny_moe_llava import MERGES, write_tokenizer

TEXTS = st.lists(
    st.sampled_from(
        [
            "a",
            "the",
            "is",
            "on",
            " ",
            "  ",
            "   ",
            "\t",
            "\t\t",
            "\n",
            ".",
            " ?",
            "'s",
            "n't",
            "12",
            "é",
            "日本",
            "😀",
            " ",
        ]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_tokenizer(folder, "phi")
    return folder


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(text=TEXTS)
def test_pairs_give_the_ids_of_transformers(pairs: Path, text: str) -> None:
    vocab = json.loads((pairs / "vocab.json").read_text())
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    library = transformers.CodeGenTokenizer(vocab=vocab, merges=merges)
    library.add_tokens(["  ", "\t\t"])
    library.add_special_tokens({"pad_token": "<|extra_0|>"})
    ours = phi.tokenizer(Folder(pairs))
    assert ours.encode(text) == library(text)["input_ids"]
    assert len(ours) == len(library)


def test_specials_leave_no_text_and_other_added_tokens_stand_between_blanks(pairs: Path) -> None:
    ours = phi.tokenizer(Folder(pairs))
    assert ours.specials == {ours.id_of("<|endoftext|>"), ours.id_of("<|extra_0|>")}
    ids = ours.encode("the  the<|endoftext|>the\t\t?")
    assert ids.count(ours.id_of("<|endoftext|>")) == 1
    assert ours.decode(ids) == "the" + " " + "  " + " " + "thethe" + " " + "\t\t" + "?"


def test_text_is_tidied_where_the_folder_says_so(pairs: Path, tmp_path: Path) -> None:
    ids = phi.tokenizer(Folder(pairs)).encode("is the , on ?")
    assert phi.tokenizer(Folder(pairs)).decode(ids) == "is the, on?"
    write_tokenizer(tmp_path, "phi")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"clean_up_tokenization_spaces": False}))
    assert phi.tokenizer(Folder(tmp_path)).decode(ids) == "is the , on ?"


def test_bytes_that_are_no_text_are_replaced(pairs: Path) -> None:
    ours = phi.tokenizer(Folder(pairs))
    assert ours.decode([*ours.encode("é")[:1], *ours.encode("a")]) == "\ufffda"


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_and_broken_pairs_are_told(name: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "phi")
    (tmp_path / name).write_text('{"a": "b"')
    with pytest.raises(BadCheckpoint, match=r"vocab\.json"):
        phi.tokenizer(Folder(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(BadCheckpoint, match=f"{name}: the tokenizer is missing"):
        BytePairFiles(tmp_path, {}, (), tidies=False)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = tmp_path_factory.mktemp("ranks")
    for kind in ("qwen", "stablelm"):
        write_tokenizer(folder, kind)
    return Folder(folder)


def test_special_ids_follow_the_ranks(ranks: Folder) -> None:
    plain = 256 + len(MERGES)
    ours, theirs = qwen.tokenizer(ranks), stablelm.tokenizer(ranks)
    assert (ours.id_of("<|endoftext|>"), ours.id_of("<|extra_204|>"), len(ours)) == (plain, plain + 207, plain + 208)
    assert (theirs.id_of("<|endoftext|>"), theirs.id_of("<|extra0|>"), len(theirs)) == (
        plain + 1,
        plain + 32,
        plain + 33,
    )
    assert (ours.id_of("the"), ours.id_of(" the"), ours.id_of("thx")) == (258, 260, None)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(text=TEXTS)
def test_ranks_give_back_the_normalised_text(ranks: Folder, text: str) -> None:
    import unicodedata

    ours = qwen.tokenizer(ranks)
    assert ours.decode(ours.encode(text)) == unicodedata.normalize("NFC", text)


def test_ranks_read_specials_in_a_text_and_leave_them_out_of_one(ranks: Folder) -> None:
    ours = stablelm.tokenizer(ranks)
    end = ours.id_of("<|endoftext|>")
    assert end is not None
    ids = ours.encode("e\u0301 the<|endoftext|>is")
    assert ids == [*ours.encode("\u00e9"), 260, end, 256]
    assert ours.decode([*ids, end - 1]) == "é theis"  # the id before the specials stands for nothing


@pytest.mark.parametrize("content", ["", "dGhl", "dGhl x", "d!!! 3", "dGhl 3 4"])
def test_a_broken_file_of_ranks_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.tiktoken").write_text(content)
    with pytest.raises(
        BadCheckpoint, match=r"a\.tiktoken: (line 1 is no token with its rank|ranks or single bytes are missing)"
    ):
        TiktokenFile(tmp_path / "a.tiktoken", qwen.PATTERN, qwen.SPECIALS)
    with pytest.raises(BadCheckpoint, match=r"b\.tiktoken: the tokenizer is missing"):
        TiktokenFile(tmp_path / "b.tiktoken", qwen.PATTERN, qwen.SPECIALS)


def test_ranks_are_read_whatever_their_order(tmp_path: Path) -> None:
    lines = [f"{base64.b64encode(bytes([byte])).decode()} {255 - byte}" for byte in range(256)]
    (tmp_path / "a.tiktoken").write_text("\n".join(lines))
    assert TiktokenFile(tmp_path / "a.tiktoken", qwen.PATTERN, ()).encode("a") == [255 - ord("a")]
