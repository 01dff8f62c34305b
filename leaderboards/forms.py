"""A table of texts for a terminal, Markdown, LaTeX, HTML or CSV. Text is text: never markup, never a formula."""

from __future__ import annotations

import csv
import html as htmls
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

BEST, LEVEL, BAD = "best", "level", "bad"
"""Marks of a cell: surely first; not surely worse than the first; to be looked at."""

STYLES = {BEST: "bold green", LEVEL: "bold", BAD: "bold red"}
LATEX_MARKS = {BEST: r"\textbf{%s}", LEVEL: r"\underline{%s}"}
MARKDOWN_MARKS = {BEST: "**%s**", LEVEL: "*%s*"}

LATEX_SIGNS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        **{sign: "\\" + sign for sign in "&%$#_{}"},
    }
)
MARKDOWN_SIGNS = str.maketrans(
    {sign: "\\" + sign for sign in "\\`*_[]|"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "}
)


class Cell(NamedTuple):
    """A text, how it is marked, and what is said about it where there is room: the title of a cell in HTML."""

    text: str
    mark: str = ""
    about: str = ""


@dataclass(frozen=True)
class Sheet:
    """Columns and lines of cells. `right`: columns of numbers; `folded`: those that may break over lines; `notes` stand below."""

    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    right: frozenset[str] = frozenset()
    folded: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


def rich_table(sheet: Sheet) -> Table:
    """For a terminal."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(padding=(0, 0, 0, 1), caption=Text("\n".join(sheet.notes), justify="left") if sheet.notes else None)
    for column in sheet.columns:
        justify = "right" if column in sheet.right else "left"
        drawn.add_column(Text(column), justify=justify, no_wrap=column not in sheet.folded)
    for line in sheet.lines:
        drawn.add_row(*(Text(cell.text, style=STYLES.get(cell.mark, "")) for cell in line))
    return drawn


def markdown(sheet: Sheet) -> str:
    """For GitHub and the like."""
    lines = [
        [_markdown(column) for column in sheet.columns],
        ["---:" if column in sheet.right else "---" for column in sheet.columns],
        *([MARKDOWN_MARKS.get(cell.mark, "%s") % _markdown(cell.text) for cell in line] for line in sheet.lines),
    ]
    notes = "".join(f"\n{_markdown(note)}\n" for note in sheet.notes)
    return "".join("| " + " | ".join(line) + " |\n" for line in lines) + notes


def latex(sheet: Sheet) -> str:
    """A tabular for the package booktabs."""
    kinds = "".join("r" if column in sheet.right else "l" for column in sheet.columns)
    lines = [
        [LATEX_MARKS.get(cell.mark, "%s") % cell.text.translate(LATEX_SIGNS) for cell in line] for line in sheet.lines
    ]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            " & ".join(column.translate(LATEX_SIGNS) for column in sheet.columns) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            *(f"% {note}" for note in sheet.notes),
            "",
        ]
    )


def html(sheet: Sheet) -> str:
    """A table element; classes `number`, `best`, `level` and `bad` are for a style sheet."""
    head = "".join(f"<th{_classes(column in sheet.right)}>{htmls.escape(column)}</th>" for column in sheet.columns)
    body = "".join(
        "<tr>"
        + "".join(_html(cell, column in sheet.right) for cell, column in zip(line, sheet.columns, strict=True))
        + "</tr>\n"
        for line in sheet.lines
    )
    notes = "".join(f'<p class="note">{htmls.escape(note)}</p>\n' for note in sheet.notes)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n{notes}"


def comma_separated(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """CSV in which no cell is a formula, nor a column's head."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([harmless(value) for value in line] for line in (columns, *lines))
    return stream.getvalue()


def harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe; a number with a sign is none."""
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(value)
    return f"'{value}" if is_formula else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _markdown(text: str) -> str:
    return text.translate(MARKDOWN_SIGNS)


def _html(cell: Cell, is_number: bool) -> str:
    about = f' title="{htmls.escape(cell.about)}"' if cell.about else ""
    return f"<td{_classes(is_number, cell.mark)}{about}>{htmls.escape(cell.text)}</td>"


def _classes(is_number: bool, mark: str = "") -> str:
    names = [*(["number"] if is_number else []), *([mark] if mark else [])]
    return f' class="{" ".join(names)}"' if names else ""
