"""GQA's accuracy: the answer equals the one target (Hudson and Manning 2019). The whole suite is `gqa_suite`."""

from __future__ import annotations

from eval_tasks import postprocess
from eval_tasks.metrics import Outcome, Prediction, Targets, each, exact_match


def official(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' `eval.py`: equal as they stand, case and blanks included."""
    return Outcome(float(prediction.text in targets.texts), prediction.text)


def llava(prediction: Prediction, targets: Targets) -> Outcome:
    """LLaVA's conversion, no full stops at the end and lower case, then the authors' `eval.py`."""
    return official(Prediction(postprocess.llava_gqa(prediction.text)), targets)


def qwen_vl(prediction: Prediction, targets: Targets) -> Outcome:
    """Qwen-VL's cleaning, then exact match. QUIRK: it cuts inside words, so `banana split` is compared as `split`."""
    return exact_match.strip_lower(Prediction(postprocess.qwen_vl_gqa(prediction.text)), targets)


VARIANTS = {"official": each(official), "llava": each(llava), "qwen-vl": each(qwen_vl)}
