"""Every template of the LLaVA line as text, its stop rules, and which one a folder's own files ask for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab import families, templates
from flamingo_lab.engine.plan import ends_of
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import Folder
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.render import Renderer
from flamingo_lab.tokens import SentencePieceFile
from tests.families.goldens import Golden, found
from tests.families.test_llava_bad_input import CONVERTED
from tests.families.test_null_settings import WRITERS
from tests.families.tiny_llava import ANYRES, TOWER, edit, picture, sentencepiece, write, write_converted
from tests.folders import GOLDENS

USER = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the user's questions."
)
HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the human's questions."
)
TAGGED = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant is able to understand the "
    "visual content that the user provides, and assist the user with a variety of tasks using natural language.The "
    "visual content will be provided with the following format: <Image>visual content</Image>."
)
LLAMA_2 = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
MPT = "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."

TWO_TURNS = {
    "vicuna_v1": f"{USER} USER: <image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:",
    "llava_v1": f"{HUMAN} USER: <image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:",
    "llava_v0": f"{HUMAN}###Human: <image>\nQ1###Assistant: A1###Human: Q2###Assistant:",
    "v0_mmtag": f"{TAGGED}###Human: <Image><image></Image>\nQ1###Assistant: A1###Human: Q2###Assistant:",
    "v1_mmtag": f"{TAGGED} USER: <Image><image></Image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:",
    "llava_llama_2": f"[INST] <<SYS>>\n{LLAMA_2}\n<</SYS>>\n\n<image>\nQ1 [/INST] A1 </s><s>[INST] Q2 [/INST]",
    "mistral_instruct": "[INST] <image>\nQ1 [/INST] A1 </s>[INST] Q2 [/INST]",
    "chatml_direct": (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n<image>\nQ1<|im_end|>"
        "<|im_start|>assistant\nA1<|im_end|><|im_start|>user\nQ2<|im_end|><|im_start|>assistant\n"
    ),
    "mpt": (
        f"<|im_start|>system\n{MPT}<|im_end|><|im_start|>user\n<image>\nQ1<|im_end|>"
        "<|im_start|>assistant\nA1<|im_end|><|im_start|>user\nQ2<|im_end|><|im_start|>assistant\n"
    ),
    "plain": "<image>\nQ1\nA1\nQ2\n",
}
"""A question with a picture, its answer, a question without one."""

ONE_TURN = {
    "vicuna_v1": f"{USER} USER: Q1 ASSISTANT:",
    "llava_v1": f"{HUMAN} USER: Q1 ASSISTANT:",
    "llava_v0": f"{HUMAN}###Human: Q1###Assistant:",
    "v0_mmtag": f"{TAGGED}###Human: Q1###Assistant:",
    "v1_mmtag": f"{TAGGED} USER: Q1 ASSISTANT:",
    "llava_llama_2": f"[INST] <<SYS>>\n{LLAMA_2}\n<</SYS>>\n\nQ1 [/INST]",
    "mistral_instruct": "[INST] Q1 [/INST]",
    "chatml_direct": (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\nQ1<|im_end|><|im_start|>assistant\n"
    ),
    "mpt": f"<|im_start|>system\n{MPT}<|im_end|><|im_start|>user\nQ1<|im_end|><|im_start|>assistant\n",
    "plain": "Q1\n",
}
"""A question alone."""

WITH_SYSTEM = {
    "vicuna_v1": "Be brief. USER: <image>\n<image>\nQ1 ASSISTANT:",
    "llava_v1": "Be brief. USER: <image>\n<image>\nQ1 ASSISTANT:",
    "llava_v0": "Be brief.###Human: <image>\n<image>\nQ1###Assistant:",
    "v0_mmtag": "Be brief.###Human: <Image><image></Image>\n<Image><image></Image>\nQ1###Assistant:",
    "v1_mmtag": "Be brief. USER: <Image><image></Image>\n<Image><image></Image>\nQ1 ASSISTANT:",
    "llava_llama_2": "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\n<image>\nQ1 [/INST]",
    "mistral_instruct": "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\n<image>\nQ1 [/INST]",
    "chatml_direct": (
        "<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\n<image>\n<image>\nQ1<|im_end|><|im_start|>assistant\n"
    ),
    "mpt": (
        "<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\n<image>\n<image>\nQ1<|im_end|><|im_start|>assistant\n"
    ),
    "plain": "Be brief.<image>\n<image>\nQ1\n",
}
"""A system turn of one's own, then a question with two pictures."""

STOPS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "vicuna_v1": ((), {"</s>"}),
    "llava_v1": ((), {"</s>"}),
    "llava_v0": (("###",), {"</s>"}),
    "v0_mmtag": (("###",), {"</s>"}),
    "v1_mmtag": ((), {"</s>"}),
    "llava_llama_2": ((), {"</s>"}),
    "mistral_instruct": ((), {"</s>"}),
    "chatml_direct": ((), {"<|im_end|>", "</s>"}),
    "mpt": ((), {"<|im_end|>", "</s>"}),
    "plain": (("\n",), {"</s>"}),
}
"""Texts and tokens at which an answer ends."""

for table in (TWO_TURNS, ONE_TURN, WITH_SYSTEM, STOPS):
    table["mistral_direct"] = table["chatml_direct"]  # another name of it
for table in (TWO_TURNS, ONE_TURN, WITH_SYSTEM):
    table["vicuna_v0"] = table["llava_v0"].replace("###", f"###{templates.WORKED_EXAMPLE}", 1)
STOPS["vicuna_v0"] = STOPS["llava_v0"]

CHATML = {"<|im_start|>": 360, "<|im_end|>": 361}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceFile:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    file.write_bytes(sentencepiece())
    return SentencePieceFile(file, CHATML, rule="slow", strips=False)


def said(name: str, tokenizer: SentencePieceFile, prompt: fl.Prompt) -> str:
    return Renderer(Chunks(), templates.LLAVA[name], tokenizer, lambda image: 1).render(prompt).text


def test_every_template_is_written_down() -> None:
    assert templates.LLAVA.keys() == TWO_TURNS.keys() == ONE_TURN.keys() == WITH_SYSTEM.keys() == STOPS.keys()


def test_the_worked_example_is_the_authors() -> None:
    """Its two messages in conv_vicuna_v0 of haotian-liu/LLaVA, llava/conversation.py at 053c284a, with roles and separators."""
    digest = "16cbb247765fdff322a6eed1d918eff74d15b6b36f191282c63eada6fd1539a3"
    assert hashlib.sha256(templates.WORKED_EXAMPLE.encode()).hexdigest() == digest


@pytest.mark.parametrize("name", templates.LLAVA)
def test_the_text_of_a_template(name: str, tokenizer: SentencePieceFile) -> None:
    shown = fl.Shot(picture(0), "Q1", answer="A1")
    assert said(name, tokenizer, fl.Prompt.ask("Q1")) == ONE_TURN[name]
    assert said(name, tokenizer, fl.Prompt.ask("Q2", shots=[shown])) == TWO_TURNS[name]
    asked = fl.Prompt.ask(picture(0), picture(1), "Q1", system="Be brief.")
    assert said(name, tokenizer, asked) == WITH_SYSTEM[name]


@pytest.mark.parametrize("name", templates.LLAVA)
def test_the_beginning_of_an_answer_stands_where_a_shown_answer_does(name: str, tokenizer: SentencePieceFile) -> None:
    """Ranked options go on from the prompt exactly as a shown answer would."""
    renderer = Renderer(Chunks(), templates.LLAVA[name], tokenizer, lambda image: 1)
    begun = renderer.render(fl.Prompt.ask("Q1"), "A1").text
    shown = renderer.render(fl.Prompt.ask("Q2", shots=[fl.Shot("Q1", answer="A1")])).text
    assert begun.endswith("A1") and shown.startswith(begun)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    tiny = write(tmp_path_factory.mktemp("llava"), added=CHATML, tokenizer={"legacy": False})
    return Folder(tiny.path, {"vision": Folder(tiny.vision)})


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava_hf")
    write_converted(folder, CONVERTED, TOWER, seed=0)
    return folder


@pytest.mark.parametrize("name", templates.LLAVA)
def test_any_wording_can_be_asked_for_and_ends_an_answer_by_its_rules(name: str, folder: Folder) -> None:
    model = fl.load(folder.path, vision=folder.part("vision").path, wording=name)
    assert model.about["wording"] == name
    assert model.renderer.render(fl.Prompt.ask("Q1")).text == ONE_TURN[name]
    texts, tokens = STOPS[name]
    ends = ends_of(model, fl.Request("0", fl.Prompt.ask("Q1")))
    assert ends.stop_texts == texts
    assert ends.stop_ids == {model.tokenizer.id_of(token) for token in tokens}
    for stop in texts:
        ids = model.tokenizer.encode(f"a red car{stop}Human")
        cut = next(end for end in range(1, len(ids) + 1) if ends.stopped_by(ids[:end]) == "stop text")
        assert model.tokenizer.decode(ids[:cut]) == f"a red car{stop}"
        assert ends.text(ids[:cut]) == "a red car"
    for token in tokens:
        ids = [*model.tokenizer.encode(" a red car "), model.tokenizer.id_of(token) or 0]
        assert ends.stopped_by(ids) == "stop token"
        assert ends.text(ids) == "a red car"


@pytest.mark.parametrize("name", templates.LLAVA)
def test_converted_files_can_be_asked_in_any_wording(name: str, converted: Path) -> None:
    model = fl.load(converted, wording=name)
    shown = fl.Shot(picture(0), "Q1", answer="A1")
    assert model.renderer.render(fl.Prompt.ask("Q2", shots=[shown])).text == TWO_TURNS[name]
    assert ends_of(model, fl.Request("0", fl.Prompt.ask("Q1"))).stop_texts == STOPS[name][0]


@pytest.mark.parametrize("family", ["llava", "llava_hf", "yi_vl"])
def test_an_answer_ends_in_any_wording_where_the_files_say(family: str, tmp_path: Path) -> None:
    """As `generate` does; the 34B's vocabulary, for one, has no `</s>`."""
    WRITERS[family](tmp_path)
    path, vision = tmp_path / "model", tmp_path / "clip"

    def stops() -> frozenset[int]:
        return fl.load(path, **({"vision": vision} if vision.is_dir() else {})).stop_ids

    own = stops()
    assert not own & {7, 8, 9}
    edit(path / "config.json", eos_token_id=[7, 8])
    assert stops() == own | {7, 8}
    edit(path / "generation_config.json", eos_token_id=9)  # goes before
    assert stops() == own | {9}


def test_an_unknown_wording_names_those_there_are(folder: Folder) -> None:
    with pytest.raises(BadSetting, match="wording 'vicuna' is none of the llava family's: vicuna_v1, llava_v1, "):
        fl.load(folder.path, vision=folder.part("vision").path, wording="vicuna")


LINEAR = {"mm_projector_type": "linear", "max_position_embeddings": 2048}
FRAMED = {"mm_use_im_start_end": True, "mm_use_im_patch_token": True}
MARKS = ("<im_patch>", "<im_start>", "<im_end>")
GROUPED = {"model_type": "llava_mistral", "num_key_value_heads": 1}

KINDS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "LLaVA-1 on Vicuna 0": (LINEAR | FRAMED, ["[PAD]", *MARKS], "llava_v0"),
    "LLaVA-1's delta on Vicuna 0": (LINEAR | FRAMED | {"model_type": "llama"}, [*MARKS], "llava_v0"),
    "LLaVA-1 on Vicuna 1.1": (LINEAR | FRAMED, [*MARKS], "llava_v1"),
    "LLaVA-1 on Vicuna 1.3": (LINEAR, [], "llava_v1"),
    "LLaVA-1 on LLaMA-2": (LINEAR | {"max_position_embeddings": 4096}, [], "llava_llama_2"),
    "LLaVA-1.5": ({}, [], "vicuna_v1"),
    "LLaVA-1.6 on Vicuna": (ANYRES | {"model_type": "llava_llama"}, [], "vicuna_v1"),
    "LLaVA-1.6 on Mistral": (ANYRES | GROUPED, [], "mistral_instruct"),
    "LLaVA-1.6 34B": (ANYRES | {"model_type": "llava_llama"}, [*CHATML], "chatml_direct"),
    "BakLLaVA-1": (GROUPED, [], "vicuna_v1"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folders_own_files_say_which_template_is_its_own(kind: str, tmp_path: Path) -> None:
    config, added, expected = KINDS[kind]
    tiny = write(tmp_path, config, added={token: 360 + number for number, token in enumerate(added)})
    assert tiny.load().about["wording"] == expected
    renamed = tiny.path.rename(tmp_path / "llava-v1-mistral-mpt-34b-llama-2-lora")
    assert fl.load(renamed, vision=tiny.vision).about["wording"] == expected


def test_a_projector_without_a_name_is_a_linear_one(tmp_path: Path) -> None:
    tiny = write(tmp_path, LINEAR)
    edit(tiny.path / "config.json", mm_projector_type=None)
    assert tiny.load().about["wording"] == "llava_v1"


ASKED = {
    "llava_v1": "llava_v0",
    "llava_v15": "vicuna_v1",
    "llava_v15_lora": "vicuna_v1",
    "llava_hf": "vicuna_v1",
    "llava_bakllava": "vicuna_v1",
    "llava_v16": "vicuna_v1",
    "llava_v16_mistral": "mistral_instruct",
    "yi_vl": "mm_default",
}
"""What the folders in the authors' layouts have to ask for."""

LLAVA = [golden for golden in found(GOLDENS) if golden.folder.name in ASKED]


@pytest.mark.skipif(not LLAVA, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", LLAVA, ids=lambda golden: golden.folder.name)
def test_a_folder_in_the_authors_layout_asks_for_its_template(golden: Golden) -> None:
    load = golden.facts["load"]
    parts = {name: Folder(golden.folder / where) for name, where in load.items() if name != "path"}
    folder = Folder(golden.folder / load["path"], parts)
    assert families.of(folder).wording(folder) == ASKED[golden.folder.name]
