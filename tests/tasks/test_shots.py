"""Worked examples: seeded, complete, and never from the question's own picture or document, whatever selects them."""

from __future__ import annotations

import importlib.util
import io
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as checks
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DistributedSampler

import flamingo_lab as fl
from eval_tasks import plan as plans
from eval_tasks import runner, shots, task
from eval_tasks.errors import MissingTool, TooFewShots, UnknownTask
from eval_tasks.plan import Settings
from eval_tasks.shots import Pool, picked, without_pictures
from eval_tasks.task import Sample
from flamingo_lab.errors import BadSetting
from flamingo_lab.model import Embeds
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.tasks import charts
from tests.tasks.seeing import Seeing


def picture(colour: int) -> fl.Image:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(stream, "PNG")
    return fl.Image(stream.getvalue(), name=f"{colour}.png")


PICTURES = [picture(40 * colour) for colour in range(6)]


def sample(number: int, shows: int, document: int, answer: str = "this") -> Sample:
    return Sample(f"s{number}", (PICTURES[shows],), "what?", (answer,), f"d{document}")


def pick(asked: Sample, pool: list[Sample], count: int, *, selection: str, seed: int) -> list[Sample]:
    chosen = shots.get(selection)
    from_pool = Pool(pool, "t", count, seed, Seeing(), (asked,), whole=(asked,))
    return picked(chosen, chosen.order(from_pool), from_pool, asked)


POOLS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25).map(
    lambda rows: [sample(number, *row) for number, row in enumerate(rows)]
)


@checks(deadline=None)
@given(POOLS, st.integers(1, 4), st.integers(0, 9), st.sampled_from(shots.names()))
def test_shots_never_leak_and_are_the_same_again(pool: list[Sample], count: int, seed: int, selection: str) -> None:
    asked = pool[0]
    usable = [
        other
        for other in pool
        if other.id != asked.id
        and other.document != asked.document
        and other.images[0].digest != asked.images[0].digest
    ]
    if len(usable) < count:
        with pytest.raises(TooFewShots, match=f"{count} shots asked for, but only {len(usable)} of the {len(pool)}"):
            pick(asked, pool, count, selection=selection, seed=seed)
        return
    chosen = pick(asked, pool, count, selection=selection, seed=seed)
    assert len({shot.id for shot in chosen}) == len(chosen) == count
    assert {shot.id for shot in chosen} <= {shot.id for shot in usable}
    assert chosen == pick(asked, pool, count, selection=selection, seed=seed)


def test_fixed_shots_are_shared_and_random_ones_are_not() -> None:
    pool = [sample(number, number % 5, number) for number in range(60)]
    questions = [sample(1000 + number, 5, 1000 + number) for number in range(8)]

    def chosen(selection: str, seed: int = 0) -> set[tuple[str, ...]]:
        return {tuple(shot.id for shot in pick(asked, pool, 4, selection=selection, seed=seed)) for asked in questions}

    assert len(chosen("fixed")) == 1
    assert len(chosen("random")) == len(questions)
    assert chosen("fixed") != chosen("fixed", seed=1)
    assert not chosen("random") & chosen("random", seed=1)


@pytest.mark.parametrize("selection", ["random", "fixed", "balanced", "text-only"])
def test_more_shots_begin_with_the_fewer_ones(selection: str) -> None:
    pool = [sample(number, number % 5, number, "yes" if number % 3 else "no") for number in range(30)]
    asked = sample(99, 5, 99)
    four, eight = (pick(asked, pool, count, selection=selection, seed=3) for count in (4, 8))
    assert eight[:4] == four


def test_openflamingos_draws_are_those_of_its_own_random_calls() -> None:
    """`evaluate_vqa` in one process: numpy permutes and draws the query set, the sampler shuffles, Python draws."""
    pool = [sample(number, number % 5, number) for number in range(3000)]
    whole = [sample(5000 + number, 5, 5000 + number) for number in range(37)]
    np.random.seed(42)
    subset = np.random.choice(len(whole), len(whole), replace=False)
    query = [pool[number] for number in np.random.choice(len(pool), 2048, replace=False)]
    random.seed(42)
    sampler = DistributedSampler(range(len(whole)), num_replicas=1, rank=0)  # pyright: ignore[reportArgumentType]
    expected = {whole[subset[place]].id: random.sample(query, 4) for place in sampler}
    selection = shots.get("openflamingo-order")
    # A limit leaves the draws of the questions that remain as they are.
    held = Pool(pool, "t", 4, 42, Scripted(), whole[:5], whole=whole)
    order = selection.order(held)
    for asked in whole[:5]:
        assert picked(selection, order, held, asked) == expected[asked.id]
    leaking = replace(whole[0], document=expected[whole[0].id][1].document)
    instead = picked(selection, order, held, leaking)
    assert instead[:3] == [one for one in expected[leaking.id] if one.document != leaking.document]
    assert instead[3] in query


def test_the_first_two_in_words_stand_before_every_question() -> None:
    pool = [sample(number, number % 5, number) for number in range(9)]
    for asked in (sample(99, 5, 99), sample(98, 5, 98)):
        assert [one.id for one in pick(asked, pool, 2, selection="first-text-only", seed=1)] == ["s0", "s1"]
    selection = shots.get("first-text-only")
    assert selection.shots == 2 and not selection.shows_pictures


def test_a_benchmark_of_one_split_shows_its_other_questions_only_where_that_is_asked_for(tmp_path: Path) -> None:
    of = task.get("pope")

    class Few(type(of)):
        def samples(self, split: str, data: Path | None) -> list[Sample]:
            return [replace(sample(number, number, number // 2), slices={"category": "random"}) for number in range(6)]

    with pytest.raises(UnknownTask, match="no split to take shots from: none is listed besides test"):
        plans.plan(Scripted(), Few(), Settings(num_fewshot=2, allow_partial=True))
    with pytest.raises(UnknownTask, match="leave-one-out is about examples, and none are asked for"):
        plans.plan(Scripted(), Few(), Settings(options=frozenset({"leave-one-out"})))
    settings = Settings(num_fewshot=4, options=frozenset({"leave-one-out"}))
    asked = plans.plan(Scripted(), Few(), settings).asked
    for one in asked:
        assert len(one.shots) == 4 and one.sample.document not in {shot.document for shot in one.shots}
    with pytest.raises(TooFewShots, match="only 4 of the 6 examples share no picture or document with s0"):
        plans.plan(Scripted(), Few(), replace(settings, num_fewshot=5))
    made = runner.run(Scripted(), Few(), settings, Store(tmp_path))
    assert made.settings["options"] == ["leave-one-out"]
    there = {name for name in task.names() if "leave-one-out" in task.get(name).options}
    assert there == {"mmbench", "mme", "pope", "seed-bench"}
    assert not any(task.get(name).splits_for_shots for name in there)


def test_shots_never_come_from_the_asked_split(tmp_path: Path) -> None:
    found, data = task.get("chartqa"), charts.write(tmp_path)
    own = [one.id for one in found.samples("train", data)]
    assert plans.splits_for_shots(found, "test", frozenset()) == ["train", "val"]
    assert plans.splits_for_shots(found, "train", frozenset()) == ["val"]
    with pytest.raises(UnknownTask, match="easy-vqa has no split to take shots from: none is listed besides train"):
        plans.plan(Scripted(), task.get("easy-vqa"), Settings(split="train", num_fewshot=2, limit=2))
    with pytest.raises(UnknownTask, match=r"chartqa has no split to take shots from: .*val"):
        plans.plan(Scripted(), found, Settings(split="train", num_fewshot=1, data=data))
    asked = plans.plan(Scripted(), found, Settings(num_fewshot=1, limit=2, data=data)).asked
    assert all(shot.id in own for one in asked for shot in one.shots)


def test_a_selection_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownTask, match=r"is none of balanced, .* random, rices, text-only; did you mean rices\?"):
        shots.get("rice")


def test_a_text_that_is_asked_once_gives_its_answer_away() -> None:
    pool = [sample(number, 1, number) for number in range(3)]
    from_pool = Pool(pool, "t", 1, 0, Scripted())
    chosen = shots.get("random")
    assert picked(chosen, chosen.order(from_pool), from_pool, sample(9, 5, 9))
    with pytest.raises(TooFewShots, match="only 0 of the 3"):
        picked(chosen, chosen.order(from_pool), from_pool, sample(9, 5, 9), asks_once=True)
    assert {name for name in task.names() if task.get(name).asks_once} == {"mmmu", "mathvista"}


# balanced


def test_balanced_shots_are_as_many_of_each_answer() -> None:
    pool = [sample(number, number % 5, number, "yes" if number % 7 else "no") for number in range(60)]
    orders: set[tuple[str, ...]] = set()
    for number in range(8):
        chosen = pick(sample(100 + number, 5, 100 + number), pool, 6, selection="balanced", seed=0)
        assert Counter(shot.targets[0] for shot in chosen) == {"yes": 3, "no": 3}
        orders.add(tuple(shot.targets[0] for shot in chosen))
    assert len(orders) > 1, "the order of the answers gives nothing away"


def test_shots_that_cannot_be_balanced_are_refused() -> None:
    pool = [sample(number, 1, number, answer) for number, answer in enumerate(["a", "b", "c"])]
    with pytest.raises(
        TooFewShots, match=r"4 shots cannot be balanced between 3 right answers; ask for a multiple of 3"
    ):
        pick(sample(9, 5, 9), pool, 4, selection="balanced", seed=0)


def test_balanced_shots_skip_those_that_leak_within_their_answer() -> None:
    pool = [sample(number, 1, number, "no") for number in range(3)] + [sample(7, 5, 7, "yes"), sample(8, 2, 8, "yes")]
    for number in range(8):
        chosen = pick(sample(100 + number, 5, 100), pool, 2, selection="balanced", seed=0)
        assert {"s8"} == {shot.id for shot in chosen if shot.targets == ("yes",)}


# text-only: Flamingo's zero shots


def test_text_only_shots_are_two_examples_without_pictures(tmp_path: Path) -> None:
    settings = Settings(data=charts.write(tmp_path / "data"), shot_selection="text-only")
    model = Scripted()
    made = plans.plan(model, task.get("chartqa"), settings)
    for asked in made.asked:
        assert len(asked.shots) == asked.request.prompt.shots == 2
        assert asked.request.prompt.images == asked.sample.images
        assert asked.sent is not None and (asked.sent.shots, asked.sent.images) == (2, 1)
        assert all(shot.document != asked.sample.document for shot in asked.shots)
    run = runner.run(model, task.get("chartqa"), settings, Store(tmp_path / "results"))
    assert (run.num_fewshot, run.shot_selection, run.status) == (2, "text-only", "complete")
    four = plans.plan(model, task.get("chartqa"), Settings(4, "text-only", data=settings.data))
    assert {asked.request.prompt.shots for asked in four.asked} == {4}


def test_text_only_shots_reach_flamingo_without_a_picture(tmp_path: Path) -> None:
    settings = Settings(shot_selection="text-only", limit=2)
    made = plans.plan(fl.load("flamingo-tiny"), task.get("easy-vqa"), settings)
    for asked in made.asked:
        assert asked.sent is not None
        assert asked.sent.text.count("<image") == 1
        assert asked.sent.text.index("<image") > asked.sent.text.rindex(asked.shots[-1].targets[0])


def test_marks_of_pictures_leave_the_words_with_them() -> None:
    marked = Sample("s", (PICTURES[0],), "is <image 1> red?", ("A",), "d", ("<image 1>", "no"), marks=("<image 1>",))
    bare = without_pictures(marked)
    assert (bare.images, bare.marks, bare.question, bare.choices) == ((), (), "is  red?", ("", "no"))


# rices: the most similar pictures


def test_the_most_similar_pictures_are_shown_and_the_most_similar_one_last() -> None:
    pool = [sample(number, number, number) for number in (4, 0, 3, 1)]
    chosen = pick(sample(9, 2, 9), pool, 4, selection="rices", seed=0)
    similar = {number: float(Seeing.of(40 * number) @ Seeing.of(80)) for number in (0, 1, 3, 4)}
    assert [shot.id for shot in chosen] == [f"s{number}" for number in sorted(similar, key=lambda one: similar[one])]
    assert [shot.id for shot in pick(sample(9, 2, 9), pool, 2, selection="rices", seed=0)] == [
        shot.id for shot in chosen[-2:]
    ]


def test_equally_similar_pictures_come_in_the_pools_order() -> None:
    pool = [sample(number, 1, number) for number in range(40)]
    chosen = pick(sample(99, 2, 99), pool, 3, selection="rices", seed=0)
    assert [shot.id for shot in chosen] == ["s2", "s1", "s0"]


def test_an_example_whose_picture_cannot_be_read_is_never_similar() -> None:
    broken = Sample("broken", (fl.Image(b"no picture"),), "what?", ("this",), "d0")
    pool = [broken, *(sample(number, number, number) for number in (1, 3))]
    assert {shot.id for shot in pick(sample(9, 2, 9), pool, 2, selection="rices", seed=0)} == {"s1", "s3"}


def test_a_question_without_a_picture_gets_random_examples() -> None:
    pool = [sample(number, 1, number) for number in range(40)]
    words = Sample("w", (), "what?", ("this",), "w")
    assert pick(words, pool, 3, selection="rices", seed=1) == pick(words, pool, 3, selection="random", seed=1)[::-1]


@pytest.mark.parametrize("order", [1, -1])
def test_similar_shots_do_not_depend_on_what_else_is_asked(order: int, tmp_path: Path) -> None:
    data = charts.write(tmp_path / "data")

    def chosen(limit: int | None) -> dict[str, list[str]]:
        settings = Settings(2, "rices", limit=limit, data=data)
        made = plans.plan(Seeing(), task.get("chartqa"), settings)
        return {asked.sample.id: [shot.id for shot in asked.shots] for asked in made.asked[::order]}

    assert chosen(3).items() <= chosen(None).items()


def test_a_run_with_similar_shots_looks_at_every_picture_once(tmp_path: Path) -> None:
    settings = Settings(2, "rices", data=charts.write(tmp_path / "data"))
    model, heard = Seeing(), dict[str, tuple[int, int]]()
    run = runner.run(
        model,
        task.get("chartqa"),
        settings,
        Store(tmp_path / "r"),
        looked=lambda what, *count: heard.__setitem__(what, count),
    )
    assert (run.status, run.num_fewshot, run.shot_selection) == ("complete", 2, "rices")
    assert heard["questions planned"] == (run.n, run.n)
    assert heard["pictures looked at"][0] == heard["pictures looked at"][1] > run.n
    assert len(model.embedded) == len(set(model.embedded)) == 9
    again = Seeing()
    assert plans.plan(again, task.get("chartqa"), Settings(**_with_features(settings, tmp_path))).run_id == run.run_id
    assert not again.embedded, "kept from the first run"
    other = Seeing(tower="retrained")
    plans.plan(other, task.get("chartqa"), Settings(**_with_features(settings, tmp_path)))
    assert len(other.embedded) == 9, "another tower shares nothing"


def _with_features(settings: Settings, root: Path) -> dict[str, Any]:
    return {**settings.__dict__, "features": root / "r" / runner.FEATURES}


def test_a_model_that_shows_no_features_is_told_so(tmp_path: Path) -> None:
    settings = Settings(2, "rices", data=charts.write(tmp_path))
    with pytest.raises(BadSetting, match="double does not show what its vision tower makes of a picture"):
        plans.plan(Scripted(), task.get("chartqa"), settings)


def test_faiss_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faiss" else found(name))
    with pytest.raises(MissingTool, match=r"pip install flamingo-lab\[faiss\]"):
        shots.get("rices").check()


@pytest.mark.parametrize("selection", ["rices", "balanced"])
def test_examples_that_a_benchmark_brings_are_not_chosen_anew(selection: str) -> None:
    with pytest.raises(UnknownTask, match="brings its own examples"):
        plans.plan(Seeing(), task.get("shapes-binding"), Settings(2, selection, limit=1))


def test_a_loaded_model_shows_vectors_of_length_one() -> None:
    model = fl.load("flamingo-tiny")
    assert isinstance(model, Embeds)
    vectors = model.embed([PICTURES[0], PICTURES[5], PICTURES[0]])
    assert vectors.shape == (3, 96) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[0] == vectors[2]).all() and not np.allclose(vectors[0], vectors[1])
