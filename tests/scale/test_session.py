"""What a replica keeps from one shard to the next changes no answer, and spares work."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.model import Keeps


@pytest.fixture(scope="module")
def model() -> fl.LoadedModel:
    loaded = fl.load("flamingo-tiny", dtype="float32", device="cpu")
    assert isinstance(loaded, fl.LoadedModel) and isinstance(loaded, Keeps)
    return loaded


def shards() -> list[list[fl.Request]]:
    """Two, with the same pictures."""
    pictures = [fl.Image(pil.new("RGB", (64, 64), colour)) for colour in ("red", "blue", "black")]
    asked = ("what color is the shape?", "is there a circle?")
    return [
        [fl.Request(f"{question} {n}", fl.Prompt.ask(picture, question)) for n, picture in enumerate(pictures)]
        for question in asked
    ]


def test_pictures_are_encoded_once_in_a_session(model: fl.LoadedModel) -> None:
    before = model.work.images_encoded
    session = model.session()
    found = {answer.id: answer for shard in shards() for answer in session.answers(shard)}
    session.close()
    assert model.work.images_encoded - before == 3
    apart = {answer.id: answer for shard in shards() for answer in model.answers(shard)}
    assert {id: one.token_ids for id, one in found.items()} == {id: one.token_ids for id, one in apart.items()}


def test_a_picture_in_a_file_is_compared_with_what_was_seen_before(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    pil.new("RGB", (4, 4), "red").save(file)
    picture = fl.Image(file)
    assert not picture.is_digested and picture.is_same()
    digest = picture.digest
    assert picture.is_digested and picture.is_same()
    pil.new("RGB", (4, 4), "blue").save(file)
    assert not picture.is_same()
    assert picture.digest != digest
    file.unlink()
    with pytest.raises(fl.LabError, match="no such picture"):
        picture.is_same()


def test_a_picture_in_memory_is_always_the_same() -> None:
    picture = fl.Image(pil.new("RGB", (4, 4), "red"))
    assert picture.digest and picture.is_same() and picture.is_digested
