"""A model in memory: weights, tokenizer, pictures' pipeline and wording together. The `Model` of local weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flamingo_lab.asking import Asking
from flamingo_lab.config import Inline
from flamingo_lab.engine.budget import VIEWS, Room, peak_bytes
from flamingo_lab.engine.work import Work
from flamingo_lab.errors import BadImage
from flamingo_lab.markup import Finish
from flamingo_lab.model import Answer, BeamCounts, Limits, Request, Sent, Session
from flamingo_lab.pixels import Pipeline
from flamingo_lab.prompt import Image, is_all
from flamingo_lab.render import Renderer
from flamingo_lab.tokens import Tokenizer
from flamingo_lab.vlm import VLM

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from flamingo_lab.engine.features import FeatureCache
    from flamingo_lab.engine.images import PictureStore
    from flamingo_lab.offload.streamed import Streamed


def no_noise(request_id: str) -> Tensor | None:
    """What a model without router noise has of it."""
    return None


@dataclass(frozen=True)
class LoadedModel(Asking):
    """A local model. `digest` names weights, pre-processing, tokenizer and dtype; `about` holds facts for the record.

    `finish`: see `Family`. `noise`: a request's router noise by its id (see `RouterNoise`), None where there is none.
    `room`: what the engine may take; `work`: what it has done. `streamed`: the weights that stay in their files, if any do.
    """

    name: str
    digest: str
    vlm: VLM
    tokenizer: Tokenizer
    renderer: Renderer
    pipeline: Pipeline
    stop_ids: frozenset[int]
    forbidden: tuple[str, ...]
    about: Mapping[str, Any]
    beam_counts: BeamCounts = "new"
    finish: Finish | None = None
    noise: Callable[[str], Tensor | None] = no_noise
    room: Room = field(default_factory=Room)
    work: Work = field(default_factory=Work)
    streamed: Streamed | None = None

    def weight(self, name: str) -> Tensor:
        """A parameter by its name in `vlm`, wherever and however it lies in memory."""
        held = self.vlm.get_parameter(name)
        if self.streamed and held.is_meta:
            return self.streamed.weight(name)
        return held.to_dense() if held.is_mkldnn else held

    def peak_bytes(self) -> int:
        """See `Holds`; of this process."""
        return peak_bytes(self.vlm.device)

    def counters(self) -> Mapping[str, float]:
        """What was computed since loading, in counts: tokens of prompts, pictures encoded, decode steps, and more by name."""
        return {**self.work.counters(), **(self.streamed.counters() if self.streamed else {})}

    def stages(self) -> Mapping[str, float]:
        """Seconds of computing since loading, by stage."""
        return dict(self.work.seconds)

    @property
    def cut_at(self) -> int | None:
        """Where the authors' code cuts longer prompts."""
        join = self.vlm.architecture.join
        return join.cut_at if isinstance(join, Inline) else None

    @property
    def limits(self) -> Limits:
        """Positions of the decoder, and pictures where a prompt takes only so many."""
        built = self.vlm.architecture
        return Limits(built.decoder.positions, built.most_pictures)

    def sent(self, request: Request) -> Sent:
        """The request as it would reach the decoder. Raises `LabError` where it cannot be rendered."""
        rendered = self.renderer.render(request.prompt)
        return Sent(self.renderer.marked(rendered), rendered.ids, len(rendered.images), rendered.shots)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """An answer a request, in the order in which the batches finish; a request that fails is an answer with `error`."""
        from flamingo_lab.engine import loop

        return loop.answers(self, requests)

    def session(self) -> Session:
        """Asks requests in several parts, each to its end, by its `answers`; pictures' tokens stay while there is room."""
        from flamingo_lab.engine import loop

        return loop.Engine(self, self.room)

    def pictures(self, budget_bytes: int, cache: FeatureCache | None, views: int = VIEWS) -> PictureStore:
        """What brings the pictures of requests to the model; so many `views` pass the tower together."""
        from flamingo_lab.engine.images import PictureStore

        return PictureStore(self, self.work, budget_bytes, cache, views)

    def embeds_digest(self) -> str:
        """Names all that can change what `embed` gives, besides the picture. Raises `BadSetting` without a tower."""
        from flamingo_lab.engine import embedding

        return embedding.digest(self)

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """What pictures look like: (pictures, width) float32 of rows of length 1, whose inner products are cosines.

        Raises `BadImage` for what is no picture, `BadSetting` for a model without a tower.
        """
        from flamingo_lab.engine import embedding

        if not is_all(images, Image):
            raise BadImage(f"{images!r:.60}: a list of Image(...) is expected")
        return embedding.embed(self, images)
