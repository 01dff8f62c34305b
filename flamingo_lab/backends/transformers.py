"""`hf:REPO` or `hf:FOLDER`: any image-text-to-text model of transformers, by its own classes and its own template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flamingo_lab.asking import Asking
from flamingo_lab.backends import Backend
from flamingo_lab.model import Answer, Limits, Request, Sent

if TYPE_CHECKING:
    from flamingo_lab.pretrained.handing import Handing
    from flamingo_lab.pretrained.saying import Speech


@dataclass(frozen=True)
class PretrainedModel(Asking):
    """A model of transformers in memory. `digest` names its files and how they are used.

    `network` and `processor` are transformers' own. `speech` says a prompt, `handing` gives it to the processor.
    `filler` is fed to rows of a batch that are over.
    """

    name: str
    digest: str
    about: Mapping[str, Any]
    limits: Limits
    network: Any
    processor: Any
    speech: Speech
    handing: Handing
    stop_ids: frozenset[int]
    filler: int

    def sent(self, request: Request) -> Sent:
        """The request as it would reach the model, with one id for each picture's mark."""
        said = self.speech.say(request.prompt)
        return Sent(said.text, self.handing.ids(said), len(said.images), said.shots)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """An answer a request, in the order in which the batches finish."""
        from flamingo_lab.pretrained import answering

        return answering.answers(self, requests)

    def peak_bytes(self) -> int:
        """See `Holds`."""
        from flamingo_lab.engine.budget import peak_bytes

        return peak_bytes(self.network.device)


def open_model(
    name: str, *, device: str = "auto", dtype: str = "auto", wording: str | None = None, download: bool = False
) -> PretrainedModel:
    """The model of a folder or of a repository. `wording`: one of its chat templates, or "running" for running text."""
    from flamingo_lab.errors import MissingPackage

    try:
        from flamingo_lab.pretrained import loading
    except ModuleNotFoundError as error:
        raise MissingPackage(f"hf:{name} needs {error.name}: pip install 'flamingo-lab[hf]'") from None
    return loading.load(name, device=device, dtype=dtype, wording=wording, download=download)


BACKEND = Backend("hf", "any image-text-to-text model of transformers", open_model)
