"""From a prompt vector and a picture's patches to a mask: SAM's decoder (arXiv 2304.02643) with SEAL's own upscaling."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import MaskDecoder as Config
from flamingo_lab.nn.attention import Attention, attend
from flamingo_lab.nn.mlp import MLP

CHANNELS_EPS = 1e-6


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the picture, pass a feed-forward branch, then the picture attends to them.

    QUIRK: the first layer's self-attention has neither places nor a residual, as in SAM (golden seal_vsm, low_res_masks).
    """

    def __init__(self, config: Config, *, is_first: bool) -> None:
        super().__init__()
        self._is_first = is_first
        self.own = Attention(config.width, config.heads, has_bias=True)
        self.to_picture = across(config)
        self.from_picture = across(config)
        self.mlp = MLP(config.width, config.mlp_width, "relu", has_bias=True)
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(4))

    def forward(self, tokens: Tensor, picture: Tensor, token_places: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, T, D), picture (B, P, D), and the places of both. Returns both anew."""
        after_own, after_picture, after_mlp, after_all = self.norms
        if self._is_first:
            tokens = self.own(tokens)
        else:
            tokens = tokens + attention(self.own, tokens, token_places, tokens, token_places)
        tokens = after_own(tokens)
        tokens = after_picture(tokens + attention(self.to_picture, tokens, token_places, picture, places))
        tokens = after_mlp(tokens + self.mlp(tokens))
        picture = after_all(picture + attention(self.from_picture, picture, places, tokens, token_places))
        return tokens, picture


class Layers(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Upscale(nn.Module):
    """(B, C, h, w) -> (B, C out, 2h, 2w): bilinear, then a 3x3 convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (B, C, h, w)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MaskDecoder(nn.Module):
    """The two-way transformer and the four masks that it can make.

    Only the first mask is ever read; the others' layers, and those that rate the masks, are published with the weights.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, half, quarter = config.width, config.width // 4, config.width // 8
        self.layers = nn.ModuleList(TwoWayLayer(config, is_first=number == 0) for number in range(config.depth))
        self.final = across(config)
        self.final_norm = nn.LayerNorm(width)
        self.rating_token = nn.Parameter(torch.zeros(1, width))
        self.mask_tokens = nn.Parameter(torch.zeros(config.masks, width))
        self.upscales = nn.ModuleList((Upscale(width, half), Upscale(half, quarter)))
        self.upscale_norm = ChannelNorm(half, CHANNELS_EPS)
        self.to_weights = nn.ModuleList(Layers(width, width, width, quarter) for _ in range(config.masks))
        self.rating = Layers(width, width, width, config.masks)

    def forward(self, picture: Tensor, places: Tensor, prompts: Tensor) -> Tensor:
        """The first mask's logits (B, 4 side, 4 side) for each prompt (B, D). picture and places (side, side, D)."""
        side = len(picture)
        learned = torch.cat((self.rating_token, self.mask_tokens))
        asked = torch.cat((learned.expand(len(prompts), -1, -1), prompts[:, None]), 1)
        tokens, seen = asked, picture.flatten(0, 1).expand(len(prompts), -1, -1)
        flat_places = places.flatten(0, 1)
        for layer in self.layers:
            tokens, seen = layer(tokens, seen, asked, flat_places)
        tokens = self.final_norm(tokens + attention(self.final, tokens, asked, seen, flat_places))
        grid = seen.transpose(1, 2).unflatten(-1, (side, side))
        first, second = self.upscales
        fine = F.gelu(second(F.gelu(self.upscale_norm(first(grid)))))
        weights = self.to_weights[0](tokens[:, 1])
        return torch.einsum("bc,bchw->bhw", weights, fine)


class PromptEncoder(nn.Module):
    """Places of the patches, and what stands for "no mask given". Nothing passes the layers for points and masks."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, channels = config.width, config.mask_channels
        self.frequencies = nn.Buffer(torch.zeros(2, width // 2))
        self.no_mask = nn.Parameter(torch.zeros(1, width))
        self.points = nn.ParameterList(torch.zeros(1, width) for _ in range(4))
        self.no_point = nn.Parameter(torch.zeros(1, width))
        self.mask_convs = nn.ModuleList(
            (
                nn.Conv2d(1, channels // 4, 2, 2),
                nn.Conv2d(channels // 4, channels, 2, 2),
                nn.Conv2d(channels, width, 1),
            )
        )
        self.mask_norms = nn.ModuleList((ChannelNorm(channels // 4, CHANNELS_EPS), ChannelNorm(channels, CHANNELS_EPS)))

    def places(self, side: int) -> Tensor:
        """(side, side, D): sines and cosines of random frequencies at the patches' centres (arXiv 2006.10739)."""
        centres = 2 * (torch.arange(side, device=self.frequencies.device) + 0.5) / side - 1
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        angles = 2 * torch.pi * (torch.stack((x, y), -1) @ self.frequencies.float())
        return torch.cat((angles.sin(), angles.cos()), -1).to(self.frequencies.dtype)


def across(config: Config) -> Attention:
    """Attention from one side to the other, in fewer channels."""
    inner = config.width // config.shrinks
    return Attention(config.width, config.heads, head_width=inner // config.heads, has_bias=True)


def attention(module: Attention, x: Tensor, places: Tensor, other: Tensor, other_places: Tensor) -> Tensor:
    """x (B, T, D) attends to `other` (B, S, D); places count for where it looks, not for what it takes."""
    keys, values = module.keys_values(other + other_places, other)
    return module.merge(attend(module.queries(x + places), keys, values, None))
