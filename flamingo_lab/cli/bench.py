"""`flab bench`: how fast a model answers a task here, what it reused, and how that compares with transformers."""

from __future__ import annotations

import json as jsons
import shlex
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.bar import bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eval_tasks.plan import Settings
    from flamingo_lab.bench.flips import Flip
    from flamingo_lab.bench.turns import Turns
    from flamingo_lab.loaded import LoadedModel
    from flamingo_lab.model import Request
    from leaderboards.records import Run

EXAMPLE = options.example("flab bench --model flamingo-tiny --task easy-vqa --num-fewshot 4 --against transformers")

REPORTS = Path("benchmarks")

FLIPS_SHOWN = 20

OWN = "flab bench measures single models that this package runs itself"


@dataclass(frozen=True)
class Measured:
    """A whole run from plan to scores, and what was compared with it. Memory in bytes, stages as shares of `seconds`."""

    model: str
    task: str
    num_fewshot: int
    dtype: str
    device: str
    questions: int
    seconds: float
    questions_per_second: float
    prompt_tokens_per_second: float
    generated_tokens_per_second: float
    peak_memory: int
    stages: Mapping[str, float]
    reused: Mapping[str, float]
    against: Turns | None = None
    flips: Sequence[Flip] | None = None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("bench", epilog=EXAMPLE)(options.with_model(bench))


def bench(
    chosen: options.Chosen,
    task: Annotated[str, typer.Option(help="A task (flab list tasks).")],
    num_fewshot: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 0,
    shot_selection: Annotated[str, typer.Option(help="As in flab eval; fixed shots are computed once.")] = "fixed",
    limit: Annotated[int, typer.Option(min=1, help="The first so many questions.")] = 64,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    wording: Annotated[str | None, typer.Option("--wording", "--phrasing", help="How questions are put.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; the task's own by default.")] = None,
    against: Annotated[
        Literal["transformers"] | None, typer.Option(help="Answer the same by transformers' class too, turn by turn.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns a side; medians are quoted.")] = 3,
    invariance: Annotated[
        bool,
        typer.Option(
            "--invariance", help="Name the answers that differ when asked one by one, by eights and all together."
        ),
    ] = False,
    report: Annotated[Path, typer.Option(help="Folder where the report is written.")] = REPORTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    json: options.Json = False,
) -> None:
    """Measure a whole run, from plan to scores. Nothing is kept of its answers."""
    from eval_tasks import groups
    from eval_tasks.plan import Settings
    from flamingo_lab import backends
    from flamingo_lab.errors import BadSetting
    from flamingo_lab.loaded import LoadedModel

    wanted = groups.expand(task)
    if len(wanted) != 1:
        raise BadSetting(f"--task {task}: flab bench measures one task at a time")
    if backends.find(chosen.model) is not None:
        raise BadSetting(f"{chosen.model}: {OWN}")
    if report.exists() and not report.is_dir():
        raise BadSetting(f"--report {report}: not a folder")
    settings = Settings(
        num_fewshot=num_fewshot,
        shot_selection=shot_selection,
        split=wanted[0].split,
        limit=limit,
        data=data,
        wording=wording,
        max_new_tokens=max_new_tokens,
        allow_partial=True,
    )
    model = chosen.load(device, dtype)
    if not isinstance(model, LoadedModel):
        raise BadSetting(f"{chosen.model}: {OWN}")
    run, requests = _whole_run(model, wanted[0].task, settings)
    compared: dict[str, Any] = {}
    if against:
        compared["against"] = _against(model, requests, repeats)
    if invariance:
        from flamingo_lab.bench.flips import flips

        compared["flips"] = flips(model, requests)
    measured = _measured(model, run, compared)
    file = _written(measured, report)
    if json:
        print(jsons.dumps(asdict(measured), ensure_ascii=False))
    else:
        print("\n".join(_lines(measured)))
    print(f"report: {file}", file=sys.stderr)


def _whole_run(model: LoadedModel, task: Any, settings: Settings) -> tuple[Run, list[Request]]:
    """The record of a run in a folder that is thrown away, and what it asked."""
    from eval_tasks import runner
    from leaderboards.store import Store

    planned: list[Request] = []
    with tempfile.TemporaryDirectory() as folder, bar(task.name) as shown:

        def say(plan: Any) -> None:
            planned.extend(one.request for one in plan.asked if one.error is None)
            shown.say(plan)

        run = runner.run(model, task, settings, Store(Path(folder)), planned=say, progress=shown.report)
    return run, planned


def _against(model: LoadedModel, requests: Sequence[Request], repeats: int) -> Turns:
    from flamingo_lab.bench.theirs import open_theirs
    from flamingo_lab.bench.turns import against
    from flamingo_lab.engine.plan import job

    theirs = open_theirs(model, Path(model.about["weights"]))
    return against(
        model,
        theirs,
        [job(model, request) for request in requests],
        repeats,
        lambda done: print(f"{done} of {repeats} turns", file=sys.stderr),
    )


def _measured(model: LoadedModel, run: Run, compared: Mapping[str, Any]) -> Measured:
    counters = run.counters
    answering = run.stages["answer"]
    named = {name: spent for name, spent in run.stages.items() if name != "answer"}
    named["other"] = max(0.0, run.seconds - sum(named.values()))
    return Measured(
        model=model.name,
        task=run.task,
        num_fewshot=run.num_fewshot,
        dtype=run.dtype,
        device=str(model.about["device"]),
        questions=run.n,
        seconds=run.seconds,
        questions_per_second=run.questions_per_second or 0.0,
        prompt_tokens_per_second=counters["prompt_tokens_asked"] / answering,
        generated_tokens_per_second=counters["generated_tokens"] / answering,
        peak_memory=run.peak_memory or 0,
        stages={name.removeprefix("answer: "): spent / run.seconds for name, spent in named.items()},
        reused=dict(counters),
        **compared,
    )


def _lines(measured: Measured) -> list[str]:
    """The report in Markdown, which reads well in a terminal too."""
    held = measured.reused
    shots = f"{measured.num_fewshot} shots" if measured.num_fewshot else "no shots"
    lines = [
        f"# {measured.model} on {measured.task}, {shots}, {measured.questions} questions",
        "",
        f"{measured.dtype} on {measured.device}: {measured.seconds:.1f} s, {measured.questions_per_second:,.1f} questions/s, "
        f"{measured.prompt_tokens_per_second:,.0f} prompt tokens/s, {measured.generated_tokens_per_second:,.0f} generated "
        f"tokens/s, at most {measured.peak_memory / 2**20:,.0f} MiB of memory.",
        "",
        "| stage | share of the time |",
        "| --- | ---: |",
        *(f"| {name} | {100 * share:.1f} % |" for name, share in measured.stages.items()),
        "",
        "| computed | of |",
        "| --- | --- |",
        f"| {held['prompt_tokens_computed']:,.0f} prompt tokens | {held['prompt_tokens_asked']:,.0f} asked |",
        f"| {held['images_encoded']:,.0f} pictures encoded, {held['images_from_cache']:,.0f} taken from kept features "
        f"| {held['images_referenced']:,.0f} shown |",
        f"| {held['decode_steps']:,.0f} decoding steps | {held['generated_tokens']:,.0f} generated tokens |",
        f"| {100 * held.get('padding_share', 0):.1f} % padding | all positions |",
    ]
    if turns := measured.against:
        parting = f", by choices at most {turns.margin:.1g} apart in log-probability" if turns.differing else ""
        lines += [
            "",
            f"Against transformers at its best batch size, {turns.theirs_batch}, on the same ids and pixels, turn by turn: "
            f"{turns.ours_seconds:.2f} s against {turns.theirs_seconds:.2f} s, {turns.ratio:.2f} x (median of the ratios); "
            f"{100 * turns.differing:.1f} % of the answers differ{parting}; load {turns.load:.1f}.",
        ]
    if measured.flips is not None:
        lines += ["", *_told(measured.flips, measured.questions)]
    return lines


def _told(flips: Sequence[Flip], questions: int) -> list[str]:
    """The answers that depend on their company."""
    if not flips:
        return [f"All {questions} answers are the same, whatever is computed together."]
    lines = [
        f"{len(flips)} of {questions} answers depend on what is computed together:",
        "",
        "| question | first other token | margin | answers by questions asked together |",
        "| --- | ---: | ---: | --- |",
    ]
    for flip in flips[:FLIPS_SHOWN]:
        said = "; ".join(f"{name}: {text!r}" for name, text in flip.texts.items()).replace("|", "\\|")
        lines.append(f"| {flip.id} | {flip.step + 1} | {flip.margin:.1e} | {said} |")
    more = len(flips) - FLIPS_SHOWN
    return [*lines, *([f"and {more} more (--json has all)"] if more > 0 else [])]


def _written(measured: Measured, folder: Path) -> Path:
    """The report's file, written whole."""
    from flamingo_lab.errors import BadSetting

    file = folder / f"bench-{measured.model}-{measured.task.replace(':', '-')}-{measured.num_fewshot}.md"
    command = shlex.join(["flab", *sys.argv[1:]])
    text = "\n".join([*_lines(measured), "", f"`{command}`, {datetime.now(UTC):%Y-%m-%d}.", ""])
    temporary = file.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise BadSetting(f"--report {folder}: the report cannot be written ({error.strerror})") from None
    return file
