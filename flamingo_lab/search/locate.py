"""The search model of SEAL: where in a picture something is, read off the hidden states of its own answer.

After penghao-wu/vstar, VisualSearch/model/VSM.py `inference`; arXiv 2312.14135, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image as Picture
from torch import Tensor

from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadCheckpoint, LabError
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Request
from flamingo_lab.nn.locator import Locator
from flamingo_lab.prompt import Image, Prompt
from flamingo_lab.search.guided import Ask, Seen

MAX_NEW_TOKENS = 100
"""Of an answer, a constant of the authors'."""


class SearchModel:
    """A loaded search model, asked about parts of pictures, many at a time."""

    def __init__(self, model: LoadedModel) -> None:
        locator = model.vlm.locator
        if locator is None:
            raise BadCheckpoint(
                f"{model.about['weights']}: this model only answers; guided search needs one that locates (seal_vsm_7b)"
            )
        self.model = model
        self.locator: Locator = locator
        self._token = model.tokenizer.id_of(locator.config.token)

    def look(self, asks: Sequence[Ask]) -> list[Seen | Exception]:
        """What is seen, for each question; the reason where nothing could be."""
        shown = [cut(ask) for ask in asks]
        requests = [
            Request(str(number), prompt(picture, ask.question), max_new_tokens=MAX_NEW_TOKENS)
            for number, (ask, picture) in enumerate(zip(asks, shown, strict=True))
        ]
        answers = {answer.id: answer for answer in self.model.answers(requests)}
        found: list[Seen | Exception] = []
        for ask, picture, request in zip(asks, shown, requests, strict=True):
            try:
                found.append(self._seen(ask, picture, request, answers[request.id]))
            except Exception as error:  # whatever one question does, the others are still looked into
                found.append(error)
        return found

    def _seen(self, ask: Ask, picture: Picture, request: Request, answer: Answer) -> Seen:
        if answer.error is not None:
            raise LabError(answer.error.message)
        text = answer.text.replace("\n", "").replace("  ", " ").strip()
        width, height = picture.size
        nowhere = Seen(
            text, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((height, width), np.float32)
        )
        if ask.mode == "vqa":
            return nowhere
        states = self.states(request, answer.token_ids)
        if not len(states):
            return nowhere
        with torch.inference_mode():
            patches = self.patches(picture)
            heat = array(self.locator.heat_map(patches, states, picture.size))
            if ask.mode == "segmentation":
                return nowhere._replace(heat=heat)
            boxes, scores = self.boxes(patches, states)
        return Seen(text, array(boxes), array(scores), heat)

    def states(self, request: Request, new: Sequence[int]) -> Tensor:
        """The last hidden states (N, D) that predicted each `[LOC]`, in the prompt or among the new tokens."""
        ready = job(self.model, request)
        sequence = reference.extended(ready.sequence, tuple(new))
        hidden = reference.hidden(self.model, sequence, reference.picture_tokens(self.model, ready))
        return hidden[[place - 1 for place, token in enumerate(sequence.ids) if place and token == self._token]]

    @torch.inference_mode()
    def patches(self, picture: Picture) -> Tensor:
        """OWL-ViT's patches (P, D) of the whole picture, squeezed to its square."""
        pixels = torch.from_numpy(self.locator.config.pipeline(picture))
        vlm = self.model.vlm
        return self.locator.detector.embed(pixels.to(vlm.device, vlm.dtype))

    @torch.inference_mode()
    def boxes(self, patches: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (P, 4) and their scores (P,) for the first of the states."""
        detector = self.locator.detector
        return detector.boxes(patches), detector.scores(patches, self.locator.to_query(states[0]))


def cut(ask: Ask) -> Picture:
    """The part of the picture that is asked about, in RGB."""
    x, y, width, height = ask.patch
    return ask.picture.crop((x, y, x + width, y + height)).convert("RGB")


def prompt(picture: Picture, question: str) -> Prompt:
    """A question about a part of a picture."""
    return Prompt.ask(Image(picture), question)


def array(tensor: Tensor) -> np.ndarray:
    """The tensor's values in float32, away from its device."""
    return tensor.float().cpu().numpy()
