"""`flab show`: one model, task or run in full."""

from __future__ import annotations

import json as jsons
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.ending import partial

if TYPE_CHECKING:
    from eval_tasks.rubrics import Rubric
    from eval_tasks.task import Hub, Task
    from eval_tasks.wording import Reads
    from leaderboards.records import Run
    from leaderboards.store import Store

app = typer.Typer(
    help="Show a model, a task or a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=options.example("flab show task chartqa"),
)

Name = Annotated[str, typer.Argument(help="As listed by flab list.")]

LONGEST_SHOWN = 300
"""Signs of a question or an answer; all of them are in the records."""

WRONG_SHOWN = 5
"""Wrong answers that `flab show run` prints."""


@app.command(epilog=options.example("flab show model idefics-9b"))
def model(name: Name, json: options.Json = False) -> None:
    """A model's family, size, parts, and where its files are published."""
    from flamingo_lab import composed, families, hub
    from flamingo_lab.cli import told
    from flamingo_lab.errors import UnknownName

    for family, size in families.sizes():
        if size.name == name.lower():
            print_facts(_stated(told.of_model(family, size, whole=json), json), json)
            return
    made = composed.find(name, ())
    if made is None:
        raise UnknownName(hub.unknown(name))
    print_facts(_stated(told.of_composed(made), json), json)


def _stated(facts: Mapping[str, object], as_json: bool) -> Mapping[str, object]:
    """The facts; for people, those of them that there are."""
    return facts if as_json else {key: value for key, value in facts.items() if value}


@app.command(epilog=options.example("flab show task easy-vqa"))
def task(name: Name, json: options.Json = False) -> None:
    """A task's source, licence, size, splits, metrics, wordings, flags, and an example as models are asked it."""
    from eval_tasks import metrics
    from eval_tasks import task as tasks

    found = tasks.get(name)
    sizes = {split: size for split in found.splits if (size := found.size(split)) is not None}
    facts = {
        "name": found.name,
        "title": found.title,
        "about": found.__doc__,
        "paper": found.paper,
        "source": found.source,
        "get it from": getattr(found, "files", ""),
        "on the hub": _on_the_hub(found),
        "licence": found.licence,
        "splits": ", ".join(found.splits),
        "size": {split: f"{size:,} questions" for split, size in sizes.items()} or found.extent,
        "asked by default": found.split,
        "shots from": ", ".join(split for split in found.splits_for_shots if split in found.splits) or "none",
        "metrics": {str(one): metrics.get(one.metric, one.variant).about for one in found.metrics},
        "defined as": {name: metrics.definition(name) for name in {one.metric: None for one in found.metrics}},
        "wordings": {wording.name: wording.form.replace("\n", " ⏎ ") for wording in found.wordings},
        "wordings from": {wording.name: wording.source for wording in found.wordings},
        "judged as": _judged(found.rubric),
        "options": dict(found.options),
        "overall": f"mean of {', '.join(found.mean_of)}" if found.mean_of else "mean over all questions",
        "new tokens": found.max_new_tokens,
        "example": _example(found),
    }
    print_facts({key: value for key, value in facts.items() if value or key in KEPT}, json)


def _judged(rubric: Rubric | None) -> str:
    """How often a judge grades an answer, and whose words it is asked in."""
    return f"{rubric.gradings} times, in the words of {rubric.source} ({rubric.licence})" if rubric else ""


def _on_the_hub(task: Task) -> str:
    """The data sets, their configurations, whether their revisions are pinned, and the splits that they have not."""
    hub = task.hub
    if hub is None:
        return ""
    said = _data_set(hub, task.splits)
    if hub.shots:
        said += f"; {', '.join(task.splits_for_shots)}: {_data_set(hub.shots, task.splits_for_shots)}"
    return f"{said}; without {', '.join(hub.lacks)}" if hub.lacks else said


def _data_set(hub: Hub, splits: Sequence[str]) -> str:
    folders = dict.fromkeys(folder for split in splits for folder in hub.folders(split))
    said = hub.repository + (f" ({', '.join(folders)})" if folders else "")
    return f"{said} at {hub.revision}" if hub.revision else f"{said}, whichever revision is there (a run records it)"


KEPT = {"options", "wordings"}
"""Facts of a task that are shown even where there are none."""


def _example(task: Task) -> dict[str, str]:
    """A question with its answer as models read it: running text, a user's turn, and what is ranked."""
    from eval_tasks.wording import PICTURE

    sample = task.example or task.samples(task.split, None)[0]
    shown: dict[str, str] = {}
    kinds: tuple[Reads, ...] = ("running text", "turns")
    for reads in kinds:
        wording = task.wording(None, reads)
        said = "".join(part if isinstance(part, str) else PICTURE for part in wording.parts(sample))
        # An example that is made up brings no picture, and MMMU's questions name theirs.
        lead = "" if "<image " in said else PICTURE
        words, answer = said.removeprefix(PICTURE), wording.answered(sample)
        if reads == "running text":
            text = lead + wording.running.replace("{text}", words).replace("{answer}", answer)
        else:
            text = f"{lead}{words} → {answer}"
        shown[reads] = text.replace("\n", " ⏎ ")
        if wording.rank:
            shown["ranked"] = " | ".join(wording.options(sample))
    return shown


@app.command(epilog=options.example("flab show run 7c1e5a90"))
def run(name: Name, results: options.Results = options.RESULTS, json: options.Json = False) -> None:
    """A run's scores, the first answers that were wrong or missing, and all that its record holds."""
    from leaderboards import table
    from leaderboards.store import Store

    store = Store(results)
    found = store.run(name)
    if json:
        print(jsons.dumps(asdict(found) | {"status": store.standing(found).status}, ensure_ascii=False))
        return
    if found.scores:
        options.console().print(table.rich_table(table.rows([found], every_slice=True)))
        _print_wrong(store, found)
    else:
        print(f"not finished ({store.standing(found)}): the same flab eval command goes on with it")
    print()
    held = {key: value for key, value in asdict(found).items() if key != "scores" and value not in (None, {}, "", ())}
    print_facts(_rounded(held) | _memory(found) | {"status": str(store.standing(found))}, as_json=False)


def _print_wrong(store: Store, run: Run) -> None:
    """The first answers that were wrong or missing, and what of the whole has no answer at all."""
    if said := partial(run):
        print(said)
    for sample in store.wrong(run.run_id, f"{run.scores[0].metric}/{run.scores[0].variant}", WRONG_SHOWN):
        said = f"error: {sample.error}" if sample.error else f"answered {_quoted(sample.answer or '')}"
        right = " or ".join(map(_quoted, dict.fromkeys(sample.targets)))
        print(f"{sample.sample_id}: {_quoted(sample.question)} {said}, right is {right}")


def _rounded(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts with no more decimals than people read."""
    return {key: _for_people(value) for key, value in facts.items()}


def _for_people(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    return _rounded(value) if isinstance(value, Mapping) else value


def _memory(run: Run) -> dict[str, str]:
    return {} if run.peak_memory is None else {"peak_memory": f"{run.peak_memory / 2**20:,.0f} MiB"}


def _quoted(text: str) -> str:
    """A text on one line, without control characters, and not all of one that never ends."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text):,} signs)")


def print_facts(facts: Mapping[str, object], as_json: bool) -> None:
    """Facts as indented lines, or as one JSON object."""
    if as_json:
        print(jsons.dumps(facts, ensure_ascii=False))
        return
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        if isinstance(value, Mapping):
            lines = [f"{inner}: {text}" for inner, text in value.items()]
        elif isinstance(value, list | tuple):
            lines = [*map(str, value)]
        elif isinstance(value, bool):
            lines = ["yes" if value else "no"]
        else:
            lines = [f"{value:,}" if isinstance(value, int) else str(value)]
        for number, line in enumerate(lines):
            print(f"{key if number == 0 else '':<{width}}{' '.join(line.split())}")
