"""VQA accuracy: an answer is right as far as three of the other nine people gave it (Antol et al. 2015, Goyal et al. 2017).

For each of the people's answers: how many of the others equal the prediction, over three, at most 1; the mean of that. All
variants share this; they differ in which side is normalised when, up to twelve points on one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from eval_tasks import okvqa_stems, postprocess
from eval_tasks.metrics import Outcome, Prediction, Targets, each
from eval_tasks.vqa_text import evalai_normalised, normalised, plain, without_punctuation


def gt_vision_lab(prediction: Prediction, targets: Targets) -> Outcome:
    """VQA's own evaluation. QUIRK: where all people agree nothing is normalised, not even the case of the answer."""
    people = list(map(plain, targets.texts))
    read = normalised(prediction.text)
    if len(set(people)) > 1:
        return _among(list(map(normalised, people)), read, read)
    return _among(people, plain(prediction.text), read)


def gt_vision_lab_uploaded(prediction: Prediction, targets: Targets) -> Outcome:
    """VQA's own evaluation of an answer that went through the EvalAI processor, as LLaVA's does before it is uploaded."""
    return gt_vision_lab(Prediction(evalai_normalised(prediction.text)), targets)


def gt_vision_lab_normalised(prediction: Prediction, targets: Targets) -> Outcome:
    """VQA's own evaluation of an answer that went through its own normalisation, as OpenFlamingo's before it is uploaded."""
    return gt_vision_lab(Prediction(normalised(prediction.text)), targets)


def evalai(prediction: Prediction, targets: Targets) -> Outcome:
    """TextVQA's evaluator in mmf (M4C), used by LLaVA and lmms-eval: both sides always through the EvalAI processor."""
    answer = evalai_normalised(prediction.text)
    return _among(list(map(evalai_normalised, targets.texts)), answer, answer)


def lavis(prediction: Prediction, targets: Targets) -> Outcome:
    """LAVIS and Qwen-VL: the answer always normalised. QUIRK: of the people's answers only the punctuation, if they differ."""
    answer = normalised(prediction.text)
    people: Sequence[str] = targets.texts
    if len(set(people)) > 1:
        people = list(map(without_punctuation, people))
    return _among(people, answer, answer)


def openflamingo(prediction: Prediction, targets: Targets) -> Outcome:
    """OpenFlamingo's evaluator: both sides always normalised. It cuts answers before (`postprocess`), which is not done here."""
    answer = normalised(prediction.text)
    return _among(list(map(normalised, targets.texts)), answer, answer)


def idefics_m4(prediction: Prediction, targets: Targets) -> Outcome:
    """IDEFICS' evaluation code: both sides always normalised; a single target has to be equal."""
    answer = normalised(prediction.text)
    people = list(map(normalised, targets.texts))
    if len(people) == 1:
        return Outcome(float(answer == people[0]), answer)
    return _among(people, answer, answer)


def okvqa_stemmed(prediction: Prediction, targets: Targets) -> Outcome:
    """OpenFlamingo's OK-VQA: the answer cut and stemmed like the people's answers, then VQA's own evaluation."""
    tags = prediction.tags
    if tags is None:
        tags = okvqa_stems.tagged(postprocess.openflamingo_vqa(prediction.text))
    answer = okvqa_stems.stemmed(tags)
    return Outcome(gt_vision_lab(Prediction(answer), targets).score, answer)


def _among(people: Sequence[str], answer: str, read: str) -> Outcome:
    return Outcome(agreement(people.count(answer), len(people)), read)


@cache
def agreement(matching: int, people: int) -> float:
    """The accuracy of an answer that so many of the people gave: 0, 0.3, 0.6, 0.9, 1 for 0, 1, 2, 3, 4 of ten."""
    if not people:
        return 0.0
    others = matching * min(1, (matching - 1) / 3) + (people - matching) * min(1, matching / 3)
    return others / people


VARIANTS = {
    "gt-vision-lab": each(gt_vision_lab),
    "gt-vision-lab-uploaded": each(gt_vision_lab_uploaded),
    "gt-vision-lab-normalised": each(gt_vision_lab_normalised),
    "evalai": each(evalai),
    "lavis": each(lavis),
    "openflamingo": each(openflamingo),
    "idefics-m4": each(idefics_m4),
    "okvqa-stemmed": each(okvqa_stemmed, check=okvqa_stems.check),
}
