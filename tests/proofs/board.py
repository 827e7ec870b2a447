"""python -m tests.proofs.board: how soon the board of a very long film is there, and how still.

The site as `make run` starts it, a project of many scenes, and a browser that measures itself: the
largest contentful paint of a cold visit, and the layout shift while somebody scrolls to the end.
Exit status 1 if the board is too slow or moves.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from tests import servers

PAINT_WITHIN = 1.0  # seconds, of every second visit
SHIFT_BELOW = 0.05  # of every visit
CHROMIUM = ("chromium-headless-shell", "chromium", "chromium-browser")
SETTLED = 700  # milliseconds after which nothing more is painted
TIMES = """
performance.getEntriesByType("navigation").flatMap((of) => [of.responseStart, of.loadEventEnd])
"""
MEASURE = """
window.measured = {paint: 0, shift: 0, largest: "", moved: new Set()};
const named = (node) => node?.id || node?.className || node?.localName || "something";
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    measured.paint = entry.startTime;
    measured.largest = entry.element?.localName ?? "";
  }
}).observe({type: "largest-contentful-paint", buffered: true});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    measured.shift += entry.value;
    for (const {node} of entry.sources) measured.moved.add(named(node));
  }
}).observe({type: "layout-shift", buffered: true});
"""


@dataclass(frozen=True)
class Visit:
    """Seconds from the click on a link: to the first byte, to the largest paint, to the end of
    loading; `shift` is the layout's, `moved` what did."""

    first_byte: float
    paint: float
    loaded: float
    shift: float
    largest: str
    moved: str


def main() -> int:
    options = arguments()
    print(f"board: {options.scenes} scenes, {os.cpu_count()} cores")
    folder = Path(tempfile.mkdtemp(prefix="board-"))
    try:
        with servers.running_site(folder, servers.clean_environment()) as site:
            wrong = measured(site, options.scenes, options.visits)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for words in wrong:
        print(f"WRONG {words}" if not options.busy else f"(not judged: {words})")
    return 1 if wrong and not options.busy else 0


def measured(site: servers.Site, scenes: int, visits: int) -> list[str]:
    project = film(site, scenes)
    board = f"{site.url}/projects/{project}/"
    wrong = []
    with sync_playwright() as playwright:
        chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        cookies = sign_in(browser, site.url)
        last = -(-scenes // 60)
        for name, address in (
            ("the first page", board),
            ("the last page", f"{board}?page={last}"),
            ("a search", f"{board}?q=zaber"),
            ("a filter", f"{board}?show=missing"),
        ):
            for width, height in ((1280, 900), (390, 844)):
                seen = [visit(browser, cookies, address, width, height) for _ in range(visits)]
                print(f"  {name}, {width} wide: {told(seen)}", flush=True)
                wrong += faults(f"{name}, {width} wide", seen)
        print(f"  typing in the search field: {typing(browser, cookies, board)}")
        browser.close()
    return wrong


def film(site: servers.Site, scenes: int) -> str:
    """Makes the film in the site's database and storage; the project's id."""
    os.environ |= site.environment | {"DJANGO_SETTINGS_MODULE": "imagegen.settings"}
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    import django

    django.setup()
    from django.contrib.auth.models import User

    from tests.proofs import long_film

    return long_film.make(User.objects.get(username="demo"), scenes).pk


def sign_in(browser: Browser, url: str) -> Any:
    page = browser.new_page()
    page.goto(f"{url}/account/login/")
    page.locator("#id_login").fill("demo")
    page.locator("#id_password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")
    cookies = page.context.cookies()
    page.close()
    return cookies


def visit(browser: Browser, cookies: Any, address: str, width: int, height: int) -> Visit:
    """Of a browser that has nothing of the site but a session; then a look at all of it."""
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_cookies(cookies)
    page = context.new_page()
    page.add_init_script(MEASURE)
    page.goto(address, wait_until="load")
    page.wait_for_timeout(SETTLED)
    paint, largest = page.evaluate("[measured.paint, measured.largest]")
    first_byte, loaded = page.evaluate(TIMES)
    scroll(page)
    shift, moved = page.evaluate("[measured.shift, [...measured.moved].join(', ')]")
    context.close()
    return Visit(first_byte / 1000, paint / 1000, loaded / 1000, shift, largest, moved)


def scroll(page: Page) -> None:
    """To the end, as with a wheel."""
    while page.evaluate("scrollY + innerHeight < document.documentElement.scrollHeight - 1"):
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(60)


def typing(browser: Browser, cookies: Any, board: str) -> str:
    context = browser.new_context()
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(board)
    took = []
    for words in ("osoba 7", "zaber cislo 12", "kompas"):
        page.locator("#q").fill(words)
        began = time.monotonic()
        page.wait_for_url(f"{board}?{urlencode({'q': words})}")  # once the answer is there
        took.append(time.monotonic() - began)
    context.close()
    return f"found after {statistics.median(took):.2f} s, of which 0.25 s wait for the next key"


def told(seen: Sequence[Visit]) -> str:
    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in seen))

    return (
        f"first byte {middle('first_byte'):.2f} s, largest paint {middle('paint'):.2f} s"
        f" (at most {max(one.paint for one in seen):.2f} s, {seen[0].largest}),"
        f" loaded {middle('loaded'):.2f} s, shift {max(one.shift for one in seen):.4f}"
    )


def faults(name: str, seen: Sequence[Visit]) -> list[str]:
    paint = statistics.median(one.paint for one in seen)
    shift, moved = max((one.shift, one.moved) for one in seen)
    return [
        *([f"{name}: largest paint after {paint:.2f} s"] if paint >= PAINT_WITHIN else []),
        *([f"{name}: no paint at all"] if not paint else []),
        *([f"{name}: the layout shifts by {shift:.3f}: {moved}"] if shift >= SHIFT_BELOW else []),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.board", description=__doc__)
    add = parser.add_argument
    add("--scenes", type=int, default=1000, metavar="N", help="of the film")
    add("--visits", type=int, default=5, metavar="N", help="of each page")
    add("--busy", action="store_true", help="others use this machine: figures are only printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
