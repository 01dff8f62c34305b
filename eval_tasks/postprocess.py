"""What authors cut off a generated text before they score it, by the names under which `official_cases` knows it.

No metric does this by itself: it belongs to a way of asking, where a base model goes on writing after its answer. A wording
names what is cut off its answers, or the model's family does.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from eval_tasks.errors import UnknownTask
from eval_tasks.nearest import near

OPENFLAMINGO_VQA = re.compile("Question|Answer|Short")

# QUIRK: the authors join their stop words to a pattern without escaping them, so `<|im_end|>` stands for three
# alternatives and any angle bracket ends an answer.
IDEFICS_VQA = re.compile(
    "Question|User|Image|task|What|Who|When|Where|Why|How|<end_of_utterance>|<|im_end|>|<row_|row_1|\u2500lrow_|apiro"
)
IDEFICS_CAPTION = re.compile("Caption|Description|User|Image|task|<end_of_utterance>|<row_|apiro|\u2500lrow_|row_1")


def openflamingo_vqa(text: str) -> str:
    """Up to the first `Question`, `Answer` or `Short`, also inside a word, then up to the first comma with a blank."""
    return OPENFLAMINGO_VQA.split(text, maxsplit=1)[0].split(", ", 1)[0]


def openflamingo_caption(text: str) -> str:
    """Up to the first `Output`."""
    return text.split("Output", 1)[0]


def openflamingo_caption_unquoted(text: str) -> str:
    """The same without quotation marks, as `evaluate_captioning` keeps it."""
    return openflamingo_caption(text).replace('"', "")


def idefics_vqa(text: str) -> str:
    """Up to the first of IDEFICS' stop words for answers, also inside a word: `multitasking` becomes `multi`."""
    return IDEFICS_VQA.split(text, maxsplit=1)[0]


def idefics_caption(text: str) -> str:
    """Up to the first of IDEFICS' stop words for captions."""
    return IDEFICS_CAPTION.split(text, maxsplit=1)[0]


def llava_gqa(text: str) -> str:
    """LLaVA's conversion for GQA: no full stops at the end, lower case."""
    return text.rstrip(".").lower()


def qwen_vl_gqa(text: str) -> str:
    """Qwen-VL's cleaning for GQA.

    QUIRK: of what follows the first `is `, `are `, `a `, `an ` or `the ` only the part up to the next one is kept, inside
    words too: `banana split` becomes `split`, `square table` becomes `table`.
    """
    text = text.strip()
    for mark in ".,!":
        text = text.split(mark, 1)[0]
    text = text.lower()
    for word in ("is ", "are ", "a ", "an ", "the "):
        if word in text:
            text = text.split(word, 2)[1]
    return text.split(" of", 1)[0].strip()


VARIANTS: dict[str, Callable[[str], str]] = {
    "openflamingo-vqa": openflamingo_vqa,
    "openflamingo-caption": openflamingo_caption,
    "openflamingo-caption-unquoted": openflamingo_caption_unquoted,
    "idefics-vqa": idefics_vqa,
    "idefics-caption": idefics_caption,
    "llava-gqa": llava_gqa,
    "qwen-vl-gqa": qwen_vl_gqa,
}


def get(name: str) -> Callable[[str], str]:
    """The function of this name. Raises `UnknownTask` with the nearest names."""
    if name not in VARIANTS:
        found = near(name, VARIANTS)
        hint = f"did you mean {' or '.join(found)}?" if found else f"there are {', '.join(VARIANTS)}"
        raise UnknownTask(f"unknown postprocessing {name!r}: {hint}")
    return VARIANTS[name]
