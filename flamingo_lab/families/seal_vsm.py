"""The searching half of SEAL (V*): LLaVA on LLaMA whose `[LOC]` token is asked of an OWL-ViT and a mask decoder.

Layout, formulas and prompts follow penghao-wu/vstar, VisualSearch. Paper: arXiv 2312.14135. By itself it answers in words;
`flamingo_lab.search` reads places out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flamingo_lab.config import Architecture, Inline, Locator, MaskDecoder
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import MAIN, Family, Folder, Size
from flamingo_lab.layouts import clip, llama, llava_text, owlvit
from flamingo_lab.layouts import llava as layout
from flamingo_lab.pixels import RGB, OneView, PadSquare
from flamingo_lab.templates import LLAVA_V1
from flamingo_lab.tokens import SentencePieceFile
from flamingo_lab.weights import Rule, Rules, inside

DECODER, PROMPTS, OURS = "model.mask_decoder", "model.prompt_encoder", "locator"

ATTENTION: tuple[Rule, ...] = (("{q|k|v|out}_proj.{weight|bias}", "{q|k|v|out}.{weight|bias}"),)

TWO_WAY: tuple[Rule, ...] = (
    *inside("self_attn", "own", ATTENTION),
    *inside("cross_attn_token_to_image", "to_picture", ATTENTION),
    *inside("cross_attn_image_to_token", "from_picture", ATTENTION),
    ("mlp.lin{1|2}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
    ("norm{1|2|3|4}.{weight|bias}", "norms.{0|1|2|3}.{weight|bias}"),
)

MASKS: tuple[Rule, ...] = (
    *inside("transformer.layers.{n}", "layers.{n}", TWO_WAY),
    *inside("transformer.final_attn_token_to_image", "final", ATTENTION),
    ("transformer.norm_final_attn.{weight|bias}", "final_norm.{weight|bias}"),
    ("{iou_token|mask_tokens}.weight", "{rating_token|mask_tokens}"),
    ("output_upscaling.{0|3}.conv.{weight|bias}", "upscales.{0|1}.conv.{weight|bias}"),
    ("output_upscaling.1.{weight|bias}", "upscale_norm.{weight|bias}"),
    ("output_hypernetworks_mlps.{n}.layers.{n}.{weight|bias}", "to_weights.{n}.layers.{n}.{weight|bias}"),
    ("iou_prediction_head.layers.{n}.{weight|bias}", "rating.layers.{n}.{weight|bias}"),
)

ENCODER: tuple[Rule, ...] = (
    ("pe_layer.positional_encoding_gaussian_matrix", "frequencies"),
    ("{no_mask_embed|not_a_point_embed}.weight", "{no_mask|no_point}"),
    ("point_embeddings.{n}.weight", "points.{n}"),
    ("mask_downscaling.{0|3|6}.{weight|bias}", "mask_convs.{0|1|2}.{weight|bias}"),
    ("mask_downscaling.{1|4}.{weight|bias}", "mask_norms.{0|1}.{weight|bias}"),
)

LOCATOR: tuple[Rule, ...] = (
    *inside("model.owlvit", f"{OURS}.detector", owlvit.RULES),
    *inside(DECODER, f"{OURS}.masks", MASKS),
    *inside(PROMPTS, f"{OURS}.prompts", ENCODER),
    ("model.visual_projection.weight", f"{OURS}.to_masks.weight"),
    (
        "model.text_hidden_fcs_{det|seg}.0.{0|2}.{weight|bias}",
        f"{OURS}.{{to_query|to_prompt}}.layers.{{0|1}}.{{weight|bias}}",
    ),
)


def matches(folder: Folder) -> bool:
    """The type that config.json states is LLaVA's too; its own keys tell."""
    architectures = folder.config.get("architectures") or ()
    return "train_mask_decoder" in folder.config or "VSMForCausalLM" in architectures


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and those of the towers describe; the mask decoder's widths are read off its tensors."""
    described = folder.parts.get("owlvit")
    tower = owlvit.tower(described.config if described else {})
    decoder = masks(folder)
    if decoder.width % (decoder.heads * decoder.shrinks):
        raise BadConfig(f"{folder.path}: a mask decoder of width {decoder.width} cannot be split over its heads")
    locator = Locator(
        tower,
        owlvit.pipeline(described.json("preprocessor_config.json") if described else {}, tower),
        query_width=folder.config.get("out_dim", 512),
        masks=decoder,
    )
    plain = layout.architecture(folder, len(tokenizer(folder)) if folder.has("config.json") else None)
    assert isinstance(plain.join, Inline)
    # One picture: the authors' places of `[LOC]` count the tokens of one (VSM.inference).
    return replace(plain, locator=locator, join=replace(plain.join, pictures=1))


def masks(folder: Folder) -> MaskDecoder:
    """The mask decoder; heads, depth and number of masks are constants of the authors' code."""
    published = MaskDecoder()
    width = folder.shape("model.visual_projection.weight")
    inner = folder.shape(f"{DECODER}.transformer.layers.0.mlp.lin1.weight")
    channels = folder.shape(f"{PROMPTS}.mask_downscaling.3.weight")
    return MaskDecoder(
        width=width[0] if width else published.width,
        mlp_width=inner[0] if inner else published.mlp_width,
        mask_channels=channels[0] if channels else published.mask_channels,
    )


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files and in the tower's repository; OWL-ViT's weights are in the main files."""
    own = (*llama.rules(vocab=built.decoder.vocab), *layout.projector_rules(built.connector), *LOCATOR)
    surplus = (*llama.surplus(built.decoder), f"{layout.INNER_TOWER}.*", *owlvit.BUFFERS)
    return {MAIN: Rules(own, surplus=surplus), "vision": Rules(clip.rules(), surplus=clip.UNREAD)}


def pipeline(folder: Folder, built: Architecture) -> OneView:
    """Padded to a square with the picture in its corner, unlike the answering model's."""
    plain = clip.pipeline(folder.part("vision").json("preprocessor_config.json"), built.tower)
    red, green, blue = (int(255 * mean) for mean in plain.normalise.mean)
    return OneView((RGB(), PadSquare((red, green, blue), at="corner"), *plain.steps[1:]), plain.normalise)


def tokenizer(folder: Folder) -> SentencePieceFile:
    """`tokenizer.model` with the tokens of added_tokens.json, which stay in decoded text."""
    return SentencePieceFile(
        folder.path / "tokenizer.model",
        folder.json("added_tokens.json"),
        appended=("[LOC]", "<im_start>", "<im_end>"),
        rule="legacy",
        strips=True,
        shows_added=True,
    )


_7B: dict[str, Any] = {
    "model_type": "llava",
    "architectures": ["VSMForCausalLM"],
    "train_mask_decoder": True,
    "out_dim": 512,
    "vocab_size": 32003,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "mm_vision_tower": "openai/clip-vit-large-patch14",
    "mm_vision_select_layer": -2,
    "mm_use_im_start_end": True,
    "mm_use_im_patch_token": False,
}

FAMILY = Family(
    name="seal_vsm",
    title="SEAL (V*), the model that searches",
    paper="arXiv 2312.14135",
    matches=matches,
    architecture=architecture,
    rules=rules,
    parts=lambda folder: {"vision": folder.config["mm_vision_tower"], "owlvit": None},
    pipeline=pipeline,
    tokenizer=tokenizer,
    markup=lambda folder: llava_text.markup(folder, folder.config),
    wordings={"llava_v1": LLAVA_V1},
    wording=lambda folder: "llava_v1",
    sizes=(
        Size(
            "seal_vsm_7b",
            7_175_880_246,
            _7B,
            "llava_v1",
            "craigwu/seal_vsm_7b",
            licence="LLaMA's terms on the language model, MIT and Apache-2.0 on the rest",
            part_configs={"vision": clip.LARGE_224},
            recommended={"one question": "--beams 1 --max-new-tokens 100"},
        ),
    ),
)
