"""How models of transformers are spoken to: chat templates of every kind, running text, and pictures beside the text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import flamingo_lab as fl
from flamingo_lab.backends.transformers import PretrainedModel
from flamingo_lab.errors import BadCheckpoint, BadPrompt, BadSetting
from flamingo_lab.model import Sent
from flamingo_lab.pretrained.handing import Beside, Marked
from tests.backends import tiny

TURN = "{% for turn in messages %}{{ turn['role'] }}:{% for part in turn['content'] %}"
TEXT_ONLY = TURN + "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %};{% endfor %}"
FIRST_PICTURES = (
    TURN + "{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}{% for part in turn['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %};{% endfor %}assistant:"
)
ONE_PICTURE = FIRST_PICTURES.replace("<image>{% endif %}", "{% if loop.first %}<image>{% endif %}{% endif %}")
USER_ONLY = FIRST_PICTURES.replace(
    "{{ part['text'] | trim }}", "{% if turn['role'] != 'assistant' %}{{ part['text'] }}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}" + FIRST_PICTURES
)
SILENT_SYSTEM = FIRST_PICTURES.replace(
    "{{ part['text'] | trim }}", "{% if turn['role'] != 'system' %}{{ part['text'] }}{% endif %}"
)
STRINGS = (
    "{% for turn in messages %}{{ turn['role'] }}:{% if turn['content'] is string %}{{ turn['content'] }}"
    "{% else %}{% for part in turn['content'] %}{% if part['type'] == 'image' %}<image>{% elif turn['role'] == 'user' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endif %};{% endfor %}assistant:"
)


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["llava_onevision"], tmp_path / "model")


def load(folder: Path, template: str | None = None, wording: str | None = None) -> PretrainedModel:
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    model = fl.load(f"hf:{folder}", device="cpu", dtype="float32", wording=wording)
    assert isinstance(model, PretrainedModel)
    return model


def sent(model: PretrainedModel, pictures: list[fl.Image], system: str | None = None) -> Sent:
    shot = fl.Shot(pictures[0], "how many?", answer="three")
    prompt = fl.Prompt.ask(pictures[1], "how many now?", shots=[shot], system=system)
    return model.sent(fl.Request("q", prompt))


def test_a_template_may_put_pictures_first_and_strip(folder: Path, pictures: list[fl.Image]) -> None:
    model = load(folder, FIRST_PICTURES)
    prompt = fl.Prompt.ask("what is  ", pictures[0], "  here?")
    text = model.sent(fl.Request("q", prompt)).text
    assert text == f"user:<image:{pictures[0].digest[:12]}>what ishere?;assistant:"


def test_a_template_without_marks_for_pictures_is_told(folder: Path, pictures: list[fl.Image]) -> None:
    with pytest.raises(BadCheckpoint, match="puts 0 marks <image> for 1 pictures; --template running does without"):
        load(folder, TEXT_ONLY)
    assert sent(load(folder, TEXT_ONLY, wording="running"), pictures).images == 2


def test_a_template_that_drops_a_picture_is_told(folder: Path, pictures: list[fl.Image]) -> None:
    model = load(folder, ONE_PICTURE)
    assert sent(model, pictures).images == 2
    with pytest.raises(BadPrompt, match="puts 1 marks <image> for 2 pictures"):
        model.sent(fl.Request("q", fl.Prompt.ask(*pictures[:2], "what?")))


def test_a_template_that_drops_shown_answers_is_counted(folder: Path, pictures: list[fl.Image]) -> None:
    model = load(folder, USER_ONLY)
    assert sent(model, pictures).shots == 0
    shot = fl.Shot(pictures[0], "how many?", answer="three")
    (answer,) = model.answers([fl.Request("q", fl.Prompt.ask(pictures[1], "how many now?", shots=[shot]))])
    assert answer.error and "0 shots would reach the model" in answer.error.message


def test_a_template_that_knows_no_system_turn_is_told(folder: Path, pictures: list[fl.Image]) -> None:
    loud = load(folder, NO_SYSTEM)
    assert sent(loud, pictures).shots == 1
    with pytest.raises(BadPrompt, match="no system turns"):
        sent(loud, pictures, system="be brief")
    with pytest.raises(BadPrompt, match="leaves out what a system turn says"):
        sent(load(folder, SILENT_SYSTEM), pictures, system="be brief")


def test_a_template_that_wants_strings_gets_them(folder: Path, pictures: list[fl.Image]) -> None:
    found = sent(load(folder, STRINGS), pictures, system="be brief")
    assert found.shots == 1
    assert found.text.startswith("system:be brief;user:<image:")
    assert ";assistant:three;user:" in found.text


LISTS_FOR_USERS = FIRST_PICTURES.replace(
    "{% endfor %};", "{% endfor %}{% if turn['role'] == 'assistant' %}{{ turn['content'] }}{% endif %};"
).replace("{{ part['text'] | trim }}", "{% if turn['role'] == 'user' %}{{ part['text'] }}{% endif %}")
ESCAPING = FIRST_PICTURES.replace("| trim", "| e")


def test_a_template_that_prints_lists_gets_strings(folder: Path, pictures: list[fl.Image]) -> None:
    found = sent(load(folder, LISTS_FOR_USERS), pictures)
    assert found.shots == 1
    assert ";assistant:three;user:" in found.text


def test_a_template_that_changes_words_is_told(folder: Path, pictures: list[fl.Image]) -> None:
    model = load(folder, ESCAPING)
    assert sent(model, pictures).images == 2
    with pytest.raises(BadPrompt, match="changes what is said: 'is 1 < 2"):
        model.sent(fl.Request("q", fl.Prompt.ask(pictures[0], "is 1 < 2?")))


def test_the_token_of_beginnings_stands_once(folder: Path, pictures: list[fl.Image]) -> None:
    words = tiny.tokenizer(["<image>", "<video>"])
    words.bos_token = tiny.START
    words.add_bos_token = True
    words.save_pretrained(folder)
    once = load(folder, "<|im_start|>" + FIRST_PICTURES)
    assert list(sent(once, pictures).ids).count(1) == 1
    without = load(folder, FIRST_PICTURES)
    added = list(without.processor.tokenizer("a")["input_ids"]).count(1)
    assert list(sent(without, pictures).ids).count(1) == added


def test_options_stand_where_answers_of_earlier_turns_do(folder: Path, pictures: list[fl.Image]) -> None:
    spaced = FIRST_PICTURES.replace("assistant:", "assistant: ").replace("{{ turn['role'] }}:", "{{ turn['role'] }}: ")
    prompt = fl.Prompt.ask(pictures[0], "how many?")
    said = load(folder, spaced).speech.say(prompt, "three")
    assert said.text.endswith("how many?;assistant: three")
    colon_only = spaced.removesuffix(" ")
    said = load(folder, colon_only).speech.say(prompt, "three")
    assert said.text.endswith("how many?;assistant: three")
    thinking = spaced + "<think>"
    assert load(folder, thinking).speech.say(prompt, "three").text.endswith("assistant: <think>three")


def test_a_folder_without_template_gets_running_text(folder: Path, pictures: list[fl.Image]) -> None:
    (folder / "chat_template.jinja").unlink()
    model = load(folder)
    assert model.about["wording"] == "running"
    first, second = (image.digest[:12] for image in pictures[:2])
    assert sent(model, pictures) == Sent(
        text=f"<image:{first}>Question: how many? Answer: three\n<image:{second}>Question: how many now? Answer:",
        ids=tuple(
            model.processor.tokenizer(
                "<image>Question: how many? Answer: three\n<image>Question: how many now? Answer:"
            ).input_ids
        ),
        images=2,
        shots=1,
    )
    ranked = model.generate(fl.Prompt.ask(pictures[0], "how many?"), fl.Rank(("one", "two")))
    assert ranked.option_logprobs and len(ranked.option_logprobs) == 2
    assert model.speech.say(fl.Prompt.ask(pictures[0], "how many?"), "one").text.endswith("Answer: one")


def test_a_template_is_chosen_by_its_name(folder: Path, pictures: list[fl.Image]) -> None:
    more = folder / "additional_chat_templates"
    more.mkdir()
    (more / "plain.jinja").write_text(FIRST_PICTURES)
    assert sent(load(folder), pictures).text.startswith(tiny.START)
    plain = load(folder, wording="plain")
    assert sent(plain, pictures).text.startswith("user:<image:")
    assert plain.digest != load(folder).digest
    assert sent(load(folder, wording="running"), pictures).text.endswith("Question: how many now? Answer:")
    with pytest.raises(BadSetting, match="template 'plian' is none of this model's: default, plain, running"):
        load(folder, wording="plian")


def test_a_processor_that_takes_one_picture_beside_the_text(tmp_path: Path, pictures: list[fl.Image]) -> None:
    model = load(tiny.git(tmp_path / "git"))
    assert isinstance(model.handing, Beside)
    prompt = fl.Prompt.ask(pictures[0], "what is it?")
    assert model.sent(fl.Request("q", prompt)).text.endswith(">Question: what is it? Answer:")
    asked = [
        fl.Request(f"{n}{how}", fl.Prompt.ask(image, "what is it?" + " and where" * n), how, 6)
        for n, image in enumerate(pictures)
        for how in (fl.Greedy(), fl.Rank(("a", "the house")))
    ]
    together = {answer.id: answer for answer in model.answers(asked)}
    for request in asked:
        (alone,) = model.answers([request])
        assert alone.error is None
        assert together[request.id].token_ids == alone.token_ids
        assert together[request.id].logprob == pytest.approx(alone.logprob, abs=1e-4)
    assert together["0Greedy()"].logprob != together["1Greedy()"].logprob
    for refused in (
        fl.Prompt.ask(*pictures[:2], "what?"),
        fl.Prompt.ask("what?"),
        fl.Prompt.raw("what?", pictures[0]),
        fl.Prompt.ask(pictures[0], "a?", shots=[fl.Shot(pictures[1], "b?", answer="c")]),
    ):
        with pytest.raises(BadPrompt, match="one picture, before the words"):
            model.sent(fl.Request("q", refused))


def test_every_tiny_model_of_today_is_spoken_to_by_marks(loaded: dict[str, PretrainedModel]) -> None:
    assert all(isinstance(model.handing, Marked) for model in loaded.values())
