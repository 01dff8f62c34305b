"""Benchmarks whose score belongs to a whole: rotations, pairs, categories; and programs that scores need, told in time."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from eval_tasks import runner, task
from eval_tasks.errors import BadRow, MissingData, MissingTool, PartialSet, ToolFailed
from eval_tasks.metrics import Item, MetricName, Prediction, Targets, spice
from eval_tasks.plan import Settings
from eval_tasks.scoring import mark
from eval_tasks.tasks.mmbench import ROTATION, options_of, rotated
from flamingo_lab import cli
from flamingo_lab.errors import BadPrompt
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.folders import DATA
from tests.tasks.benchmarks import BUILDERS, FILES, HUB, captions, choices, parquet

assert captions and choices  # they register their builders


def run(name: str, root: Path, model: Scripted, **more: Any) -> Run:
    BUILDERS[name, FILES](root)
    return runner.run(model, task.get(name), Settings(data=root, **more), Store(root / "results"))


def value(made: Run, metric: str, part: str = "all") -> float | None:
    return next(score.value for score in made.scores if (score.metric, score.slice) == (metric, part))


# MMBench


def option(text: str) -> Any:
    """A model that sees the right thing, and says its letter."""

    def reply(request: fl.Request) -> str:
        words = str(request.prompt.turns[-1].parts[-1])
        return next(line[0] for line in words.splitlines() if line.endswith(text))

    return reply


def test_every_rotation_is_asked_and_all_have_to_be_right(tmp_path: Path) -> None:
    model = Scripted(option("cat"))
    made = run("mmbench", tmp_path, model)
    assert model.asked == ["9", "1000009"]
    assert (value(made, "mmbench"), made.scores[0].n) == (1.0, 1)
    always_a = run("mmbench", tmp_path, Scripted(lambda request: "A", digest="always A"))
    assert (value(always_a, "mmbench"), value(always_a, "mmbench.vanilla")) == (0.0, 1.0)
    with pytest.raises(PartialSet, match="on a part of the questions is another figure"):
        run("mmbench", tmp_path, model, limit=1)


def test_a_rotation_without_an_answer_decides_nothing(tmp_path: Path) -> None:
    def fails(request: fl.Request, right: str = "A") -> str:
        if request.id == "1000009":
            raise BadPrompt("too long")
        return right

    right = run("mmbench", tmp_path, Scripted(fails), max_error_rate=1.0)
    assert (value(right, "mmbench"), right.n_errors) == (None, 1)
    wrong = run("mmbench", tmp_path, Scripted(lambda one: fails(one, "B"), digest="wrong"), max_error_rate=1.0)
    assert value(wrong, "mmbench") == 0.0


def test_rotations_that_a_file_lacks_are_made(tmp_path: Path) -> None:
    tiny = BUILDERS["mmbench", HUB](tmp_path)
    first, second = task.get("mmbench").samples(tiny.split, tmp_path)
    assert (first.choices, first.targets, second.choices, second.targets) == (
        ("cat", "dog"),
        ("A",),
        ("dog", "cat"),
        ("B",),
    )
    assert (second.id, second.document, second.images) == ("1000009", first.document, first.images)
    assert [one.facts for one in (first, second)] == [{"rotation": n, "rotations": 2} for n in (0, 1)]


def test_made_rotations_are_those_of_the_authors_file() -> None:
    file = DATA / "mmbench" / "mmbench_dev_20230712.llava-v1.5-13b.tsv"
    if not file.is_file():
        pytest.skip("no published rotations here")
    with file.open(encoding="utf-8", newline="") as stream:
        rows = {int(row["index"]): row for row in csv.DictReader(stream, delimiter="\t")}
    same = others = 0
    for index, row in rows.items():
        rotation, group = divmod(index, ROTATION)
        forms = sum(group + number * ROTATION in rows for number in range(4))
        if not rotation or forms < len(options_of(row)):  # there the last option stays where it is
            continue
        first = rows[group]
        sample = task.Sample(str(group), (), "", (first["answer"],), "", options_of(first), facts={"rotation": 0})
        made = rotated(sample, rotation)
        is_same = (made.choices, made.targets, made.id) == (options_of(row), (row["answer"],), str(index))
        same, others = same + is_same, others + (not is_same)
    assert (same, others) == (3095, 0)


# MME and POPE


def test_pairs_of_mme(tmp_path: Path) -> None:
    made = run("mme", tmp_path, Scripted(lambda request: "Yes"))
    assert value(made, "mme") == 14 * 50.0, "half of the questions, and no picture"
    assert value(made, "mme.accuracy_plus") == 0.0

    def fails(request: fl.Request) -> str:
        if request.id.startswith("existence") and "dog" not in request.id:
            raise BadPrompt("too long")
        return "Yes" if "dog" in request.id else "No"

    lost = run("mme", tmp_path, Scripted(fails, digest="fails"), max_error_rate=1.0)
    assert value(lost, "mme", "category=existence") == 100.0, "the pair is not known to be right"
    assert value(lost, "mme.accuracy_plus", "category=existence") is None
    assert value(lost, "mme", "category=count") == 200.0


def test_a_picture_of_mme_without_its_second_question_is_told(tmp_path: Path) -> None:
    BUILDERS["mme", FILES](tmp_path)
    file = tmp_path / "eval_tool" / "Your_Results" / "color.txt"
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(BadRow, match=r"color/1\.jpg has 1 questions, not 2"):
        task.get("mme").samples("test", tmp_path)


def test_pope_without_a_category_is_told(tmp_path: Path) -> None:
    BUILDERS["pope", HUB](tmp_path)
    (file,) = tmp_path.rglob("*.parquet")
    row = {"question_id": "1", "question": "Is there a cup?", "answer": "yes", "category": "random"}
    parquet(file, [row | {"image_source": "a", "image": {"bytes": b"", "path": "a.png"}}])
    with pytest.raises(MissingData, match="no questions of adversarial and popular"):
        task.get("pope").samples("test", tmp_path)


# Java and SPICE


CAPTIONS = {"coco-caption", "flickr30k", "nocaps", "textcaps"}


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.usefixtures("without_java")
@pytest.mark.parametrize("name", sorted(CAPTIONS))
def test_missing_java_is_said_before_a_model_is_looked_for(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--model", str(tmp_path / "no model"), "--tasks", name, "--data", str(tmp_path)]
    assert cli.run(command) == 2
    err = capsys.readouterr().err
    assert "there is no java on the PATH" in err and len(err.splitlines()) == 1
    assert cli.run([*command[:3], "--tasks", f"easy-vqa,{name}"]) == 2
    assert "there is no java on the PATH" in capsys.readouterr().err


def test_spice_says_what_it_lacks_and_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if (spice.folder() / "lib" / spice.MODELS[0]).exists():
        pytest.skip("its files are here")
    command = ["eval", "--model", str(tmp_path / "no model"), "--tasks", "coco-caption", "--data", str(tmp_path)]
    assert cli.run([*command, "--spice"]) == 2
    err = capsys.readouterr().err
    assert all(name in err for name in spice.MODELS) and spice.ARCHIVE in err and str(spice.folder() / "lib") in err
    assert cli.run(command) == 2
    assert "SPICE" not in capsys.readouterr().err, "off by default"
    assert cli.run([*command[:3], "--tasks", "easy-vqa", "--spice"]) == 2
    assert "none of the tasks asks for any" in capsys.readouterr().err
    (tmp_path / "p.jsonl").write_text("{}")
    scored = ["score", "--task", "coco-caption", "--predictions", str(tmp_path / "p.jsonl"), "--spice"]
    assert cli.run(scored) == 2
    assert spice.MODELS[1] in capsys.readouterr().err


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pycocoevalcap whose models are there, and a `java` that scores by the length of a caption."""
    (tmp_path / "spice" / "lib").mkdir(parents=True)
    for name in spice.MODELS:
        (tmp_path / "spice" / "lib" / name).touch()
    monkeypatch.setattr(spice, "folder", lambda: tmp_path / "spice")
    monkeypatch.setattr(spice.captions_java, "tokenise", lambda texts: [text.lower() for text in texts])
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        "given, made = sys.argv[4], sys.argv[sys.argv.index('-out') + 1]\n"
        "rows = json.load(open(given))\n"
        "scores = [len(row['test']) / 10 if row['test'] else 'NaN' for row in rows]\n"
        "found = [{'image_id': row['image_id'], 'scores': {'All': {'f': f}}} for row, f in zip(rows, scores)]\n"
        "open(made, 'w').write(json.dumps(found[::-1]))\n"
        "open('asked.json', 'w').write(json.dumps([sys.argv[1:4], rows]))\n"
    )
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{java.parent}{os.pathsep}{os.environ['PATH']}")
    return java


def test_spice_is_the_programs_f_score(program: Path, tmp_path: Path) -> None:
    items = [Item(Prediction(text), Targets(("A cat.", "Cats")), text, text) for text in ("A dog", "", "cat")]
    marked = mark(MetricName("spice", "official"), items)
    assert [outcome.score for outcome in marked.outcomes if outcome] == [0.5, 0.0, 0.3]
    assert (marked.scores[0].value, marked.scores[0].n_unparsed) == (pytest.approx(0.8 / 3), 1)
    arguments, rows = json.loads((tmp_path / "spice" / "asked.json").read_text())
    assert arguments == ["-jar", "-Xmx8G", "spice-1.0.jar"]
    assert rows[0] == {"image_id": 0, "test": "a dog", "refs": ["a cat.", "cats"]}
    program.write_text("#!/bin/sh\necho 'no memory' >&2\nexit 3\n")
    with pytest.raises(ToolFailed, match="ended with 3: no memory"):
        mark(MetricName("spice", "official"), items)


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime here")
def test_spices_own_program_lacks_its_models_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes what it is given; the class that it misses is one of the file that the message names."""
    if (spice.folder() / "lib" / spice.MODELS[0]).exists():
        pytest.skip("its files are here")
    monkeypatch.setattr(spice, "check", lambda: None)
    with pytest.raises(ToolFailed, match=r"ended with 1: .*NoClassDefFoundError: edu/stanford/nlp/") as caught:
        mark(MetricName("spice", "official"), [Item(Prediction("A dog"), Targets(("A cat.",)))])
    assert len(str(caught.value).splitlines()) == 1


def test_spice_without_its_models_is_refused(program: Path, tmp_path: Path) -> None:
    (tmp_path / "spice" / "lib" / spice.MODELS[1]).unlink()
    with pytest.raises(MissingTool, match="which no package brings"):
        spice.check()
