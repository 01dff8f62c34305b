"""Tables of text: the same cells in every form, and text that stays text."""

from __future__ import annotations

import csv
import html.parser
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from leaderboards import boards, compare, export, forms, ranking, reported
from leaderboards.forms import BEST, LEVEL, Cell, Sheet
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish
from tests.leaderboards.test_reported import LLAVA

HOSTILE = "<script>alert(1)</script> \\input{x} **b** [a](b) |$&%#_{}~^"
SHEET = Sheet(
    ("name", "score"),
    [[Cell(HOSTILE), Cell("97.0", BEST, '"><b>')], [Cell("=1+1"), Cell("96.0", LEVEL)]],
    right=frozenset(("score",)),
    notes=("a note & more",),
)


class Tags(html.parser.HTMLParser):
    """The names of the elements, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(sheet: Sheet, width: int) -> list[str]:
    """The sheet's lines on a terminal of this width; none is longer."""
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(forms.rich_table(sheet))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def words(lines: Sequence[str]) -> set[str]:
    """All that stands between blanks and frames."""
    return set("".join(lines).translate(str.maketrans("│┃", "  ")).split())


@pytest.fixture
def eight(tmp_path: Path) -> Store:
    """Two models, one with a long name and an odd protocol, on eight tasks."""
    store = Store(tmp_path)
    for number, (model, share) in enumerate({"a-model-with-a-long-name": 0.7, "fair": 0.5}.items()):
        for task in "abcdefgh":
            facts = {"model": model, "model_digest": model, "task": f"task-{task}", "num_fewshot": number}
            values = drawn(number, 60, share)
            kinds = ["a-long-kind-of-question", "short"] * 30
            finish(store, f"{number}{task}".ljust(12, "0"), {METRIC: values}, kinds=kinds, **facts)
    return store


@pytest.mark.parametrize("width", [50, 60, 80])
def test_a_narrow_terminal_shows_the_matrix_in_parts_with_every_number_whole(eight: Store, width: int) -> None:
    sheet = boards.matrix_sheet(ranking.matrix(eight))
    lines = shown(sheet, width)
    numbers = {word for line in sheet.lines for cell in line[3:] for word in cell.text.split()}
    assert numbers <= words(lines)
    heads = [line for line in lines if "rank" in line and "model" in line]
    assert len(heads) > 1, "every part names its rows"
    assert sum("Holm over the" in line for line in lines) == 1, "the notes stand below the last"
    assert len([line for line in shown(sheet, 300) if "rank" in line and "model" in line]) == 1


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_shows_a_comparison_without_what_its_notes_say(eight: Store, width: int) -> None:
    found = compare.compare(eight, "0a", "1a")
    sheet = boards.comparison_sheet([found])
    lines = shown(sheet, width)
    head = next(line for line in lines if "B - A [95 %]" in line)
    assert "slice" in head and not {"against", "metric", "run"} & words([head])
    assert {"0a000000", "1a000000", "a-model-with-a-long-name,", METRIC} <= words(lines)
    for one in found.differences:
        assert f"{100 * (one.difference or 0):+.1f} [{100 * (one.low or 0):+.1f}," in "".join(lines)
    whole = shown(sheet, 200)
    assert {"against", "metric", "test", "wins/losses"} <= words(whole)
    assert any(line.startswith("95 % intervals: bootstrap") for line in whole)


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_shows_published_scores_with_what_differs(width: int) -> None:
    lines = shown(boards.published_sheet([LLAVA], reported.beside(LLAVA)), width)
    assert {"78.0", "[77.5,", "79.0]"} <= words(lines)
    assert not {"source", "shots"} & words(lines[:3])


def test_html_shows_text_and_never_runs_it() -> None:
    found = Tags(forms.html(SHEET))
    assert {*found.names} == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert HOSTILE in found.text and "a note & more" in found.text
    assert ("class", "number best") in found.attributes and ("title", '"><b>') in found.attributes


def test_latex_has_no_command_in_a_text() -> None:
    line = forms.latex(SHEET).splitlines()[4]
    assert line.startswith(r"<script>alert(1)</script> \textbackslash{}input\{x\} **b** [a](b) |\$\&\%\#\_\{\}")
    assert line.endswith(r"\textbf{97.0} \\")
    assert r"\underline{96.0}" in forms.latex(SHEET)


def test_markdown_has_no_markup_in_a_text() -> None:
    lines = forms.markdown(SHEET).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert (
        r"&lt;script&gt;alert(1)&lt;/script&gt; \\input{x} \*\*b\*\* \[a\](b) \|$&amp;%#\_{}~^ | **97.0** |" in lines[2]
    )


def test_a_spreadsheet_gets_no_formula() -> None:
    text = forms.comma_separated(SHEET.columns, [[cell.text for cell in line] for line in SHEET.lines])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[2] == ["'=1+1", "96.0"]


def test_a_column_named_like_a_formula_is_none_and_numbers_with_signs_stay_numbers() -> None:
    text = forms.comma_separated(["=cmd|'/c calc'!A1", "difference"], [["-1+1", "-0.5"], ["+a", "+1.2"]])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["'=cmd|'/c calc'!A1", "difference"], ["'-1+1", "-0.5"], ["'+a", "+1.2"]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for model, share in (("good<b>", 0.9), ("fair", 0.5), ("even", 0.5)):
        values = drawn(ord(model[0]), 200, share)
        facts = {"command": "flab eval --data /home/me", "settings": {"data": "/home/me"}}
        finish(made, model[:4] * 2, {METRIC: values}, model=model, model_digest=model, **facts)
    return made


def test_the_matrix_marks_what_is_surely_first(store: Store) -> None:
    sheet = boards.matrix_sheet(ranking.matrix(store))
    assert sheet.columns == ["rank", "model", "protocol", "average", "t"]
    assert [[line[0].text, line[1].text, line[4].mark] for line in sheet.lines] == [
        ["1", "good<b>", BEST],
        ["2-3", "even", ""],
        ["2-3", "fair", ""],
    ]
    level = boards.matrix_sheet(ranking.matrix(store, [run for run in store.runs() if run.model != "good<b>"]))
    assert [line[4].mark for line in level.lines] == [LEVEL, LEVEL]


def test_the_page_needs_nothing_else_and_escapes_everything(store: Store) -> None:
    found = Tags(export.page(store, store.runs()))
    assert not {"script", "img", "link", "iframe", "b"} & {*found.names}
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert "good<b>" in found.text and "Against the first of each task" in found.text
    assert "/home/me" not in export.page(store, store.runs())


def test_the_public_json_has_no_commands_and_paths(store: Store) -> None:
    text = export.leaderboard(ranking.matrix(store))
    held = json.loads(text)
    assert "/home/me" not in text and "command" not in text
    assert held["rows"][0]["model"] == "good<b>"
    cell = held["rows"][0]["cells"][0]
    assert (cell["ranks"], cell["is_best"], cell["column"]) == ([1, 1], True, 0)
    assert {run["run_id"] for run in held["runs"]} == {run.run_id for run in store.runs()}


def test_a_comparison_shows_difference_interval_and_test(store: Store) -> None:
    sheet = boards.comparison_sheet([compare.compare(store, "fair", "good")])
    line = dict(zip(sheet.columns, sheet.lines[0], strict=True))
    assert line["B - A [95 %]"].mark == BEST and line["B - A [95 %]"].text.startswith("+")
    assert line["p"].text == "< 0.0001" and line["test"].text == "McNemar, exact"
