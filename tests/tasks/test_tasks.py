"""Every benchmark from each layout of its files: questions, targets, slices, shots, and what is said of missing files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eval_tasks import metrics, parquet, task
from eval_tasks import plan as plans
from eval_tasks.errors import MissingData, TaskError
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import Item, Prediction, Targets
from eval_tasks.plan import Settings
from eval_tasks.scoring import mark
from eval_tasks.task import Sample, Task
from flamingo_lab.model import Rank
from tests.doubles import Scripted
from tests.tasks.benchmarks import BUILDERS, FILES, HUB, Tiny, captions, choices, questions

assert captions and choices and questions  # they register their builders

LAYOUTS = [pytest.param(*key, id="-".join(key)) for key in BUILDERS]
WITH_FILES = [name for name in task.names() if isinstance(task.get(name), FileTask)]
RANKED = {"hateful-memes", "seed-bench", "vstar-bench"}
"""Tasks whose first metric reads the scores of options."""

UNSCORED = {"mmvet", "llava-bench", "coco-caption", "flickr30k", "nocaps", "textcaps"}
"""Tasks that a judge grades, and those whose scores belong to a set, not to an answer."""

INSIDE = {"mmmu", "mmbench"}
"""Tasks whose original files hold the pictures."""


@pytest.fixture(autouse=True)
def without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is scored by the programs that captions and OK-VQA's stems need, so they may be absent."""
    monkeypatch.setattr(plans, "check", lambda *_: None)


def read(name: str, layout: str, root: Path) -> tuple[Task, Tiny, list[Sample]]:
    tiny = BUILDERS[name, layout](root)
    found = task.get(name)
    return found, tiny, list(found.samples(tiny.split, root))


def test_every_task_is_built_in_both_layouts() -> None:
    assert {(name, layout) for name in WITH_FILES for layout in (FILES, HUB)} == set(BUILDERS)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_questions_are_read_in_the_order_of_the_files(name: str, layout: str, tmp_path: Path) -> None:
    found, tiny, samples = read(name, layout, tmp_path)
    assert [sample.id for sample in samples] == list(tiny.ids)
    first = samples[0]
    assert tiny.document is None or first.document == tiny.document
    assert dict(first.slices) == tiny.slices
    for sample in samples:
        assert sample.document
        assert sample.targets or found.rubric is not None
        for image in sample.images:
            assert image.size[1] == (18 if name == "chartqa" and layout == FILES else 12)
    assert tiny.split in found.splits


@pytest.mark.parametrize("name", WITH_FILES)
def test_both_layouts_ask_the_same(name: str, tmp_path: Path) -> None:
    ours: list[tuple[Any, ...]] = []
    for layout in (FILES, HUB):
        (tmp_path / layout).mkdir()
        _, _, samples = read(name, layout, tmp_path / layout)
        first = samples[0]
        right = set(first.choices) if name == "vstar-bench" else first.targets
        ours.append((first.question, right, sorted(first.choices), first.answer, len(first.marks)))
    assert ours[0] == ours[1]


@pytest.mark.parametrize(("name", "layout"), [key for key in BUILDERS if key[0] not in UNSCORED])
def test_right_answers_get_the_full_score(name: str, layout: str, tmp_path: Path) -> None:
    found, tiny, samples = read(name, layout, tmp_path)
    items = [
        Item(prediction, Targets(one.targets, one.choices, one.facts), one.id, one.document, one.slices)
        for one, prediction in zip(samples, right_answers(found, tiny, samples), strict=True)
    ]
    scores = mark(found.metrics[name == "okvqa"], items).scores  # OK-VQA's first one needs a tagger of words
    assert all(score.n_unparsed == 0 for score in scores)
    categories = {score.slice for score in scores if score.slice.startswith("category")}
    assert scores[0].value == (200 * len(categories) if name == "mme" else 1.0)


def right_answers(found: Task, tiny: Tiny, samples: Sequence[Sample]) -> list[Prediction]:
    """What a model would say that is right."""
    if found.name in RANKED:
        places = [
            "ABCDEFGH".index(one.targets[0]) if one.targets[0].isalpha() else int(one.targets[0]) for one in samples
        ]
        return [
            Prediction("", tuple((float(place == number),) for number in range(len(one.choices))))
            for one, place in zip(samples, places, strict=True)
        ]
    texts = tiny.right or [one.targets[0] for one in samples]
    return [Prediction(f'The answer is "{text}".' if found.name == "mathvista" else text) for text in texts]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_a_plan_holds_every_picture_and_right_options(name: str, layout: str, tmp_path: Path) -> None:
    found, tiny, samples = read(name, layout, tmp_path)
    has_pool = tiny.shots and layout == FILES
    settings = Settings(split=tiny.split, data=tmp_path, num_fewshot=1 if has_pool else 0)
    made = plans.plan(Scripted(), found, settings)
    assert len(made.asked) == len(samples)
    for asked in made.asked:
        assert asked.error is None
        assert asked.images == len(asked.sample.images) + sum(len(shot.images) for shot in asked.shots)
        decoding = asked.request.decoding
        assert isinstance(decoding, Rank) == (name in RANKED)
        if isinstance(decoding, Rank):
            assert decoding.options == asked.sample.choices
        if has_pool:
            (shot,) = asked.shots
            assert shot.document != asked.sample.document
            turns = [turn for turn in asked.request.prompt.turns if turn.role == "assistant"]
            assert turns[0].parts == (made.wording.answered(shot),)
            assert made.wording.answered(shot)


@pytest.mark.parametrize("name", WITH_FILES)
def test_without_data_it_is_said_where_it_comes_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "folder", lambda hub: None)
    found = task.get(name)
    with pytest.raises(MissingData) as caught:
        found.samples(found.split, None)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert found.hub is not None
    assert f"hf download --repo-type dataset {found.hub.repository}" in message
    assert isinstance(found, FileTask) and found.files in message
    with pytest.raises(MissingData, match="no such folder"):
        found.samples(found.split, tmp_path / "nowhere")


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_missing_file_is_named_with_where_it_comes_from(name: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    tiny = BUILDERS[name, FILES](tmp_path / "whole")
    found = task.get(name)
    assert isinstance(found, FileTask)
    optional = {"TextVQA_Rosetta_OCR_v0.2_val.json"}
    removable = [
        path.relative_to(tmp_path / "whole")
        for path in sorted((tmp_path / "whole").rglob("*"))
        if (path.suffix in (".json", ".jsonl", ".csv", ".tsv", ".p") or path.is_dir())
        and path.name not in optional
        and "train"
        not in str(path.relative_to(tmp_path / "whole")).replace("train_images", "").replace("train2014", "")
    ]
    assert removable
    named = 0
    for part in removable:
        root = tmp_path / "cut"
        shutil.copytree(tmp_path / "whole", root)
        shutil.rmtree(root / part) if (root / part).is_dir() else (root / part).unlink()
        try:
            found.samples(tiny.split, root)
        except MissingData as error:
            assert len(str(error).splitlines()) == 1
            assert found.files in str(error) or "COCO" in str(error), error
            named += 1
        shutil.rmtree(root)
    assert named >= 1 or name in ("mmmu", "vstar-bench"), "of these each file is whole by itself"


@pytest.mark.parametrize("name", WITH_FILES)
def test_an_empty_folder_is_told(name: str, tmp_path: Path) -> None:
    found = task.get(name)
    assert isinstance(found, FileTask)
    with pytest.raises(MissingData) as caught:
        found.samples(found.split, tmp_path)
    assert str(tmp_path) in str(caught.value) and found.files in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in WITH_FILES if name not in INSIDE])
def test_a_missing_picture_is_an_error_of_its_questions(name: str, tmp_path: Path) -> None:
    found, tiny, samples = read(name, FILES, tmp_path)
    source = next(one for one in samples if one.images).images[0].source
    assert isinstance(source, Path)
    source.unlink()
    made = plans.plan(Scripted(), found, Settings(split=tiny.split, data=tmp_path))
    errors = [asked.error for asked in made.asked if asked.error is not None]
    assert errors and all("no such picture" in str(error) and source.name in str(error) for error in errors)


@pytest.mark.parametrize("name", WITH_FILES)
def test_damaged_json_is_one_line(name: str, tmp_path: Path) -> None:
    tiny = BUILDERS[name, FILES](tmp_path)
    files = [
        file for file in tmp_path.rglob("*") if file.suffix in (".json", ".jsonl", ".tsv", ".parquet", ".p", ".txt")
    ]
    broken = 0
    for file in files:
        before = file.read_bytes()
        file.write_bytes(b"\xff{ not a file")
        try:
            task.get(name).samples(tiny.split, tmp_path)
        except TaskError as error:
            assert len(str(error).splitlines()) == 1
            assert file.name in str(error)
            broken += 1
        file.write_bytes(before)
    assert broken


@pytest.mark.parametrize("name", WITH_FILES)
def test_facts_are_whole(name: str) -> None:
    found = task.get(name)
    assert found.title and found.paper.startswith("http") and found.source and found.licence
    assert found.split in found.splits
    assert not found.sizes or len(found.sizes) == len(found.splits)
    assert found.hub is not None and set(found.hub.lacks) <= set(found.splits) - {found.split}
    for hub in (found.hub, found.hub.shots):
        assert hub is None or hub.revision is None or re.fullmatch("[0-9a-f]{40}", hub.revision)
    assert set(found.splits_for_shots) <= set(found.splits)
    assert found.split not in found.splits_for_shots
    assert found.example is not None
    names = [wording.name for wording in found.wordings]
    assert len(set(names)) == len(names)
    for wording in found.wordings:
        assert wording.source
        filled = wording.ask(found.example)
        assert "{" not in filled, filled
        for metric in found.metrics_of(wording, frozenset()):
            assert metrics.get(metric.metric, metric.variant).about
        if found.splits_for_shots:
            assert wording.answered(found.example)
    for metric in found.metrics:
        assert metrics.get(metric.metric, metric.variant).about
