"""What single benchmarks ask in ways of their own: options that are ranked, pictures inside questions, boxes, judges."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import filter_repo_objects
from PIL import Image as Pillow

import flamingo_lab as fl
from eval_tasks import groups, layouts, metrics, parquet, runner, task
from eval_tasks import plan as plans
from eval_tasks.errors import BadRow, MissingData, TaskError, UnknownTask
from eval_tasks.metrics import Prediction, Targets
from eval_tasks.plan import Settings
from eval_tasks.task import Sample
from eval_tasks.wording import Reads
from flamingo_lab import cli
from flamingo_lab.families import all_families
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.tasks import benchmarks
from tests.tasks.benchmarks import BUILDERS, FILES, HUB, captions, choices, questions

assert questions  # it registers its builders


def of(name: str, root: Path, layout: str = FILES) -> list[Sample]:
    """The questions of a tiny benchmark."""
    return list(task.get(name).samples(BUILDERS[name, layout](root).split, root))


def test_a_folder_of_the_tasks_name_is_its_root(tmp_path: Path) -> None:
    BUILDERS["docvqa", FILES](tmp_path / "docvqa")
    BUILDERS["infovqa", FILES](tmp_path / "infovqa")
    for name in ("docvqa", "infovqa"):
        assert task.get(name).samples("val", tmp_path)


@pytest.mark.parametrize(
    ("held", "document"),
    [({}, "abcd0001"), ({"ucsf_document_id": ""}, "881"), ({"ucsf_document_id": None}, "881")],
)
def test_pages_of_a_document_belong_together(held: dict[str, Any], document: str, tmp_path: Path) -> None:
    pages = [
        questions.DOCVQA | {"questionId": n, "docId": 881 + n, "image": f"documents/{n}.png"} | held for n in (0, 1)
    ]
    benchmarks.write(tmp_path / "val" / "val_v1.0.json", {"data": pages})
    found = task.get("docvqa").samples("val", tmp_path)
    answers = [{"questionId": n, "answer": ""} for n in (0, 1)]
    benchmarks.write(tmp_path / "p.json", answers)
    scored = layouts.read(task.get("docvqa"), [tmp_path / "p.json"], [tmp_path / "val" / "val_v1.0.json"]).items
    assert [one.document for one in found] == [one.document for one in scored]
    assert found[0].document == document and len({one.document for one in found}) == 1 + bool(held)


def test_a_run_of_a_ranked_task(tmp_path: Path) -> None:
    BUILDERS["seed-bench", FILES](tmp_path)

    class Ranking(Scripted):
        def answers(self, requests: Any) -> Any:
            for request in requests:
                scores = tuple(-float(len(option)) for option in request.decoding.options)
                yield fl.Answer(request.id, text="One", option_logprobs=scores, images=1)

    run = runner.run(Ranking(), task.get("seed-bench"), Settings(data=tmp_path), Store(tmp_path / "results"))
    assert [(score.metric, score.variant, score.value) for score in run.scores[:1]] == [("rank", "argmin", 0.0)]
    assert run.decoding == "rank(mean)"
    letters = Settings(data=tmp_path, wording="option-letter")
    run = runner.run(Scripted(lambda request: "B"), task.get("seed-bench"), letters, Store(tmp_path / "results"))
    assert {(score.metric, score.variant) for score in run.scores} == {("choice", "letter"), ("choice", "llava")}
    assert run.scores[0].value == 1.0
    with pytest.raises(TaskError, match="nothing is decoded"):
        runner.run(
            Scripted(), task.get("seed-bench"), Settings(data=tmp_path, decoding=fl.Beam(3)), Store(tmp_path / "r")
        )


def test_a_run_without_a_judge_keeps_answers_and_has_no_score(tmp_path: Path) -> None:
    BUILDERS["mmvet", FILES](tmp_path)
    run = runner.run(Scripted(), task.get("mmvet"), Settings(data=tmp_path), Store(tmp_path / "results"))
    (score,) = run.scores
    assert (score.metric, score.value, score.n) == ("grades", None, 1)


def test_the_default_wording_is_one_for_the_kind_of_model(tmp_path: Path) -> None:
    BUILDERS["vqav2", FILES](tmp_path)
    chosen = {}
    for reads in (None, "running text", "turns"):
        model = Scripted(about={"family": "double", "reads": reads} if reads else {})
        chosen[reads] = plans.plan(model, task.get("vqav2"), Settings(data=tmp_path)).wording.name
    assert chosen == {None: "plain", "running text": "plain", "turns": "short-answer"}


def test_ocr_tokens_are_shown_by_one_wording_only(tmp_path: Path) -> None:
    BUILDERS["textvqa", FILES](tmp_path)
    found = task.get("textvqa")
    (first, *_) = found.samples("val", tmp_path)
    asked = {wording.name: wording.ask(first) for wording in found.wordings}
    assert asked["ocr-tokens"] == (
        "what brand is it?\nReference OCR token: NOKIA, 3310\nAnswer the question using a single word or phrase."
    )
    assert sum("NOKIA" in text for text in asked.values()) == 1
    (tmp_path / "TextVQA_Rosetta_OCR_v0.2_val.json").unlink()
    (first, *_) = found.samples("val", tmp_path)
    with pytest.raises(MissingData, match="'ocr-tokens' needs 'ocr'"):
        found.wording("ocr-tokens").ask(first)


def test_groups_of_scienceqa_are_its_authors(tmp_path: Path) -> None:
    """Their `tools/evaluate_acc.py`: TXT has a hint and IMG a picture, whatever else there is; NO has neither."""
    row = choices.SCIENCEQA
    rows = [
        row | {"hint": hint, "image": image}
        for hint in ("", "Moths fly.")
        for image in (None, benchmarks.stored(1, "image.png"))
    ]
    benchmarks.parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    found = task.get("scienceqa").samples("test", tmp_path)
    groups = {"TXT": ("hint", "yes"), "IMG": ("picture", "yes"), "NO": ("context", "none")}
    said = [[name for name, (key, value) in groups.items() if one.slices[key] == value] for one in found]
    assert said == [["NO"], ["IMG"], ["TXT"], ["TXT", "IMG"]]


@pytest.mark.parametrize(
    ("name", "layout", "absent", "kept"),
    [
        ("mathvista", FILES, ("source", "language", "skills"), {"task", "category", "context", "grade"}),
        ("mmmu", HUB, ("topic_difficulty", "subfield", "img_type"), {"discipline", "subject", "kind"}),
        ("vstar-bench", FILES, ("target_object",), {"kind"}),
    ],
)
def test_groups_that_the_data_lacks_are_no_slices(
    name: str, layout: str, absent: tuple[str, ...], kept: set[str], tmp_path: Path
) -> None:
    tiny = BUILDERS[name, layout](tmp_path)
    without(tmp_path, absent)
    added = {"question_type", "answer_type", "picture size"} if name == "mathvista" else set[str]()
    assert set(task.get(name).samples(tiny.split, tmp_path)[0].slices) == kept | added


def without(root: Path, names: tuple[str, ...]) -> None:
    """The files of a tiny benchmark without some fields, wherever they are."""

    def cut(held: Any) -> Any:
        if isinstance(held, list):
            return [cut(one) for one in held]
        return {key: cut(one) for key, one in held.items() if key not in names} if isinstance(held, dict) else held

    for file in root.rglob("*.json"):
        benchmarks.write(file, cut(json.loads(file.read_text())))
    for file in root.rglob("*.parquet"):
        benchmarks.parquet(file, cut(pq.read_table(file).to_pylist()))


def test_raw_answers_of_ok_vqa(tmp_path: Path) -> None:
    BUILDERS["okvqa", FILES](tmp_path)
    found, raw = task.get("okvqa"), frozenset({"raw-answers"})
    (first, *_) = found.altered(found.samples("val", tmp_path), 0, raw)
    assert first.targets == ("reds",) * 10
    assert str(found.metrics_of(found.wordings[0], raw)[0]) == "vqa_accuracy/gt-vision-lab"
    (tmp_path / "hub").mkdir()
    BUILDERS["okvqa", HUB](tmp_path / "hub")
    with pytest.raises(MissingData, match="one kind of answers"):
        found.altered(found.samples("val", tmp_path / "hub"), 0, raw)


def test_answers_of_ok_vqa_that_are_not_stemmed_are_told(tmp_path: Path) -> None:
    file = tmp_path / "data" / "val2014-00000-of-00001.parquet"
    row = {"question": "What is done here?", "image": benchmarks.stored(9), "question_type": "four"}

    def samples(*answers: str) -> list[Sample]:
        rows = [row | {"question_id": str(place), "answers": [answer] * 10} for place, answer in enumerate(answers)]
        benchmarks.parquet(file, rows)
        return list(task.get("okvqa").samples("val", tmp_path))

    assert samples("surf", "pony tail", "cloth", "ring", "police", "spring")
    assert samples(*["surf"] * 50, "evening"), "the stemmer only comes near the authors'"
    for raw in ("surfing", "buildings", "hang gliding"):
        with pytest.raises(MissingData, match=f"10 of 20 answers of val are not stemmed, '{raw}' for one, .*--data to"):
            samples("surf", raw)


def test_pictures_of_mmmu_stand_where_they_are_named(tmp_path: Path) -> None:
    BUILDERS["mmmu", FILES](tmp_path)
    found = task.get("mmmu")
    choice, free = found.samples("validation", tmp_path)
    parts = found.wordings[0].parts(choice)
    assert [part if isinstance(part, str) else choice.images.index(part) for part in parts] == [
        "Which of these is ",
        0,
        "?\n\n(A) a cat\n(B) ",
        1,
        "\n\nAnswer with the option's letter from the given choices directly.",
    ]
    assert free.targets == ("24/7", "3.43") and free.choices == ()
    assert str(found.wordings[0].parts(free)[-1]).endswith("Answer the question using a single word or phrase.")
    (first, *_) = found.altered([choice], 0, frozenset({"first-picture"}))
    assert found.wordings[0].parts(first)[0] is choice.images[0]
    assert "<image 2>" in str(found.wordings[0].parts(first)[1])


def test_the_right_option_of_vstar_bench_is_not_always_the_first(tmp_path: Path) -> None:
    samples = of("vstar-bench", tmp_path)
    assert all(sample.choices["AB".index(sample.targets[0])] == choices.GLOVE[0] for sample in samples)
    again = task.get("vstar-bench").samples("test", tmp_path)
    assert [sample.choices for sample in samples] == [sample.choices for sample in again]


def test_a_pickle_that_wants_more_than_data_is_refused(tmp_path: Path) -> None:
    BUILDERS["refcoco", FILES](tmp_path)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "stolen"), "w"))

    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Evil()], protocol=2))
    with pytest.raises(MissingData, match="not readable as a pickle of plain data"):
        task.get("refcoco").samples("val", tmp_path)
    assert not (tmp_path / "stolen").exists()


def test_a_split_of_the_hub_that_is_not_the_papers_is_refused(tmp_path: Path) -> None:
    benchmarks.parquet(tmp_path / "data" / "val-00000-of-00001.parquet", [{"image": benchmarks.stored(1)}])
    for name in ("refcoco", "refcocog"):
        with pytest.raises(MissingData, match="is not the split of the papers"):
            task.get(name).samples("val", tmp_path)


def test_pictures_of_flickr30k_without_karpathys_file(tmp_path: Path) -> None:
    BUILDERS["flickr30k", HUB](tmp_path)
    (tmp_path / "dataset_flickr30k.json").unlink()
    with pytest.raises(MissingData, match=r"put dataset_flickr30k\.json beside them"):
        task.get("flickr30k").samples("test", tmp_path)


def test_the_hubs_copy_of_coco_is_read_by_karpathys_split(tmp_path: Path) -> None:
    found = task.get("coco-caption")
    assert found.hub is not None
    rows = [{"id": image, "answer": captions.TWO, "image": benchmarks.stored(image)} for image in (9, 10, 11)]
    benchmarks.parquet(tmp_path / "data" / "val-00000-of-00001.parquet", rows)
    hidden = [{"id": 12, "answer": None, "image": benchmarks.stored(12)}]
    benchmarks.parquet(tmp_path / "data" / "test-00000-of-00001.parquet", hidden)
    for split in ("restval", "val", "test"):
        assert "data/val-00000-of-00001.parquet" in list(
            filter_repo_objects(["data/val-00000-of-00001.parquet"], allow_patterns=parquet.needed(found.hub, split))
        )
        with pytest.raises(
            MissingData, match=r"Karpathy's .*; put dataset_coco\.json beside them, or .*--split val2014"
        ):
            found.samples(split, tmp_path)
    assert [sample.id for sample in found.samples("val2014", tmp_path)] == ["9", "10", "11"]
    captions.karpathy(tmp_path, "dataset_coco.json", filepath="val2014")
    assert [sample.id for sample in found.samples("test", tmp_path)] == ["9", "11"]
    with pytest.raises(MissingData, match="the val split holds no questions"):
        found.samples("val", tmp_path)


def test_all_of_cocos_val(tmp_path: Path) -> None:
    captions.coco(tmp_path, "annotations/captions_val2014.json", "val2014")
    found = task.get("coco-caption").samples("val2014", tmp_path)
    assert [sample.id for sample in found] == ["9", "11"]
    assert found[0].targets == tuple(captions.TWO)


def test_boxes_of_shots_are_in_the_notation_that_is_read(tmp_path: Path) -> None:
    BUILDERS["refcoco", FILES](tmp_path)
    found = task.get("refcoco")
    (first, *_) = found.samples("val", tmp_path)
    large = replace(first, facts={"box": (100, 200, 500, 400), "size": (640, 480)})
    for wording in found.wordings:
        (metric,) = found.metrics_of(wording, frozenset())
        outcome = metrics.get(metric.metric, metric.variant).outcome(
            Prediction(wording.answered(large)), Targets((), facts=large.facts)
        )
        assert outcome.read.iou > 0.95, wording.name


@pytest.mark.parametrize("name", ["docvqa", "vqav2", "mathvista", "mmvet", "textcaps"])
def test_a_row_that_lacks_a_field_is_named(name: str, tmp_path: Path) -> None:
    tiny = BUILDERS[name, FILES](tmp_path)
    file = next(
        file
        for file in sorted(tmp_path.rglob("*.json"))
        if "TextCaps" in file.name or ("question" in file.read_text() and not re.search("train|OCR", file.name))
    )
    text = file.read_text().replace('"question":', '"ask":', 1).replace('"reference_strs":', '"references":', 1)
    assert json.loads(text)
    file.write_text(text)
    with pytest.raises(BadRow, match=r"the field '(question|reference_strs)' is missing") as caught:
        task.get(name).samples(tiny.split, tmp_path)
    assert file.name in str(caught.value)


def test_rows_are_read_without_their_pictures(tmp_path: Path) -> None:
    """A picture is read when it is looked at, with the few that share its group of rows."""
    parquet._group.cache_clear()
    samples = of("vqav2", tmp_path, HUB)
    assert parquet._group.cache_info().misses == 0
    assert [one.images[0].size for one in samples] == [(29, 12)] * 3
    assert parquet._group.cache_info().misses == 2
    with Pillow.open(io.BytesIO(benchmarks.png(9))) as opened:
        assert samples[0].images[0].load().tobytes() == opened.tobytes()


def test_the_hubs_cache_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "datasets--lmms-lab--VizWiz-VQA"
    found = task.get("vizwiz")
    assert found.hub and found.hub.revision
    BUILDERS["vizwiz", HUB](cached / "snapshots" / found.hub.revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    (first,) = found.samples("val", None)
    assert set(first.targets) == {"soup"}
    with pytest.raises(MissingData, match="no data; point --data"):
        task.get("vqav2").samples("val", None)


@pytest.mark.parametrize(
    "place",
    ["validation-0.parquet", "data/validation-0.parquet", "default/validation/0000.parquet", "main/validation.parquet"],
)
def test_layouts_of_the_hub(place: str, tmp_path: Path) -> None:
    BUILDERS["vqav2", HUB](tmp_path / "made")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "made" / "data" / "validation-00000-of-00002.parquet").rename(tmp_path / place)
    assert len(task.get("vqav2").samples("val", tmp_path)) == 2


def test_groups_are_tasks_on_their_splits() -> None:
    assert {one.task.name for one in groups.expand("all")} == set(task.names())
    flamingo = [one.task.name for one in groups.expand("flamingo, easy-vqa")]
    assert flamingo == [*groups.GROUPS["flamingo"], "easy-vqa"]
    grounding = groups.expand("grounding,refcoco:testA")
    assert len(grounding) == 8
    assert {(one.task.name, one.split) for one in grounding} >= {("refcoco+", "testB"), ("refcocog", "test")}
    for name in groups.GROUPS:
        assert groups.expand(name)
    with pytest.raises(UnknownTask, match="did you mean grounding"):
        groups.expand("groundin")
    with pytest.raises(UnknownTask, match="refcoco has no split 'testC'"):
        groups.expand("refcoco:testC")
    with pytest.raises(UnknownTask, match="grounding is a group"):
        groups.expand("grounding:val")


@pytest.mark.parametrize("find", [task.get, groups.expand])
def test_an_unknown_task_is_told_with_near_names_alone(find: Callable[[str], object]) -> None:
    for name in ("nosuch", "foo", ""):
        with pytest.raises(UnknownTask) as caught:
            find(name)
        assert str(caught.value) == f"unknown task {name!r}: flab list tasks shows all"
    with pytest.raises(UnknownTask, match=r"did you mean hateful-memes\? "):
        find("hateful")
    with pytest.raises(
        UnknownTask, match=r"^unknown task 'EasyVQA': did you mean easy-vqa( or \S+)*\? \(all: flab list tasks\)$"
    ):
        find("EasyVQA")


@pytest.mark.parametrize("name", task.names())
def test_a_task_is_shown_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["show", "task", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"] and shown["source"] and shown["licence"]
    example = shown["example"]
    assert example["turns"].count("<image") == example["running text"].count("<image") == 1
    found = task.get(name)
    if found.example is not None:
        for reads in ("running text", "turns"):
            assert example[reads].endswith(found.wording(None, reads).answered(found.example))


@pytest.mark.parametrize(
    ("reads", "boxes", "expected"),
    [
        ("running text", "", "shares"),
        ("turns", "", "shares"),
        ("running text", "qwen-vl", "qwen-vl"),
        ("turns", "qwen-vl", "qwen-vl"),
        ("running text", "fuyu", "fuyu"),
    ],
)
def test_a_model_is_asked_for_boxes_in_its_own_notation(reads: Reads, boxes: str, expected: str) -> None:
    assert task.get("refcoco").wording(None, reads, boxes).name == expected
    assert task.get("vqav2").wording(None, reads, boxes).name == task.get("vqav2").wording(None, reads).name


def test_the_notations_that_families_name_can_be_read() -> None:
    named = {family.name: family.boxes for family in all_families() if family.boxes}
    assert named == {"fuyu": "fuyu", "qwen_vl": "qwen-vl"}
    assert set(named.values()) <= {wording.box for wording in task.get("refcoco").wordings}
