"""Conversation templates that several families share, by the names their authors gave them.

After haotian-liu/LLaVA, llava/conversation.py; the texts are facts of the published models.
"""

from __future__ import annotations

from dataclasses import replace

from flamingo_lab.wording import Chat

ASSISTANT = (
    "A chat between a curious {who} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {whose} questions."
)
USER_SYSTEM = ASSISTANT.format(who="user", whose="user's")
HUMAN_SYSTEM = ASSISTANT.format(who="human", whose="human's")
MMTAG_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant is able to understand the "
    "visual content that the user provides, and assist the user with a variety of tasks using natural language."
    "The visual content will be provided with the following format: <Image>visual content</Image>."
)
LLAMA_2_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
MPT_SYSTEM = (
    "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest answers."
)
MMTAG = ("<Image>", "</Image>\n")
WORKED_EXAMPLE = (
    "Human: What are the key differences between renewable and non-renewable energy sources?###"
    "Assistant: Renewable energy sources are those that can be replenished naturally in a relatively short amount of time, "
    "such as solar, wind, hydro, geothermal, and biomass. Non-renewable energy sources, on the other hand, are finite and "
    "will eventually be depleted, such as coal, oil, and natural gas. Here are some key differences between renewable and "
    "non-renewable energy sources:\n"
    "1. Availability: Renewable energy sources are virtually inexhaustible, while non-renewable energy sources are finite "
    "and will eventually run out.\n"
    "2. Environmental impact: Renewable energy sources have a much lower environmental impact than non-renewable sources, "
    "which can lead to air and water pollution, greenhouse gas emissions, and other negative effects.\n"
    "3. Cost: Renewable energy sources can be more expensive to initially set up, but they typically have lower operational "
    "costs than non-renewable sources.\n"
    "4. Reliability: Renewable energy sources are often more reliable and can be used in more remote locations than "
    "non-renewable sources.\n"
    "5. Flexibility: Renewable energy sources are often more flexible and can be adapted to different situations and needs, "
    "while non-renewable sources are more rigid and inflexible.\n"
    "6. Sustainability: Renewable energy sources are more sustainable over the long term, while non-renewable sources are "
    "not, and their depletion can lead to economic and social instability.\n###"
)
"""Two turns that Vicuna 0's conversation begins with. They are not LLaVA's own, and its authors evaluate nothing with them."""


def two(system: str, end: str = "</s>", picture: tuple[str, str] | None = None) -> Chat:
    """Turns in the manner of Vicuna 1.1, two separators in turn."""
    return Chat(
        system="{text} ",
        user="USER: {text} ",
        assistant=f"ASSISTANT: {{text}}{end}",
        opening="ASSISTANT:",
        default_system=system,
        picture=picture,
        stop_tokens=(end,),
    )


def single(system: str, picture: tuple[str, str] | None = None) -> Chat:
    """Turns in the manner of Vicuna 0, one separator, at which an answer also stops."""
    return Chat(
        system="{text}###",
        user="Human: {text}###",
        assistant="Assistant: {text}###",
        opening="Assistant:",
        default_system=system,
        picture=picture,
        stop=("###",),
        stop_tokens=("</s>",),
    )


def chatml(system: str) -> Chat:
    """ChatML without the newlines between its turns, as LLaVA writes it."""
    return Chat(
        system="<|im_start|>system\n{text}<|im_end|>",
        user="<|im_start|>user\n{text}<|im_end|>",
        assistant="<|im_start|>assistant\n{text}<|im_end|>",
        opening="<|im_start|>assistant\n",
        default_system=system,
        stop_tokens=("<|im_end|>", "</s>"),
    )


def inst(between: str, system: str = "") -> Chat:
    """Turns in the manner of LLaMA-2-Chat, the system's words inside the first one; `between` begins every later one."""
    return Chat(
        system="[INST] <<SYS>>\n{text}\n<</SYS>>\n\n",
        first_user="{text} [/INST]",
        user=f"{between}[INST] {{text}} [/INST]",
        assistant=" {text} </s>",
        opening="",
        default_system=system,
        stop_tokens=("</s>",),
    )


VICUNA_V1 = two(USER_SYSTEM)
LLAVA_V1 = two(HUMAN_SYSTEM)
LLAVA_V0 = single(HUMAN_SYSTEM)
VICUNA_V0 = replace(LLAVA_V0, system=LLAVA_V0.system + WORKED_EXAMPLE)
V0_MMTAG = single(MMTAG_SYSTEM, MMTAG)
V1_MMTAG = two(MMTAG_SYSTEM, picture=MMTAG)
CHATML_DIRECT = chatml("Answer the questions.")
MPT = chatml(MPT_SYSTEM)
MISTRAL_INSTRUCT = inst("")
LLAVA_LLAMA_2 = inst("<s>", LLAMA_2_SYSTEM)
PLAIN = Chat(user="{text}\n", assistant="{text}\n", opening="", stop=("\n",), stop_tokens=("</s>",))

LLAVA = {
    "vicuna_v1": VICUNA_V1,
    "llava_v1": LLAVA_V1,
    "llava_v0": LLAVA_V0,
    "vicuna_v0": VICUNA_V0,
    "v0_mmtag": V0_MMTAG,
    "v1_mmtag": V1_MMTAG,
    "llava_llama_2": LLAVA_LLAMA_2,
    "mistral_instruct": MISTRAL_INSTRUCT,
    "chatml_direct": CHATML_DIRECT,
    "mistral_direct": CHATML_DIRECT,
    "mpt": MPT,
    "plain": PLAIN,
}
"""The LLaVA line's, by the authors' names."""
