"""Writes what the documents take from elsewhere: the command line, the models, the tasks, and tables of reports.

    python docs/generate.py            writes it
    python docs/generate.py --check    fails where something written is stale

Facts come from `flab ... --json`, so that these pages say what the command line says. In any page, what stands between
`<!-- begin: WHAT -->` and `<!-- end -->` is written here. WHAT is `models` or `tasks`, for a short list, `families` for what
each model is made of, `metrics` for all of them, `disagreements` or `chartqa` for the cases of a JSON file beside this one,
scored here, or `report NAME`, for the first table of `benchmarks/reports/NAME.md`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from eval_tasks import metrics
from eval_tasks.metrics import HEADLINE, Item, Prediction, Targets
from flamingo_lab.cli import app

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "benchmarks" / "reports"

HELP_WIDTH = 100

HEAD = "<!-- Written by docs/generate.py. -->\n"

PART = re.compile(r"(<!-- begin: (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


EDGES = re.compile(r"^ +| +$")
"""Blanks that a page would not show."""


def said(*arguments: str) -> str:
    """What `flab` prints for these arguments."""
    found = CliRunner().invoke(app, list(arguments), prog_name="flab", terminal_width=HELP_WIDTH, color=False)
    if found.exit_code:
        raise SystemExit(
            f"flab {' '.join(arguments)} ended with {found.exit_code}: {found.output or found.exception!r}"
        )
    return found.stdout


def facts(*arguments: str) -> list[dict[str, Any]]:
    """The objects that `flab ... --json` prints."""
    return [json.loads(line) for line in said(*arguments, "--json").splitlines()]


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command below this one, itself first."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, (*path, name))


def command_line() -> str:
    """`reference/cli.md`: the help of every verb."""
    sections = [
        f"{'#' * (2 if len(path) < 2 else 3)} flab {' '.join(path)}".rstrip()
        + f"\n\n```text\n{said(*path, '--help').strip()}\n```\n"
        for path in verbs(typer.main.get_command(app))
    ]
    about = (
        "The help of every verb, as `flab VERB --help` prints it. Results go to stdout, everything else to stderr. "
        "Exit codes: 0 done, 1 a bug, 2 a mistake in what was asked, 3 more questions without an answer than allowed, "
        "130 interrupted.\n"
    )
    return "\n".join([HEAD, "# The command line\n", about, *sections])


@cache
def by_family() -> dict[str, list[dict[str, Any]]]:
    """What `flab show model` says of every listed model, by its family's title."""
    families: dict[str, list[dict[str, Any]]] = {}
    for listed in facts("list", "models"):
        (shown,) = facts("show", "model", listed["name"])
        families.setdefault(shown["family"], []).append(shown)
    return families


def models() -> str:
    """`models.md`: every listed model by family."""
    sections: list[str] = []
    for family, held in by_family().items():
        rows = [
            {
                "model": code(one["name"]),
                "parameters": one["parameters"],
                "memory of the weights": one["memory"],
                "prompted as": one.get("style", "its parts are"),
                "files": one["from"],
                "licence": one["licence"],
            }
            for one in held
        ]
        sections.append(f"## {family}\n\nSource: {held[0]['paper']}.\n\n{table(rows)}{recommended(held)}")
    about = (
        "The models that `flab` knows by name. Weights keep the licence of their authors. Nothing is downloaded unless "
        "`--download` is given; [how to evaluate](evaluate.md#your-own-files) tells where files are looked for. Any folder in "
        "a family's published layout works too.\n"
    )
    return "\n".join([HEAD, "# Models\n", about, *sections])


def recommended(models: Sequence[Mapping[str, Any]]) -> str:
    """How the authors of these models decode, each way once, with its models where they are not all."""
    ways: dict[tuple[str, str], list[str]] = {}
    for one in models:
        for way in one.get("recommended", {}).items():
            ways.setdefault(way, []).append(code(one["name"]))
    if not ways:
        return ""
    every = [code(one["name"]) for one in models]
    lines: list[str] = []
    for (what, options), names in ways.items():
        others = [name for name in every if name not in names]
        whose = names if len(names) <= len(others) else ["not " + " and ".join(others)] if others else []
        lines.append(f"- {what}: {code(options)}" + (f" ({', '.join(whose)})" if whose else "") + "\n")
    return "".join(["\nAs their authors decode, in options of `flab eval`:\n\n", *lines])


def families() -> str:
    """What each model is made of, where its parts are and how it is spoken to, by family; models that are alike in a row."""
    sections: list[str] = []
    for family, held in by_family().items():
        if "made of" in held[0]:
            continue
        alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for one in held:
            alike.setdefault(tuple(made_of(one).items()), []).append(code(one["name"]))
        rows = [{"model": ", ".join(names)} | dict(parts) for parts, names in alike.items()]
        folders = {f"{name}: {where}" for one in held for name, where in one["further folders"].items()}
        templates = dict.fromkeys(name for one in held for name in (one["style"], *one["other templates"]))
        lines = [
            *(f"- further folder, {where}" for where in sorted(folders)),
            f"- templates: {', '.join(map(code, templates))}",
        ]
        sections.append(f"### {family}\n\n{table(rows)}\n" + "".join(map(wrapped, lines)))
    return "\n" + "\n".join(sections)


def made_of(model: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a model in few words."""
    decoder = model["decoder"]
    if tower := model.get("tower"):
        seen = (
            f"{tower['layers']} layers of {tower['width']:,}, {tower['image_px']} px in patches of {tower['patch_px']}"
        )
    else:
        patches = model["patches"]
        seen = (
            f"none: patches of {patches['patch_px']} px, {patches['width_px']:,} x {patches['height_px']:,} px at most"
        )
    experts = decoder["experts"]
    mixed = f", {experts['counts'][0]} experts in {len(experts['layers'])} of them" if experts else ""
    text = f"{decoder['layers']} layers of {decoder['width']:,}{mixed}, {decoder['positions']:,} positions"
    connector = model.get("connector", {"kind": "none"})
    tokens = model["tokens per image"]
    widths = connector.get("widths") or connector.get("long", {}).get("widths", ())
    path = f" {' to '.join(f'{width:,}' for width in widths)}" if widths else ""
    return {
        "tower": seen + (", in tiles" if "tiles" in model else ""),
        "connector": connector["kind"] + path,
        "decoder": text,
        "pictures come": model["join"]["how"],
        "tokens a picture": f"{tokens:,}" if isinstance(tokens, int) else tokens,
    }


def wrapped(line: str) -> str:
    """A line of a list, cut where a review wants it cut."""
    options: dict[str, Any] = {"width": 120, "subsequent_indent": "  "}
    return textwrap.fill(line, **options, break_long_words=False, break_on_hyphens=False) + "\n"


def tasks() -> str:
    """`tasks.md`: every benchmark."""
    sections: list[str] = []
    for listed in facts("list", "tasks"):
        (one,) = facts("show", "task", listed["name"])
        lines = [
            f"- paper: {one['paper']}",
            f"- data: {one['source']}; licence {one['licence']}",
            *([f"- on the hub: {one['on the hub']}"] if "on the hub" in one else []),
            f"- splits: {one['splits']}",
            f"- score: {one['overall']}",
        ]
        lines += [f"- metric {code(name)}: {inline(about)}" for name, about in one["metrics"].items()]
        lines += [f"- wording {code(name)}: {code(question)}" for name, question in one["wordings"].items()]
        lines += [f"- judged {one['judged as']}"] if "judged as" in one else []
        lines += [f"- option {code(name)}: {inline(about)}" for name, about in one["options"].items()]
        about = inline(one["about"])
        sections.append(f"## {one['name']}\n\n{one['title']}. {about}\n\n" + "\n".join(lines) + "\n")
    about = (
        "The benchmarks that `flab eval` can ask. The first metric is the official one; it is what tables show. "
        "The first wording is the default; `--wording` chooses another, `--task-option` sets an option.\n"
    )
    return "\n".join([HEAD, "# Tasks\n", about, *sections])


def with_parts(text: str, page: Path) -> str:
    """The page's text with the parts that its marks ask for."""
    return PART.sub(lambda found: found[1] + part(found[2], found[3], page) + found[4], text)


def part(what: str, name: str | None, page: Path) -> str:
    """What a mark asks for."""
    if what == "models":
        return "".join(
            wrapped(f"- {family}: {', '.join(code(one['name']) for one in held)}")
            for family, held in by_family().items()
        )
    if what == "tasks":
        return "".join(f"- {code(one['name'])}: {inline(one['title'])}\n" for one in facts("list", "tasks"))
    if what in CASES:
        return CASES[what]()
    if what == "report" and name:
        return report(name, page)
    raise SystemExit(f"{page}: {what} {name or ''} is nothing that can be written here")


def metrics_listed() -> str:
    """Every metric with its variants, the official one first."""
    sections: list[str] = []
    for name, held in itertools.groupby(facts("list", "metrics"), lambda one: one["metric"]):
        variants = list(held)
        rows = [
            {
                "variant": code(one["variant"]),
                "what it does, and whose it is": one["about"],
                "set": one["whole"] or "any part",
            }
            for one in variants
        ]
        sections.append(f"### {name}\n\n{inline(variants[0]['definition'])}\n\n{table(rows)}")
    return "\n" + "\n".join(sections)


def disagreements() -> str:
    """Answers that get different scores, as scored by every variant now."""
    sections: list[str] = []
    for name, held in itertools.groupby(cases("disagreements"), lambda one: one["metric"]):
        variants = metrics.variants(name)
        rows: list[dict[str, str]] = []
        for one in held:
            shown = one.get("variants") or list(variants)
            is_set = "labels" in one
            scored = {variant: (score_of_set if is_set else score)(name, variant, one) for variant in shown}
            right = listed(one["labels"]) if is_set else counted(one["targets"], one.get("choices", ()))
            said = listed(one["scores"]) if is_set else code(blanks_shown(one["prediction"]))
            rows.append(
                {
                    "right answers": right,
                    "answer": said,
                    **{f"`{variant}`": scored[variant] for variant in shown},
                    "elsewhere": one.get("elsewhere", ""),
                }
            )
        sections.append(f"### {name}: ours is `{next(iter(variants))}`\n\n{table(rows)}")
    return "\n" + "\n".join(sections)


def chartqa() -> str:
    """Answers to ChartQA under lm-eval's own metrics, which a test works out again, and under ours."""
    rows = [
        {
            "right answer": code(one["target"]),
            "answer": code(one["prediction"]),
            **{f"lm-eval `{metric}`": f"{value:g}" for metric, value in one["lm_eval"].items()},
            "`relaxed_accuracy/pix2struct`": score(
                "relaxed_accuracy", "pix2struct", {**one, "targets": {one["target"]: 1}}
            ),
            "why": one["why"],
        }
        for one in cases("lm_eval_chartqa")
    ]
    return "\n" + table(rows)


CASES = {"families": families, "metrics": metrics_listed, "disagreements": disagreements, "chartqa": chartqa}


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of a JSON file beside this one."""
    return json.loads((ROOT / "docs" / f"{name}.json").read_text(encoding="utf-8"))


def score(metric: str, variant: str, case: Mapping[str, Any]) -> str:
    """What a case gets, and why nothing could be read in it."""
    targets = tuple(itertools.chain.from_iterable([text] * count for text, count in case["targets"].items()))
    given = Targets(targets, tuple(case.get("choices", ())), case.get("facts", {}))
    found = metrics.get(metric, variant).outcome(Prediction(case["prediction"]), given)
    return f"{found.score:.3g}" + (f" ({found.problem})" if found.problem else "")


def score_of_set(metric: str, variant: str, case: Mapping[str, Any]) -> str:
    """What a set of answers gets as a whole."""
    pairs = zip(case["scores"], case["labels"], strict=True)
    items = [
        Item(Prediction(str(score)), Targets((str(label),)), str(place)) for place, (score, label) in enumerate(pairs)
    ]
    chosen = metrics.get(metric, variant)
    return f"{chosen.figures(items, chosen.outcomes(items))[HEADLINE].value:.3g}"


def listed(held: Sequence[float]) -> str:
    """Numbers of a set."""
    return ", ".join(code(str(one)) for one in held)


def blanks_shown(text: str) -> str:
    """A text whose blanks at the ends a page shows."""
    return EDGES.sub(lambda blanks: "␣" * len(blanks[0]), text)


def counted(targets: Mapping[str, int], choices: Sequence[str]) -> str:
    """Right answers with how many people gave each; for multiple choice the options too."""
    said = ", ".join(code(text) + (f" x {count}" if count > 1 else "") for text, count in targets.items())
    return said + (f" of {', '.join(map(code, choices))}" if choices else "")


def report(name: str, page: Path) -> str:
    """A report's first table, and where it is from; a plain line where there is no report."""
    file = REPORTS / f"{name}.md"
    if not file.is_file():
        return f"Not measured yet: there is no `{file.relative_to(ROOT)}`.\n"
    lines = file.read_text(encoding="utf-8").splitlines()
    behind = itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    first = itertools.takewhile(lambda line: line.startswith("|"), behind)
    return "".join(f"{line}\n" for line in first) + f"\nFrom {link(file, page)}, which says how it was measured.\n"


def table(rows: Sequence[Mapping[str, str | int]]) -> str:
    """Rows with equal keys as a Markdown table; numbers stand on the right."""
    rules = ["---:" if isinstance(value, int) else "---" for value in rows[0].values()]
    lines = [list(rows[0]), rules, *([cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: str | int) -> str:
    """A value as people read it."""
    return f"{value:,}" if isinstance(value, int) else inline(value).replace("|", "\\|")


def code(text: str) -> str:
    """Text in code style; a line break is shown as its sign."""
    return "`" + text.replace("\n", " ⏎ ") + "`"


def inline(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def link(target: Path, page: Path) -> str:
    """A relative link, named by the target's place in the repository."""
    return f"[{target.relative_to(ROOT)}]({os.path.relpath(target, page.parent)})"


def pages() -> dict[Path, str]:
    """Every page that holds something written here, with the text that it should have."""
    docs = ROOT / "docs"
    made = {docs / "reference" / "cli.md": command_line(), docs / "models.md": models(), docs / "tasks.md": tasks()}
    for page in (ROOT / "README.md", *sorted(docs.rglob("*.md"))):
        if page not in made and PART.search(text := page.read_text(encoding="utf-8")):
            made[page] = with_parts(text, page)
    return made


def main() -> None:
    """Write the pages, or with `--check` name those that are stale."""
    texts = pages()
    stale = [page for page, text in texts.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
    if sys.argv[1:] == ["--check"]:
        if stale:
            raise SystemExit(f"stale: {names}; write them again with: python docs/generate.py")
        return
    if sys.argv[1:]:
        raise SystemExit(f"{sys.argv[1]}: the only option is --check")
    for page in stale:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(texts[page], encoding="utf-8")
    print(f"written: {names or 'nothing, all was up to date'}")


if __name__ == "__main__":
    main()
