"""Files of predictions in every layout: what they score, and one clear line for whatever is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval_tasks import layouts, task
from eval_tasks.errors import BadPredictions, BadRow, TaskError
from eval_tasks.layouts import Layout, all_layouts
from eval_tasks.metrics import MetricName, Prediction
from eval_tasks.predictions import Given, question
from eval_tasks.reading import contents
from eval_tasks.scoring import Marked, mark, score_file
from flamingo_lab.cli import run, score
from leaderboards.records import Score
from tests.tasks.benchmarks import BUILDERS, FILES, choices, questions
from tests.tasks.prediction_files import FORMS, Form, written

assert choices and questions  # they register their builders

WITH_ROWS = [name for name, form in FORMS.items() if form.answer]
WITH_IDS = [name for name, form in FORMS.items() if form.id and not form.by_line]
MEGABYTE = "word " * 200_000


def marked(form: Form, folder: Path, predictions: Any = None, *, allow_missing: bool = False) -> Marked:
    files, annotations = form.write(folder, predictions)
    name = MetricName(*form.metric.split("/"))
    return score_file(task.get(form.task), name, files, annotations, allow_missing=allow_missing)


def refused(form: Form, folder: Path, predictions: Any = None) -> str:
    """The one line with which files are refused."""
    with pytest.raises(TaskError) as caught:
        marked(form, folder, predictions)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 1000, message
    return message


def whole(found: Marked) -> Score:
    return found.scores[0]


def changed(form: Form, change: Callable[[list[Any]], Any]) -> Any:
    """The predictions, with the rows of the first file changed."""
    held = deepcopy(dict(form.predictions))
    change(held[form.file])
    return held


def answered(form: Form, answer: Any) -> Any:
    """The predictions with another first answer."""
    return changed(form, lambda rows: rows[0].update({form.answer: answer}))


def test_every_layout_has_an_example() -> None:
    assert FORMS.keys() == all_layouts().keys()


@pytest.mark.parametrize("name", FORMS)
def test_a_layout_is_recognised_by_what_its_files_hold(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    files, annotations = form.write(tmp_path)
    given = Given(task.get(form.task), contents(files, BadPredictions), contents(annotations, BadPredictions), None)
    assert layouts.find(given)[0] == name
    specific: list[Layout] = [layout for layout in all_layouts().values() if not layout.is_general]
    assert sum(layout.recognises(given) for layout in specific) == (name != "plain")


@pytest.mark.parametrize("name", FORMS)
def test_the_score_of_a_layout(name: str, tmp_path: Path) -> None:
    assert whole(marked(FORMS[name], tmp_path)).value == pytest.approx(FORMS[name].value)


@pytest.mark.parametrize("name", FORMS)
def test_a_folder_stands_for_its_files(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    form.write(tmp_path / "predictions")
    for one in form.annotations:
        (tmp_path / "predictions" / one).unlink()
    _, annotations = form.write(tmp_path / "rights")
    found = score_file(
        task.get(form.task), MetricName(*form.metric.split("/")), [tmp_path / "predictions"], annotations
    )
    assert whole(found).value == pytest.approx(form.value)


@pytest.mark.parametrize("name", WITH_IDS)
def test_an_id_that_occurs_twice(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    message = refused(form, tmp_path, changed(form, lambda rows: rows.append(rows[0])))
    assert "was answered before, in" in message
    assert form.file in message


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.by_line])
def test_what_is_scored_line_by_line_may_repeat(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    before = whole(marked(form, tmp_path)).n
    assert whole(marked(form, tmp_path, changed(form, lambda rows: rows.append(rows[0])))).n == before + 1


@pytest.mark.parametrize("name", ["mmmu-answers", "mmvet-grades"])
def test_a_key_that_occurs_twice_in_an_object(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    files, annotations = form.write(tmp_path)
    held = files[0].read_text()
    first = held[1 : held.index(",", held.index("]") if "[" in held else 0)]
    files[0].write_text("{" + first + ", " + held[1:])
    with pytest.raises(BadPredictions, match="occurs twice"):
        score_file(task.get(form.task), None, files, annotations)


JOINED = ["llava-textvqa-jsonl", "rrc-json", "pope-jsonl", "scienceqa-jsonl", "coco-caption", "plain"]


@pytest.mark.parametrize("name", JOINED)
def test_an_answer_to_no_question(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    message = refused(form, tmp_path, changed(form, lambda rows: rows[1].update({form.id: "999"})))
    assert "'999'" in message and "is none of the 2 questions" in message and "row 1" in message


@pytest.mark.parametrize("name", JOINED)
def test_a_missing_answer_is_refused_or_counted(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    fewer = changed(form, lambda rows: rows.pop())
    assert "1 of 2 questions have no prediction" in refused(form, tmp_path, fewer)
    found = whole(marked(form, tmp_path, fewer, allow_missing=True))
    assert (found.n, found.n_errors) == (1, 1)


def test_a_missing_answer_of_an_object(tmp_path: Path) -> None:
    form = FORMS["mmmu-answers"]
    assert "1 of 2 questions" in refused(form, tmp_path, {"p.json": {"validation_Art_1": "B"}})
    assert "'validation_Art_9' is none of" in refused(form, tmp_path, {"p.json": {"validation_Art_9": "B"}})


def test_grades_that_are_missing_or_of_no_question(tmp_path: Path) -> None:
    form = FORMS["mmvet-grades"]
    fewer = {"p.json": {"v1_0": {"score": [0.0, 0.5]}, "v1_1": {"score": [1.0]}}}
    assert "'v1_1' has 1 of 2 grades" in refused(form, tmp_path, fewer)
    assert whole(marked(form, tmp_path, fewer, allow_missing=True)).n_errors == 1
    more = {"p.json": {**form.predictions["p.json"], "v9": {"score": [1, 1]}}}
    assert "'v9' is none of" in refused(form, tmp_path, more)


def test_a_grading_that_lacks_a_question(tmp_path: Path) -> None:
    form = FORMS["llava-review-jsonl"]
    assert "1 of 2 questions are not graded here" in refused(form, tmp_path, changed(form, lambda rows: rows.pop()))


@pytest.mark.parametrize("grade", [float("nan"), float("inf"), True, "8", None, 10**400])
@pytest.mark.parametrize("place", [0, 1])
def test_a_review_whose_grade_is_no_number(place: int, grade: Any, tmp_path: Path) -> None:
    form = FORMS["llava-review-jsonl"]
    grades = [grade if number == place else 5 for number in (0, 1)]
    message = refused(form, tmp_path, changed(form, lambda rows: rows[1].update({"tuple": grades})))
    assert (
        f"{form.file}, row 1: 'tuple' is [" in message and "not the grades of the reference and of the model" in message
    )


@pytest.mark.parametrize("grade", ["nan", "inf", "-inf", "much"])
def test_a_reference_whose_grade_is_no_number(grade: str) -> None:
    item = question("1", (grade,))
    with pytest.raises(BadRow, match="the reference answer's grade is"):
        mark(MetricName("grades", "ratio"), [replace(item, prediction=Prediction("5"))])


def test_a_picture_of_mme_with_one_answer(tmp_path: Path) -> None:
    form = FORMS["mme-txt"]
    message = refused(form, tmp_path, changed(form, lambda rows: rows.pop()))
    assert "count/1.jpg has 1 answers, not 2" in message


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("mme-txt", "OCR.txt", "1 of the benchmark's categories are not in the files, OCR for one"),
        ("mmmu-output", "Music/output.json", "1 of the benchmark's subjects are not in the files, Music for one"),
    ],
)
def test_a_benchmark_without_one_of_its_files(name: str, file: str, said: str, tmp_path: Path) -> None:
    form = FORMS[name]
    fewer = {one: held for one, held in form.predictions.items() if one != file}
    assert said in refused(form, tmp_path, fewer)
    before, found = whole(marked(form, tmp_path)), whole(marked(form, tmp_path, fewer, allow_missing=True))
    assert found.value is not None and found.n < before.n


def test_one_part_of_chartqa(tmp_path: Path) -> None:
    form = FORMS["chartqa-records"]
    human = changed(form, lambda rows: rows.__delitem__(slice(1, None)))
    assert "parts are not in the files, test_augmented for one" in refused(form, tmp_path, human)
    assert whole(marked(form, tmp_path, human, allow_missing=True)).value == 1.0
    unsaid = changed(form, lambda rows: [row.pop("split") for row in rows])
    assert whole(marked(form, tmp_path, unsaid)).value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("row", "index"), [(0, "3"), (1, "1000003")])
def test_a_question_of_mmbench_without_one_of_its_rotations(row: int, index: str, tmp_path: Path) -> None:
    form = FORMS["mmbench-tsv"]
    fewer = changed(form, lambda rows: rows.pop(row))
    assert f"the question 3 has no row {index}, one of its 2 rotations" in refused(form, tmp_path, fewer)
    found = whole(marked(form, tmp_path, changed(form, lambda rows: rows.pop(3)), allow_missing=True))
    assert (found.value, found.n) == (0.0, 1), "a question whose other rotation is unknown is not decided"


def test_a_last_option_of_mmbench_that_keeps_its_place_has_no_rotation(tmp_path: Path) -> None:
    form = FORMS["mmbench-tsv"]
    stays = changed(form, lambda rows: [row.update({"C": "none of these", "D": ""}) for row in rows])
    assert whole(marked(form, tmp_path, stays)).value == 0.5
    moves = changed(form, lambda rows: [row.update({"C": str(place), "D": ""}) for place, row in enumerate(rows)])
    assert "the question 3 has no row 2000003, one of its 3 rotations" in refused(form, tmp_path, moves)


def test_a_row_of_boxes_that_occurs_twice(tmp_path: Path) -> None:
    form = FORMS["refcoco-boxes"]
    assert "row 2: " in (message := refused(form, tmp_path, changed(form, lambda rows: rows.append(rows[0]))))
    assert "was answered before, in" in message
    assert (
        len(marked(form, tmp_path, changed(form, lambda rows: rows.append({**rows[0], "expression": "cat"}))).outcomes)
        == 3
    )


@pytest.mark.parametrize("name", WITH_ROWS)
def test_an_answer_of_a_megabyte(name: str, tmp_path: Path) -> None:
    """It is wrong, but for POPE, where whatever does not say no says yes."""
    form = FORMS[name]
    first = marked(form, tmp_path, answered(form, MEGABYTE)).outcomes[0]
    assert first is not None
    assert first.score == (1.0 if name == "pope-jsonl" else 0.0)


@pytest.mark.parametrize("name", [name for name in WITH_ROWS if not name.endswith(("-tsv", "-txt"))])
@pytest.mark.parametrize("value", [float("nan"), 3, None, ["a"], {"a": 1}, True])
def test_an_answer_that_is_no_text(value: Any, name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    held = answered(form, value)
    if name == "refcoco-boxes":
        found = whole(marked(form, tmp_path, held))
        assert (found.value, found.n_unparsed) == (0.0, 1)
        return
    message = refused(form, tmp_path, held)
    assert f"{form.file}, row 0" in message and "not text" in message


@pytest.mark.parametrize("held", [[0, 0, float("nan"), 1], [0, 0, 1], "a box", [0, 0, 1, "1"]])
def test_a_box_that_is_none_is_told_apart_from_a_wrong_one(held: Any, tmp_path: Path) -> None:
    found = marked(FORMS["refcoco-boxes"], tmp_path, answered(FORMS["refcoco-boxes"], held))
    assert [outcome.problem if outcome else None for outcome in found.outcomes] == ["no box", ""]


def test_grades_that_are_no_grades_are_told_apart(tmp_path: Path) -> None:
    held = {"p.json": {"v1_0": {"score": [float("nan"), 2]}, "v1_1": {"score": [1.0, None]}}}
    found = whole(marked(FORMS["mmvet-grades"], tmp_path, held))
    assert (found.value, found.n_unparsed) == (0.25, 3)


@pytest.mark.parametrize("name", FORMS)
def test_bytes_that_are_no_utf_8(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    files, annotations = form.write(tmp_path)
    for file in (files[0], *annotations[:1]):
        before = file.read_bytes()
        file.write_bytes(before[:3] + b"\xff" + before[3:])
        with pytest.raises(BadPredictions, match=r"not UTF-8 text \(invalid start byte at byte 3\)"):
            score_file(task.get(form.task), None, files, annotations)
        file.write_bytes(before)


@pytest.mark.parametrize("name", [name for name in WITH_ROWS if name != "mmbench-tsv"])
def test_a_row_that_lacks_its_answer(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    message = refused(form, tmp_path, changed(form, lambda rows: rows[-1].pop(form.answer)))
    assert re.search(r", (row|line) \d+: |in none of the known layouts", message)


DAMAGED = {
    "[1, 2]": "in none of the known layouts",
    "[]": "no predictions in it",
    "{}": "no predictions in it",
    "{": "not readable as .json",
    '[{"id": 1, "id": 2}]': "occurs twice",
    "": "no predictions in it",
    '{"a": {"b": 1}}': "in none of the known layouts",
    "[" * 100_000: "not readable as .json",
}


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: str(content)[:12])
def test_a_file_that_holds_no_predictions(content: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(content)
    with pytest.raises(BadPredictions, match=DAMAGED[content]) as caught:
        score_file(task.get("vqav2"), None, [file])
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadPredictions, match=r"gone\.json: not readable, there is no such file"):
        score_file(task.get("vqav2"), None, [tmp_path / "gone.json"])
    with pytest.raises(BadPredictions, match="the folder holds no files"):
        score_file(task.get("vqav2"), None, [tmp_path])


def test_labels_of_another_revision_of_pope(tmp_path: Path) -> None:
    form = FORMS["pope-jsonl"]
    files, annotations = form.write(tmp_path)
    label = {"image": "a.jpg", "label": "no"}
    written(annotations[1], [label, label])
    with pytest.raises(BadPredictions, match="2 labels for 1 questions of the category random"):
        score_file(task.get("pope"), None, files, annotations)
    written(annotations[1], [label | {"image": "b.jpg"}])
    with pytest.raises(BadPredictions, match=r"'b\.jpg' is labelled"):
        score_file(task.get("pope"), None, files, annotations)
    with pytest.raises(BadPredictions, match=r"no file \*_pope_random\.json"):
        score_file(task.get("pope"), None, files, [annotations[0], annotations[2]])


PLAIN = [{"id": "1", "prediction": "yes", "answer": "Yes"}, {"id": "2", "prediction": "no", "answer": "yes"}]


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "tsv"])
def test_rows_with_their_own_right_answers(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"p.{ending}"
    if ending == "csv":
        file.write_text('id,prediction,answer\n1,yes,Yes\n2,"no, it ""is""",yes\n')
    else:
        written(file, PLAIN)
    found = score_file(task.get("easy-vqa"), None, [file])
    assert (whole(found).value, whole(found).n) == (0.5, 2)


def test_answers_to_the_tasks_own_questions(tmp_path: Path) -> None:
    questions = task.get("easy-vqa").samples("test", None)
    rows = [{"id": sample.id, "answer": sample.targets[0]} for sample in questions]
    found = score_file(task.get("easy-vqa"), None, [written(tmp_path / "p.jsonl", rows)])
    assert (whole(found).value, whole(found).n) == (1.0, len(questions))
    assert {score.slice for score in found.scores} >= {"answer=colour", "answer=shape"}


def test_answers_to_another_split_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["hateful-memes", FILES](tmp_path)
    there = {split: task.get("hateful-memes").samples(split, tmp_path) for split in ("test_seen", "train")}
    rows = [{"id": sample.id, "prediction": sample.targets[0]} for sample in there["train"]]
    file = str(written(tmp_path / "p.jsonl", rows))
    command = ["score", "--data", str(tmp_path), "--predictions", file, "--metric", "exact_match/strip-lower"]
    assert {sample.id for sample in there["train"]}.isdisjoint(sample.id for sample in there["test_seen"])
    assert run([*command, "--task", "hateful-memes:train", "--json"]) == 0
    held = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (held["value"], held["n"], held["task"]) == (1.0, len(rows), "hateful-memes:train")
    for named, said in {
        "hateful-memes": "is none of the",
        "hateful-memes:tarin": "hateful-memes has no split 'tarin'; there are train, dev_seen",
        "grounding": "grounding is a group of tasks, whose splits are their own; name one of refcoco:val, ",
    }.items():
        assert run([*command, "--task", named]) == 2
        assert said in capsys.readouterr().err
    assert run([*command, "--task", "hateful-memes:train", "--annotations", file]) == 2
    assert "a split is one of --data" in capsys.readouterr().err


def test_of_two_questions_in_the_same_words_about_one_picture_the_last_counts(tmp_path: Path) -> None:
    form = FORMS["llava-textvqa-jsonl"]
    held = form.annotations["a.json"]["data"]
    again = held[0] | {"question_id": 9, "question": "What BRAND?", "answers": ["sony"] * 10}
    files = form.write(tmp_path)[0], [written(tmp_path / "b.json", {"data": [*held, again]})]
    assert [one and one.score for one in score_file(task.get(form.task), None, *files).outcomes] == [0.0, 0.0]


def with_kinds(form: Form, kinds: Mapping[str, Any], rows: Callable[[Any], list[Any]]) -> dict[str, Any]:
    """The right answers with further fields of the benchmark's."""
    held = deepcopy(dict(form.annotations))
    for row in rows(held["a.json"]):
        row.update(kinds)
    return held


@pytest.mark.parametrize(
    ("name", "kinds", "rows", "slices"),
    [
        ("rrc-json", {"question_types": ["form", "handwritten"]}, "data", {"form=yes", "handwritten=yes"}),
        ("rrc-json", {"answer_type": ["non span"], "operation/reasoning": ["counting"]}, "data", {"counting=yes"}),
        ("llava-textvqa-jsonl", {"image_width": 640, "image_height": 480}, "data", {"picture size=0.3 to 1 MP"}),
        ("coco-caption", {"width": 640, "height": 480, "domain": "near"}, "images", {"domain=near"}),
    ],
)
def test_kinds_that_the_right_answers_tell_are_slices(
    name: str, kinds: Mapping[str, Any], rows: str, slices: set[str], tmp_path: Path
) -> None:
    form = FORMS[name]
    held = with_kinds(form, kinds, lambda held: held[rows])
    annotations = [written(tmp_path / "kinds" / file, one) for file, one in held.items()]
    items = layouts.read(task.get(form.task), form.write(tmp_path)[0], annotations).items
    assert {f"{key}={value}" for key, value in items[0].slices.items()} >= slices


def test_abilities_of_mmbench_are_slices(tmp_path: Path) -> None:
    form = FORMS["mmbench-tsv"]
    told = changed(form, lambda rows: [row.update({"l2-category": "logic", "category": "nan"}) for row in rows])
    found = marked(form, tmp_path, told)
    assert {score.slice for score in found.scores} == {"all", "ability=logic"}


def test_the_questions_of_gqa_give_its_whole_suite_of_figures(tmp_path: Path) -> None:
    of_all = {"isBalanced": True, "imageId": "n1", "semantic": [{"operation": "select", "argument": "cup (1)"}]}
    of_all |= {
        "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
        "groups": {"global": None},
    }
    first = of_all | {"question": "Is it red?", "answer": "yes", "entailed": ["2"]}
    second = of_all | {"question": "Is it a cup?", "answer": "yes", "entailed": []}
    said = [{"questionId": key, "prediction": text} for key, text in {"1": "yes", "2": "no"}.items()]
    files = [written(tmp_path / "p.json", said)], [written(tmp_path / "a.json", {"1": first, "2": second})]
    found = score_file(task.get("gqa"), MetricName("gqa_suite", "without-choices"), *files)
    figures = {score.metric: score.value for score in found.scores if score.slice == "all"}
    assert (figures["gqa_suite"], figures["gqa_suite.consistency"]) == (0.5, 0.0)
    assert {"structural=verify", "steps=1", "words=3"} <= {score.slice for score in found.scores}
    torn = [written(tmp_path / "b.json", {"1": first | {"types": "verify"}, "2": second})]
    with pytest.raises(BadPredictions, match=r"b\.json, row 0: .* of another form than in GQA's questions"):
        score_file(task.get("gqa"), None, files[0], torn)


def test_right_answers_by_their_ids(tmp_path: Path) -> None:
    """GQA's questions are an object of questions."""
    questions = {"2001": {"question": "Is it red?", "answer": "yes"}, "2002": {"question": "What?", "answer": "cup"}}
    said = [{"questionId": "2001", "prediction": "yes"}, {"questionId": "2002", "prediction": "cat"}]
    files = [written(tmp_path / "p.json", said)], [written(tmp_path / "testdev_balanced_questions.json", questions)]
    assert whole(score_file(task.get("gqa"), None, *files)).value == 0.5
    with pytest.raises(
        BadPredictions, match=r"a\.json: no right answers in it; rows of an id and an answer are expected"
    ):
        score_file(task.get("gqa"), None, files[0], [written(tmp_path / "a.json", {"questions": []})])


def test_official_files_as_annotations_are_scored_as_the_data_that_they_are(tmp_path: Path) -> None:
    BUILDERS["vizwiz", FILES](tmp_path)
    file = tmp_path / "Annotations" / "val.json"
    rows = json.loads(file.read_text())
    for row in rows:
        for number, answer in enumerate(row["answers"]):
            answer["answer_confidence"] = ("yes", "maybe")[number % 2]
    written(file, rows)
    said = [
        written(tmp_path / "p.json", [{"image": row["image"], "answer": row["answers"][0]["answer"]} for row in rows])
    ]
    vizwiz, name = task.get("vizwiz"), MetricName("vizwiz", "openflamingo")
    found = score_file(vizwiz, name, said, [file])
    assert found.scores == score_file(vizwiz, name, said, (), tmp_path).scores
    assert whole(found).value == 1.0
    assert {score.slice for score in found.scores} >= {"answer_type=other", "answerable=yes"}
    del rows[0]["answers"][3]["answer_confidence"]
    with pytest.raises(BadRow, match=r"10 answers have 9 confidences \(answer_confidence\), which vizwiz/openflamingo"):
        score_file(vizwiz, name, said, [written(file, rows)])
    for answer in rows[1]["answers"] + rows[0]["answers"]:
        answer.pop("answer_confidence", None)
    with pytest.raises(BadRow, match=r"VizWiz_val_0+9\.jpg has no answer_confidence"):
        score_file(vizwiz, name, said, [written(file, rows)])
    assert whole(score_file(vizwiz, MetricName("vizwiz", "authors"), said, [file])).value == 1.0


def test_kinds_of_vqas_annotations_are_slices(tmp_path: Path) -> None:
    BUILDERS["vqav2", FILES](tmp_path)
    samples = task.get("vqav2").samples("val", tmp_path)
    said = [written(tmp_path / "p.json", [{"question_id": int(one.id), "answer": one.targets[0]} for one in samples])]
    annotations = [next(tmp_path.rglob("v2_mscoco_val2014_annotations.json"))]
    by_file, by_data = (
        {
            score.slice: (score.value, score.low, score.high)
            for score in score_file(task.get("vqav2"), None, said, *where).scores
        }
        for where in ((annotations,), ((), tmp_path))
    )
    assert by_file == by_data and any(label.startswith("question_type=") for label in by_file)


def test_scores_of_options_are_ranked(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "option_logprobs": [-2.0, -1.0], "prediction": "", "answer": "B"},
        {"id": 2, "option_logprobs": [[-1.0, -3.0], [-2.5]], "prediction": "", "answer": "A"},
    ]
    file = written(tmp_path / "p.json", rows)
    found = whole(score_file(task.get("seed-bench"), None, [file]))
    assert (found.metric, found.variant, found.value) == ("rank", "argmin", 1.0)
    rows[0]["option_logprobs"] = ["much", "little"]
    with pytest.raises(BadPredictions, match="no list of numbers"):
        score_file(task.get("seed-bench"), None, [written(file, rows)])


def test_words_are_not_ranked(tmp_path: Path) -> None:
    file = written(tmp_path / "p.json", [{"id": 1, "prediction": "B", "answer": "B"}])
    found = whole(score_file(task.get("seed-bench"), None, [file]))
    assert (found.metric, found.value) == ("choice", 1.0)
    with pytest.raises(BadPredictions, match="reads the scores of options"):
        score_file(task.get("seed-bench"), MetricName("rank", "mean"), [file])


def test_several_paths_stand_behind_one_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form = FORMS["pope-jsonl"]
    files, annotations = form.write(tmp_path)
    paths = [str(file) for file in annotations]
    command = ["score", "--task", "pope", "--predictions", str(files[0]), "--annotations", *paths, "--json"]
    assert run(command) == 0
    several = capsys.readouterr().out
    repeated = [word for path in paths for word in ("--annotations", path)]
    assert run([*command[:5], *repeated, "--json"]) == 0
    assert capsys.readouterr().out == several
    assert json.loads(several.splitlines()[0])["value"] == 1.0
    assert score.repeated(["--predictions=a", "b"]) == ["--predictions=a", "b"]


def test_what_is_missing_or_unread_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form = FORMS["scienceqa-jsonl"]
    files, annotations = form.write(tmp_path, {"p.jsonl": [{"question_id": "4", "text": "both"}]})
    command = ["score", "--task", "scienceqa", "--predictions", str(files[0]), "--annotations", str(annotations[0])]
    assert run(command) == 2
    assert "--allow-missing" in capsys.readouterr().err
    assert run([*command, "--allow-missing"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "n 1" in first and "unparsed 1" in first and "missing 1" in first
