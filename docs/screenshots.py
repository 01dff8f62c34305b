"""Takes the pictures of the dashboard that the documents show: the demo results, in a headless Chromium.

    python docs/screenshots.py            writes docs/pictures/dashboard-*.png
    python docs/screenshots.py --all DIR  every page at three widths in both themes, to be looked at

Needs Chromium (Debian: apt-get install chromium fonts-inter) and the extra `dev`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.dashboard.served import served  # noqa: E402 - as the tests start it

PICTURES = ROOT / "docs" / "pictures"

SHOWN = {
    "leaderboard": ("", "light"),
    "compare": ("compare", "light"),
    "samples": ("samples?score=wrong", "light"),
    "curves": ("curves", "dark"),
}
"""What the documents show: the address of each page, and the theme."""

PAGES = ("", "compare", "samples", "curves", "slices", "runs")
WIDTHS = {1440: 900, 1280: 860, 390: 844}
SETTLED = """
document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')
    && !/being (worked out|compared)/.test(document.body.innerText)
"""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, help="a folder for pictures of every page")
    given = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with served("--demo") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if given.all:
            given.all.mkdir(parents=True, exist_ok=True)
            for page in PAGES:
                for width in WIDTHS:
                    for theme in ("light", "dark"):
                        name = f"{page or 'leaderboard'}-{width}-{theme}.png"
                        take(browser, f"{address}/{page}", width, theme, given.all / name)
        else:
            for name, (page, theme) in SHOWN.items():
                file = PICTURES / f"dashboard-{name}.png"
                take(browser, f"{address}/{page}", 1280, theme, file)
                Image.open(file).convert("RGB").save(file, optimize=True)
                print(f"written: {file.relative_to(ROOT)} ({file.stat().st_size // 1024} KiB)")


def take(browser: Browser, address: str, width: int, theme: str, file: Path) -> None:
    """One page as a person sees it once everything is there."""
    page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=theme)
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_function(SETTLED)
    page.wait_for_timeout(500)  # fonts and the plot's own drawing
    page.wait_for_function(SETTLED)
    page.screenshot(path=file)
    page.close()


if __name__ == "__main__":
    main()
