"""Models of transformers: what reaches them, and that their answers are those of transformers itself, whatever the batch."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

import flamingo_lab as fl
from flamingo_lab.backends.transformers import PretrainedModel
from flamingo_lab.errors import BadPrompt, LabError
from flamingo_lab.pretrained.jobs import batches, job
from tests.backends import tiny

Pictures = list[fl.Image]


@pytest.fixture(params=tiny.MAKERS)
def model(request: pytest.FixtureRequest, loaded: dict[str, PretrainedModel]) -> PretrainedModel:
    return loaded[request.param]


def prompts(pictures: Pictures) -> list[fl.Prompt]:
    """Of different lengths: with shots, with two pictures in a turn, without any, with a system turn."""
    wide, tall, square, small = pictures
    shots = [fl.Shot(tall, "what is it?", answer="a tower"), fl.Shot(small, "and this?", answer="a dot on it")]
    return [
        fl.Prompt.ask(wide, "what is in the picture?"),
        fl.Prompt.ask(square, "what?", shots=shots),
        fl.Prompt.ask(small, tall, "which of the two is the taller one of them, and why?"),
        fl.Prompt.ask("what is the number of the house on the hill?"),
        fl.Prompt.ask(tall, "in", system="answer in a word"),
        fl.Prompt.ask("see", wide, "and", square, "then say"),
    ]


def requests(pictures: Pictures, *decodings: fl.Decoding, **settings: Any) -> list[fl.Request]:
    asked = [(prompt, decoding) for prompt in prompts(pictures) for decoding in decodings]
    return [fl.Request(f"q{n}", prompt, decoding, **settings) for n, (prompt, decoding) in enumerate(asked)]


def by_id(answers: Iterable[fl.Answer]) -> dict[str, fl.Answer]:
    return {answer.id: answer for answer in answers}


def plain_inputs(model: PretrainedModel, prompt: fl.Prompt) -> Any:
    """What transformers' processor makes of the conversation by itself."""
    conversation = [
        {
            "role": turn.role,
            "content": [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part.load()}
                for part in turn.parts
            ],
        }
        for turn in prompt.turns
    ]
    return model.processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def plain(model: PretrainedModel, prompt: fl.Prompt, **settings: Any) -> Any:
    """What transformers generates by itself, one prompt at a time: new tokens, and the beams' score where it has one."""
    inputs = plain_inputs(model, prompt)
    how = GenerationConfig(
        eos_token_id=[2], pad_token_id=0, return_dict_in_generate=True, output_scores=True, **settings
    )
    found = model.network.generate(**inputs, generation_config=how)
    new = found.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return new, found.get("sequences_scores")


def test_turns_reach_the_model_with_their_pictures(model: PretrainedModel, pictures: Pictures) -> None:
    wide, tall, _, small = pictures
    shots = [fl.Shot(tall, "first?", answer="one"), fl.Shot(small, "second?", answer="two")]
    sent = model.sent(fl.Request("q", fl.Prompt.ask(wide, "third?", shots=shots)))
    assert (sent.images, sent.shots) == (3, 2)
    places = [sent.text.index(word) for word in ("first?", "one", "second?", "two", "third?")]
    assert places == sorted(places)
    marks = [sent.text.index(f"<image:{image.digest[:12]}>") for image in (tall, small, wide)]
    assert [sent.text[place:].count("<|im_start|>user") for place in marks] == [2, 1, 0]
    assert sent.text.endswith("third?<|im_end|>\n<|im_start|>assistant\n")


def test_ids_and_pixels_are_those_of_transformers(model: PretrainedModel, pictures: Pictures) -> None:
    for prompt in prompts(pictures):
        said = model.speech.say(prompt)
        ours, theirs = model.handing.inputs([said], "left"), plain_inputs(model, prompt)
        assert set(ours) == set(theirs)
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name
        token = model.processor.image_token_id
        shown = model.handing.ids(said)
        assert shown.count(token) == len(prompt.images)
        assert [i for i in shown if i != token] == [
            i for i in model.processor.tokenizer(said_text(said)).input_ids if i != token
        ]


def said_text(said: Any) -> str:
    return "".join(part for part in said.parts if isinstance(part, str))


def test_greedy_answers_are_those_of_transformers(model: PretrainedModel, pictures: Pictures) -> None:
    """The folder's temperature and penalty are no part of it."""
    found = by_id(model.answers(requests(pictures, fl.Greedy(), max_new_tokens=12)))
    for n, prompt in enumerate(prompts(pictures)):
        answer = found[f"q{n}"]
        assert answer.error is None
        assert list(answer.token_ids) == plain(model, prompt, max_new_tokens=12)[0]
        assert answer.prompt_tokens == plain_inputs(model, prompt)["input_ids"].shape[1]
        assert answer.images == len(prompt.images)
    assert len({answer.token_ids for answer in found.values()}) > 3, "the answers hardly depend on what is asked"


def test_logprobs_are_those_of_the_tokens(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[1]
    (answer,) = model.answers([fl.Request("q", prompt, max_new_tokens=6)])
    inputs = plain_inputs(model, prompt)
    assert answer.logprob == pytest.approx(forced(model, inputs, answer.token_ids), abs=1e-4)


@torch.inference_mode()
def forced(model: PretrainedModel, inputs: Any, tokens: Iterable[int]) -> float:
    """The log-probability of tokens behind a prompt, by the whole forward pass for each of them."""
    total = 0.0
    row = {**inputs}
    for token in tokens:
        total += float(model.network(**row).logits[0, -1].log_softmax(-1)[token])
        more = torch.tensor([[token]])
        row["input_ids"] = torch.cat((row["input_ids"], more), 1)
        row["attention_mask"] = torch.cat((row["attention_mask"], torch.ones_like(more)), 1)
        if "mm_token_type_ids" in row:
            row["mm_token_type_ids"] = torch.cat((row["mm_token_type_ids"], torch.zeros_like(more)), 1)
    return total


def test_beams_are_those_of_transformers(model: PretrainedModel, pictures: Pictures) -> None:
    decoding = fl.Beam(3, length_penalty=0.5)
    found = by_id(model.answers(requests(pictures, decoding, max_new_tokens=6)))
    for n, prompt in enumerate(prompts(pictures)):
        tokens, score = plain(model, prompt, max_new_tokens=6, num_beams=3, length_penalty=0.5, early_stopping=False)
        answer = found[f"q{n}"]
        length = len(answer.token_ids)
        assert list(answer.token_ids) == tokens[:length] and set(tokens[length:]) <= {0}
        assert answer.logprob == pytest.approx(float(score[0]), abs=1e-4)


def test_options_are_ranked_by_their_tokens(model: PretrainedModel, pictures: Pictures) -> None:
    options = ("a tower", "on", "the other one of them")
    for normalise in ("sum", "mean"):
        decoding = fl.Rank(options, normalise)
        found = by_id(model.answers(requests(pictures, decoding)))
        for n, prompt in enumerate(prompts(pictures)):
            answer, inputs = found[f"q{n}"], plain_inputs(model, prompt)
            scores: list[float] = []
            for option in options:
                tokens = model.processor.tokenizer(option, add_special_tokens=False)["input_ids"]
                total = forced(model, inputs, tokens)
                scores.append(total / len(tokens) if normalise == "mean" else total)
            assert answer.option_logprobs == pytest.approx(scores, abs=1e-4)
            assert answer.text == options[scores.index(max(scores))]
            assert answer.logprob == max(answer.option_logprobs or ())
            assert answer.prompt_tokens == inputs["input_ids"].shape[1]


def test_what_greedy_decoding_says_is_told(model: PretrainedModel, pictures: Pictures) -> None:
    tokenizer = model.processor.tokenizer
    told: set[bool] = set()
    for prompt in prompts(pictures):
        words = map(tokenizer.decode, range(len(tokenizer)))
        options = [" a tower", *(word for word in dict.fromkeys(words) if word.isalpha())]
        encoded = [tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
        (said, _) = plain(model, prompt, max_new_tokens=max(map(len, encoded)))
        (answer,) = model.answers([fl.Request("q", prompt, fl.Rank(tuple(options)))])
        assert answer.error is None and answer.option_is_greedy is not None
        assert list(answer.option_is_greedy) == [ids == said[: len(ids)] for ids in encoded]
        told.update(answer.option_is_greedy)
    assert told == {True, False}


def test_one_beam_goes_where_greedy_goes(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[1]
    greedy, beam = (
        model.generate(prompt, how, max_new_tokens=6, min_new_tokens=6) for how in (fl.Greedy(), fl.Beam(1))
    )
    assert beam.token_ids == greedy.token_ids
    assert beam.logprob == pytest.approx((greedy.logprob or 0) / 6, abs=1e-5)


DECODINGS = (fl.Greedy(), fl.Sample(0.8, 0.9, seed=3), fl.Beam(2), fl.Rank(("a", "the tower")))


def test_an_answer_is_the_same_in_any_company(model: PretrainedModel, pictures: Pictures) -> None:
    asked = requests(pictures, *DECODINGS, max_new_tokens=8)
    alone = {request.id: next(iter(model.answers([request]))) for request in asked}
    shuffled = random.Random(0).sample(asked, len(asked))
    together = by_id(model.answers(shuffled))
    assert together.keys() == alone.keys()
    for name, answer in together.items():
        assert (answer.token_ids, answer.text, answer.stopped_by) == (
            alone[name].token_ids,
            alone[name].text,
            alone[name].stopped_by,
        )
        assert answer.logprob == pytest.approx(alone[name].logprob, abs=1e-4)
        assert (answer.prompt_tokens, answer.images) == (alone[name].prompt_tokens, alone[name].images)


def test_batches_are_sorted_and_hold_several_requests(model: PretrainedModel, pictures: Pictures) -> None:
    made = list(batches([job(model, request) for request in requests(pictures, *DECODINGS)]))
    assert sum(map(len, made)) == 24
    assert max(map(len, made)) >= 8
    for batch in made:
        weights = [one.weight for one in batch]
        assert weights == sorted(weights, reverse=True)
        assert len({bool(one.said.images) for one in batch}) == 1


def test_draws_depend_on_seed_and_id_alone(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[0]

    def drawn(name: str, seed: int) -> tuple[int, ...]:
        (answer,) = model.answers([fl.Request(name, prompt, fl.Sample(1.0, 1.0, seed), 8)])
        return answer.token_ids

    assert drawn("a", 1) == drawn("a", 1)
    assert drawn("a", 1) != drawn("a", 2)
    assert drawn("a", 1) != drawn("b", 1)


def test_pictures_decide_the_answer(model: PretrainedModel, pictures: Pictures) -> None:
    wide, tall, *_ = pictures
    first, second = (
        model.generate(fl.Prompt.ask(a, b, "which one?"), max_new_tokens=4) for a, b in ((wide, tall), (tall, wide))
    )
    assert first.prompt_tokens and second.prompt_tokens
    assert first.logprob != pytest.approx(second.logprob, abs=1e-3)


def spoken(text: str) -> list[str]:
    """The signs of a text that tokens said whole."""
    return [sign for sign in text if sign != "\N{REPLACEMENT CHARACTER}"]


def test_stop_texts_are_cut(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[0]
    drawn = ((how, model.generate(prompt, how)) for how in (fl.Sample(2.0, seed=seed) for seed in range(50)))
    decoding, whole = next((how, answer) for how, answer in drawn if len(spoken(answer.text)) > 7)
    signs = spoken(whole.text)
    stop = signs[len(signs) // 2]
    cut = model.generate(prompt, decoding, stop=[stop, "never said"])
    assert cut.stopped_by == "stop text"
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)] and len(cut.token_ids) < len(whole.token_ids)


def test_beams_end_at_stop_texts(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[0]
    whole = model.generate(prompt, fl.Beam(2), max_new_tokens=20, min_new_tokens=20)
    signs = spoken(whole.text)
    stop = signs[len(signs) // 2]
    cut = model.generate(prompt, fl.Beam(2), max_new_tokens=20, min_new_tokens=1, stop=[stop])
    assert cut.stopped_by == "stop text"
    assert stop not in cut.text
    tokenizer = model.processor.tokenizer
    assert stop in tokenizer.decode(cut.token_ids) and stop not in tokenizer.decode(cut.token_ids[:-1])


def test_a_special_token_may_be_a_stop_text(model: PretrainedModel, pictures: Pictures) -> None:
    prompt = prompts(pictures)[0]
    for seed in range(20):
        drawn = model.generate(prompt, fl.Sample(9.0, seed=seed), max_new_tokens=60, stop=[tiny.START])
        if drawn.token_ids[-1] == 1:
            assert drawn.stopped_by == "stop token"
            return
    pytest.fail("the token was never drawn")


def test_least_and_most_tokens_and_forbidden_words(model: PretrainedModel, pictures: Pictures) -> None:
    asked = [replace(one, min_new_tokens=9) for one in requests(pictures, fl.Greedy(), fl.Beam(2), max_new_tokens=9)]
    for answer in model.answers(asked):
        assert len(answer.token_ids) == 9 and 2 not in answer.token_ids
    lengths = [fl.Request(str(n), prompts(pictures)[n % 6], max_new_tokens=n) for n in (1, 3, 7, 2, 5)]
    for name, answer in by_id(model.answers(lengths)).items():
        assert len(answer.token_ids) == int(name) or answer.stopped_by == "stop token"
    first = model.generate(prompts(pictures)[0], max_new_tokens=1)
    word = model.processor.tokenizer.convert_ids_to_tokens(first.token_ids[0])
    for decoding in (fl.Greedy(), fl.Beam(2)):
        kept = model.generate(prompts(pictures)[0], decoding, max_new_tokens=4, forbidden=[word])
        if model.processor.tokenizer.encode(word, add_special_tokens=False) == list(first.token_ids):
            assert first.token_ids[0] not in kept.token_ids


def test_one_bad_question_costs_only_itself(model: PretrainedModel, pictures: Pictures) -> None:
    asked = requests(pictures, fl.Greedy(), max_new_tokens=4)
    alone = by_id(model.answers(asked))
    broken = fl.Image(b"no picture", name="broken.png")
    bad = [
        fl.Request("unreadable", fl.Prompt.ask(broken, "what?")),
        fl.Request("too long", fl.Prompt.ask(pictures[0], "many words " * tiny.POSITIONS)),
        fl.Request("long answer", fl.Prompt.ask(pictures[0], "what?"), max_new_tokens=tiny.POSITIONS),
        fl.Request("mark", fl.Prompt.ask(pictures[0], f"what is {model.processor.image_token}?")),
        fl.Request("no beam", fl.Prompt.ask(pictures[0], "what?"), fl.Beam(0)),
        fl.Request("no draw", fl.Prompt.ask(pictures[0], "what?"), fl.Sample(1.0, 0.0)),
        fl.Request("no option", fl.Prompt.ask(pictures[0], "what?"), fl.Rank(())),
        fl.Request("window", replace(fl.Prompt.ask(pictures[0], "what?"), window=5)),
    ]
    found = by_id(model.answers([*bad[:3], *asked, *bad[3:]]))
    errors = {name: answer.error for name, answer in found.items() if answer.error}
    assert errors.keys() == {one.id for one in bad}
    kinds = {name: error.kind for name, error in errors.items() if error}
    assert kinds == {
        "unreadable": "BadImage",
        "too long": "BadPrompt",
        "long answer": "BadPrompt",
        "mark": "BadPrompt",
        "no option": "BadSetting",
        "no beam": "BadSetting",
        "no draw": "BadSetting",
        "window": "BadSetting",
    }
    for name, answer in alone.items():
        assert found[name].token_ids == answer.token_ids
    with pytest.raises(LabError, match=r"broken\.png"):
        model.answer(broken, "what?")


def test_raw_prompts_are_sent_as_they_stand(model: PretrainedModel, pictures: Pictures) -> None:
    sent = model.sent(fl.Request("q", fl.Prompt.raw("the ", pictures[0], " on")))
    assert sent.text == f"the <image:{pictures[0].digest[:12]}> on"
    tokenizer = model.processor.tokenizer
    assert list(sent.ids) == tokenizer(f"the {model.processor.image_token} on")["input_ids"]
    with pytest.raises(BadPrompt, match="stands for a picture"):
        model.sent(fl.Request("q", fl.Prompt.raw(f"the {model.processor.image_token}")))


def test_pictures_are_prepared_by_pillow(model: PretrainedModel) -> None:
    assert type(model.processor.image_processor).__name__.endswith("Pil")
