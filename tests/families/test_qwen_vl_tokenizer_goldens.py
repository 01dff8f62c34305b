"""Equal to Qwen-VL's own tokenizer and chat: ids, decoding, errors, lists of pieces, contexts, answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab import grounding
from flamingo_lab.engine.plan import ends_of
from flamingo_lab.engine.search import search
from flamingo_lab.errors import BadPrompt
from flamingo_lab.families.qwen_vl import FAMILY, GROUNDING
from flamingo_lab.family import Folder
from flamingo_lab.markup import Rendered
from flamingo_lab.markup.paths import END, START, PathTokens
from flamingo_lab.render import Renderer
from flamingo_lab.wording import Piecewise
from tests.families.goldens import Golden, found
from tests.folders import GOLDENS

FOUND = found(GOLDENS, "qwen_vl without weights")

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens of tokenizers under FLAB_GOLDENS ({GOLDENS})")

ERRORS = {"ValueError": BadPrompt}
"""Our kind for the authors'."""


@cache
def tokenizer_of(golden: Golden) -> PathTokens:
    tokenizer = FAMILY.tokenizer(Folder(golden.folder / golden.facts["load"]["path"]))
    assert isinstance(tokenizer, PathTokens)
    return tokenizer


def model_of(golden: Golden, wording: Piecewise) -> fl.LoadedModel:
    """All of a model but its weights."""
    tokenizer = tokenizer_of(golden)
    markup = FAMILY.markup(Folder(golden.folder))
    renderer = Renderer(markup, wording, tokenizer, lambda image: 256)
    stop_ids = frozenset(cast(int, tokenizer.id_of(token)) for token in wording.stop_tokens)
    absent = cast(Any, None)
    return fl.LoadedModel("golden", "", absent, tokenizer, renderer, absent, stop_ids, FAMILY.forbidden, {})


def chatml(**changes: Any) -> Piecewise:
    wording = FAMILY.wordings["chatml"]
    assert isinstance(wording, Piecewise)
    return dataclasses.replace(wording, **changes)


def text_of(case: Mapping[str, Any]) -> str:
    if units := case.get("prompt_utf16_code_units"):
        return b"".join(unit.to_bytes(2, "little") for unit in units).decode("utf-16-le", "surrogatepass")
    return "".join(part["text"] for part in case["prompt"])


def parts_of(text: str) -> tuple[fl.Image | str, ...]:
    """A text with the authors' tags as parts; phrases and boxes stay text."""
    pieces = re.split(f"{START}(.*?){END}", text, flags=re.DOTALL)
    return tuple(fl.Image(piece) if number % 2 else piece for number, piece in enumerate(pieces))


def rendered(golden: Golden, case: Mapping[str, Any]) -> Rendered:
    """The context of a query behind its history."""
    options = case["options"]
    turns = [fl.Turn("system", (options["system"],))]
    for question, answer in options["history"] or ():
        turns.append(fl.Turn("user", parts_of(question)))
        if answer is not None:
            turns.append(fl.Turn("assistant", (answer,)))
    # The queries hold their pictures as the authors' text does: nothing is put around them.
    turns.append(fl.Turn("user", parts_of(options["query"])))
    prompt = fl.Prompt(tuple(turns), window=options["max_window_size"])
    return model_of(golden, chatml(picture=("", ""))).renderer.render(prompt)


def list_text(golden: Golden, case: Mapping[str, Any]) -> str:
    """What a turn says."""
    parts: list[fl.Image | str] = []
    for element in case["options"]["list_format"]:
        if "image" in element:
            parts.append(fl.Image(element["image"]))
        elif "text" in element:
            parts.append(element["text"])
        else:
            parts.append(grounding.grounded(element.get("ref"), *element["box"]))
    renderer = model_of(golden, chatml()).renderer
    text = renderer.render(fl.Prompt((fl.Turn("user", tuple(parts)),))).text
    nothing = renderer.render(fl.Prompt((fl.Turn("user", ()),))).text
    before, after = nothing.split("user\n")
    assert text.startswith(f"{before}user\n") and text.endswith(after)
    return text.removeprefix(f"{before}user\n").removesuffix(after)


def answer_text(golden: Golden, case: Mapping[str, Any]) -> str:
    """The text of an answer whose tokens are given, by the search that drives the engine."""
    model = model_of(golden, chatml())
    ids = case["options"]["generated_ids"]
    request = fl.Request("golden", fl.Prompt.ask(case["options"]["query"]), max_new_tokens=len(ids))
    searching = search(request, ends_of(model, request))
    for token in ids:
        logprobs = torch.full((1, len(tokenizer_of(golden))), -torch.inf)
        logprobs[0, token] = 0.0
        if not searching.step(logprobs).tokens:
            break
    found = searching.found()
    assert list(found.token_ids) == ids
    return found.text


def image_path(golden: Golden, path: str) -> Any:
    """A path as the model reads it."""
    tokenizer = tokenizer_of(golden)
    marks = frozenset(cast(int, tokenizer.id_of(mark)) for mark in (START, END))
    ids = model_of(golden, chatml()).renderer.render(fl.Prompt.raw(fl.Image(path))).ids
    return tokenizer.decode(ids, marks).removeprefix(START).removesuffix(END)


def shown(golden: Golden, tokens: tuple[str, ...] | None = None) -> frozenset[int]:
    tokenizer = tokenizer_of(golden)
    if tokens is None:
        return tokenizer.specials
    return frozenset(cast(int, tokenizer.id_of(token)) for token in tokens)


def boxes(text: str) -> list[dict[str, Any]]:
    return [
        {"box": list(box[:4])} | ({} if box.phrase is None else {"ref": box.phrase}) for box in grounding.boxes(text)
    ]


def ids_of(golden: Golden, case: Mapping[str, Any]) -> list[int]:
    if "options" in case:
        return list(rendered(golden, case).ids)
    return tokenizer_of(golden).encode(text_of(case))


def generated(case: Mapping[str, Any]) -> list[int]:
    return case["options"]["generated_ids"]


STAGES: dict[str, Callable[[Golden, Mapping[str, Any]], Any]] = {
    "first_special": lambda golden, case: min(tokenizer_of(golden).specials),
    "ids": lambda golden, case: {token: tokenizer_of(golden).id_of(token) for token in case["expect"]["ids"]},
    "n_vocab": lambda golden, case: len(tokenizer_of(golden)),
    "input_ids": ids_of,
    "decoded": lambda golden, case: tokenizer_of(golden).decode(ids_of(golden, case), shown(golden)),
    "decoded_skip_special": lambda golden, case: tokenizer_of(golden).decode(ids_of(golden, case)),
    "list_format": lambda golden, case: [{piece.kind: piece.text} for piece in grounding.pieces(text_of(case))],
    "boxes_with_ref": lambda golden, case: boxes(text_of(case)),
    "image_paths": lambda golden, case: [
        settled(lambda path=piece.text: image_path(golden, path))
        for piece in grounding.pieces(text_of(case))
        if piece.kind == "image"
    ],
    "error": lambda golden, case: tokenizer_of(golden).encode(text_of(case)),
    "rendered": lambda golden, case: (
        list_text(golden, case) if "list_format" in case["options"] else rendered(golden, case).text
    ),
    "stop_words_ids": lambda golden, case: [[tokenizer_of(golden).id_of(token)] for token in chatml().ends],
    "text": answer_text,
    "skip_special": lambda golden, case: tokenizer_of(golden).decode(generated(case)),
    "skip_keep_image": lambda golden, case: tokenizer_of(golden).decode(generated(case), shown(golden, GROUNDING)),
}


def settled(compute: Callable[[], Any]) -> Any:
    """The value, or the error in its place."""
    try:
        return compute()
    except BadPrompt as error:
        return error


def assert_equal(computed: Any, expected: Any) -> None:
    if isinstance(expected, dict) and "error" in expected:
        assert isinstance(computed, ERRORS[expected["error"][0]]), computed
    elif isinstance(expected, list) and any(isinstance(item, dict) and "error" in item for item in expected):
        assert len(computed) == len(expected)
        for one, other in zip(computed, expected, strict=True):
            assert_equal(one, other)
    else:
        assert computed == expected


def expected_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """What is expected, with the text and the ids that stand beside the prompt."""
    return {stage: case[stage] for stage in ("rendered", "input_ids") if stage in case} | case["expect"]


CASES = [
    pytest.param(golden, case, stage, id=f"{golden.folder.name}-{case['name']}-{stage}")
    for golden in FOUND
    for case in golden.facts["cases"]
    for stage in expected_of(case)
]


@pytest.mark.parametrize(("golden", "case", "stage"), CASES)
def test_golden_stage_of_the_tokenizer_is_equal(golden: Golden, case: dict[str, Any], stage: str) -> None:
    assert stage in STAGES, f"a stored stage that no test knows: {stage}"
    expected = expected_of(case)[stage]
    computed = settled(lambda: STAGES[stage](golden, case))
    assert_equal(computed, {"error": expected} if stage == "error" else expected)


@pytest.mark.parametrize(
    ("golden", "case"),
    [
        pytest.param(golden, case, id=f"{golden.folder.name}-{case['name']}")
        for golden in FOUND
        for case in golden.facts["cases"]
        if "input_ids" in case["expect"] and "prompt" in case and START in text_of(case)
    ],
)
def test_golden_ids_of_pictures_come_from_the_parts_of_a_prompt(golden: Golden, case: dict[str, Any]) -> None:
    prompt = fl.Prompt.raw(*parts_of(text_of(case)))
    computed = settled(lambda: model_of(golden, chatml()).renderer.render(prompt))
    unreadable = any(isinstance(path, dict) for path in case["expect"]["image_paths"])
    if unreadable:
        assert isinstance(computed, BadPrompt)
        return
    assert list(computed.ids) == case["expect"]["input_ids"]
    assert computed.text == text_of(case)
    for slot in computed.slots:
        assert computed.ids[slot.start - 1] == tokenizer_of(golden).id_of(START)
        assert computed.ids[slot.start + slot.length] == tokenizer_of(golden).id_of(END)
