"""Our models behind lm-eval's interface say what lm-eval's own class for transformers says of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval
import pytest
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from PIL import Image as pil
from tokenizers import Tokenizer, processors

import flamingo_lab as fl
from eval_tasks.lm_eval import harness, windows
from eval_tasks.lm_eval.model import LabLM
from eval_tasks.lm_eval.requests import Conversation, generation, prompt
from flamingo_lab.engine import reference
from flamingo_lab.errors import BadPrompt, BadSetting, LabError
from tests.doubles import Scripted
from tests.families.tiny_llava import CONFIG, TOWER, write_converted
from tests.lm_eval import files

POSITIONS = 64

PAIRS = (
    ("two dogs on the", " sofa"),
    ("two dogs on the", " old tree near the river"),
    ("two dogs on the ", " sofa"),
    ("what is it?\n", "a red car"),
    ("", " old tree"),
    ("two", "dogs"),
    ("what is it?\n", "x"),
)

CONTEXTS = ("two dogs on the", "what is it? ", "an old tree near the river was")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("llava")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> transformers.LlamaForCausalLM:
    """transformers' decoder with the weights of the LLaVA at `folder`."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps")
    settings = {name: CONFIG[name] for name in names} | {"max_position_embeddings": POSITIONS}
    whole = write_converted(folder, settings, TOWER, seed=0)
    made = transformers.LlamaForCausalLM(whole.config.text_config)
    held = {name.replace("model.language_model.", "model."): tensor for name, tensor in whole.state_dict().items()}
    made.load_state_dict({name: held[name] for name in made.state_dict()})
    return made.eval()


@pytest.fixture(scope="module")
def ours(folder: Path, decoder: transformers.LlamaForCausalLM) -> LabLM:
    return LabLM(fl.load(folder, dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def theirs(folder: Path, decoder: transformers.LlamaForCausalLM) -> HFLM:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return HFLM(pretrained=decoder, tokenizer=fast, batch_size=1, device="cpu", add_bos_token=True)


def instances(kind: Any, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, one, number, ("toy", number, 1)) for number, one in enumerate(arguments)]


def test_likelihoods_are_those_of_lm_evals_own_class(ours: LabLM, theirs: HFLM) -> None:
    for expected, found in zip(
        theirs.loglikelihood(instances("loglikelihood", *PAIRS)),
        ours.loglikelihood(instances("loglikelihood", *PAIRS)),
        strict=True,
    ):
        assert found[0] == pytest.approx(expected[0], abs=1e-4)
        assert found[1] == expected[1]


def test_generations_are_those_of_lm_evals_own_class(ours: LabLM, theirs: HFLM) -> None:
    for settings in ({"until": []}, {"until": ["e", "th"]}, {"until": "a"}, {"until": [], "do_sample": False}):
        asked = [(context, settings | {"max_gen_toks": 12}) for context in CONTEXTS]
        expected = theirs.generate_until(instances("generate_until", *asked))
        assert ours.generate_until(instances("generate_until", *asked)) == expected


def test_what_greedy_decoding_says_is_told(ours: LabLM, theirs: HFLM) -> None:
    """Of many contexts some are gone on from with a single letter; another letter is no greedy choice."""
    contexts = [f"{word} {letter}" for word in ("two", "it", "sofa") for letter in "abcdefghijklmnopqrstuvwxyz"]
    requests = [fl.Request(context, fl.Prompt.raw(context), fl.Greedy(), 1) for context in contexts]
    said = {answer.id: answer.text for answer in ours.model.answers(requests)}
    letters = {context: text for context, text in said.items() if len(text) == 1 and text.isascii() and text.isalpha()}
    asked = instances("loglikelihood", *((context, one) for context, text in letters.items() for one in (text, "Z")))
    found = [is_greedy for _, is_greedy in ours.loglikelihood(asked)]
    assert found == [is_greedy for _, is_greedy in theirs.loglikelihood(asked)]
    assert set(found) == {True, False}


def test_the_likelihood_of_a_text_is_that_of_lm_evals_own_class(
    ours: LabLM, theirs: HFLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its class counts the opening token twice where the tokenizer puts it, so it is told to leave it to the prefix."""
    monkeypatch.setattr(theirs, "add_bos_token", False)
    asked = instances("loglikelihood_rolling", ("two dogs on the sofa",), ("a red car",))
    assert ours.loglikelihood_rolling(asked) == pytest.approx(theirs.loglikelihood_rolling(asked), abs=1e-4)


def test_a_text_longer_than_the_positions_is_said_in_windows(ours: LabLM) -> None:
    text = " ".join(CONTEXTS * 4)
    count = lambda words: len(ours.model.sent(fl.Request("", fl.Prompt.raw(words))).ids)  # noqa: E731
    found = windows.windows(text, count, POSITIONS)
    assert len(found) > 2
    assert "".join(one.piece for one in found) == text
    assert all(count(one.before + one.piece) <= POSITIONS for one in found)
    assert all(text.index(one.before + one.piece) >= 0 and one.before for one in found[1:])
    alone = [ours.loglikelihood(instances("loglikelihood", one))[0][0] for one in found]
    assert ours.loglikelihood_rolling(instances("loglikelihood_rolling", (text,))) == pytest.approx([sum(alone)])
    with pytest.raises(BadPrompt, match="a single word of the text takes more than the model's 64 positions"):
        windows.windows("a " + "x" * 200, count, POSITIONS)


def test_pictures_stand_where_their_marks_are(tiny: fl.LoadedModel) -> None:
    """Both kinds of request, against the engine's reference for the same interleaved prompt."""
    shown = [pil.new("RGB", (20, 12), colour) for colour in ("red", "blue")]
    words = "this is <image>a car, and <image>two"
    raw = fl.Prompt.raw("this is ", fl.Image(shown[0]), "a car, and ", fl.Image(shown[1]), "two")
    lm = LabLM(tiny)
    options = (" dogs", " on the tree")
    asked = instances("loglikelihood", *((words, option, {"visual": shown}) for option in options))
    expected = reference.answer(tiny, fl.Request("", raw, fl.Rank(options)))
    assert [score for score, _ in lm.loglikelihood(asked)] == pytest.approx(expected.option_logprobs, abs=1e-4)
    settings = {"until": [], "max_gen_toks": 9}
    written = instances("generate_until", (words, settings, {"visual": shown}))
    said = reference.answer(tiny, fl.Request("", raw, fl.Greedy(), 9)).text
    assert lm.generate_until(written) == [said]
    swapped = instances("generate_until", (words, settings, {"visual": shown[::-1]}))
    both = lm.generate_until([*written, *swapped])
    assert both == [
        said,
        reference.answer(tiny, fl.Request("", prompt(words, tuple(map(fl.Image, shown[::-1]))), fl.Greedy(), 9)).text,
    ]


def test_options_of_one_context_are_branches_of_one_request() -> None:
    asked: list[fl.Request] = []

    class Counting(Scripted):
        def answers(self, requests: Any) -> Any:
            for request in requests:
                asked.append(request)
                scores = tuple(-float(len(option)) for option in request.decoding.options)
                yield fl.Answer(request.id, option_logprobs=scores, option_is_greedy=(False,) * len(scores))

    pairs = [("a", " bb"), ("a", " c"), ("b", " c"), ("b", " c"), ("a", " dddd")]
    found = LabLM(Counting()).loglikelihood(instances("loglikelihood", *pairs))
    assert [score for score, _ in found] == [-3.0, -2.0, -2.0, -2.0, -5.0]
    assert [request.decoding.options for request in asked] == [(" bb", " c"), (" c",), (" dddd",)]  # pyright: ignore


def test_a_model_that_does_not_tell_what_greedy_says_is_never_taken_for_a_no() -> None:
    class Untelling(Scripted):
        def answers(self, requests: Any) -> Any:
            yield from (fl.Answer(request.id, option_logprobs=(-1.0,)) for request in requests)

    ((score, is_greedy),) = LabLM(Untelling()).loglikelihood(instances("loglikelihood", ("a", " b")))
    assert score == -1.0
    for use in (bool, int, float):
        with pytest.raises(BadSetting, match="double does not tell"):
            use(is_greedy)


def test_a_request_without_an_answer_is_no_empty_answer() -> None:
    def reply(request: fl.Request) -> str:
        if "two" in str(request.prompt.turns[-1].parts[-1]):
            raise BadPrompt("too long")
        return "fine"

    asked = instances("generate_until", ("one", {"until": []}), ("two", {"until": []}))
    with pytest.raises(LabError, match="1 of 2 requests have no answer; one says: too long"):
        LabLM(Scripted(reply)).generate_until(asked)
    lm = LabLM(Scripted(reply), keeps_failures=True)
    assert lm.generate_until(asked) == ["fine", ""]
    assert lm.failure(asked[0]) is None
    failure = lm.failure(asked[1])
    assert failure is not None and failure.message == "too long"


def test_a_prompt_that_begins_with_no_token() -> None:
    lm = LabLM(Scripted())
    for kind, arguments in (("loglikelihood", ("", " b")), ("loglikelihood_rolling", ("a b",))):
        with pytest.raises(BadSetting, match="double puts no token before a text"):
            getattr(lm, kind)(instances(kind, arguments))


GENERATIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "nothing said": ({"until": ["a"]}, (fl.Greedy(), 256, ("a",))),
    "length": ({"max_new_tokens": 9, "max_gen_toks": 5, "until": []}, (fl.Greedy(), 5, ())),
    "one stop": ({"until": "\n", "max_tokens": 3}, (fl.Greedy(), 3, ("\n",))),
    "temperature alone": ({"temperature": 0.7}, (fl.Sample(0.7, 1.0, 4), 256, ())),
    "drawn": ({"do_sample": True, "top_p": 0.5}, (fl.Sample(1.0, 0.5, 4), 256, ())),
    "not drawn": ({"do_sample": False, "temperature": 0.7}, (fl.Greedy(), 256, ())),
    "drawn at 0": ({"do_sample": True, "temperature": 0.0}, (fl.Greedy(), 256, ())),
    "beams": ({"num_beams": 3, "length_penalty": 0.5}, (fl.Beam(3, 0.5), 256, ())),
}


@pytest.mark.parametrize("name", GENERATIONS)
def test_settings_of_generation(name: str) -> None:
    settings, (decoding, length, stop) = GENERATIONS[name]
    found = generation(settings, 4)
    assert (found.decoding, found.max_new_tokens, found.stop) == (decoding, length, stop)


def test_a_setting_that_would_be_left_out_is_refused() -> None:
    with pytest.raises(BadSetting, match="sets top_k=50 for generation; known are do_sample"):
        generation({"do_sample": True, "top_k": 50}, 0)
    with pytest.raises(BadSetting, match="draws tokens among 2 beams"):
        generation({"do_sample": True, "num_beams": 2}, 0)


def test_turns_reach_the_models_own_template() -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "see <image> here"}]
    said = LabLM(Scripted()).apply_chat_template(messages)
    assert said == "system: be brief\nuser: see <image> here"
    image = fl.Image(pil.new("RGB", (4, 4)))
    made = prompt(said, (image,))
    assert not made.is_raw
    assert [(turn.role, turn.parts) for turn in made.turns] == [
        ("system", ("be brief",)),
        ("user", ("see ", image, " here")),
    ]
    with pytest.raises(BadPrompt, match="begins the model's answer"):
        LabLM(Scripted()).apply_chat_template(messages, add_generation_prompt=False)
    with pytest.raises(BadPrompt, match="2 marks for 1 pictures"):
        prompt(Conversation.of([{"role": "user", "content": "<image><image>"}]), (image,))


@pytest.mark.parametrize("name", [*files.TASKS, *files.PICTURES])
def test_lm_eval_evaluates_our_model(name: str, tiny: fl.LoadedModel, tmp_path: Path) -> None:
    task = harness.load([str(files.write(tmp_path, name))]).tasks[f"toy-{name}"]
    said: Any = lm_eval.simple_evaluate(
        model=LabLM(tiny), tasks=[task], bootstrap_iters=0, task_manager=TaskManager(include_defaults=False)
    )
    figures = said["results"][f"toy-{name}"]
    assert figures["sample_len"] == len(files.ROWS)
    assert any("," in key and isinstance(value, float) for key, value in figures.items())
    assert said["config"]["model_sha"] == tiny.digest
