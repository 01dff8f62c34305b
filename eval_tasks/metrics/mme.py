"""MME: two yes/no questions a picture; a category is worth 100 acc + 100 acc+, in points (Fu et al. 2023).

The figure is the sum over the categories that a set holds (the slice `category` of its items), so that of the slice
`part=perception` is the published one, at most 2000. acc+ is the share of pictures with all questions right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from eval_tasks.metrics import HEADLINE, Figure, Item, Outcome, Prediction, Targets, each, mean_figure, mean_over
from leaderboards.records import POINTS, Term

FULL = 100.0
OTHER = "neither yes nor no"


def official(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' `calculation.py`: in lower case `yes` or `no`, or one of them, yes first, in the first four letters."""
    text = prediction.text.lower()
    beginning = text if text in ("yes", "no") else text[:4]
    said = "yes" if "yes" in beginning else "no" if "no" in beginning else None
    if said is None:
        return Outcome(0.0, None, OTHER)
    return Outcome(float(said in (target.lower() for target in targets.texts)), said)


def figures(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The points, then the shares of questions and of pictures that are right.

    A picture's part of the points is what it adds to them times the number of pictures, so that their mean is the sum. A
    picture that lacks the answer to one of its `questions` counts in acc+ only where the other answer is wrong.
    """
    right: dict[tuple[str, str], list[float]] = {}
    asked: dict[tuple[str, str], int] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        key = item.slices.get("category", ""), item.document
        right.setdefault(key, []).append(outcome.score)
        asked[key] = item.targets.facts.get("questions", 1)
    whole = {key: float(all(of)) for key, of in right.items() if len(of) >= asked[key] or not all(of)}
    pictures = Counter(category for category, _ in whole)
    questions = Counter(item.slices.get("category", "") for item in items)
    parts = [
        FULL * len(right) * (sum(of) / questions[key[0]] + (whole[key] / pictures[key[0]] if key in whole else 0.0))
        for key, of in right.items()
    ]
    documents = [document for _, document in right]
    terms: list[list[Term]] = []
    pairs: list[float | None] = []
    for item, outcome in zip(items, outcomes, strict=True):
        key = item.slices.get("category", ""), item.document
        pair = whole.pop(key, None)  # a picture's first item tells of the picture
        told = [] if pair is None else [Term(f"{key[0]} pictures", FULL * pair, 1.0)]
        terms.append([Term(f"{key[0]} questions", FULL * outcome.score, 1.0), *told])
        pairs.append(pair)
    return {
        HEADLINE: mean_figure(parts, documents, POINTS, terms),
        "accuracy": mean_figure([outcome.score for outcome in outcomes], [item.document for item in items]),
        "accuracy_plus": mean_over(items, pairs),
    }


VARIANTS = {"official": each(official, figures, needs_all=True)}
