"""A table of texts for a terminal, Markdown, LaTeX, HTML or CSV. Text is text: never markup, never a formula."""

from __future__ import annotations

import csv
import html as htmls
import io
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

LEAST = 5
"""Cells that a folded column keeps, however narrow a terminal is."""

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
    """Columns and lines of cells. `right`: columns of numbers; `folded`: those that may break over lines; `notes` stand below.

    `whole`: those of the folded that break inside words last.
    `spare`: columns that a narrow terminal does without, in order, where their cells are empty or this text; None: any text.
    `heads`: so many of the first columns stand in each part of a sheet that a terminal is too narrow for; 0: it has no parts.
    """

    columns: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    right: frozenset[str] = frozenset()
    folded: frozenset[str] = frozenset()
    notes: Sequence[str] = ()
    whole: frozenset[str] = frozenset()
    spare: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    heads: int = 0


@dataclass(frozen=True)
class Drawn:
    """A sheet for a terminal, which rich asks for at the terminal's width."""

    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Generator[Table]:
        """The table as far as possible without cut cells, in several parts where it has more columns than there is room."""
        width = options.max_width
        sheet = _spared(self.sheet, width)
        if _frame(sheet) + sum(_sizes(sheet, by_word=True)) <= width:
            yield _drawn(sheet, width, is_tight=False)
            return
        for part in _parts(sheet, width):
            yield _drawn(part, width, is_tight=True)


def rich_table(sheet: Sheet) -> Drawn:
    """For a terminal."""
    return Drawn(sheet)


def _drawn(sheet: Sheet, width: int, *, is_tight: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=box.SIMPLE_HEAD if is_tight else box.HEAVY_HEAD,
        show_edge=not is_tight,
        padding=(0, 0, 0, 0 if is_tight else 1),
        caption=Text("\n".join(sheet.notes), justify="left") if sheet.notes else None,
    )
    sizes = _fitted(sheet, width - (len(sheet.columns) - 1 if is_tight else _frame(sheet)))
    for column, size in zip(sheet.columns, sizes, strict=True):
        justify = "right" if column in sheet.right else "left"
        drawn.add_column(Text(column), justify=justify, width=size, overflow="fold")
    for line in sheet.lines:
        drawn.add_row(*(Text(cell.text, style=STYLES.get(cell.mark, "")) for cell in line))
    return drawn


def _spared(sheet: Sheet, width: int) -> Sheet:
    """The sheet without the columns that so much room is too little for, as far as it can do without."""
    while _frame(sheet) + sum(_sizes(sheet, by_word=True)) > width and (spare := _spare(sheet)):
        sheet = _without(sheet, spare)
    return sheet


def _parts(sheet: Sheet, width: int) -> Iterator[Sheet]:
    """The sheet in parts that are as wide at most; each has the heads and some of the other columns, the last the notes.

    The heads' words stay whole where they take no more than half of the room.
    """
    least = [size + 1 for size in _least(sheet)]
    words = [size + 1 for size in _sizes(sheet, by_word=True)]
    heads = max(sum(least[: sheet.heads]), min(sum(words[: sheet.heads]), width // 2))
    first = last = sheet.heads
    while last < len(least):
        used = heads - 1
        while last < len(least) and (last == first or not sheet.heads or used + least[last] <= width):
            used += least[last]
            last += 1
        places = [*range(sheet.heads), *range(first, last)]
        is_last = last == len(least)
        yield replace(
            sheet,
            columns=[sheet.columns[place] for place in places],
            lines=[[line[place] for place in places] for line in sheet.lines],
            notes=sheet.notes if is_last else (),
        )
        first = last


def _frame(sheet: Sheet) -> int:
    """What lines between columns and a blank in each take."""
    return 2 * len(sheet.columns) + 1


def _sizes(sheet: Sheet, *, by_word: bool) -> list[int]:
    """Each column's width; with `by_word` folded ones are as wide as their longest word."""
    from rich.cells import cell_len

    found: list[int] = []
    for place, column in enumerate(sheet.columns):
        texts = [column, *(line[place].text for line in sheet.lines)]
        splits = by_word and column in sheet.folded
        found.append(max(cell_len(word) for text in texts for word in (text.split() if splits else [text])))
    return found


def _fitted(sheet: Sheet, room: int) -> list[int]:
    """The columns' widths in so much room: folded ones shrink between words, then inside them, the widest first."""
    sizes = _sizes(sheet, by_word=False)
    words = _sizes(sheet, by_word=True)
    least = _least(sheet)
    kept = [word if name in sheet.whole else size for name, word, size in zip(sheet.columns, words, least, strict=True)]
    for floors in (words, kept, least):
        while sum(sizes) > room and (able := [place for place, floor in enumerate(floors) if sizes[place] > floor]):
            sizes[max(able, key=lambda place: sizes[place])] -= 1
    return sizes


def _least(sheet: Sheet) -> list[int]:
    """The columns' least widths: folded ones break inside words, but a number only in its column's name."""
    from rich.cells import cell_len

    found: list[int] = []
    for place, (name, size) in enumerate(zip(sheet.columns, _sizes(sheet, by_word=True), strict=True)):
        numbers = [cell_len(word) for line in sheet.lines for word in line[place].text.split()]
        floor = max(LEAST, *numbers) if name in sheet.right and numbers else LEAST
        found.append(min(size, floor) if name in sheet.folded else size)
    return found


def _spare(sheet: Sheet) -> str | None:
    """The first column that a narrow terminal can do without."""
    for column, only in sheet.spare.items():
        if column in sheet.columns:
            place = sheet.columns.index(column)
            if only is None or all(line[place].text in ("", only) for line in sheet.lines):
                return column
    return None


def _without(sheet: Sheet, column: str) -> Sheet:
    place = sheet.columns.index(column)
    lines = [[*line[:place], *line[place + 1 :]] for line in sheet.lines]
    columns = [*sheet.columns[:place], *sheet.columns[place + 1 :]]
    return replace(sheet, columns=columns, lines=lines, heads=sheet.heads - (place < sheet.heads))


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
