"""What finds in a picture what a decoder's hidden state means (SEAL, arXiv 2312.14135, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Locator as Config
from flamingo_lab.config import Projector
from flamingo_lab.nn.mask_decoder import MaskDecoder, PromptEncoder
from flamingo_lab.nn.owlvit import Detector
from flamingo_lab.nn.projector import LinearProjector


class Locator(nn.Module):
    """Hidden states of `[LOC]` to a query for boxes and a prompt for masks, and the two models that they ask."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config = config
        self.detector = Detector(config.tower, config.query_width)
        self.to_query = LinearProjector(Projector((width, width, config.query_width), "relu"))
        self.to_prompt = LinearProjector(Projector((width, width, config.masks.width), "relu"))
        self.to_masks = nn.Linear(config.tower.width, config.masks.width, bias=False)
        self.prompts = PromptEncoder(config.masks)
        self.masks = MaskDecoder(config.masks)

    def heat(self, patches: Tensor, states: Tensor) -> Tensor:
        """A mask's logits (B, 4 side, 4 side) for each hidden state (B, D). patches (P, D of the tower)."""
        side = self.detector.side
        grid = self.to_masks(patches).unflatten(0, (side, side)) + self.prompts.no_mask
        return self.masks(grid, self.prompts.places(side), self.to_prompt(states))

    def heat_map(self, patches: Tensor, states: Tensor, size: tuple[int, int]) -> Tensor:
        """The last state's mask at the picture's size, (height, width) float32, cut off at zero below.

        QUIRK: of several states the last one's mask is taken, but the first one's boxes (golden seal_vsm,
        detect_several_loc).
        """
        width, height = size
        logits = self.heat(patches, states[-1:]).float()
        fine = F.interpolate(logits[:, None], (height, width), mode="bilinear", align_corners=False)
        return fine[0, 0].clamp(min=0)
