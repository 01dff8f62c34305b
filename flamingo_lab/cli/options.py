"""Options that several verbs share, and how they become a model."""

from __future__ import annotations

import functools
import inspect
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flamingo_lab.parallel.launched import follows, is_first_here

if TYPE_CHECKING:
    from rich.console import Console

    from eval_tasks.metrics import MetricName
    from eval_tasks.task import Task
    from flamingo_lab.asking import Askable
    from flamingo_lab.loaded import LoadedModel
    from flamingo_lab.placement import Placing
    from flamingo_lab.search.vstar import VStar

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or cuda:N,M; auto takes the first way that fits.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Results = Annotated[Path, typer.Option(help="Folder of the results.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, on stdout.")]

Spice = Annotated[bool, typer.Option("--spice", help="Score captions by SPICE too; says which files it needs.")]

Metrics = Annotated[
    list[str] | None,
    typer.Option(help="METRIC/VARIANT to score by besides the task's own; may be repeated.", show_default=False),
]

RESULTS = Path("results")


def example(command: str) -> str:
    """The end of a verb's help: a command to paste, kept on one line."""
    return f"Example:\n\n\b\n{command}"


def console() -> Console:
    """Standard output for tables: as wide as the terminal, wide enough for every column where there is none."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


FILES = "A listed name (flab list models), or a folder or URL (s3://BUCKET/FOLDER) of a published layout."
MODEL = f"{FILES[:-1]}; hf:REPO or hf:FOLDER for transformers, openai:NAME for an endpoint."


def spice(task: Task, wanted: bool) -> tuple[MetricName, ...]:
    """SPICE, where it is wanted and the task is about captions."""
    from eval_tasks.metrics import MetricName

    is_caption = any(name.metric == "captions" for name in task.metrics)
    return (MetricName("spice", "official"),) if wanted and is_caption else ()


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model as the options of a verb name it: its files, and what its loader is told."""

    model: Annotated[str, typer.Option(help=MODEL)]
    weights: Annotated[Path | None, typer.Option(help="Folder with a listed model's own files.")] = None
    vision: Annotated[Path | None, typer.Option(help="Folder of the vision tower, where it is kept apart.")] = None
    language_model: Annotated[
        Path | None, typer.Option(help="Folder of the language model, where it is kept apart.")
    ] = None
    base: Annotated[Path | None, typer.Option(help="Folder of the base model of deltas and adapters.")] = None
    owlvit: Annotated[Path | None, typer.Option(help="Folder of OWL-ViT, which guided search needs.")] = None
    vqa: Annotated[Path | None, typer.Option(help="Folder of the answering model, with guided search.")] = None
    vqa_vision: Annotated[Path | None, typer.Option(help="Folder of its vision tower.")] = None
    vsm: Annotated[Path | None, typer.Option(help="Folder of the searching model, with guided search.")] = None
    vsm_vision: Annotated[Path | None, typer.Option(help="Folder of its vision tower.")] = None
    cross_attn_every_n_layers: Annotated[
        int | None, typer.Option(min=1, help="OpenFlamingo's; read from the files by default.")
    ] = None
    router_noise: Annotated[
        int | None, typer.Option(help="Seed of MoE-LLaVA's noise on the choice of experts; none by default.")
    ] = None
    template: Annotated[str | None, typer.Option(help="How the model is spoken to; its own by default.")] = None
    quant: Annotated[str | None, typer.Option(help="Weights of the decoder and the tower as int8 or int4.")] = None
    tensor_parallel: Annotated[int, typer.Option(min=1, help="Processes that hold a slice of the weights each.")] = 1
    offload: Annotated[
        bool, typer.Option("--offload", help="Leave the weights in their files; they pass through memory.")
    ] = False
    download: Annotated[
        bool, typer.Option("--download", help="Fetch missing files from the hub, or from the model's URL.")
    ] = False
    base_url: Annotated[str | None, typer.Option(help="Of an endpoint: http://127.0.0.1:8000/v1, say.")] = None
    api_key_env: Annotated[
        str | None, typer.Option(help="Variable that holds an endpoint's key; OPENAI_API_KEY by default.")
    ] = None
    concurrency: Annotated[int | None, typer.Option(help="Requests that an endpoint has at once; 8 by default.")] = None
    requests_per_minute: Annotated[
        float | None, typer.Option(help="At most so many to an endpoint; no limit by default.")
    ] = None
    timeout_seconds: Annotated[float | None, typer.Option(help="For an endpoint's answer; 120 by default.")] = None
    retries: Annotated[int | None, typer.Option(help="Of a request that failed in passing; 5 by default.")] = None
    memory: Annotated[
        float | None, typer.Option(min=0, help="GiB that the process may take; 80 % of what is free by default.")
    ] = None
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens that pass the model together at most; what is best by default.")
    ] = None
    features: Annotated[
        Path | None,
        typer.Option(
            help="Folder where pictures' tokens and vectors stay for later runs; by default vectors alone stay, in the results."
        ),
    ] = None

    @property
    def parts(self) -> dict[str, Path]:
        """The further folders that are given."""
        held = {name: getattr(self, name) for name in PARTS}
        return {name: path for name, path in held.items() if path is not None}

    @property
    def settings(self) -> dict[str, int]:
        """What the loader is told."""
        held = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in held.items() if value is not None}

    def locate(self) -> None:
        """Refuse a name that is none, and files that are nowhere. They are fetched first, if that is asked."""
        from flamingo_lab import backends, composed, hub

        if backends.find(self.model) is None and composed.find(self.model, ()) is None:
            hub.locate(self.model, weights=self.weights, download=self.download)

    def told(self, device: str, dtype: str) -> dict[str, Any]:
        """What `load` is told besides the model's name."""
        held = {name: getattr(self, name) for name in (*PARTS, *SETTINGS, *ENDPOINT, *ENGINE, *PLACING)}
        own = {"weights": self.weights, "wording": self.template, "download": self.download}
        return held | own | {"device": device, "dtype": dtype}

    def placing(self, device: str, dtype: str) -> Placing:
        """Where the weights are asked to go."""
        from flamingo_lab.placement import Placing

        return Placing(device, dtype, **{name: getattr(self, name) for name in PLACING})

    def load(self, device: str, dtype: str) -> LoadedModel | VStar | Askable:
        """The model, loaded after its name has been found to exist."""
        import flamingo_lab as fl

        self.locate()
        return fl.load(self.model, **self.told(device, dtype))


PARTS = ("vision", "language_model", "base", "owlvit", "vqa", "vqa_vision", "vsm", "vsm_vision")
SETTINGS = ("cross_attn_every_n_layers", "router_noise")
ENDPOINT = ("base_url", "api_key_env", "concurrency", "requests_per_minute", "timeout_seconds", "retries")

ENGINE = ("memory", "batch_tokens", "features")
PLACING = ("quant", "tensor_parallel", "offload")


USER_ERROR = 2


def _follow(chosen: Chosen, device: str, dtype: str) -> int:
    """What a process does that was started as one of several and is not the first: no more than the model needs of it.

    Of those on one machine, which have the same files, the first one tells what is wrong with them.
    """
    from flamingo_lab.errors import LabError

    try:
        chosen.load(device, dtype)
    except LabError as error:
        if is_first_here():
            print(f"error: {socket.gethostname()}: {error}", file=sys.stderr)
    return USER_ERROR


def with_model(
    verb: Callable[..., int | None],
    *,
    is_argument: bool = False,
    flag: str = "--model",
    about: str = MODEL,
    without: Sequence[str] = (),
) -> Callable[..., int | None]:
    """The verb with the options of `Chosen` where it has the parameter `chosen`.

    The model is an argument of a verb that looks at its files alone, which neither asks an endpoint nor keeps features.
    Otherwise `flag` names it, and its help says what it is `about`. The verb has no use for the options `without`.
    """
    own = inspect.signature(verb, eval_str=True).parameters
    of_model = dict(inspect.signature(Chosen, eval_str=True).parameters)
    of_model = {name: one for name, one in of_model.items() if name not in without}
    if is_argument:
        of_model = {name: one for name, one in of_model.items() if name not in (*ENDPOINT, "features")}
        of_model["model"] = of_model["model"].replace(annotation=Annotated[str, typer.Argument(help=FILES)])
    else:
        of_model["model"] = of_model["model"].replace(annotation=Annotated[str, typer.Option(flag, help=about)])
    parameters = [*of_model.values(), *(one for name, one in own.items() if name != "chosen")]
    ordered = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    @functools.wraps(verb)
    def run(**given: Any) -> int | None:
        chosen = Chosen(**{name: given.pop(name) for name in of_model})
        if "device" in given and not is_argument and chosen.tensor_parallel > 1 and follows():
            return _follow(chosen, given["device"], given["dtype"])
        return verb(chosen=chosen, **given)

    run.__signature__ = inspect.Signature(ordered)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {one.name: one.annotation for one in ordered}
    return run
