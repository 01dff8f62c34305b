"""The dashboard in a real browser: every page loads, filters act, a link opens the same view, Back works."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard.ranks import key
from leaderboards.entrants import entrant
from tests.dashboard import made
from tests.dashboard.pages import NAMES
from tests.dashboard.served import served
from tests.folders import ROOT

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no chromium here: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here: pip install -e '.[dev]'")
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

PATIENCE_MS = 90_000
SHOTS = ROOT / "build" / "screenshots"
"""Where each run of these tests leaves pictures of every page, to be looked at."""

IDLE = "document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'"
WIDTHS = ((1440, 900), (1280, 800), (390, 844))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on results with two models, pictures, failures, searches and hostile text."""
    folder = tmp_path_factory.mktemp("served")
    results, images = folder / "results", folder / "images"
    made.two_models(results)
    made.failed(results)
    made.hostile(results, images)
    made.formula(results)
    made.with_pictures(results, images)
    made.with_search(results, folder / "searched")
    with served("--results", results, "--images", images, "--images", folder / "searched") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that must see no error and run nothing of what models said."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    assert not errors
    assert tab.evaluate("window.hacked") is None
    tab.close()


def goto(page: Page, address: str, where: str = "") -> None:
    page.goto(f"{address}/{where}")
    settled(page)


def settled(page: Page) -> None:
    """Wait until the script has run and what it sent is drawn; nothing may have been raised."""
    page.wait_for_function(IDLE)
    expect(page.locator("[data-testid=stAppScrollToBottomContainer], [data-testid=stMain]").first).to_be_visible()
    expect(page.locator("[data-testid=stSkeleton], [data-stale=true]")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_page_loads_in_both_themes_and_fits_every_width(
    name: str, scheme: str, browser: Browser, address: str
) -> None:
    tab = browser.new_page(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    tab.set_default_timeout(PATIENCE_MS)
    goto(tab, address, "" if name == "leaderboard" else name)
    expect(tab.get_by_role("heading", level=1).first).to_be_visible()
    assert "flamingo-lab" in tab.title()
    for wide, high in WIDTHS:
        tab.set_viewport_size({"width": wide, "height": high})
        settled(tab)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{wide} px: it scrolls sideways"
        tab.screenshot(path=SHOTS / f"{name}-{wide}-{scheme}.png")
    assert tab.evaluate("window.hacked") is None
    tab.close()


def test_the_leaderboard_leads_to_a_comparison_that_a_link_opens_again(
    page: Page, address: str, browser: Browser
) -> None:
    goto(page, address, "?task=things")
    page.locator("tr", has_text="model-a").locator("a.axis-link").first.click()
    page.wait_for_url(re.compile(r"/compare\?"))
    settled(page)
    expect(page.get_by_role("heading", name="Where they differ")).to_be_visible()
    shown = page.locator(".forest").inner_text()
    other = browser.new_page()
    goto(other, page.url.partition("/compare")[0], "compare?" + page.url.partition("?")[2])
    expect(other.locator(".forest")).to_be_visible(timeout=PATIENCE_MS)
    assert other.locator(".forest").inner_text() == shown
    assert other.title() == page.title()
    other.close()


def test_back_returns_to_the_view_before(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'a' * 16}")
    page.get_by_role("radio", name="wrong").or_(page.get_by_role("button", name="wrong", exact=True)).first.click()
    expect(page.get_by_text("20 questions")).to_be_visible()
    assert query(page)["score"] == ["wrong"]
    page.locator(".list a").nth(2).click()
    page.wait_for_url(re.compile("sample=q00006"))
    expect(page.locator(".steps .big")).to_have_text("what colour is thing 6?")
    page.locator(".others").get_by_text("model-b").first.click()
    page.wait_for_url(re.compile(f"run={'b' * 16}"))
    settled(page)
    page.go_back()
    expect(page.get_by_text("20 questions")).to_be_visible()
    assert query(page) == {"run": ["a" * 16], "score": ["wrong"], "sample": ["q00006"]}


def test_filters_narrow_and_stand_in_the_address(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'a' * 16}")
    page.get_by_label("Search").fill("thing 12?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 question", exact=True)).to_be_visible()
    assert query(page)["text"] == ["thing 12?"]


def test_the_list_and_links_are_reached_by_keyboard(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'a' * 16}")
    page.locator(".list a").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("sample=q00001"))
    expect(page.locator(".steps .big")).to_have_text("what colour is thing 1?")


@pytest.mark.parametrize(
    ("where", "title"),
    [
        ("?task=things&shots=0&since=2024-01-02&complete=0", "Leaderboard · things · 0 shots · since 2024-01-02"),
        (f"samples?run={'a' * 16}&score=wrong&slice=kind%3Dodd&sample=q00003", "Samples · model-a · things · 0 shots"),
        (
            f"samples?run={'a' * 16}&low=0.5&short=2&long=3",
            "Samples · model-a · things · 0 shots · aaaaaaaa · score from 0.5 · characters from 2 to 3",
        ),
        ("curves?task=things/test/exact_match/strip-lower&against=seconds&shots=0", "Curves · things against seconds"),
        ("slices?task=things&shots=4", "Slices & errors · things · 4 shots · kind"),
        (f"runs?run={'a' * 16}&beside={'b' * 16}", "Runs · model-a · things · 0 shots"),
    ],
)
def test_a_link_opens_each_view_in_which_everything_has_a_name(
    where: str, title: str, page: Page, address: str
) -> None:
    goto(page, address, where)
    expect(page).to_have_title(re.compile(f"^{re.escape(title)}"))
    settled(page)
    held = page.locator("input:visible, button:visible, [role=combobox]:visible, [role=slider]:visible, .shown img")
    names = held.evaluate_all(NAMED)
    assert names and all(name for name, _ in names), [html for name, html in names if not name]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")


NAMED = """held => held.map(one => [
    one.getAttribute("aria-label") || one.alt || one.title || [...one.labels ?? []].map(label => label.textContent).join("")
        || (one.getAttribute("aria-labelledby") ?? "").split(" ").map(id => document.getElementById(id)?.textContent).join("")
        || one.textContent,
    one.outerHTML.slice(0, 200),
])"""
"""What a screen reader says of elements, and what they are."""


def test_the_leaderboard_is_downloaded_without_formulas(page: Page, address: str, tmp_path: Path) -> None:
    goto(page, address, "?complete=0")
    text: dict[str, str] = {}
    for form in ("csv", "json", "html"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {form.upper()}").click()
        assert download.value.suggested_filename == f"leaderboard.{form}"
        download.value.save_as(tmp_path / form)
        text[form] = (tmp_path / form).read_text()
    cells = [cell for line in csv.reader(text["csv"].splitlines()) for cell in line]
    assert f"'{made.FORMULA}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t", "-="))]
    assert {row["model"] for row in json.loads(text["json"])["rows"]} == {
        "model-a",
        "model-b",
        made.FORMULA,
        made.MARKUP,
    }
    assert "<script" not in text["html"] and "&lt;script&gt;" in text["html"]


def test_a_point_of_a_curve_marks_its_run(page: Page, address: str) -> None:
    goto(page, address, "curves?against=seconds")
    expect(page.locator("tr.current")).to_have_count(0)
    point = page.locator(".points_marks path").first
    place = point.bounding_box()
    assert place is not None
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    expect(page.locator("tr.current")).not_to_have_count(0)
    expect(page.get_by_text("the chosen ones are marked")).to_be_visible()
    marked = page.locator("tr.current").all_text_contents()
    assert len(query(page)["point"]) == len(marked)
    goto(page, page.url.partition("/curves")[0], "curves?" + page.url.partition("?")[2])
    expect(page.locator("tr.current")).to_have_text(marked)


def test_a_name_in_the_legend_makes_the_others_faint(page: Page, address: str) -> None:
    goto(page, address, "curves?against=seconds")
    points, faint = page.locator(".points_marks path"), page.locator(".points_marks path[opacity='0.06']")
    name = page.locator(".vega-embed .role-legend-label text", has_text="model-a").first
    name.click()
    expect(faint).not_to_have_count(0)
    assert faint.count() < points.count()
    name.click()
    expect(faint).to_have_count(0)


def test_names_in_a_plot_are_text(page: Page, address: str) -> None:
    goto(page, address, "curves?against=seconds")
    place = page.locator(".points_marks path[aria-label*='<script>']").first.bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    expect(page.locator("#vg-tooltip-element")).to_contain_text(made.MARKUP)
    expect(page.locator(".vega-embed text", has_text="<script>").first).to_be_visible()
    assert page.locator("#vg-tooltip-element *, .vega-embed script, .vega-embed img, .vega-embed b").count() == 0


def test_shots_unfold_and_pictures_are_drawn(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'c' * 16}")
    assert page.locator(".whole img").evaluate("image => image.naturalWidth") == 64
    expect(page.locator(".prompt details .said")).to_be_hidden()
    page.locator(".prompt summary").click()
    expect(page.locator(".prompt details .said")).to_contain_text("Question: shown? Answer: yes")


def test_a_prompt_unfolds_on_its_card_and_the_page_stays_where_it_is(page: Page, address: str) -> None:
    models = made.run("a", ()), made.run("b", (), model="model-b", model_digest="b" * 64, num_fewshot=4)
    one, other = (key(entrant(run)) for run in models)
    goto(page, address, f"compare?a={one}&b={other}")
    fold = page.locator(".card a[aria-expanded]").last
    fold.scroll_into_view_if_needed()
    before = fold.bounding_box()
    fold.click()
    expect(page.locator(".card.open .prompt").first).to_contain_text("Question: what colour is thing")
    assert "prompt" in query(page)
    settled(page)
    assert fold.bounding_box() == before
    fold.click()
    expect(page.locator(".card .prompt")).to_have_count(0)
    assert "prompt" not in query(page)


def test_folded_filters_stay_open_while_they_are_set(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'a' * 16}")
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Score from").fill("0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("40 questions")).to_be_visible()
    expect(page.get_by_label("Score to")).to_be_visible()
    expect(page.get_by_role("button", name="More filters · 1 set")).to_be_visible()


def test_a_search_moves_by_its_slider(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'9' * 16}&sample=q00000")
    expect(page.locator(".box.looked")).to_have_count(2)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".box.looked")).to_have_count(1)
    assert query(page)["step"] == ["1"]


def test_what_models_say_is_shown_and_not_run(page: Page, address: str) -> None:
    goto(page, address, f"samples?run={'e' * 16}")
    expect(page.locator(".answer").first).to_contain_text("<script>window.hacked=1</script><b>**bold**</b>")
    assert page.locator(".shown script, .shown iframe").count() == 0
    goto(page, address, f"runs?run={'e' * 16}")
    expect(page.get_by_text("<script>window.hacked=1</script>").first).to_be_visible()


def test_the_text_of_both_themes_stands_out_from_its_ground(browser: Browser, address: str) -> None:
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        goto(tab, address, "runs")
        for kind in ("a.link", "td", "th"):
            found = tab.locator(f".shown {kind}").first.evaluate(COLOURS)
            assert contrast(*(colour(one) for one in found)) >= 4.5, (scheme, kind, found)
        tab.close()


COLOURS = """node => {
    const app = document.querySelector("[data-testid=stApp]");
    return [getComputedStyle(node).color, getComputedStyle(app).backgroundColor];
}"""
"""The colours of a text and of the page."""

Colour = tuple[float, float, float, float]


def colour(css: str) -> Colour:
    """Red, green, blue of 0..1, and how opaque."""
    numbers = [float(one) for one in re.findall(r"[\d.]+", css)]
    scale = 1 if css.startswith("color(") else 255
    red, green, blue = (one / scale for one in numbers[:3])
    return red, green, blue, numbers[3] if len(numbers) > 3 else 1.0


def contrast(text: Colour, ground: Colour) -> float:
    """The ratio of WCAG 2.2 between a text and its ground."""

    def light(channels: list[float]) -> float:
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    seen = [text[3] * text[number] + (1 - text[3]) * ground[number] for number in range(3)]
    brighter, darker = sorted((light(seen), light([*ground[:3]])), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)
