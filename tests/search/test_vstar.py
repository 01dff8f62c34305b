"""SEAL as one model: the same answers in any company and with any memory, and one question's trouble is its own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from PIL import Image

import flamingo_lab as fl
from flamingo_lab.errors import MissingPackage
from flamingo_lab.prepared import Seats
from flamingo_lab.search import together
from flamingo_lab.search.guided import Outcome, Patch, Settings, Visit
from flamingo_lab.search.phrases import Token, spacy
from flamingo_lab.search.vstar import Question, VStar
from tests.pretended_gpu import pretended
from tests.search.tiny_seal import BENCH, PARTS, needs_goldens, seal

pytestmark = needs_goldens

CLOCK = BENCH / "relative_position" / "c_clock.png"
QUESTIONS = (
    (BENCH / "direct_attributes" / "a_dog.png", "What is the color of the dog's collar?"),
    (CLOCK, "Is the clock left of the lamp?"),
    (BENCH / "direct_attributes" / "b_car.png", "What is the color of the car?"),
    (BENCH / "relative_position" / "d_cup.png", "Is the cup on the left or right side of the lamp?"),
)
CHOICES = fl.Rank(("The clock is left of the lamp.", "red"), normalise="mean", ends=True)


def nothing(text: str) -> list[Token]:
    """A parse without words."""
    return []


def model(loaded: VStar | None = None, **settings: float) -> VStar:
    return replace(loaded or seal(), settings=Settings(minimum_size=30, **settings), parse=nothing)  # pyright: ignore[reportArgumentType]


def requests() -> list[fl.Request]:
    prompts = [fl.Prompt.ask(fl.Image(file), question) for file, question in QUESTIONS]
    return [fl.Request(f"rank-{n}", prompt, CHOICES) for n, prompt in enumerate(prompts)] + [
        fl.Request(f"free-{n}", prompt, max_new_tokens=60) for n, prompt in enumerate(prompts)
    ]


def assert_alike(ours: fl.Answer, expected: fl.Answer) -> None:
    assert ours.error is None and expected.error is None
    assert (ours.id, ours.text, ours.token_ids, ours.images) == (expected.id, expected.text, expected.token_ids, 1)
    assert ours.logprob == pytest.approx(expected.logprob, abs=2e-3)
    assert ours.trace is not None and expected.trace is not None
    for mine, theirs in zip(ours.trace["searches"], expected.trace["searches"], strict=True):
        assert [visit["patch"] for visit in mine["path"]] == [visit["patch"] for visit in theirs["path"]]


def test_answers_are_the_same_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {request.id: next(iter(model().answers([request]))) for request in requests()}
    assert any(answer.trace["searches"] for answer in alone.values())
    monkeypatch.setattr(together, "TOGETHER", 2)
    for answer in model().answers(reversed(requests())):
        assert_alike(answer, alone.pop(answer.id))
    assert not alone


def test_a_gpu_gives_the_same_answers() -> None:
    expected = {answer.id: answer for answer in model().answers(requests())}
    with pretended():
        there = fl.load("seal", dtype="float32", device="cuda", **PARTS)
        assert isinstance(there, VStar) and there.about["device"] == "cuda:0"
        for answer in model(there).answers(requests()):
            assert_alike(answer, expected.pop(answer.id))
    assert not expected


def test_models_in_turn_give_the_same_answers() -> None:
    in_turn = replace(model(), models=Seats(seal().models.models, room_bytes=0))
    assert not in_turn.models.all_fit and in_turn.about["in memory"] == "one model at a time"
    assert in_turn.digest == model().digest
    both = {answer.id: answer for answer in model().answers(requests())}
    for answer in in_turn.answers(requests()):
        assert_alike(answer, both[answer.id])


def test_searches_that_need_a_parser_fail_alone() -> None:
    def broken(text: str) -> list[Token]:
        raise MissingPackage("no parser")

    asked = requests()
    answers = {
        answer.id: answer for answer in replace(model(target_cue_threshold_minimum=1e9), parse=broken).answers(asked)
    }
    assert answers.keys() == {request.id for request in asked}
    failures = {key: answer.error for key, answer in answers.items() if answer.error}
    assert {(failure.kind, failure.message) for failure in failures.values()} == {("MissingPackage", "no parser")}
    assert len(failures) == 2  # the clock's, which alone is searched for


def test_bad_requests_fail_alone() -> None:
    clock = fl.Image(CLOCK)
    prompts = {
        "none": fl.Prompt.ask("Is the clock left of the lamp?"),
        "two": fl.Prompt.ask(clock, clock, "Is the clock left of the lamp?"),
        "raw": fl.Prompt.raw(clock, "Is the clock"),
        "lost": fl.Prompt.ask(fl.Image("nowhere.png"), "What is it?"),
        "good": fl.Prompt.ask(clock, "Is the clock left of the lamp?"),
    }
    asked = [fl.Request(key, prompt, CHOICES) for key, prompt in prompts.items()]
    found = {answer.id: answer.error for answer in model().answers(asked)}
    assert found.pop("good") is None
    messages = {key: error.message for key, error in found.items() if error}
    assert messages.keys() == prompts.keys() - {"good"}
    assert "holds 0" in messages["none"] and "holds 2" in messages["two"]
    assert "raw prompt" in messages["raw"] and "nowhere.png: no such picture" in messages["lost"]


def test_trace_is_plain_json_and_says_what_was_done() -> None:
    answer = model().answer(fl.Image(CLOCK), "Is the clock left of the lamp?", decoding=CHOICES)
    held = json.loads(json.dumps(answer.trace))
    assert held["missing"] == ["clock"]
    (search,) = held["searches"]
    assert search["is_found"] and search["final"] == search["path_length"] - 1
    assert held["shown"][0]["name"] == "clock" and len(held["shown"][0]["crop"]) == 4
    assert held["question"].endswith("Is the clock left of the lamp?") and "<object>" in held["question"]


def test_nothing_found_is_asked_again_without_details() -> None:
    """The authors' code fails here; a search in which no box has any score leaves the question as it is."""
    (request,) = (one for one in requests() if one.id == "rank-1")
    nowhere = Outcome([Visit(Patch(0, 0, 96, 96))], None, False)
    first = fl.Answer("0", text="Sorry", stopped_by="stop token")
    question = Question(request, request.prompt.images[0], first, ("clock",), [nowhere])
    assert model()._focused(question) == request.prompt


def test_a_first_answer_that_lacks_nothing_is_the_answer() -> None:
    plain = fl.Image(BENCH.parents[2] / "seal_vqa" / "images" / "img0.png")
    answer = model().answer(plain, "What is the color of the car?", max_new_tokens=200)
    assert answer.text == "The car is red."
    assert answer.trace is not None and answer.trace["searches"] == [] and answer.trace["is_padded"]
    cut = model().answer(plain, "What is the color of the car?", max_new_tokens=3)
    assert len(cut.token_ids) == 3


def test_the_digest_depends_on_the_settings() -> None:
    assert model().digest == model().digest != model(confidence_high=0.6).digest != seal().digest


def test_sent_is_the_question_as_it_is_first_asked() -> None:
    sent = model().sent(requests()[0])
    assert sent.images == 1 and "<image:" in sent.text and -200 in sent.ids


def test_the_model_can_be_known_from_its_folders() -> None:
    nameless = fl.load(dtype="float32", device="cpu", **PARTS)
    assert (nameless.name, nameless.digest) == ("seal", seal().digest)


def test_without_spacy_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from flamingo_lab.search import phrases

    phrases._pipeline.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingPackage, match=r"flamingo-lab\[search\].*en_core_web_sm"):
        spacy("on the table")


def test_pictures_of_any_mode_are_searched() -> None:
    grey = fl.Image(Image.open(CLOCK).convert("LA"))
    assert model().answer(grey, "Is the clock left of the lamp?", decoding=CHOICES).text
