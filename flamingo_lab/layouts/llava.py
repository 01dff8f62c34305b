"""What the descendants of LLaVA share: which of the tower's tokens are read, the projector, the decoder behind it, padding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Architecture, Connector, Inline, Projector, Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import Folder
from flamingo_lab.layouts import anyres, clip, llama, reading
from flamingo_lab.pixels import RGB, OneView, PadSquare, Pipeline, Views
from flamingo_lab.weights import Rule

PROJECTOR = re.compile(r"mlp(\d{1,2})x_gelu(_Norm)?")

INNER_TOWER = "model.vision_tower.vision_tower.vision_model"
"""Where the main files keep a tower of their own, read or not."""

FEATURES = {"patch": True, "cls_patch": False}
"""Whether the class token is left out."""

RECOMMENDED = {
    "short answers": "--beams 1 --max-new-tokens 128",
    "long answers, multiple choice": "--beams 1 --max-new-tokens 1024",
}
"""How the benchmarks' scripts decode (eval/model_vqa_loader.py; model_vqa.py, _science, _mmbench)."""


def architecture(folder: Folder, vocab: int | None) -> Architecture:
    """The model that config.json and the tower's own config.json describe; `vocab`: rows that the authors' loader keeps."""
    config = folder.config
    decoder = llama.decoder(config, vocab=vocab)
    # Where the key is absent the authors' first code read the last layer; all later code asks for the key.
    seen = tower(folder, reads_layer=config.get("mm_vision_select_layer", -1))
    connector = projector(config.get("mm_projector_type") or "linear", seen.width, decoder.width)
    join = Inline(config.get("tokenizer_model_max_length"))
    return Architecture(seen, connector, decoder, join, anyres.tiling(config, seen))


def tower(folder: Folder, *, reads_layer: int) -> Tower:
    """CLIP's tower, of its own config.json, as the model's config.json reads it."""
    vision = described(folder)
    built = clip.tower(vision.config, reads_layer=reads_layer, drops_first=drops_first(folder.config))
    wanted = folder.config.get("mm_hidden_size", built.width)
    if wanted != built.width:
        raise BadConfig(
            f"{vision.path}: a tower of width {built.width}, where config.json of {folder.path} asks for {wanted}; "
            f"is it {folder.config['mm_vision_tower']}?"
        )
    return built


def described(folder: Folder) -> Folder:
    """The tower's folder, which has to say what the tower is."""
    vision = folder.part("vision")
    if not vision.config:
        raise BadConfig(f"{vision.path / 'config.json'}: missing or empty; it says what the tower is")
    return vision


def drops_first(config: Mapping[str, Any]) -> bool:
    """Whether the first of the tower's tokens is left out, the class token where there is one."""
    with reading("config.json: mm_vision_select_feature"):
        return FEATURES[config.get("mm_vision_select_feature", "patch")]


def projector(kind: str, width: int, out_width: int) -> Projector:
    """The projector of this published name, from the tower's width to the decoder's."""
    if kind == "linear":
        return Projector((width, out_width))
    if kind == "identity":
        if width != out_width:
            raise BadConfig(f"config.json: the projector is identity, but {width} channels are not {out_width}")
        return Projector((width,))
    match = PROJECTOR.fullmatch(kind)
    if match is None:
        raise BadConfig(
            f"config.json: the projector's type {kind!r} is none of linear, identity, mlpNx_gelu, mlpNx_gelu_Norm"
        )
    return Projector((width, *(out_width,) * int(match[1])), has_norms=match[2] is not None)


def projector_rules(
    connector: Connector | None, prefix: str = "model.mm_projector", ours: str = "connector"
) -> tuple[Rule, ...]:
    """Names of a projector's layers, which stand in a sequence with the norms and activations between them.

    A single one stands alone where its type is "linear", and in a sequence of one where it is "mlp1x_gelu".
    """
    assert isinstance(connector, Projector)
    layers, has_norms = len(connector.widths) - 1, connector.has_norms
    each = 2 + has_norms
    rules: list[Rule] = []
    if layers == 1 and not has_norms:
        rules.append((f"{prefix}.{{weight|bias}}", f"{ours}.layers.0.{{weight|bias}}"))
    for number in range(layers):
        rules.append((f"{prefix}.{number * each}.{{weight|bias}}", f"{ours}.layers.{number}.{{weight|bias}}"))
        if has_norms:
            rules.append((f"{prefix}.{number * each + 1}.{{weight|bias}}", f"{ours}.norms.{number}.{{weight|bias}}"))
    return tuple(rules)


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """The tower's own: on tiles, behind padding to a square, or alone, as `image_aspect_ratio` says."""
    plain = clip.pipeline(folder.part("vision").json("preprocessor_config.json"), built.tower)
    return Views((RGB(),), built.tiling, plain) if built.tiling else as_told(plain, folder)


def as_told(plain: OneView, folder: Folder) -> OneView:
    """A tower's pipeline, behind padding where `image_aspect_ratio` asks for it."""
    return padded(plain) if folder.config.get("image_aspect_ratio") == "pad" else plain


def padded(plain: OneView) -> OneView:
    """A tower's pipeline with the picture padded to a square first, in its mean's colour, whole numbers cut."""
    red, green, blue = (int(255 * mean) for mean in plain.normalise.mean)
    return OneView((RGB(), PadSquare((red, green, blue)), *plain.steps[1:]), plain.normalise)
