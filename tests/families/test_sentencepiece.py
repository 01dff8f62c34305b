"""SentencePiece files with added tokens give the ids of the authors' tokenizers, by the rule that the fact sheets state.

The rule is written here a second time, on the model file itself; "slow" on a copy of it whose dummy prefix is off, as
transformers' slow tokenizer had it, where the package puts a line's end before the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

import flamingo_lab as fl
from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.tokens import SentencePieceFile
from tests.families.tiny_llava import edit, picture, sentencepiece, write

ADDED = {"[PAD]": 360, "<im_patch>": 361, "<im_start>": 362, "<im_end>": 363, "<im_end>x": 364}
OWN = {"<unk>": 0, "<s>": 1, "</s>": 2}

WITHOUT_PREFIX = b"\x1a\x02\x18\x00"
"""Appended to a model file: normalizer_spec { add_dummy_prefix: false }, which wins over what stands before."""

PLAIN = SentencePieceProcessor(model_proto=sentencepiece())
BARE = SentencePieceProcessor(model_proto=sentencepiece() + WITHOUT_PREFIX)

TEXTS = st.lists(
    st.sampled_from(
        [*ADDED, *OWN, " ", "  ", "\n", "\t", "red", "two dogs", "USER:", "###", "#", "é", "图", "▁", "x", "<im"]
    ),
    max_size=9,
).map("".join)


def pieces(text: str) -> Iterator[str]:
    """Special tokens, the longest first, and what stands between them."""
    tokens = sorted([*ADDED, *OWN], key=len, reverse=True)
    while text:
        starts = {token: text.find(token) for token in tokens if token in text}
        if not starts:
            yield text
            return
        first = min(starts.values())
        token = next(token for token in tokens if starts.get(token) == first)
        if first:
            yield text[:first]
        yield token
        text = text[first + len(token) :]


def expected(text: str, rule: str, *, strips: bool) -> list[int]:
    ids: list[int] = []
    split = list(pieces(text))
    for place, piece in enumerate(split):
        if piece in ADDED or piece in OWN:
            ids.append((ADDED | OWN)[piece])
            continue
        if strips and place and split[place - 1] in ADDED:
            piece = piece.lstrip()
        if strips and place + 1 < len(split) and split[place + 1] in ADDED:
            piece = piece.rstrip()
        if not piece:
            continue
        if rule == "slow":
            ids += BARE.EncodeAsIds("▁" + piece if place == 0 else piece)
        else:
            ids += PLAIN.EncodeAsIds(piece)
    return ids


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    file.write_bytes(sentencepiece())
    return file


@pytest.mark.parametrize("strips", [True, False])
@pytest.mark.parametrize("rule", ["legacy", "slow", "fast"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(text=TEXTS)
def test_ids_follow_the_rule(file: Path, rule: Any, strips: bool, text: str) -> None:
    tokenizer = SentencePieceFile(file, ADDED, rule=rule, strips=strips)
    assert tokenizer.encode(text) == expected(text, rule, strips=strips)


def words(ids: list[int]) -> list[str]:
    names = {number: token for token, number in (ADDED | OWN).items()}
    return [names.get(number) or PLAIN.IdToPiece(number) for number in ids]


def test_the_three_rules_differ_where_the_fact_sheets_say(file: Path) -> None:
    def encode(text: str, rule: Any, *, strips: bool = False) -> list[str]:
        return words(SentencePieceFile(file, ADDED, rule=rule, strips=strips).encode(text))

    assert encode("red</s>red", "legacy") == ["▁red", "</s>", "▁red"]
    assert encode("red</s>red", "fast") == ["▁red", "</s>", "▁red"]
    assert encode("red</s>red", "slow") == ["▁red", "</s>", "red"]
    assert encode(" red", "legacy") == encode(" red", "slow") == ["▁", "▁red"]
    assert encode("\nred", "legacy") == ["▁", "<0x0A>", "red"]
    # White space goes beside added tokens, line ends too, and stays beside the model's own.
    assert encode("red <im_start>", "legacy", strips=True) == ["▁red", "<im_start>"]
    assert encode("red <im_start>", "legacy") == ["▁red", "▁", "<im_start>"]
    assert encode("<im_end>\nred", "legacy", strips=True) == ["<im_end>", "▁red"]
    assert encode("<im_end>\nred", "legacy") == ["<im_end>", "▁", "<0x0A>", "red"]
    assert encode("red </s> red", "legacy", strips=True) == ["▁red", "▁", "</s>", "▁", "▁red"]
    assert encode("<im_end> </s>", "legacy", strips=True) == ["<im_end>", "</s>"]
    # The longest of two that begin alike.
    assert encode("<im_end>x<im_end>red", "legacy") == ["<im_end>x", "<im_end>", "▁red"]


@pytest.mark.parametrize("rule", ["legacy", "slow", "fast"])
def test_decoding_leaves_out_special_and_added_tokens(file: Path, rule: Any) -> None:
    tokenizer = SentencePieceFile(file, ADDED, rule=rule, strips=False)
    assert tokenizer.decode([1, *tokenizer.encode("two red dogs,\n图é"), 362, 2]) == "two red dogs,\n图é"
    assert tokenizer.decode([]) == tokenizer.decode([2]) == ""
    assert tokenizer.specials == set((ADDED | OWN).values())


def test_appended_tokens_follow_those_that_are_there(file: Path) -> None:
    """The authors' loader adds what is missing, in its own order, behind whatever the folder has added."""
    wanted = ("<im_patch>", "<im_start>", "<im_end>")

    def ids(added: dict[str, int]) -> list[int | None]:
        tokenizer = SentencePieceFile(file, added, appended=wanted, rule="legacy", strips=True)
        assert len(tokenizer) == max(360, *(tokenizer.id_of(token) or 0 for token in (*added, *wanted))) + 1
        return [tokenizer.id_of(token) for token in wanted]

    assert ids({}) == [360, 361, 362]
    assert ids({"[PAD]": 360}) == [361, 362, 363]
    assert ids({"[PAD]": 360, "<im_patch>": 361, "<im_start>": 362, "<im_end>": 363}) == [361, 362, 363]
    assert ids({"<im_start>": 360}) == [361, 360, 362]
    assert ids({"<unk>": 0, "<s>": 1, "</s>": 2}) == [360, 361, 362]  # BakLLaVA's file: the model's own


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    parts=st.lists(st.one_of(st.none(), TEXTS), min_size=1, max_size=6),
    rule=st.sampled_from(["legacy", "slow", "fast"]),
)
def test_text_between_pictures_is_encoded_chunk_by_chunk(file: Path, parts: list[str | None], rule: Any) -> None:
    """`tokenizer_image_token`: each chunk with a start of its own, of which only the first is kept; -200 a picture."""
    tokenizer = SentencePieceFile(file, ADDED, rule=rule, strips=True)
    images = [picture(0, (5, 5))] * parts.count(None)
    sequence = [images[0] if part is None else part for part in parts]
    rendered = Chunks().encode(sequence, tokenizer, lambda image: 7, ends_utterances=None)
    chunks = "".join("<image>" if part is None else part for part in parts).split("<image>")
    ids = [1, *expected(chunks[0], rule, strips=True)]
    for chunk in chunks[1:]:
        ids += [-200, *expected(chunk, rule, strips=True)]
    assert list(rendered.ids) == ids
    assert [slot.start for slot in rendered.slots] == [place for place, number in enumerate(ids) if number == -200]
    assert len(rendered.expanded().ids) == len(ids) + 6 * len(images)


@pytest.mark.parametrize(
    ("held", "text", "ids"),
    [
        ({"legacy": False}, "red</s>red", ["▁red", "</s>", "red"]),
        ({"legacy": True}, "red</s>red", ["▁red", "</s>", "▁red"]),
        ({"legacy": None}, "red</s>red", ["▁red", "</s>", "▁red"]),
        ({}, "red</s>red", ["▁red", "</s>", "▁red"]),
    ],
)
def test_tokenizer_config_says_which_rule(held: dict[str, Any], text: str, ids: list[str], tmp_path: Path) -> None:
    tiny = write(tmp_path)
    (tiny.path / "tokenizer_config.json").write_text(json.dumps(held))
    assert words(tiny.load().tokenizer.encode(text)) == ids


def test_llava_16_on_mistral_has_the_fast_rule(tmp_path: Path) -> None:
    tiny = write(tmp_path, {"model_type": "llava_mistral", "num_key_value_heads": 1, "mm_patch_merge_type": "flat"})
    assert words(tiny.load().tokenizer.encode("red</s>red")) == ["▁red", "</s>", "▁red"]


@pytest.mark.parametrize("kind", [None, "linear"])
def test_tokens_that_the_settings_describe_are_known_and_keep_white_space(kind: str | None, tmp_path: Path) -> None:
    """transformers from 4.34 on writes them there, and drops nothing beside them."""
    tiny = write(tmp_path, {"mm_projector_type": "linear"}, vocab=361)
    edit(tiny.path / "config.json", mm_projector_type=kind)
    edit(tiny.path / "tokenizer_config.json", added_tokens_decoder={"360": {"content": "<|im_end|>", "special": True}})
    tokenizer = tiny.load().tokenizer
    assert tokenizer.id_of("<|im_end|>") == 360
    assert tokenizer.encode("red <|im_end|>")[1:] == [PLAIN.PieceToId("▁"), 360]


@pytest.mark.parametrize(("kind", "keeps"), [(None, False), ("linear", True)])
def test_white_space_beside_added_tokens_is_lost_in_llava_1s_time(
    kind: str | None, keeps: bool, tmp_path: Path
) -> None:
    """LLaVA-1's projectors have no type in config.json; later code ran on transformers that keep it."""
    tiny = write(tmp_path, {"mm_projector_type": "linear"}, vocab=361)
    edit(tiny.path / "config.json", mm_projector_type=kind)
    edit(tiny.path / "added_tokens.json", **{"<|im_end|>": 360})
    assert tiny.load().tokenizer.encode("red <|im_end|>")[1:] == [PLAIN.PieceToId("▁")] * keeps + [360]


@pytest.mark.parametrize(
    ("held", "first"),
    [
        ({"add_bos_token": True, "bos_token": "</s>"}, 2),
        ({"add_bos_token": True, "bos_token": {"content": "</s>"}}, 2),
        ({"bos_token": None, "add_bos_token": None}, 1),
        ({"add_bos_token": False}, None),
    ],
)
def test_a_prompt_begins_with_the_start_that_the_settings_name(
    held: dict[str, Any], first: int | None, tmp_path: Path
) -> None:
    tiny = write(tmp_path)
    edit(tiny.path / "tokenizer_config.json", **held)
    model = tiny.load()
    plain = model.tokenizer.encode("red")
    assert list(model.renderer.render(fl.Prompt.raw("red")).ids) == ([] if first is None else [first]) + plain


def test_a_tokenizer_that_cannot_be_read(tmp_path: Path) -> None:
    tiny = write(tmp_path)
    (tiny.path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.model: not a SentencePiece model"):
        tiny.load()
    (tiny.path / "tokenizer.model").unlink()
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.model: the tokenizer is missing"):
        tiny.load()
