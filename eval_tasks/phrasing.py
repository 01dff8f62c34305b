"""The wordings of questions, as data: the papers', and those of published evaluations, each with its source.

A wording of the answers' own form (a letter, a box) names the metrics that read them; the others leave that to the task.
"""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.metrics import MetricName
from eval_tasks.wording import Wording
from flamingo_lab.prompt import CAPTION

LLAVA = "haotian-liu/LLaVA docs/Evaluation.md, llava/eval/model_vqa_loader.py"
LMMS_EVAL = "EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks"
VLMEVALKIT = "open-compass/VLMEvalKit vlmeval/dataset"
QWEN_VL = "QwenLM/Qwen-VL eval_mm"
OPEN_FLAMINGO = "mlfoundations/open_flamingo open_flamingo/eval/models/open_flamingo.py"
IDEFICS = "huggingface/smollm vision/m4/models/vgpt2"

ONE_WORD = "Answer the question using a single word or phrase."
ONE_LETTER = "Answer with the option's letter from the given choices directly."
UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."

# Questions

PLAIN = Wording(
    "plain",
    "the question as it stands; base models: Flamingo, arXiv 2204.14198, appendix C, or their family's own form",
    reads="running text",
)

SHORT_ANSWER = Wording("short-answer", f"LLaVA 1.5, arXiv 2310.03744, table 1; {LLAVA}", f"{{question}}\n{ONE_WORD}")

SINGLE_WORD = Wording(
    "single-word", f"{LMMS_EVAL}/chartqa", "{question}\nAnswer the question with a single word.", reads="turns"
)

VERY_BRIEF = Wording(
    "very-brief",
    "huggingface/smollm vision/m4/models/vmistral/evaluation_open_ended_vqa_in_context_vmistral.py, Chatbot classes",
    "{question}\nGive a very brief answer.",
    reads="turns",
)

OPEN_FLAMINGO_VQA = Wording(
    "openflamingo",
    f"{OPEN_FLAMINGO} get_vqa_prompt",
    running="Question:{text} Short answer:{answer}",
    reads="running text",
    shown="first",
)

IDEFICS_VQA = Wording(
    "idefics",
    f"{IDEFICS}/evaluation_open_ended_vqa_in_context_vgpt2.py, template 9",
    "Question: {question}",
    running="{text} Answer: {answer}",
    system="Instruction: provide an answer to the question. Use the image to answer.",
    before="Image:",
    reads="running text",
)

QWEN_VL_VQA = Wording(
    "qwen-vl", f"{QWEN_VL}/evaluate_vqa.py", running="{text} Answer: {answer}", reads="running text", shown="first"
)

BLIP2_VQA = Wording(
    "blip2",
    "salesforce/LAVIS lavis/projects/blip2/eval",
    "Question: {question} Short answer:",
    running="{text} {answer}",
    reads="running text",
)

INSTRUCTBLIP_VQA = replace(
    BLIP2_VQA,
    name="instructblip",
    source="salesforce/LAVIS lavis/projects/instructblip/qa_okvqa_vicuna7b_eval.yaml",
    question="Question: {question} Short Answer:",
)

FUYU_VQA = Wording(
    "fuyu",
    "Fuyu-8B model card [unread]",
    "Answer the following VQAv2 question based on the image: {question}\n",
    running="{text}{answer}",
    reads="running text",
)

OCR_TOKENS = Wording(
    "ocr-tokens",
    f"{LLAVA}, llava_textvqa_val_v051_ocr.jsonl; the figures that LLaVA 1.5 published",
    f"{{question}}\n{{ocr}}{ONE_WORD}",
    optional={"ocr": ("Reference OCR token: {}\n", None)},
)

MAY_BE_UNANSWERABLE = Wording(
    "unanswerable", f"{LMMS_EVAL}/vizwiz_vqa; LLaVA 1.5", f"{{question}}\n{UNANSWERABLE}\n{ONE_WORD}"
)

IDEFICS_VIZWIZ = replace(
    IDEFICS_VQA,
    source=f"{IDEFICS}/evaluation_open_ended_vqa_in_context_vgpt2.py, VizWiz, template 3",
    system="Task: Answer the questions based on the image when possible, otherwise say unanswerable.",
)

# Multiple choice

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

SELECT = Wording(
    "vlmevalkit",
    f"{VLMEVALKIT}/image_mcq.py",
    "{hint}Question: {question}\nOptions:\n{options}\nPlease select the correct answer from the options above. \n",
    optional={"hint": ("Hint: {}\n", "")},
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
    says_option="text",
    rank="mean",
)

HATEFUL_IDEFICS = Wording(
    "idefics",
    "huggingface/smollm vision/m4/models/idefics/evaluation_classification_in_context_idefics.py, template 22",
    'is an image with written "{question}" on it. Is it hateful?',
    running="{text} Answer: {answer}",
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

# Captions: nothing is asked

CAPTION_PLAIN = Wording(
    "plain",
    "Flamingo, arXiv 2204.14198, appendix C, or the family's own form",
    "",
    running=CAPTION,
    reads="running text",
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
)

IDEFICS_CAPTION = Wording(
    "idefics",
    f"{IDEFICS}/evaluation_captioning_in_context_vgpt2.py, template 7; a shot's caption is drawn from its references",
    "Caption:",
    running="{text} {answer}",
    before="Image:",
    reads="running text",
    shown="drawn",
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

# Boxes

BOX_IN_SHARES = Wording(
    "shares",
    f"{LMMS_EVAL}/refcoco/utils_rec.py bbox_rec",
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). All "
    "values are floating point numbers bounded between 0 and 1. Please provide the bounding box coordinate of the region "
    "this sentence describes: {question}",
    box="unit",
    metrics=(MetricName("iou", "unit"),),
)

BOX_QWEN_VL = Wording(
    "qwen-vl",
    f"{QWEN_VL}/evaluate_grounding.py",
    "<ref>{question}</ref><box>",
    running="{text}{answer}",
    reads="running text",
    box="qwen-vl",
    metrics=(MetricName("iou", "qwen-vl"),),
)

BOX_IN_THOUSANDTHS = Wording(
    "thousandths",
    "ours: the notation of models that write boxes from 0 to 1000",
    "Give the bounding box of the region that this sentence describes as [x1, y1, x2, y2], in thousandths of the width and "
    "height of the image: {question}",
    box="thousand",
    metrics=(MetricName("iou", "thousand"),),
)

BOX_IN_PIXELS = Wording(
    "pixels",
    "ours: the notation of the benchmark's own boxes",
    "Give the bounding box of the region that this sentence describes as [x1, y1, x2, y2] in pixels: {question}",
    box="xyxy",
    metrics=(MetricName("iou", "xyxy"),),
)

BOX_FUYU = Wording(
    "fuyu",
    "ours, in the tags of Fuyu's processor",
    "Give the bounding box of the region that this sentence describes as <box>y1, x1, y2, x2</box> in pixels: {question}\n",
    running="{text}{answer}",
    box="fuyu",
    metrics=(MetricName("iou", "fuyu"),),
)

# Free answers that a judge grades

FREE = Wording("plain", "the question as it stands", metrics=())
