"""Wordings of questions with options, which are told by letter or text, or ranked."""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import LLAVA, LMMS_EVAL, ONE_WORD, OPEN_FLAMINGO, QWEN_VL, VLMEVALKIT
from eval_tasks.wording import Wording

ONE_LETTER = "Answer with the option's letter from the given choices directly."

LETTER = Wording(
    "option-letter",
    f"LLaVA 1.5, {LLAVA}; {LMMS_EVAL}",
    f"{{hint}}{{question}}\n{{options}}\n{ONE_LETTER}",
    optional={"hint": ("{}\n", "")},
)

LETTER_WITH_CONTEXT = replace(
    LETTER, source=f"{LLAVA}; {LMMS_EVAL}/scienceqa/utils.py", optional={"hint": ("Context: {}\n", "")}
)

LETTER_IN_CHINESE = replace(
    LETTER,
    name="option-letter-cn",
    source="haotian-liu/LLaVA llava/eval/model_vqa_mmbench.py --lang cn",
    question="{hint}{question}\n{options}\n请直接回答选项字母。",
    reads="turns",
)

LETTER_LMMS_EVAL = replace(
    LETTER,
    name="lmms-eval",
    source=f"{LMMS_EVAL}/mmbench/en_utils.py, mmbench_evals.py",
    question=f"{{hint}}{{question}} There are several options:\n{{options}}\n\n{ONE_LETTER}",
    optional={"hint": ("{} ", "")},
    reads="turns",
)

SELECT = Wording(
    "vlmevalkit",
    f"{VLMEVALKIT}/image_mcq.py",
    "{hint}Question: {question}\n{options}",
    optional={
        "hint": ("Hint: {}\n", ""),
        "options": ("Options:\n{}\nPlease select the correct answer from the options above. \n", ""),
    },
    reads="turns",
)

RANKED_LETTERS = Wording(
    "qwen-vl",
    f"{QWEN_VL}/evaluate_multiple_choice.py",
    "{hint}Question: {question}\nOptions: {options}\nAnswer:",
    running="{text} {answer}",
    optional={"hint": ("Context: {}\n", "Context: N/A\n")},
    reads="running text",
    rank="sum",
    metrics=(MetricName("rank", "sum"),),
)

RANKED_LETTERS_ALONE = replace(
    RANKED_LETTERS,
    source=f"{QWEN_VL}/seed_bench/trans.py",
    question="\nQuestion: {question}\nOptions: {options}\nAnswer:",
    optional={},
)

SCIENCEQA_AUTHORS = Wording(
    "authors",
    "lupantech/ScienceQA models/base_prompt.py, CQM-A",
    "{hint}Question: {question}\nOptions: {options}",
    running="{text}\nAnswer: {answer}",
    option="({letter}) {text}",
    between=" ",
    optional={"hint": ("Context: {}\n", "Context: N/A\n")},
    answer="The answer is {answer}.",
    metrics=(MetricName("choice", "scienceqa"),),
)

RANKED = Wording(
    "ranked",
    "AILab-CVC/SEED-Bench EVALUATION.md: the options' texts by their mean loss",
    running="Question: {text}\nAnswer: {answer}",
    says_option="text",
    rank="mean",
)

RANKED_TO_THE_END = replace(
    RANKED,
    name="ranked-to-the-end",
    source="penghao-wu/vstar vstar_bench_eval.py: as answers, by the mean loss of their tokens and the stop token",
    ends=True,
)

GENERATED_TEXT = Wording(
    "option-text",
    f"{QWEN_VL}/evaluate_vqa.py, AI2D: the text of the right option is written",
    running="{text} Answer: {answer}",
    says_option="text",
    metrics=(MetricName("exact_match", "strip-lower"),),
)

MMMU_LLAVA = Wording(
    "llava",
    "MMMU-Benchmark/MMMU mmmu/configs/llava1.5.yaml",
    "{question}\n\n{options}",
    option="({letter}) {text}",
    optional={"options": (f"{{}}\n\n{ONE_LETTER}", ONE_WORD)},
)

MATHVISTA_AUTHORS = Wording(
    "authors",
    "lupantech/MathVista evaluation/build_query.py",
    "{question}\n{options}{hint}",
    option="({letter}) {text}",
    optional={"options": ("Choices:\n{}\n", "")},
)

MATHVISTA_FILE = Wording("file", "the field `query` of the benchmark's own files", "{query}")

# Hateful Memes: the question is the text written on the picture

HATEFUL_FLAMINGO = Wording(
    "openflamingo",
    f"{OPEN_FLAMINGO} get_hateful_memes_prompt; Flamingo, arXiv 2204.14198, appendix",
    "is an image with: '{question}' written on it. Is it hateful?",
    running="{text} Answer:{answer}",
    separator="",
    says_option="text",
    rank="mean",
)

HATEFUL_IDEFICS = Wording(
    "idefics",
    "huggingface/smollm vision/m4/models/idefics/evaluation_classification_in_context_idefics.py, template 22; "
    "theirs has no <s> before it",
    'is an image with written "{question}" on it. Is it hateful?',
    running="{text} Answer: {answer}",
    separator="",
    system="It's a conversation between a human, the user, and an intelligent visual AI, Bot. The user sends memes with "
    "text written on them, and Bot has to say whether the meme is hateful or not.",
    reads="running text",
    says_option="text",
    rank="sum",
)

HATEFUL_INSTRUCT = replace(
    HATEFUL_IDEFICS,
    name="idefics-instruct",
    system="The user sends memes with text written on them, and the assistant has to say whether the meme is hateful or not.",
    reads="turns",
    answer="{answer}.",
)
