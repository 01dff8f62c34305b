"""Yi-VL: its prompts token by token, the end of its answers, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine.plan import ends_of
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadPrompt
from flamingo_lab.families.yi_vl import FAMILY, SYSTEM
from flamingo_lab.markup.chunks import PLACEHOLDER
from tests.families.tiny_yi_vl import VIT, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yi_vl") / "whole"
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> fl.LoadedModel:
    return fl.load(folder, dtype="float32")


@pytest.fixture
def other(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "other")


def picture(*size: int) -> fl.Image:
    return fl.Image(pil.new("RGB", size, (200, 30, 90)))


def rewrite(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_turns_and_pictures_are_said_as_the_authors_say_them(model: fl.LoadedModel) -> None:
    shots = [fl.Shot(picture(20, 10), "What is it?", answer="it is a red car.")]
    prompt = fl.Prompt.ask(picture(9, 30), picture(5, 5), "Where?", shots=shots)
    rendered = model.renderer.render(prompt)
    chunks = [
        f"{SYSTEM}\n\n### Human: ",
        "\nWhat is it?\n### Assistant: it is a red car.\n### Human: ",
        "\n",
        "\nWhere?\n### Assistant:",
    ]
    assert rendered.text == "<image_placeholder>".join(chunks)
    ids = model.tokenizer.encode(chunks[0])
    for chunk in chunks[1:]:
        ids += [PLACEHOLDER, *model.tokenizer.encode(chunk)]
    assert list(rendered.ids) == ids
    assert [slot.image for slot in rendered.slots] == [0, 1, 2]
    assert len(rendered.expanded().ids) == len(ids) - 3 + 3 * model.vlm.architecture.tower.tokens


def test_a_system_turn_stands_in_place_of_the_authors(model: fl.LoadedModel) -> None:
    prompt = fl.Prompt.ask("Where?", system="Be brief.")
    assert model.renderer.render(prompt).text == "Be brief.\n\n### Human: Where?\n### Assistant:"


def test_no_token_begins_the_sequence_unless_the_tokenizers_file_says_so(model: fl.LoadedModel, other: Path) -> None:
    prompt = fl.Prompt.ask("Where?")
    plain = model.renderer.render(prompt).ids
    rewrite(other / "tokenizer_config.json", add_bos_token=True)
    assert fl.load(other).renderer.render(prompt).ids == (1, *plain)


def test_the_first_new_token_is_not_looked_at_for_the_stop_text(model: fl.LoadedModel) -> None:
    ends = ends_of(model, fl.Request("a", fl.Prompt.ask("x"), max_new_tokens=9))
    stop = model.tokenizer.encode("###")
    assert len(stop) == 1
    red = model.tokenizer.encode("red")
    assert ends.stopped_by(stop) is None
    assert ends.stopped_by([*stop, *red]) == "stop text"
    assert ends.stopped_by([*red, *stop]) == "stop text"


def test_a_stop_text_is_cut_off_where_it_ends_the_answer_only(model: fl.LoadedModel) -> None:
    ends = ends_of(model, fl.Request("a", fl.Prompt.ask("x"), max_new_tokens=9, stop=("car",)))
    encode = model.tokenizer.encode
    assert ends.text(encode(" a dog \n###")) == "a dog"
    assert ends.text(encode("a dog ### Human")) == "a dog ### Human"
    assert ends.text([*encode("a dog\n###"), 2]) == "a dog"
    assert ends.text(encode("a red car ### b")) == "a red"


def test_a_tower_of_another_size_is_refused(other: Path) -> None:
    config = json.loads((other / VIT / "config.json").read_text())
    config["vision_config"]["image_size"] = 24
    (other / VIT / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadConfig, match="crop_size 12, but the tower takes 24"):
        fl.load(other)
    rewrite(other / VIT / "preprocessor_config.json", crop_size=24, size=24)
    with pytest.raises(
        BadCheckpoint, match=r"position_embedding.weight has shape \[5, 12\]; config.json asks for \[17, 12\]"
    ):
        fl.load(other)


def test_a_missing_tower_names_its_folder(other: Path) -> None:
    shutil.rmtree(other / VIT)
    with pytest.raises(BadCheckpoint, match=f"{VIT}: no such folder, though config.json names it as the vision"):
        fl.load(other)


def test_a_tower_outside_of_the_folder_is_refused_until_it_is_given(
    model: fl.LoadedModel, folder: Path, other: Path
) -> None:
    rewrite(other / "config.json", mm_vision_tower="./../whole")
    with pytest.raises(BadCheckpoint, match="leads out of the folder"):
        fl.load(other)
    given = fl.load(other, vision=folder / VIT, dtype="float32")
    assert given.answer(picture(8, 8), "what?").token_ids == model.answer(picture(8, 8), "what?").token_ids


def test_the_towers_path_leads_inside_with_and_without_its_dot(other: Path) -> None:
    rewrite(other / "config.json", mm_vision_tower=VIT)
    assert fl.load(other).vlm.architecture.tower.image_px == 12


def test_a_tower_in_the_main_files_is_passed_over(model: fl.LoadedModel, other: Path) -> None:
    file = other / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    tensors["model.vision_tower.vision_tower.vision_model.pre_layrnorm.weight"] = torch.zeros(3)
    torch.save(tensors, file)
    answers = [one.answer(picture(8, 8), "what?").logprob for one in (model, fl.load(other, dtype="float32"))]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def test_a_projector_without_its_norms_is_refused(other: Path) -> None:
    file = other / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    del tensors["model.mm_projector.4.weight"]
    torch.save(tensors, file)
    with pytest.raises(BadCheckpoint, match=r"tensor model.mm_projector.4.weight \[16\] is missing"):
        fl.load(other)


@pytest.mark.parametrize(
    "prompt",
    [
        fl.Prompt.ask("what is <image_placeholder>?"),
        fl.Prompt((fl.Turn("user", ("a",)), fl.Turn("assistant", (picture(4, 4),)), fl.Turn("user", ("b",)))),
    ],
)
def test_a_prompt_that_cannot_be_said_is_refused(model: fl.LoadedModel, prompt: fl.Prompt) -> None:
    with pytest.raises(BadPrompt, match="picture"):
        model.renderer.render(prompt)


def test_the_tower_is_where_the_repository_has_it() -> None:
    """Names of files are told apart by case."""
    at = {size.name: size.config["mm_vision_tower"].removeprefix("./vit/") for size in FAMILY.sizes}
    assert at == {
        "yi-vl-6b": "clip-vit-H-14-laion2B-s32B-b79K-yi-vl-6B-448",
        "yi-vl-34b": "clip-vit-H-14-laion2B-s32B-b79K-yi-vl-34B-448",
    }
