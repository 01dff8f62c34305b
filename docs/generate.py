"""Writes what the documents take from the code: the command line, the models, the tasks, and tables of reports.

    python docs/generate.py            writes it
    python docs/generate.py --check    fails where something written is stale

Facts come from `flab ... --json`, so that these pages say what the command line says. A table of a report stands between
`<!-- report: NAME -->` and `<!-- end of report -->`, in any page. It is made from `benchmarks/reports/NAME.json`, an object
with `command`, `machine` and `rows`: a list of objects with equal keys, which are the columns; a cell may be an object with
`value`, `low` and `high`, shares of 1, shown in percent with its interval. Where there is only `NAME.md`, its table is taken.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from flamingo_lab.cli import app
from leaderboards.table import percent

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "benchmarks" / "reports"

HELP_WIDTH = 100

HEAD = "<!-- Written by docs/generate.py. -->\n"

REPORT = re.compile(r"(<!-- report: (\w+) -->\n).*?(<!-- end of report -->)", re.DOTALL)


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


def models() -> str:
    """`models.md`: every listed model by family."""
    families: dict[str, list[dict[str, Any]]] = {}
    for listed in facts("list", "models"):
        (shown,) = facts("show", "model", listed["name"])
        families.setdefault(shown["family"], []).append(shown)
    sections: list[str] = []
    for family, held in families.items():
        rows = [
            {
                "model": code(one["name"]),
                "parameters": one["parameters"],
                "memory of the weights": one["memory"],
                "prompted as": one["style"],
                "files": one["from"],
                "licence": one["licence"],
            }
            for one in held
        ]
        sections.append(f"## {family}\n\nSource: {held[0]['paper']}.\n\n{table(rows)}")
    about = (
        "The models that `flab` knows by name. Weights keep the licence of their authors. Nothing is downloaded unless "
        "`--download` is given; [how to evaluate](evaluate.md#your-own-files) tells where files are looked for. Any folder in "
        "a family's published layout works too.\n"
    )
    return "\n".join([HEAD, "# Models\n", about, *sections])


def tasks() -> str:
    """`tasks.md`: every benchmark."""
    sections: list[str] = []
    for listed in facts("list", "tasks"):
        (one,) = facts("show", "task", listed["name"])
        lines = [
            f"- paper: {one['paper']}",
            f"- data: {one['source']}; licence {one['licence']}",
            f"- splits: {one['splits']}",
            f"- score: {one['overall']}",
        ]
        lines += [f"- metric {code(name)}: {inline(about)}" for name, about in one["metrics"].items()]
        lines += [f"- wording {code(name)}: {code(question)}" for name, question in one["wordings"].items()]
        lines += [f"- option {code(name)}: {inline(about)}" for name, about in one["options"].items()]
        about = inline(one["about"])
        sections.append(f"## {one['name']}\n\n{one['title']}. {about}\n\n" + "\n".join(lines) + "\n")
    about = (
        "The benchmarks that `flab eval` can ask. The first metric is the official one; it is what tables show. "
        "The first wording is the default; `--wording` chooses another, `--task-option` sets an option.\n"
    )
    return "\n".join([HEAD, "# Tasks\n", about, *sections])


def with_reports(text: str, page: Path) -> str:
    """The page's text with the tables of the reports that it names."""
    return REPORT.sub(lambda found: found[1] + report(found[2], page) + found[3], text)


def report(name: str, page: Path) -> str:
    """A report's table, and where it is from; a plain line where there is no report."""
    written, printed = REPORTS / f"{name}.json", REPORTS / f"{name}.md"
    if written.is_file():
        held = json.loads(written.read_text(encoding="utf-8"))
        made = f"`{held['command']}` on {held['machine']}"
        return f"{table(held['rows'])}\nFrom {link(written, page)}: {made}.\n"
    if printed.is_file():
        lines = [line for line in printed.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        return "\n".join(lines) + f"\n\nFrom {link(printed, page)}.\n"
    return f"Not measured yet: there is no `{written.relative_to(ROOT)}`.\n"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with equal keys as a Markdown table; numbers stand on the right."""
    columns = list(rows[0])
    if odd := next((row for row in rows if list(row) != columns), None):
        raise SystemExit(f"a row with other columns than {columns}: {odd}")
    rules = ["---" if isinstance(rows[0][column], str) else "---:" for column in columns]
    lines = [columns, rules, *([cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return percent(value["value"], value["low"], value["high"], digits=2)
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
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
        if page not in made and REPORT.search(text := page.read_text(encoding="utf-8")):
            made[page] = with_reports(text, page)
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
