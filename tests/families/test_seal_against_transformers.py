"""SEAL's detector equals transformers' OWL-ViT, and its two-way transformer SAM's, on random tiny configurations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pil
from torch import nn
from transformers.models.sam.modeling_sam import SamTwoWayTransformer

from flamingo_lab.config import MaskDecoder as Config
from flamingo_lab.layouts import owlvit
from flamingo_lab.nn.mask_decoder import MaskDecoder, attention
from flamingo_lab.nn.owlvit import Detector
from flamingo_lab.weights import Rules


def randomised(module: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    for name, parameter in module.named_parameters():
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = torch.randn_like(parameter) * 0.2 + around


def copied(theirs: nn.Module, ours: nn.Module, rules: Rules, prefix: str = "") -> None:
    """Their parameters under our names, all of ours filled."""
    filled: dict[str, torch.Tensor] = {}
    for name, tensor in theirs.named_parameters():
        target = rules.ours(name.removeprefix(prefix))
        if target is not None:
            filled |= dict(zip(target.names, target.apply(tensor), strict=True))
    ours.load_state_dict(filled, strict=True)


@st.composite
def detectors(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    patch = draw(st.sampled_from([4, 6]))
    return {
        "hidden_size": heads * draw(st.sampled_from([4, 8])),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(8, 30)),
        "patch_size": patch,
        "image_size": patch * draw(st.integers(2, 4)),
    }


@settings(max_examples=12, deadline=None)
@given(vision=detectors(), query_width=st.integers(3, 12), seed=st.integers(0, 999))
def test_detector_equals_owlvit(vision: dict[str, Any], query_width: int, seed: int) -> None:
    text = {"hidden_size": query_width, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8}
    config = transformers.OwlViTConfig(vision_config=vision, text_config=text, projection_dim=8)
    theirs = transformers.OwlViTForObjectDetection(config).eval()
    randomised(theirs, seed)
    ours = Detector(owlvit.tower(vision), query_width)
    copied(theirs, ours, Rules(owlvit.RULES), prefix="owlvit.")
    generator = np.random.default_rng(seed)
    picture = pil.fromarray(generator.integers(0, 256, (17, 29, 3), dtype=np.uint8))
    pixels = torch.from_numpy(owlvit.pipeline({}, owlvit.tower(vision))(picture))
    query = torch.randn(query_width)
    with torch.no_grad():
        grid = theirs.image_embedder(pixel_values=pixels)[0]
        flat = grid.flatten(1, 2)
        patches = ours.embed(pixels)
        torch.testing.assert_close(patches, flat[0], atol=1e-4, rtol=0)
        logits, _ = theirs.class_predictor(flat, query[None, None])
        torch.testing.assert_close(ours.scores(patches, query), logits[0, :, 0].sigmoid(), atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.boxes(patches), theirs.box_predictor(flat, grid)[0], atol=1e-4, rtol=0)


def test_detector_pixels_equal_the_published_processor() -> None:
    generator = np.random.default_rng(0)
    picture = pil.fromarray(generator.integers(0, 256, (50, 31, 3), dtype=np.uint8))
    built = owlvit.tower({"image_size": 48, "patch_size": 16})
    processor = transformers.OwlViTImageProcessorPil(size={"height": 48, "width": 48}, do_center_crop=False)
    expected = processor(picture, return_tensors="np")["pixel_values"]
    assert np.abs(owlvit.pipeline({"size": [48, 48]}, built)(picture) - expected).max() < 1e-5


ATTENTION = (("{q|k|v|out}_proj.{weight|bias}", "{q|k|v|out}.{weight|bias}"),)


def sam_rules() -> Rules:
    """SAM's two-way transformer in transformers' names; its feed-forward norms stand apart."""
    pairs: list[tuple[str, str]] = []
    for theirs, ours in (
        ("self_attn", "own"),
        ("cross_attn_token_to_image", "to_picture"),
        ("cross_attn_image_to_token", "from_picture"),
    ):
        pairs += [(f"layers.{{n}}.{theirs}.{a}", f"layers.{{n}}.{ours}.{b}") for a, b in ATTENTION]
    pairs += [
        ("layers.{n}.mlp.lin{1|2}.{weight|bias}", "layers.{n}.mlp.{up|down}.{weight|bias}"),
        ("layers.{n}.layer_norm{1|2|3|4}.{weight|bias}", "layers.{n}.norms.{0|1|2|3}.{weight|bias}"),
        *((f"final_attn_token_to_image.{a}", f"final.{b}") for a, b in ATTENTION),
        ("layer_norm_final_attn.{weight|bias}", "final_norm.{weight|bias}"),
    ]
    return Rules(pairs)


class TwoWay(nn.Module):
    """The mask decoder's two-way part alone."""

    def __init__(self, whole: MaskDecoder) -> None:
        super().__init__()
        self.layers, self.final, self.final_norm = whole.layers, whole.final, whole.final_norm

    def forward(
        self, asked: torch.Tensor, picture: torch.Tensor, places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, seen = asked, picture
        for layer in self.layers:
            tokens, seen = layer(tokens, seen, asked, places)
        return self.final_norm(tokens + attention(self.final, tokens, asked, seen, places)), seen


@settings(max_examples=12, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    depth=st.integers(1, 3),
    inner=st.integers(8, 30),
    side=st.integers(2, 4),
    seed=st.integers(0, 999),
)
def test_two_way_transformer_equals_sam(heads: int, depth: int, inner: int, side: int, seed: int) -> None:
    width = 16
    theirs = SamTwoWayTransformer(
        transformers.SamMaskDecoderConfig(
            hidden_size=width,
            num_attention_heads=heads,
            num_hidden_layers=depth,
            mlp_dim=inner,
            attention_downsample_rate=2,
            layer_norm_eps=1e-5,
            attn_implementation="eager",
        )
    ).eval()
    randomised(theirs, seed)
    ours = TwoWay(MaskDecoder(Config(width=width, heads=heads, depth=depth, mlp_width=inner)))
    copied(theirs, ours, sam_rules())
    asked, picture, places = (
        torch.randn(2, 6, width),
        torch.randn(1, width, side, side),
        torch.randn(1, width, side, side),
    )
    with torch.no_grad():
        tokens, seen = ours(
            asked, picture.flatten(2).transpose(1, 2).expand(2, -1, -1), places.flatten(2).transpose(1, 2)
        )
        expected = theirs(asked[:, None], picture.expand(2, -1, -1, -1), places.expand(2, -1, -1, -1), None)
    torch.testing.assert_close(tokens, expected[0][:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(seen, expected[1][:, 0], atol=1e-4, rtol=0)
