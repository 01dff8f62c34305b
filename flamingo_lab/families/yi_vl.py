"""Yi-VL 6B and 34B (01.AI, January 2024): LLaVA's design with a Yi decoder, a larger tower and norms in the projector.

Layout, formulas and prompts follow 01-ai/Yi, folder VL (f73194c). Paper: arXiv 2403.04652. Pictures are padded to a square,
as in the authors' `single_inference.py`; their `cli.py` never pads. One picture a conversation is what they trained and
support; several are taken in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Architecture, Inline
from flamingo_lab.family import MAIN, Family, Folder, Size, stated_eos
from flamingo_lab.layouts import clip, llama
from flamingo_lab.layouts import llava as layout
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.pixels import Pipeline
from flamingo_lab.tokens import SentencePieceFile
from flamingo_lab.weights import Rules
from flamingo_lab.wording import Chat

SYSTEM = (
    "This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI assistant. Read all the "
    "images carefully, and respond to the human's questions with informative, helpful, detailed and polite answers. "
    "这是一个好奇的人类和一个人工智能助手之间的对话。假设你扮演这个AI助手的角色。"
    "仔细阅读所有的图像，并对人类的问题做出信息丰富、有帮助、详细的和礼貌的回答。"
)

# QUIRK: the first new token is never looked at for the stop text, and what follows that text in the same token stays in
# the answer (tests/families/test_yi_vl.py).
MM_DEFAULT = Chat(
    system="{text}\n\n",
    user="### Human: {text}\n",
    assistant="### Assistant: {text}\n",
    opening="### Assistant:",
    default_system=SYSTEM,
    stop=("###",),
    stop_tokens=("<|endoftext|>",),
    stops_from=2,
    cuts_end=True,
)


def parts(folder: Folder) -> Mapping[str, str | None]:
    """The tuned tower, in a folder inside the model's; the authors take its path as one from there in any case."""
    return {"vision": f"./{folder.config['mm_vision_tower'].removeprefix('./')}"}


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and the tower's own config.json describe."""
    config = folder.config
    decoder = llama.decoder(config, vocab=len(tokenizer(folder)) if folder.path.is_dir() else None)
    tower = layout.tower(folder, reads_layer=config.get("mm_vision_select_layer", -2))
    connector = layout.projector(config["mm_projector_type"], tower.width, decoder.width)
    return Architecture(tower, connector, decoder, Inline())


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files and in the tower's folder; the authors' loader passes over a tower in the main files."""
    own = (*llama.rules(vocab=built.decoder.vocab), *layout.projector_rules(built.connector))
    return {
        MAIN: Rules(own, surplus=(*llama.surplus(built.decoder), "model.vision_tower.*")),
        "vision": Rules(clip.rules(), surplus=clip.UNREAD),
    }


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """The tower's own, behind padding where `image_aspect_ratio` asks for it."""
    return layout.as_told(clip.pipeline(folder.part("vision").json("preprocessor_config.json"), built.tower), folder)


def tokenizer(folder: Folder) -> SentencePieceFile:
    """`tokenizer.model`, read as the slow tokenizer does."""
    is_legacy = folder.json("tokenizer_config.json").get("legacy", True)
    return SentencePieceFile(
        folder.path / "tokenizer.model",
        folder.json("added_tokens.json"),
        rule="legacy" if is_legacy else "slow",
        strips=False,
    )


def markup(folder: Folder) -> Chunks:
    """Each picture's mark stands on a line of its own; the published tokenizer begins the sequence with no token."""
    is_begun = folder.json("tokenizer_config.json").get("add_bos_token", True)
    return Chunks(mark="<image_placeholder>", start="<|startoftext|>" if is_begun else None)


def _size(name: str, parameters: int, width: int, inner: int, layers: int, heads: int, kv_heads: int) -> Size:
    config: dict[str, Any] = {
        "vocab_size": 64000,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e6,
        "mm_projector_type": "mlp2x_gelu_Norm",
        "mm_vision_tower": f"./vit/clip-vit-H-14-laion2B-s32B-b79K-yi-vl-{name.removeprefix('Yi-VL-')}-448",
        "image_aspect_ratio": "pad",
    }
    return Size(
        name.lower(),
        parameters,
        config,
        "mm_default",
        f"01-ai/{name}",
        licence="Yi License",
        part_configs={"vision": clip.HUGE_448},
        recommended={"one question": "--temperature 0.2 --max-new-tokens 1024 --dtype bfloat16"},
    )


FAMILY = Family(
    name="yi_vl",
    title="Yi-VL",
    paper="arXiv 2403.04652",
    matches=lambda folder: (
        "mm_vision_tower" in folder.config and str(folder.config.get("mm_projector_type")).endswith("_Norm")
    ),
    parts=parts,
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=tokenizer,
    markup=markup,
    wordings={"mm_default": MM_DEFAULT},
    wording=lambda folder: "mm_default",
    eos=stated_eos,
    sizes=(
        _size("Yi-VL-6B", 6_714_829_312, 4096, 11008, 32, 32, 4),
        _size("Yi-VL-34B", 35_081_264_640, 7168, 20480, 60, 56, 8),
    ),
)
