"""Fuyu-8B (Adept, October 2023): a Persimmon decoder that reads the pixels of patches, without any tower.

Its authors published no code; layout, formulas and prompts follow the path that they endorse, transformers 4.35.0,
models/fuyu. https://www.adept.ai/blog/fuyu-8b
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Architecture, Inline, Projector
from flamingo_lab.family import MAIN, Family, Folder, Size
from flamingo_lab.layouts import llama, persimmon, refuse, repeated
from flamingo_lab.locations import Locations
from flamingo_lab.markup.patches import PatchRows
from flamingo_lab.patches import Patching
from flamingo_lab.pixels import InPatches, Normalise, Pipeline, triple
from flamingo_lab.prompt import CAPTION, QUESTION_ANSWER
from flamingo_lab.weights import Rules
from flamingo_lab.wording import Running

PUBLISHED: dict[str, Any] = {
    "vocab_size": 262_144,
    "hidden_size": 4096,
    "intermediate_size": 16_384,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "hidden_act": "relu2",
    "max_position_embeddings": 16_384,
    "layer_norm_eps": 1e-5,
    "qk_layernorm": True,
    "rope_theta": 25_000.0,
    "partial_rotary_factor": 0.5,
    "tie_word_embeddings": False,
    "patch_size": 30,
    "num_channels": 3,
}
"""The published model, which is also what `FuyuConfig` assumes where config.json is silent."""

CANVAS = {"height": 1080, "width": 1920}
"""The largest picture in pixels, where preprocessor_config.json is silent."""

PROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "padding_mode": "constant",
}
"""What the core does with a picture; a processor that says otherwise is refused."""


def settings(folder: Folder) -> dict[str, Any]:
    """All settings of config.json.

    QUIRK: `text_config` holds only what differs from another model's, so that the decoder's settings may stand at the top
    level alone (rope_theta in golden fuyu).
    """
    return PUBLISHED | dict(folder.config) | (folder.config.get("text_config") or {})


def patching(folder: Folder) -> Patching:
    """How pictures are cut."""
    size = CANVAS | folder.json("preprocessor_config.json").get("size", {})
    return Patching(size["width"], size["height"], settings(folder)["patch_size"])


def architecture(folder: Folder) -> Architecture:
    """The model that config.json describes."""
    config = settings(folder)
    decoder = persimmon.decoder(config)
    pixels = config["patch_size"] ** 2 * config["num_channels"]
    connector = Projector((pixels, decoder.width))
    return Architecture(None, connector, decoder, Inline(pictures=1), patching=patching(folder))


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names of the published tensors."""
    decoder = persimmon.rules(built.decoder.heads, "language_model.model", "language_model.lm_head")
    patches = ("vision_embed_tokens.{weight|bias}", "connector.layers.0.{weight|bias}")
    surplus = (*persimmon.BUFFERS, *repeated(built.decoder, "language_model.lm_head.weight"))
    return {MAIN: Rules((*decoder, patches), surplus=surplus)}


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """The folder's own processor."""
    given = folder.json("preprocessor_config.json")
    cut = patching(folder)
    patch = {"height": cut.patch_px, "width": cut.patch_px}
    refuse(given, PROCESSOR | {"patch_size": patch}, "preprocessor_config.json")
    normalise = Normalise(of_colours(given, "image_mean"), of_colours(given, "image_std"))
    return InPatches(cut, normalise, int(given.get("padding_value", 1)))


def of_colours(given: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """A setting for each colour, which may be given as one number for all."""
    value = given.get(key, 0.5)
    return (float(value),) * 3 if isinstance(value, int | float) else triple(given, key, ())


FAMILY = Family(
    name="fuyu",
    title="Fuyu",
    paper="https://www.adept.ai/blog/fuyu-8b",
    matches=lambda folder: folder.config.get("model_type") == "fuyu",
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=llama.tokenizer_file,
    markup=lambda folder: PatchRows(Locations(patching(folder))),
    finish=lambda folder: Locations(patching(folder)).finish,
    answers_apart=True,
    boxes="fuyu",
    wordings={
        "base": Running(
            says={QUESTION_ANSWER: "{text}\n{answer}", CAPTION: "Generate a coco-style caption.\n{answer}"},
            stop_tokens=("|ENDOFTEXT|",),
        )
    },
    wording=lambda folder: "base",
    sizes=(
        Size(
            "fuyu-8b",
            9_408_238_592,
            {"model_type": "fuyu"},
            "base",
            hub="adept/fuyu-8b",
            licence="CC-BY-NC-4.0",
            recommended={"captions": "--beams 1 --max-new-tokens 7"},
        ),
    ),
)
