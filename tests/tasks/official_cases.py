"""The official cases as questions to our metrics.

`names.csv` beside the folder of cases says which of our variants each result belongs to and what of it is compared. Any
folder in the same form can be checked: nothing here knows a single case.
"""

from __future__ import annotations

import csv
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from eval_tasks.metrics import Item, Prediction, Targets, gqa_suite
from tests.folders import CASES, SHARED

Case = Mapping[str, Any]

NAMES = "names.csv"
LETTERS = string.ascii_uppercase

COMPARED = {
    "accuracy_at_0_5", "error", "iou", "metrics", "norm_prediction", "option_chosen", "output", "parsed", "per_type",
    "pred_index", "score", "tokens", "vanilla_first_pass",
}  # fmt: skip
"""The fields of a case that names.csv can name."""


@dataclass(frozen=True)
class Row:
    """A line of names.csv. Without a metric the result is another harness's, for information."""

    metric: str
    variant: str
    fields: tuple[str, ...]


@cache
def rows() -> Mapping[tuple[str, str, str], Row]:
    """The lines of names.csv by file, the file's variant and the key under `also`.

    It lies beside the folder of cases, or in it; cases that come without one are in the form of the shared ones.
    """
    places = (CASES.parent, CASES, SHARED / "tasks")
    file = next(place / NAMES for place in places if (place / NAMES).is_file())
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return {
            (line["file"], line["file_variant"], line["also_key"]): Row(
                line["metric"], line["variant"], fields(line["what_is_compared"])
            )
            for line in csv.DictReader(stream)
        }


def fields(words: str) -> tuple[str, ...]:
    """The fields that a cell of `what_is_compared` names among its words."""
    found = re.findall(r"\w+", words.replace("option chosen", "option_chosen"))
    return tuple(dict.fromkeys(word for word in found if word in COMPARED))


def lines() -> Iterator[tuple[str, Case]]:
    """Every case with the name of its file; its field `metric` says that name too, whatever the file is called."""
    for file in sorted(CASES.glob("*.jsonl")):
        # Not splitlines(): a text may hold other ends of lines than \n.
        for line in file.read_text(encoding="utf-8-sig").split("\n"):
            if line.strip():
                case = json.loads(line)
                yield case.get("metric", file.stem), case


def comparisons(file: str, case: Case) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    """Which variants of ours the case has results for, and what they are.

    A `KeyError` where names.csv does not know the case's variant; what it does not know under `also` is not compared.
    """
    main = rows()[file, case["variant"], ""]
    assert main.metric and main.fields, f"{file} {case['variant']}: names.csv compares nothing"
    main = replace(main, variant=STEPS.get((file, case["variant"]), main.variant))
    compared = {field: case[field] for field in main.fields if field in case}
    assert compared, f"{file} {case['id']}: it holds none of {', '.join(main.fields)}"
    yield main, compared
    for key, result in (case.get("also") or {}).items():
        row = rows().get((file, "", key))
        if row is not None and row.metric:
            (field,) = row.fields
            yield row, {field: result}


def items(file: str, case: Case) -> list[Item]:
    """A case's questions: one, or a whole set."""
    return FORMS.get(file, _texts)(case)


def is_set(file: str, case: Case) -> bool:
    """Whether the case holds a set of answers, not one."""
    return file in SETS and not isinstance(case["prediction"], str)


def _texts(case: Case, **facts: Any) -> list[Item]:
    choices = tuple(case.get("choices") or case.get("options") or ())
    return [Item(Prediction(case["prediction"]), Targets(tuple(case["targets"]), choices, facts))]


def _letter(index: int) -> str:
    return LETTERS[index]


def _vizwiz(case: Case) -> list[Item]:
    sure = {"answer_confidence": tuple(case["answer_confidence"])} if "answer_confidence" in case else {}
    return _texts(case, **sure)


def _mathvista(case: Case) -> list[Item]:
    facts = {key: case.get(key) for key in ("question_type", "answer_type", "precision")}
    return _texts({**case, "prediction": str(case["prediction"])}, **facts)


def _stemmed(case: Case) -> list[Item]:
    tags = tuple(zip(case["tokens"], case["tags"], strict=True))
    return [Item(Prediction(case["prediction"], tags=tags), Targets(tuple(case["targets"])))]


def _scienceqa(case: Case) -> list[Item]:
    return _texts({**case, "targets": [_letter(index) for index in case["targets"]]})


def _ranked(case: Case) -> list[Item]:
    """Letters in words; or one loss an option; or the log-probabilities of its tokens, with the right option's number."""
    held = case["prediction"]
    if isinstance(held, str):
        return _texts(case)
    scores = tuple(tuple(option) if isinstance(option, list) else (-option,) for option in held)
    (target,) = case["targets"]
    return [Item(Prediction("", scores), Targets((target if isinstance(target, str) else _letter(target),)))]


def _rotations(case: Case) -> list[Item]:
    if isinstance(case["prediction"], str):
        return _texts(case)
    held = zip(case["prediction"], case["options"], case["targets"], strict=True)
    return [
        Item(Prediction(text), Targets((right,), tuple(options), {"rotation": number}), document="one question")
        for number, (text, options, right) in enumerate(held)
    ]


def _set(case: Case) -> list[Item]:
    """One answer with its targets, or lists of both; numbers become text."""
    if isinstance(case["prediction"], str):
        return _texts(case)
    held = zip(case["prediction"], case["targets"], strict=True)
    return [
        Item(
            Prediction(str(answer)), Targets(tuple(target) if isinstance(target, list) else (str(target),)), str(number)
        )
        for number, (answer, target) in enumerate(held)
    ]


def _boxes(case: Case) -> list[Item]:
    held = case["prediction"]
    height, width = case.get("image_height_width", (None, None))
    facts = {"box": tuple(case["targets"][0]), "size": (width, height)}
    return [Item(Prediction(held if isinstance(held, str) else json.dumps(held)), Targets((), facts=facts))]


def _gqa_suite(case: Case) -> list[Item]:
    answers = {one["questionId"]: one["prediction"] for one in case["prediction"]}
    choices = case.get("choices") or {}
    return [
        Item(
            Prediction(answers[key]),
            Targets((record["answer"],), facts=gqa_suite.facts(record, choices.get(key))),
            key,
            slices=gqa_suite.slices(record),
        )
        for key, record in case["targets"].items()
    ]


FORMS: Mapping[str, Callable[[Case], list[Item]]] = {
    "captions": _set,
    "gqa_suite": _gqa_suite,
    "hateful_memes_auroc": _set,
    "mathvista": _mathvista,
    "mmbench_circular": _rotations,
    "okvqa_stemming": _stemmed,
    "pope": _set,
    "refcoco_iou": _boxes,
    "scienceqa": _scienceqa,
    "seedbench": _ranked,
    "vizwiz_accuracy": _vizwiz,
    "vstar_bench": _ranked,
}
"""How the files are laid out whose lines are more than a text with its targets."""

STEPS = {("mathvista", "official-extract-quick"): "extraction"}
"""Results of one step of a variant, which is a variant of its own here."""

SETS = ("captions", "gqa_suite", "hateful_memes_auroc", "mmbench_circular", "pope")
