"""How long the dashboard takes in a browser on a large store: a first view of each page, and each thing that one can do there.

    python benchmarks/dashboard_pages.py [FOLDER]

The store is that of `leaderboard_store.py`, built in FOLDER, or in a temporary one, and left there if FOLDER was given. Needs
Chromium (Debian: apt-get install chromium). Everything is done several times and the least is taken, since whatever else the
machine does only adds to it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import leaderboard_store
import machine
import psutil
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.dashboard.served import served  # noqa: E402 - as the tests start it

REPORT = ROOT / "benchmarks" / "reports" / "dashboard.md"
WIDTH, HEIGHT = 1280, 800
PATIENCE_MS = 300_000

ROUNDS = 3
FIRST_OF_A_SERVER, FIRST, INTERACTION = 8.0, 2.0, 1.0
"""Seconds allowed."""

SETTLED = """
document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-stale=true], [data-testid=stException]')
"""
"""The page's script has ended and what it sent is drawn."""


ALL = """
const all = (root, selector) => [
    ...root.querySelectorAll(selector),
    ...[...root.querySelectorAll('*')].flatMap(one => one.shadowRoot ? all(one.shadowRoot, selector) : []),
];
"""
"""What finds elements inside of the page's components too."""

POLLED_MS = 50


def shows(text: str) -> str:
    """That the browser's title, which names all filters, holds a text."""
    return f"document.title.includes({text!r})"


def holds(selector: str, text: str = "") -> str:
    """That an element is there with a text in it."""
    return f"all(document, {selector!r}).some(one => one.textContent.includes({text!r}))"


def asks(text: str) -> str:
    """That the address holds a text."""
    return f"location.href.includes({text!r})"


class Step(NamedTuple):
    """Something to do on a page: where it is done, what is got ready before the clock starts, the act, and what it must show."""

    name: str
    at: str
    ready: Callable[[Page], Locator]
    shown: str
    act: Callable[[Locator], None] = Locator.click


def option(label: str, name: str) -> Callable[[Page], Locator]:
    """An option of an opened list."""

    def ready(page: Page) -> Locator:
        field = page.get_by_role("combobox", name=label).first
        field.click()
        field.fill(name)  # long lists draw only what is in sight
        return page.get_by_role("option", name=name).first

    return ready


def first(selector: str, text: str | None = None, number: int = 0) -> Callable[[Page], Locator]:
    """An element of a page."""
    return lambda page: page.locator(selector, has_text=text).nth(number)


def filled(label: str, text: str) -> Callable[[Page], Locator]:
    """A field in which something has been written."""

    def ready(page: Page) -> Locator:
        field = page.get_by_label(label).first
        field.fill(text)
        return field

    return ready


def entered(field: Locator) -> None:
    """The key that ends writing."""
    field.press("Enter")


RUN, OTHER = (f"{model:02x}00".ljust(16, "0") for model in (3, 7))

PAGES: Mapping[str, tuple[str, str]] = {
    "leaderboard": ("", holds("table.board td.cell")),
    "compare": ("compare", holds("section.card")),
    "samples": ("samples", holds(".list .line") + " && " + holds(".prompt")),
    "curves": ("curves", holds("table td.first") + " && " + holds(".points_marks path")),
    "slices": ("slices", holds("td.heat")),
    "runs": ("runs", holds("table.cards td.first")),
}
"""Each page's address and what must be there until it counts as seen."""

SEEN_WHOLE = {"leaderboard": holds("td.rank", "1"), "compare": f"!{holds('[data-testid=stText]', 'being compared')}"}
"""What is there once all that is worked out in the background has come."""

STEPS = (
    Step("leaderboard: one task", "", option("Tasks", "task-03"), shows("task-03")),
    Step("leaderboard: sort by a column", "", first("th a", "task-05"), holds("th", "task-05 ↓")),
    Step("leaderboard: published scores", "", first("label", "published scores"), asks("published=1")),
    Step("leaderboard: a number's run", "", first("table.board td.cell a", number=0), holds("h3", "Settings")),
    Step("leaderboard: a mark's comparison", "", first("a.axis-link"), holds("section.card")),
    Step("compare: other models", "compare", option("Against", "model-11"), shows("against model-11")),
    Step("compare: a third model", "compare", option("Compared", "model-13"), holds("td.thin", "model-13")),
    Step("compare: another task", "compare", option("Task", "task-07"), asks("task=task-07")),
    Step("compare: a slice", "compare", first("td.part a", "table", 1), asks("slice=kind%3Dtable")),
    Step("compare: the next questions", "compare", first("a.link", "next"), holds(".small", "21–40 of")),
    Step(
        "samples: another run", f"samples?run={RUN}", option("Run", "model-05 · task-02"), shows("model-05 · task-02")
    ),
    Step("samples: the wrong ones", f"samples?run={RUN}", first("button", "wrong"), shows("wrong")),
    Step("samples: a text", f"samples?run={RUN}", filled("Search", "part 777"), shows("part 777"), entered),
    Step("samples: a slice", f"samples?run={RUN}", option("Slice", "kind=map"), shows("map")),
    Step("samples: the next 200", f"samples?run={RUN}", first("a.link", "next"), holds(".small", "201–400 of")),
    Step("samples: a question", f"samples?run={RUN}", first(".list a", number=7), holds(".big", "part 7 ")),
    Step("curves: another task", "curves", option("Task", "task-04"), shows("task-04")),
    Step("curves: against seconds", "curves", first("button", "seconds"), shows("against seconds")),
    Step("slices: another task", "slices", option("Task", "task-04"), shows("task-04")),
    Step("slices: a cell's questions", "slices", first("td.heat a", number=3), holds(".list .line")),
    Step("runs: one of them", "runs", first("table.cards td.first a", number=5), holds("h3", "Settings")),
    Step("runs: beside another", f"runs?run={RUN}", option("Beside", "model-07"), holds("td.differs")),
    Step("runs: of one task", "runs", option("Tasks", "task-04"), shows("task-04")),
)


@contextmanager
def tab(browser: Browser) -> Generator[Page]:
    """A tab of a visitor who was never here."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def stands(page: Page, shown: str) -> None:
    """Wait until the page shows what it must and stands still."""
    page.wait_for_function(f"() => {{ {ALL} return ({shown}) && ({SETTLED}) }}", polling=POLLED_MS)


class Took(NamedTuple):
    """Seconds by the clock, and of the processor: all threads of the server and of the browser together."""

    clock: float
    processor: float


def used() -> float:
    """Seconds of the processor that the server and the browser, which this process has started, have had."""
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


def took(page: Page, act: Callable[[], object], shown: str) -> Took:
    """How long it takes until the page shows what it must and stands still."""
    began, before = time.perf_counter(), used()
    act()
    stands(page, shown)
    return Took(time.perf_counter() - began, used() - before)


def opened(page: Page, address: str, name: str) -> Took:
    """A page's first view."""
    at, shown = PAGES[name]
    return took(page, lambda: page.goto(f"{address}/{at}", wait_until="commit"), shown)


def done(browser: Browser, address: str, step: Step) -> Took:
    """A step on a page that has been opened and stands still."""
    with tab(browser) as page:
        name = step.at.partition("?")[0] or "leaderboard"
        page.goto(f"{address}/{step.at}")
        stands(page, f"{PAGES[name][1]} && {SEEN_WHOLE.get(name, 'true')}")
        target = step.ready(page)
        target.wait_for()
        return took(page, lambda: step.act(target), step.shown)


def measured(path: Path, browser: Browser) -> Mapping[str, Took]:
    """Everything once, by what was done."""
    found: dict[str, Took] = {}
    for name in PAGES:
        with served("--results", path) as address, tab(browser) as page:
            found[f"fresh {name}"] = opened(page, address, name)
            if name in SEEN_WHOLE:
                rest = took(page, lambda: None, SEEN_WHOLE[name])
                found[f"whole {name}"] = Took(*(sum(pair) for pair in zip(found[f"fresh {name}"], rest, strict=True)))
    with served("--results", path) as address:
        for name in PAGES:
            with tab(browser) as page:
                opened(page, address, name)
            with tab(browser) as page:
                found[f"first {name}"] = opened(page, address, name)
        for step in STEPS:
            found[step.name] = done(browser, address, step)
    return found


def row(name: str, found: Sequence[Took], allowed: float) -> tuple[str, str | None]:
    """A line of the report, and what is too slow in it."""
    least = Took(*map(min, zip(*found, strict=True)))
    line = f"| {name} | {least.processor:.2f} | {least.clock:.2f} | {max(found).clock:.2f} | {allowed:g} |"
    is_slow = min(least) > allowed
    return line, f"{name}: {min(least):.2f} s, {allowed:g} allowed" if is_slow else None


def report(rounds: Sequence[Mapping[str, Took]], loads: Sequence[float]) -> tuple[list[str], list[str]]:
    """The report's lines, and what is slower than allowed."""
    found = {name: [one[name] for one in rounds] for name in rounds[0]}
    rows = [row(f"{name}, a fresh server's first", found[f"fresh {name}"], FIRST_OF_A_SERVER) for name in PAGES]
    rows += [row(f"{name}, a visitor's first", found[f"first {name}"], FIRST) for name in PAGES]
    rows += [row(step.name, found[step.name], INTERACTION) for step in STEPS]
    ranks, tasks = (min(min(one) for one in found[f"whole {name}"]) for name in ("leaderboard", "compare"))
    return [
        "# The dashboard on a large store",
        "",
        f"`python benchmarks/dashboard_pages.py` on {machine.facts()}; load {min(loads):.1f} to {max(loads):.1f} "
        f"on {os.cpu_count()} cores.",
        "",
        f"{leaderboard_store.MODELS * leaderboard_store.TASKS} runs with {leaderboard_store.SAMPLES:,} samples each; a window "
        f"of {WIDTH} x {HEIGHT} pixels in headless Chromium on the same machine, without a graphics card. Seconds from the "
        "address or the click until the page's script has ended and everything is drawn, each time for a visitor with an "
        f"empty cache, of {len(rounds)} times the least: by the clock, which hangs on what else the machine does (see the "
        "load), and of the processor, all threads of server and browser together, which does not. The smaller one is "
        "compared with what is allowed.",
        "",
        "The leaderboard shows its scores first and ranks, averages and best cells when all pairs are tested, "
        f"{ranks:.1f} seconds after a fresh server was first asked; *compare* shows its first task with the questions, and "
        f"the last task after {tasks:.1f} seconds.",
        "",
        "| | processor | clock | slowest by the clock | allowed |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(line for line, _ in rows),
        "",
    ], [slow for _, slow in rows if slow]


def main() -> None:
    """Build, measure, write the report, and fail where something takes longer than is allowed."""
    parser = machine.options(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the store is built and left")
    folder = parser.parse_args().folder
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    rounds: list[Mapping[str, Took]] = []
    loads: list[float] = []
    slow: list[str] = []
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        path = (folder or Path(temporary)).resolve()
        leaderboard_store.build(path)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(ROUNDS):
            loads.append(os.getloadavg()[0])
            rounds.append(measured(path, browser))
            loads.append(os.getloadavg()[0])
            lines, slow = report(rounds, loads)
            REPORT.write_text("\n".join(lines))
        browser.close()
    print(REPORT.read_text())
    if slow:
        raise SystemExit("slower than allowed: " + "; ".join(slow))


if __name__ == "__main__":
    main()
