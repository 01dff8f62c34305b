"""VizWiz: VQA accuracy on answers of blind people's helpers, whose annotations carry a confidence and no answer id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from eval_tasks.errors import BadRow
from eval_tasks.metrics import (
    Figure,
    Item,
    Metric,
    Outcome,
    Prediction,
    Targets,
    about,
    each,
    mean,
    mean_figure,
    vqa_accuracy,
)
from eval_tasks.vqa_text import CONTRACTIONS, normalised, plain, with_digits, without_punctuation

UNANSWERABLE = "unanswerable"
CONFIDENCE = "answer_confidence"

# QUIRK: the authors' table of contractions has typographic apostrophes but for these, so that a contracted answer equals
# no person's; the keys and values listed have straight ones.
STRAIGHT_KEYS = {"couldn'tve", "hadn'tve"}
STRAIGHT_VALUES = {"aint", "arent", "cant", "couldve", "couldnt", "weve", "wheres", "whove"}
TYPOGRAPHIC = {
    key if key in STRAIGHT_KEYS else key.replace("'", "’"): value if key in STRAIGHT_VALUES else value.replace("'", "’")
    for key, value in CONTRACTIONS.items()
}


def authors(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' evaluation (Qing Li): the answer normalised, the people's as they stand."""
    answer = with_digits(without_punctuation(plain(prediction.text)), TYPOGRAPHIC)
    return Outcome(vqa_accuracy.agreement(targets.texts.count(answer), len(targets.texts)), answer)


def openflamingo(prediction: Prediction, targets: Targets) -> Outcome:
    """OpenFlamingo's evaluation on its own files.

    QUIRK: it leaves out, with each person's answer, every equal one: without an answer id nothing tells them apart but
    the confidence (fact `answer_confidence`). An answer on which all agree in both gets 0. The hub's rows have no confidence.
    """
    answer = vqa_accuracy.openflamingo(prediction, targets).read
    people = [normalised(text) for text in targets.texts]
    sure: Sequence[str | None] = targets.facts.get(CONFIDENCE, [""] * len(people))
    matching = people.count(answer)
    if len(sure) != len(people) or None in sure:
        told = len(sure) - sure.count(None)
        raise BadRow(f"{len(people)} answers have {told} confidences ({CONFIDENCE}), which vizwiz/openflamingo reads")
    same = Counter(zip(people, sure, strict=True))
    total = sum(count * min(1, (matching - count * (text == answer)) / 3) for (text, _), count in same.items())
    return Outcome(total / len(people) if people else 0.0, answer)


def openflamingo_of_all(items: Sequence[Item]) -> Sequence[Outcome]:
    """Each answer's outcome. Raises `BadRow` where a question of the authors' files, which say `answerable`, lost its facts."""
    for item in items:
        if "answerable" in item.slices and CONFIDENCE not in item.targets.facts:
            raise BadRow(f"{item.id} has no {CONFIDENCE}, by which vizwiz/openflamingo tells equal answers apart")
    return [openflamingo(item.prediction, item.targets) for item in items]


def figures(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The accuracy, and how often the answer is that there is none."""
    says = [float(outcome.read == UNANSWERABLE) for outcome in outcomes]
    return {**mean(items, outcomes), UNANSWERABLE: mean_figure(says, [item.document for item in items])}


VARIANTS = {
    "authors": each(authors, figures),
    "openflamingo": Metric(openflamingo_of_all, about(openflamingo), figures),
    "evalai": each(vqa_accuracy.evalai, figures),
    "idefics-m4": each(vqa_accuracy.idefics_m4, figures),
}
