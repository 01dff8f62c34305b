"""Options that several verbs share, and how they become a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from flamingo_lab.loaded import LoadedModel
    from flamingo_lab.search.vstar import VStar

Model = Annotated[str, typer.Option(help="A listed name (flab list models) or a folder in a published layout.")]
Weights = Annotated[Path | None, typer.Option(help="Folder with a listed model's own files.")]
Vision = Annotated[Path | None, typer.Option(help="Folder of the vision tower, where a family keeps it apart.")]
LanguageModel = Annotated[
    Path | None, typer.Option(help="Folder of the language model, where a family keeps it apart.")
]
Base = Annotated[Path | None, typer.Option(help="Folder of the base model of deltas and adapters.")]
Owlvit = Annotated[Path | None, typer.Option(help="Folder of OWL-ViT, which guided search needs.")]
Vqa = Annotated[Path | None, typer.Option(help="Folder of the model that answers, of a model with guided search.")]
VqaVision = Annotated[Path | None, typer.Option(help="Folder of its vision tower.")]
Vsm = Annotated[Path | None, typer.Option(help="Folder of the model that searches, of a model with guided search.")]
VsmVision = Annotated[Path | None, typer.Option(help="Folder of its vision tower.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the files from the hub where they are missing.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Results = Annotated[Path, typer.Option(help="Folder of the results.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, on stdout.")]

RESULTS = Path("results")


def example(command: str) -> str:
    """The end of a verb's help: a command to paste, kept on one line."""
    return f"Example:\n\n\b\n{command}"


def console() -> Console:
    """Standard output for tables: as wide as the terminal, wide enough for every column where there is none."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


@dataclass(frozen=True)
class Parts:
    """Where a model's files are."""

    weights: Path | None = None
    vision: Path | None = None
    language_model: Path | None = None
    base: Path | None = None
    owlvit: Path | None = None
    download: bool = False
    vqa: Path | None = None
    vqa_vision: Path | None = None
    vsm: Path | None = None
    vsm_vision: Path | None = None


def load(model: str, parts: Parts, device: str, dtype: str) -> LoadedModel | VStar:
    """The model of these options, loaded after its name has been found to exist."""
    import flamingo_lab as fl
    from flamingo_lab import composed, hub

    if composed.find(model, ()) is None:
        hub.locate(model, weights=parts.weights, download=parts.download)
    return fl.load(
        model,
        weights=parts.weights,
        vision=parts.vision,
        language_model=parts.language_model,
        base=parts.base,
        owlvit=parts.owlvit,
        vqa=parts.vqa,
        vqa_vision=parts.vqa_vision,
        vsm=parts.vsm,
        vsm_vision=parts.vsm_vision,
        device=device,
        dtype=dtype,
        download=parts.download,
    )
