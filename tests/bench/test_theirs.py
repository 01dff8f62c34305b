"""transformers on our ids and pixels gives our answers, so that only the work differs between the two."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab.bench.theirs import Theirs, best_batch, open_theirs
from flamingo_lab.bench.turns import against
from flamingo_lab.engine import loop
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.errors import BadSetting
from tests.bench.asked import asked
from tests.families import tiny_idefics, tiny_llava

LAYOUTS = ("idefics", "llava")

DECODER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


@pytest.fixture(scope="module", params=LAYOUTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "idefics":
        tiny_idefics.write_checkpoint(folder, {}, seed=2)
    else:
        tiny_llava.write_converted(folder, DECODER, tiny_llava.TOWER, 2)
    loaded = fl.load(folder, dtype="float32")
    assert isinstance(loaded, fl.LoadedModel)
    return loaded


@pytest.fixture(scope="module")
def theirs(model: fl.LoadedModel) -> Theirs:
    return open_theirs(model, Path(model.about["weights"]))


def jobs(model: fl.LoadedModel, decoding: fl.Decoding, **rules: Any) -> list[Job]:
    return [job(model, request) for request in asked(decoding, **rules)]


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize(
    ("decoding", "rules"),
    [
        (fl.Greedy(), {}),
        (fl.Greedy(), {"min_new_tokens": 8}),
        (fl.Greedy(), {"stop": ("e", "a")}),
        (fl.Rank(("yes", "no, it is not", "x")), {}),
        (fl.Rank(("yes", "no, it is not", "x"), normalise="mean"), {}),
    ],
    ids=["greedy", "minimum", "stop texts", "rank", "rank by means"],
)
def test_both_sides_answer_the_same(
    model: fl.LoadedModel, theirs: Theirs, decoding: fl.Decoding, rules: dict[str, Any], batch: int
) -> None:
    held = jobs(model, decoding, **rules)
    ours = {answer.id: answer.token_ids for answer in loop.answers(model, [one.request for one in held])}
    assert theirs.answer(held, batch) == ours


def test_turns_tell_a_ratio_and_that_nothing_differs(model: fl.LoadedModel, theirs: Theirs) -> None:
    heard: dict[int, int] = {}

    def hear(done: int) -> None:
        heard[done] = model.work.generated_tokens

    held = jobs(model, fl.Greedy())
    turns = against(model, theirs, held, 2, hear)
    assert [*heard] == [0, 1, 2]
    of_a_turn = sum(len(answer.token_ids) for answer in loop.answers(model, [one.request for one in held]))
    assert heard[1] - heard[0] == heard[2] - heard[1] == of_a_turn, "what is answered to warm up is in no turn"
    assert turns.differing == turns.margin == 0
    assert turns.ratio > 0
    assert turns.theirs_batch in (1, 2, 4, 8)


def test_answers_that_differ_are_counted(
    model: fl.LoadedModel, theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = jobs(model, fl.Greedy())
    right = theirs.answer(held, 4)
    wrong = right | {held[0].request.id: (1,)}
    monkeypatch.setattr(theirs, "answer", lambda jobs, batch: wrong)
    turns = against(model, theirs, held, 1)
    assert turns.differing == pytest.approx(1 / len(held))
    assert turns.margin > 0


def test_the_batch_with_most_answers_a_second_is_chosen(monkeypatch: pytest.MonkeyPatch, model: fl.LoadedModel) -> None:
    import time

    class Slow(Theirs):
        def answer(self, jobs: object, batch: int) -> dict[str, tuple[int, ...]]:
            time.sleep({1: 0.08, 2: 0.02}.get(batch, 0.2))
            return {}

    assert best_batch(Slow(None, model), jobs(model, fl.Greedy())) == 2


def test_what_is_slow_once_counts_against_no_batch_size(monkeypatch: pytest.MonkeyPatch, model: fl.LoadedModel) -> None:
    import time

    class SlowAtFirst(Theirs):
        calls = 0

        def answer(self, jobs: object, batch: int) -> dict[str, tuple[int, ...]]:
            self.calls += 1
            time.sleep(0.4 if self.calls == 1 else 0.02 * batch)
            return {}

    assert best_batch(SlowAtFirst(None, model), jobs(model, fl.Greedy())) == 1


def test_a_layout_that_transformers_does_not_read_is_told(model: fl.LoadedModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(model.about["weights"], tmp_path / "other")
    tensors = load_file(folder / "model.safetensors")
    save_file({f"elsewhere.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(BadSetting, match="does not read"):
        open_theirs(model, folder)
