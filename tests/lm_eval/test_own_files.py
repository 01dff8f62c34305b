"""lm-eval's own HellaSwag and MMMU, whose data sets are on the hub, on a few documents in the same form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pytest

import flamingo_lab as fl
from eval_tasks import runner
from eval_tasks.lm_eval import harness, running
from eval_tasks.lm_eval.task import bridged
from eval_tasks.plan import Settings, plan
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.lm_eval.files import png

OWN = Path(lm_eval.__file__).parent / "tasks"


def file(folder: Path, own: str, name: str, **changes: Any) -> str:
    """One of lm-eval's files with other documents."""
    lines = {"include": str(OWN / own), "task": name, **changes}
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
    return str(path)


@pytest.fixture
def hellaswag(tmp_path: Path) -> str:
    rows = [
        {
            "activity_label": "Cooking",
            "ctx_a": f"A man cuts {number} onions.",
            "ctx_b": "he",
            "endings": ["eats them [substeps] now.", "runs away.", "sings.", "cooks."],
            "label": str(number % 4),
        }
        for number in range(5)
    ]
    paths = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    for path in paths.values():
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file(tmp_path, "hellaswag/hellaswag.yaml", "swag", dataset_path="json", dataset_kwargs={"data_files": paths})


@pytest.fixture
def mmmu(tmp_path: Path) -> str:
    """Two questions with options and one without; the second names its pictures the other way round."""
    asked = ["Name <image 1>.", "What is <image 2> beside <image 1>?", "Is <image 1> a cat?"]
    rows: list[dict[str, Any]] = [
        {
            "id": f"validation_Art_{number}",
            "question": question,
            "question_type": "multiple-choice" if number else "open",
            "options": "['a cat', 'a dog']" if number else "[]",
            "answer": "B" if number else "cat",
            **dict.fromkeys((f"image_{place}" for place in range(3, 8)), None),
            **{f"image_{place}": {"bytes": png(number, place), "path": None} for place in (1, 2)},
        }
        for number, question in enumerate(asked)
    ]
    kinds = {name: datasets.Image() if name.startswith("image_") else datasets.Value("string") for name in rows[0]}
    table = tmp_path / "mmmu.parquet"
    datasets.Dataset.from_list(rows, features=datasets.Features(kinds)).to_parquet(str(table))
    source = {
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": str(table)}},
    }
    return file(tmp_path, "mmmu/mmmu_art.yaml", "art", **source)


def test_hellaswag_is_ranked(hellaswag: str, tiny: fl.LoadedModel, tmp_path: Path) -> None:
    (task,) = harness.load([hellaswag]).tasks.values()
    run = running.run(tiny, task, running.Settings(), Store(tmp_path / "results"))
    assert {score.metric for score in run.scores} == {"acc", "acc_norm"}
    found = Store(tmp_path / "results").samples(run.run_id)
    first = dict(zip(found.columns, found.fetchall()[0], strict=True))
    assert first["prompt"].endswith("Cooking: A man cuts 0 onions. He")
    assert first["choices"] == [" eats them now.", " runs away.", " sings.", " cooks."]
    ours = runner.run(tiny, bridged(task), Settings(), Store(tmp_path / "ours"))
    assert ours.n_errors == 0 and ours.decoding == "rank(sum)"
    assert {score.metric for score in ours.scores} == {"acc", "acc_norm"}


def test_mmmu_shows_its_pictures_in_the_order_of_its_words(mmmu: str, tmp_path: Path) -> None:
    (task,) = harness.load([mmmu]).tasks.values()
    sizes: dict[str, list[Any]] = {}

    def reply(request: fl.Request) -> str:
        parts = request.prompt.turns[-1].parts
        sizes[request.id] = [part if isinstance(part, str) else part.size[0] - 20 for part in parts]
        return "It is a cat." if "Name " in parts else "(B)"

    run = running.run(Scripted(reply), task, running.Settings(), Store(tmp_path / "results"))
    assert run.scores[0].value == 1.0
    words = "Answer with the option's letter from the given choices directly."
    second = ["What is ", 2, " beside ", 1, f"?\n\n(A) a cat\n(B) a dog\n\n{words}"]
    assert second in sizes.values()
    sizes.clear()
    ours = runner.run(Scripted(reply), bridged(task), Settings(), Store(tmp_path / "ours"))
    assert ours.scores[0].value == 1.0 and second in sizes.values()
    request = plan(Scripted(), bridged(task), Settings()).asked[0].request
    assert (request.stop, request.max_new_tokens) == (("<|endoftext|>",), 512)
