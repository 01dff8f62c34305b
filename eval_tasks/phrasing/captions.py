"""Wordings of captions: nothing is asked, or a caption is asked for."""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.phrasing import IDEFICS, LMMS_EVAL, OPEN_FLAMINGO, QWEN_VL, VLMEVALKIT
from eval_tasks.wording import FAMILYS, Wording
from flamingo_lab.prompt import CAPTION

CAPTION_PLAIN = Wording(
    "plain",
    "Flamingo, arXiv 2204.14198, appendix C, or the family's own form",
    "",
    running=CAPTION,
    reads="running text",
    cut=FAMILYS,
)

ONE_SENTENCE = Wording(
    "one-sentence", f"{LMMS_EVAL}", "Provide a one-sentence caption for the provided image.", CAPTION
)

BRIEFLY = Wording(
    "briefly",
    "huggingface/smollm vision/m4, instruct template 7; lmms-eval's COCO",
    "Describe the image briefly.",
    reads="turns",
)

OPEN_FLAMINGO_CAPTION = Wording(
    "openflamingo",
    f"{OPEN_FLAMINGO} get_caption_prompt",
    "",
    running="Output:{answer}",
    reads="running text",
    shown="first",
    cut="openflamingo-caption-unquoted",
)

IDEFICS_CAPTION = Wording(
    "idefics",
    f"{IDEFICS}/evaluation_captioning_in_context_vgpt2.py, template 7; a shot's caption is drawn from its references",
    "Caption:",
    running="{text} {answer}",
    before="Image:",
    reads="running text",
    shown="drawn",
    cut="idefics-caption",
)

QWEN_VL_CAPTION = Wording(
    "qwen-vl",
    f"{QWEN_VL}/evaluate_caption.py",
    "Describe the image in English:",
    running="{text} {answer}",
    reads="running text",
)

BLIP2_CAPTION = replace(
    QWEN_VL_CAPTION,
    name="blip2",
    source="salesforce/LAVIS lavis/projects/blip2/eval [prompt unread]",
    question="a photo of",
)

INSTRUCTBLIP_CAPTION = replace(
    QWEN_VL_CAPTION,
    name="instructblip",
    source="salesforce/LAVIS lavis/projects/instructblip/caption_*_eval.yaml",
    question="A short image caption.",
)

FUYU_CAPTION = Wording(
    "fuyu",
    "Fuyu-8B model card [unread]",
    "Generate a coco-style caption.\n",
    running="{text}{answer}",
    reads="running text",
)

IN_GENERAL = Wording(
    "vlmevalkit",
    f"{VLMEVALKIT}/image_caption.py",
    "Please describe this image in general. Directly provide the description, do not include prefix like "
    '"This image depicts". ',
    reads="turns",
)

CAPTIONS = (
    CAPTION_PLAIN,
    ONE_SENTENCE,
    OPEN_FLAMINGO_CAPTION,
    IDEFICS_CAPTION,
    QWEN_VL_CAPTION,
    INSTRUCTBLIP_CAPTION,
    BLIP2_CAPTION,
)
