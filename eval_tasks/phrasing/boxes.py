"""Wordings that ask for a box. Each notation has its own reader, the variant of the metric `iou` of its name."""

from __future__ import annotations

from eval_tasks.phrasing import LMMS_EVAL, QWEN_VL
from eval_tasks.wording import Wording

GIVE = "Give the bounding box of the region that this sentence describes as"

BOX_IN_SHARES = Wording(
    "shares",
    f"{LMMS_EVAL}/refcoco/utils_rec.py bbox_rec",
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). All "
    "values are floating point numbers bounded between 0 and 1. Please provide the bounding box coordinate of the region "
    "this sentence describes: {question}",
    box="unit",
)

BOX_QWEN_VL = Wording(
    "qwen-vl",
    f"{QWEN_VL}/evaluate_grounding.py",
    "<ref>{question}</ref><box>",
    running="{text}{answer}",
    box="qwen-vl",
)

BOX_IN_THOUSANDTHS = Wording(
    "thousandths",
    "ours: the notation of models that write boxes from 0 to 1000",
    f"{GIVE} [x1, y1, x2, y2], in thousandths of the width and height of the image: {{question}}",
    box="thousand",
)

BOX_IN_PIXELS = Wording(
    "pixels",
    "ours: the notation of the benchmark's own boxes",
    f"{GIVE} [x1, y1, x2, y2] in pixels: {{question}}",
    box="xyxy",
)

BOX_FUYU = Wording(
    "fuyu",
    "ours, in the tags of Fuyu's processor",
    f"{GIVE} <box>y1, x1, y2, x2</box> in pixels: {{question}}\n",
    running="{text}{answer}",
    box="fuyu",
)
