"""The wordings of questions, as data: the papers', and those of published evaluations, each with its source.

Those of open questions are here, those of options, captions and boxes in the modules beside. A wording of an answer's own
form (a letter, a box) names the metrics that read it; the others leave that to the task.
"""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.wording import FAMILYS, Wording

LLAVA = "haotian-liu/LLaVA docs/Evaluation.md, llava/eval/model_vqa_loader.py"
LMMS_EVAL = "EvolvingLMMs-Lab/lmms-eval lmms_eval/tasks"
VLMEVALKIT = "open-compass/VLMEvalKit vlmeval/dataset"
QWEN_VL = "QwenLM/Qwen-VL eval_mm"
OPEN_FLAMINGO = "mlfoundations/open_flamingo open_flamingo/eval/models/open_flamingo.py"
IDEFICS = "huggingface/smollm vision/m4/models/vgpt2"

ONE_WORD = "Answer the question using a single word or phrase."
UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."

PLAIN = Wording(
    "plain",
    "the question as it stands; base models: Flamingo, arXiv 2204.14198, appendix C, or their family's own form",
    reads="running text",
    cut=FAMILYS,
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
    cut="openflamingo-vqa",
)

IDEFICS_VQA = Wording(
    "idefics",
    f"{IDEFICS}/evaluation_open_ended_vqa_in_context_vgpt2.py, template 9",
    "Question: {question}",
    running="{text} Answer: {answer}",
    system="Instruction: provide an answer to the question. Use the image to answer.",
    before="Image:",
    reads="running text",
    cut="idefics-vqa",
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

FREE = Wording("plain", "the question as it stands; a judge grades what is answered", metrics=())
