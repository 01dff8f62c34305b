"""ANLS: how near the answer's letters come to the nearest target, 0 from half of them on (Biten et al. 2019, section 4).

All variants subtract a share from 1: the edit distance over a length. They differ in what is stripped before, in whose
length it is, and in whether a share of exactly one half still counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from eval_tasks.edit_distance import edit_distance
from eval_tasks.metrics import Outcome, Prediction, Targets, each

THRESHOLD = 0.5

NOT_ANSWERABLE = "not-answerable"


def rrc(prediction: Prediction, targets: Targets) -> Outcome:
    """The Robust Reading Competition's script (DocVQA, InfographicVQA): one half counts.

    QUIRK: blanks are squeezed before the distance but not before the length, so that a padded answer is nearer.
    """
    answer = " ".join(prediction.text.strip().lower().split())
    length = len(prediction.text.upper())
    shares = (
        _share(" ".join(target.strip().lower().split()), answer, max(len(target.upper()), length))
        for target in targets.texts
    )
    return _kept(shares, answer)


def st_vqa(prediction: Prediction, targets: Targets) -> Outcome:
    """The evaluator of ST-VQA in mmf (M4C): stripped and in lower case; one half counts. Two empty texts divide by zero."""
    answer = prediction.text.lower().strip()
    texts = [target.lower().strip() for target in targets.texts]
    if not answer and "" in texts:
        return Outcome(0.0, answer, "division by zero")
    return _kept((_share(text, answer, max(len(text), len(answer))) for text in texts), answer)


def pix2struct(prediction: Prediction, targets: Targets) -> Outcome:
    """Pix2Struct (`metrics.py`): lower case, nothing stripped; one half is too far. Two empty texts divide by zero."""
    answer = prediction.text.lower()
    texts = [target.lower() for target in targets.texts]
    if not answer and "" in texts:
        return Outcome(0.0, answer, "division by zero")
    return _kept(_below_half(texts, answer), answer)


def mp_docvqa(prediction: Prediction, targets: Targets) -> Outcome:
    """Multi-page DocVQA (rubenpt91/MP-DocVQA-Framework): an empty answer, and the answer `none`, get 0.

    The fact `answer_type`, where a sample has it, may be `not-answerable`: then any other answer than none gets 0 too.
    """
    answer = prediction.text.lower().strip()
    if answer in ("", "none") or targets.facts.get("answer_type") == NOT_ANSWERABLE:
        return Outcome(0.0, answer)
    texts = [target.lower().strip() for target in targets.texts]
    similarity = max((1 - _share(text, answer, max(len(text), len(answer))) for text in texts), default=0.0)
    return Outcome(similarity if similarity >= THRESHOLD else 0.0, answer)


def idefics_m4(prediction: Prediction, targets: Targets) -> Outcome:
    """IDEFICS' evaluation code (m4 `doc_vqa_metrics.py`): full stops at the ends of the answer go; one half is too far."""
    answer = prediction.text.strip().strip(".").lower()
    if not answer:
        return Outcome(0.0, answer)
    return _kept(_below_half([target.lower() for target in targets.texts], answer), answer)


def _share(target: str, answer: str, length: int) -> float:
    """The distance over a length. Where the lengths alone put it beyond one half it is not worked out further."""
    if not length:
        return 0.0
    least = abs(len(target) - len(answer)) / length
    return least if least > THRESHOLD else edit_distance(target, answer) / length


def _below_half(texts: Iterable[str], answer: str) -> Iterable[float]:
    shares = (_share(text, answer, max(len(text), len(answer))) for text in texts)
    return (share for share in shares if share < THRESHOLD)


def _kept(shares: Iterable[float], answer: str) -> Outcome:
    similarity = 1 - min(shares, default=1.0)
    return Outcome(similarity if similarity >= THRESHOLD else 0.0, answer)


VARIANTS = {
    "rrc": each(rrc),
    "st-vqa": each(st_vqa),
    "pix2struct": each(pix2struct),
    "mp-docvqa": each(mp_docvqa),
    "idefics-m4": each(idefics_m4),
}
