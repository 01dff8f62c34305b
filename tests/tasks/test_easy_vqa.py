"""easy-vqa's flag `other-pictures`: every question with the picture of another one, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval_tasks import plan as plans
from eval_tasks import task
from eval_tasks.plan import Plan, Settings
from eval_tasks.task import Sample
from tests.doubles import Scripted

EASY_VQA = task.get("easy-vqa")
OTHER = frozenset({"other-pictures"})


@pytest.fixture(scope="module")
def own() -> list[Sample]:
    return list(EASY_VQA.samples("test", None))


def planned(settings: Settings) -> Plan:
    return plans.plan(Scripted(), EASY_VQA, settings)


def pictures(plan: Plan) -> list[str]:
    return [asked.request.prompt.images[-1].name for asked in plan.asked]


def test_every_question_gets_another_picture_and_keeps_the_rest(own: list[Sample]) -> None:
    dealt = EASY_VQA.altered(own, 0, OTHER)
    assert len(dealt) == len(own) == 9673
    for before, after in zip(own, dealt, strict=True):
        assert after.images[0].name != before.images[0].name
        assert replace(after, images=before.images) == before
    assert {sample.images[0].name for sample in dealt} == {sample.images[0].name for sample in own}


def test_without_the_flag_nothing_changes(own: list[Sample]) -> None:
    assert EASY_VQA.altered(own, 0, frozenset()) == own


def test_the_seed_decides_and_the_limit_does_not() -> None:
    few, more = (planned(Settings(limit=limit, options=OTHER)) for limit in (20, 40))
    assert pictures(few) == pictures(more)[:20]
    assert pictures(planned(Settings(limit=20, options=OTHER, seed=1))) != pictures(few)


def test_it_is_another_run_and_its_shots_keep_their_pictures() -> None:
    settings = Settings(num_fewshot=2, limit=20)
    usual, other = planned(settings), planned(replace(settings, options=OTHER))
    assert usual.run_id != other.run_id
    for before, after in zip(usual.asked, other.asked, strict=True):
        assert after.shots == before.shots
        assert after.request.prompt.images[:-1] == before.request.prompt.images[:-1]
