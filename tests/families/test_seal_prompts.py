"""What SEAL's answering model is shown, and one clear line for what it cannot take."""

from __future__ import annotations

import re

import pytest
from PIL import Image

import flamingo_lab as fl
from flamingo_lab.errors import BadCheckpoint, BadPrompt, BadSetting, LabError
from flamingo_lab.search import focus
from flamingo_lab.search.locate import SearchModel
from tests.search.tiny_seal import PARTS, VQA, VSM, needs_goldens, vqa, vsm

pytestmark = needs_goldens

PICTURE = Image.new("RGB", (40, 30), (10, 200, 90))


def whole(**how: bool) -> fl.Image:
    return fl.Image(PICTURE, **how)


def detail(**how: bool) -> fl.Image:
    return fl.Image(Image.new("RGB", (8, 8), (200, 0, 0)), is_object=True, **how)


def test_a_picture_is_long_and_objects_are_short_where_nothing_is_said() -> None:
    rendered = vqa().renderer.render(fl.Prompt.ask(whole(), "a cup ", detail(), " and ", detail(is_long=True), "?"))
    connector = vqa().vlm.architecture.connector
    long, short = vqa().vlm.architecture.tower.tokens, connector.short.latents  # pyright: ignore
    assert [(slot.first, slot.tokens) for slot in rendered.slots] == [(0, long), (long, short), (0, long)]
    assert [number for number in rendered.ids if number < 0] == [-200, -300, -300]
    assert "USER: <image>\na cup <object> and <object>? ASSISTANT:" in rendered.text


def test_a_short_picture_takes_fewer_positions() -> None:
    lengths = [
        len(vqa().renderer.render(fl.Prompt.ask(whole(is_long=is_long), "what?")).expanded().ids)
        for is_long in (True, False)
    ]
    connector = vqa().vlm.architecture.connector
    assert lengths[0] - lengths[1] == vqa().vlm.architecture.tower.tokens - connector.short.latents  # pyright: ignore


def test_marks_name_each_picture() -> None:
    image, cut = whole(), detail()
    sent = vqa().sent(fl.Request("x", fl.Prompt.ask(image, "a cup ", cut, "?")))
    assert f"<image:{image.digest[:12]}>" in sent.text and f"<object:{cut.digest[:12]}>" in sent.text


@pytest.mark.parametrize("parts", [(whole(), whole(), "x"), (detail(), "x"), ("x", detail(), whole())], ids=str)
def test_two_pictures_or_objects_alone_are_refused(parts: tuple[fl.Image | str, ...]) -> None:
    with pytest.raises(BadPrompt, match="one picture"):
        vqa().renderer.render(fl.Prompt.ask(*parts))


def test_the_search_model_refuses_two_pictures() -> None:
    """The authors' places of [LOC] count the tokens of one; so do worked examples."""
    shots = [fl.Shot(whole(), "where?", answer="there")]
    for prompt in (fl.Prompt.ask(whole(), whole(), "x"), fl.Prompt.ask(whole(), "x", shots=shots)):
        with pytest.raises(
            BadPrompt, match="the prompt shows 2 pictures, worked examples included; the model takes one"
        ):
            vsm().renderer.render(prompt)
    assert vsm().limits.images == 1
    assert vsm().renderer.render(fl.Prompt.ask(whole(), "x")).slots


@pytest.mark.parametrize("mark", ["<image>", "<object>"])
def test_marks_in_the_text_are_refused(mark: str) -> None:
    with pytest.raises(BadPrompt, match=mark):
        vqa().renderer.render(fl.Prompt.ask(whole(), f"what is {mark}?"))


def test_ranking_with_the_end_scores_one_token_more() -> None:
    prompt = fl.Prompt.ask(whole(), "what?")
    plain, ended = (vqa().generate(prompt, fl.Rank(("red",), ends=ends)) for ends in (False, True))
    assert ended.token_ids == (*plain.token_ids, vqa().tokenizer.id_of("</s>"))
    assert plain.logprob is not None and ended.logprob is not None
    assert ended.logprob < plain.logprob


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (focus.Box(-3.0, 1.0, 4.0, 4.0), (0, 1, 4, 5)),
        (focus.Box(38.0, 29.0, 9.0, 9.0), (37, 28, 40, 30)),
        (focus.Box(40.0, 30.0, 0.1, 0.1), (39, 29, 40, 30)),
    ],
)
def test_crops_stay_inside_the_picture(box: focus.Box, expected: tuple[int, ...]) -> None:
    assert focus.crop(box, PICTURE.size) == expected


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (f"{focus.MISSING} red umbrella, dog's collar.", ("red umbrella", "dog's collar")),
        (f"Well. {focus.MISSING} a. {focus.MISSING} cup", ("cup",)),
        ("It is red.", ()),
        (focus.MISSING.removesuffix(":"), ()),
    ],
)
def test_missing_objects_are_read_off_the_answer(answer: str, names: tuple[str, ...]) -> None:
    assert focus.missing(answer) == names


def refused(kind: type[LabError], message: str, *args: object, **given: object) -> None:
    with pytest.raises(kind, match=message) as caught:
        fl.load(*args, **given)  # pyright: ignore
    assert "\n" not in str(caught.value)


def test_what_cannot_be_loaded_is_told_in_one_line() -> None:
    weights = VQA / "checkpoint"
    refused(BadSetting, "nothing says which model", vision=VQA / "vision")
    refused(BadSetting, "seal is made of seal_vqa_7b and seal_vsm_7b", "seal", weights=weights)
    refused(BadSetting, re.escape("--base DIR: none of the models"), "seal", **PARTS, base=weights)
    refused(BadSetting, re.escape("--vsm DIR"), weights, vision=VQA / "vision", vsm=VSM / "checkpoint")
    refused(BadSetting, re.escape("--owlvit DIR"), weights, vision=VQA / "vision", owlvit=VSM / "owlvit")
    swapped = {
        "vqa": PARTS["vsm"],
        "vqa_vision": PARTS["vsm_vision"],
        "vsm": PARTS["vsm"],
        "vsm_vision": PARTS["vsm_vision"],
    }
    refused(
        BadSetting,
        "seal_vsm family, .*give seal_vqa_7b its own files with --vqa DIR",
        "seal",
        **swapped,
        owlvit=PARTS["owlvit"],
    )
    twice = {
        "vqa": PARTS["vqa"],
        "vqa_vision": PARTS["vqa_vision"],
        "vsm": PARTS["vqa"],
        "vsm_vision": PARTS["vqa_vision"],
    }
    refused(BadSetting, "seal_vqa family, .*give seal_vsm_7b its own files with --vsm DIR", "seal", **twice)


def test_a_missing_half_is_told_with_its_own_option() -> None:
    given = {key: path for key, path in PARTS.items() if key.startswith("vqa")}
    with pytest.raises(LabError, match="seal_vsm_7b") as caught:
        fl.load("seal", **given)
    assert "--vsm DIR" in str(caught.value) and "--weights" not in str(caught.value)


def test_a_search_model_without_owlvits_own_config_takes_the_published_one() -> None:
    """Its tensors are smaller here, so the first of them is named."""
    refused(BadCheckpoint, "owlvit.*config.json asks for", VSM / "checkpoint", vision=VSM / "vision")


def test_only_a_search_model_can_search() -> None:
    with pytest.raises(BadCheckpoint, match="only answers"):
        SearchModel(vqa())
