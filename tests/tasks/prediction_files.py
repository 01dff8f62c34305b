"""Tiny files of predictions in every layout, each with its right answers, two or three questions a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval_tasks.tasks.mme import PARTS
from eval_tasks.tasks.mmmu import SUBJECTS

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Form:
    """A layout's files. `answer`: the field that holds the answer, in the first file; `id`: the one that names the question.

    `value`: the score of the files as they stand. `by_line`: an answer counts as often as it occurs.
    """

    task: str
    metric: str
    predictions: Mapping[str, Any]
    value: float
    annotations: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str = ""
    answer: str = ""
    by_line: bool = False

    @property
    def file(self) -> str:
        return next(iter(self.predictions))

    def write(self, folder: Path, predictions: Mapping[str, Any] | None = None) -> tuple[list[Path], list[Path]]:
        """The files on disk: predictions, annotations."""
        return (
            [written(folder / name, held) for name, held in (predictions or self.predictions).items()],
            [written(folder / name, held) for name, held in self.annotations.items()],
        )


def written(file: Path, held: Any) -> Path:
    """A file in the form of its ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in held), encoding="utf-8")
    elif file.suffix == ".tsv":
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(held[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(held)
    elif file.suffix == ".txt":
        file.write_text("".join("\t".join(row.values()) + "\n" for row in held), encoding="utf-8")
    else:
        file.write_text(json.dumps(held), encoding="utf-8")
    return file


def _mme(*answers: str) -> Rows:
    return [
        {"image": f"{number // 2}.jpg", "question": f"Is it {number}?", "right": right, "answer": answer}
        for number, (right, answer) in enumerate(zip(("Yes", "No") * 2, answers, strict=True))
    ]


FORMS = {
    "chartqa-records": Form(
        "chartqa",
        "relaxed_accuracy/pix2struct",
        {
            "p.json": [
                {"imgname": "a.png", "query": "?", "prediction": "104", "answer": "100", "split": "test_human"},
                {"imgname": "b.png", "query": "?", "prediction": "no", "answer": "yes", "split": "test_augmented"},
                {"imgname": "b.png", "query": "?", "prediction": "no", "answer": "yes", "split": "test_augmented"},
            ]
        },
        0.5,
        answer="prediction",
        by_line=True,
    ),
    "llava-textvqa-jsonl": Form(
        "textvqa",
        "vqa_accuracy/evalai",
        {
            "p.jsonl": [
                {"question_id": "pic", "prompt": "What Brand?\nReference OCR token: A", "text": "Nokia"},
                {"question_id": "pic", "prompt": "What year?\nReference OCR token: A", "text": "1999"},
            ]
        },
        0.5,
        {
            "a.json": {
                "data": [
                    {"question_id": 7, "image_id": "pic", "question": "what brand?", "answers": ["nokia"] * 10},
                    {"question_id": 8, "image_id": "pic", "question": "what year?", "answers": ["2001"] * 10},
                ]
            }
        },
        "question_id",
        "text",
        by_line=True,
    ),
    "rrc-json": Form(
        "docvqa",
        "anls/rrc",
        {"p.json": [{"questionId": 1, "answer": "May 1"}, {"questionId": 2, "answer": "x"}]},
        0.5,
        {"a.json": {"data": [{"questionId": 1, "answers": ["May 1"]}, {"questionId": 2, "answers": ["three"]}]}},
        "questionId",
        "answer",
    ),
    "pope-jsonl": Form(
        "pope",
        "pope/official",
        {"p.jsonl": [{"question_id": 1, "text": "Yes"}, {"question_id": 2, "text": "Yes"}]},
        1.0,
        {
            "q.jsonl": [
                {"question_id": 1, "image": "a.jpg", "category": "random"},
                {"question_id": 2, "image": "a.jpg", "category": "popular"},
            ],
            "coco_pope_random.json": [{"question_id": 1, "image": "a.jpg", "label": "yes"}],
            "coco_pope_popular.json": [{"question_id": 1, "image": "a.jpg", "label": "yes"}],
        },
        "question_id",
        "text",
    ),
    "mme-txt": Form(
        "mme",
        "mme/official",
        {
            "count.txt": _mme("Yes", "No", "Yes", "yes it is"),
            **{f"{category}.txt": _mme("Yes", "No", "Yes", "No") for category in PARTS if category != "count"},
        },
        75 + 50 + 200 * 13,
        answer="answer",
        id="question",
    ),
    "scienceqa-jsonl": Form(
        "scienceqa",
        "choice/llava",
        {"p.jsonl": [{"question_id": "4", "text": "B"}, {"question_id": "5", "text": "A. north"}]},
        1.0,
        {
            "a.json": [
                {"id": "4", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "B"}]},
                {"id": "5", "image": "5/image.png", "conversations": [{"from": "gpt", "value": "A"}]},
            ]
        },
        "question_id",
        "text",
    ),
    "mmbench-tsv": Form(
        "mmbench",
        "mmbench/circular",
        {
            "p.tsv": [
                {"index": "3", "question": "?", "A": "cat", "B": "dog", "prediction": "A", "answer": "A"},
                {"index": "1000003", "question": "?", "A": "dog", "B": "cat", "prediction": "A", "answer": "B"},
                {"index": "4", "question": "?", "A": "one", "B": "two", "prediction": "B", "answer": "B"},
                {"index": "1000004", "question": "?", "A": "two", "B": "one", "prediction": "A", "answer": "A"},
            ]
        },
        0.5,
        answer="prediction",
        id="index",
    ),
    "mmmu-output": Form(
        "mmmu",
        "mmmu/official-draw",
        {
            "Art/output.json": [
                {
                    "id": "validation_Art_1",
                    "question_type": "multiple-choice",
                    "answer": "B",
                    "all_choices": ["A", "B"],
                    "index2ans": {"A": "one", "B": "two"},
                    "response": "(B)",
                }
            ],
            "Math/output.json": [
                {
                    "id": "validation_Math_15",
                    "question_type": "short-answer",
                    "answer": ["24/7", "3.43"],
                    "response": "4",
                }
            ],
            **{
                f"{subject}/output.json": [
                    {"id": f"validation_{subject}_1", "question_type": "short-answer", "answer": "4", "response": "5"}
                ]
                for subject in SUBJECTS
                if subject not in ("Art", "Math")
            },
        },
        1 / 30,
        answer="response",
        id="id",
    ),
    "mmmu-answers": Form(
        "mmmu",
        "mmmu/parsed",
        {"p.json": {"validation_Art_1": "B", "validation_Math_15": "4"}},
        0.5,
        {
            "a.json": {
                "validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"},
                "validation_Math_15": {"question_type": "short-answer", "ground_truth": ["24/7", "3.43"]},
            }
        },
    ),
    "mmvet-grades": Form(
        "mmvet",
        "grades/mean",
        {"p.json": {"v1_0": {"score": [0.0, 0.5]}, "v1_1": {"score": [1.0, 0.5]}}},
        0.5,
        {"a.json": {"v1_0": {"capability": ["ocr", "math"]}, "v1_1": {"capability": ["rec"]}}},
    ),
    "llava-review-jsonl": Form(
        "llava-bench",
        "grades/ratio",
        {
            "m-eval1.jsonl": [
                {"question_id": 0, "category": "llava_bench_conv", "tuple": [8, 4]},
                {"question_id": 1, "category": "llava_bench_complex", "tuple": [8, 6]},
            ],
            "m-eval2.jsonl": [
                {"question_id": 0, "category": "llava_bench_conv", "tuple": [4, 1]},
                {"question_id": 1, "category": "llava_bench_complex", "tuple": [4, 2]},
            ],
        },
        (10 / 16 + 3 / 8) / 2,
        id="question_id",
    ),
    "seed-jsonl": Form(
        "seed-bench",
        "choice/letter",
        {
            "p.jsonl": [
                {"question_id": "1", "prediction": "B", "gt_answer": "B"},
                {"question_id": "2", "prediction": "A.", "gt_answer": "A"},
            ]
        },
        0.5,
        id="question_id",
        answer="prediction",
        by_line=True,
    ),
    "coco-caption": Form(
        "coco-caption",
        "captions/ptb",
        {
            "p.json": [
                {"image_id": 1, "caption": "a red cup on a table"},
                {"image_id": 2, "caption": "a big dog in the snow"},
            ]
        },
        10.0,
        {
            "a.json": {
                "images": [{"id": 1}, {"id": 2}],
                "annotations": [
                    {"image_id": 1, "caption": "A red cup on a table."},
                    {"image_id": 2, "caption": "A big dog in the snow!"},
                ],
            }
        },
        "image_id",
        "caption",
    ),
    "refcoco-boxes": Form(
        "refcoco",
        "iou/xyxy",
        {
            "p.json": [
                {"expression": "dog", "gt_xyxy_norm": [0, 0, 0.5, 0.5], "pred_xyxy_norm": [0, 0, 0.5, 0.4]},
                {"expression": "dog", "gt_xyxy_norm": [0, 0, 0.5, 0.5], "pred_xyxy_norm": [0.5, 0.5, 1, 1]},
            ]
        },
        0.5,
        answer="pred_xyxy_norm",
    ),
    "plain": Form(
        "vqav2",
        "vqa_accuracy/openflamingo",
        {"p.jsonl": [{"question_id": 9000, "answer": "Red"}, {"question_id": 9001, "answer": "2"}]},
        0.5,
        {
            "a.json": {
                "annotations": [
                    {"question_id": 9000, "answers": [{"answer": "red"}] * 10},
                    {"question_id": 9001, "answers": [{"answer": "three"}] * 10},
                ]
            }
        },
        "question_id",
        "answer",
    ),
}
