"""A plan names its run by all it will ask, and keeps little of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import flamingo_lab as fl
from eval_tasks import plan as plans
from eval_tasks import task
from eval_tasks.plan import Asked, Naming, Settings, digest, identity
from eval_tasks.task import Sample
from flamingo_lab.model import Sent
from tests.doubles import Scripted
from tests.tasks import charts


def asked(number: int) -> Asked:
    prompt = fl.Prompt.raw(f"question {number}")
    request = fl.Request(f"é{number}", prompt)
    sample = Sample(request.id, (), "?", ("a", "b"), "d", facts={"z": [1, 2.5, None], "a": True})
    return Asked(sample, (), request, Sent(f"text {number}", (number, 7), 0, 0))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_run_is_named_as_if_all_questions_were_digested_together(count: int) -> None:
    held = [asked(number) for number in range(count)]
    naming = Naming("model", "task", 0.01)
    kept = [naming.named(one) for one in held]
    assert naming.run_id() == digest(["model", "task", 0.01, [identity(one) for one in held]])[:16]
    assert [one.sent.ids for one in kept if one.sent] == [()] * count
    assert [one.sent.text for one in kept if one.sent] == [f"text {number}" for number in range(count)]


def test_token_ids_and_texts_name_a_run(tmp_path: Path) -> None:
    class Other(Scripted):
        def sent(self, request: fl.Request) -> Sent:
            found = super().sent(request)
            return Sent(found.text, (*found.ids, 5), found.images, found.shots)

    settings = Settings(data=charts.write(tmp_path))
    one, other = (plans.plan(model, task.get("chartqa"), settings) for model in (Scripted(), Other()))
    assert one.run_id != other.run_id


def test_an_example_is_one_object_for_all_questions_that_it_stands_before(tmp_path: Path) -> None:
    settings = Settings(2, "fixed", data=charts.write(tmp_path))
    made = plans.plan(Scripted(), task.get("chartqa"), settings)
    assert len(made.asked) > 2
    turns = {id(turn) for one in made.asked for turn in one.request.prompt.turns[:-1]}
    examples = {shot.id for one in made.asked for shot in one.shots}
    assert len(turns) == 2 * len(examples) < 4 * len(made.asked)
