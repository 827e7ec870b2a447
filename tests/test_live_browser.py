"""Open pages that follow what others do, in real browsers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.servers import Site
from tests.test_studio import PROJECT

pytestmark = pytest.mark.browser

BOARD = f"/projects/{PROJECT}/"


@pytest.fixture
def other(browser: Browser, site: Site, cookies_of_demo: Any) -> Iterator[Page]:
    """A second browser with the same board."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 800})
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def asked(page: Page) -> list[str]:
    """The addresses that the page asks for from now on, without pictures."""
    found: list[str] = []

    def note(request: Request) -> None:
        if request.resource_type in ("xhr", "fetch", "eventsource"):
            found.append(request.url)

    page.on("request", note)
    return found


def wait_for_stream(page: Page, open_it: Callable[[], Any]) -> None:
    with page.expect_request(lambda request: "/live/" in request.url):
        open_it()
    page.wait_for_timeout(500)


def a_scene(page: Page, title: str) -> str:
    """Makes a scene; the id of its card."""
    page.goto(f"{BOARD}scenes/new/")
    page.locator("#id_title").fill(title)
    page.locator("#id_description").fill("Dunes at dusk")
    page.locator("form").get_by_role("button").first.click()
    page.wait_for_url(f"**{BOARD}**")
    card = page.locator("li.scene").filter(has=page.get_by_role("link", name=title, exact=True))
    return card.last.get_attribute("id") or ""


def test_a_picture_ordered_in_one_browser_appears_in_the_other(demo: Page, other: Page) -> None:
    card = a_scene(demo, "Two browsers")
    wait_for_stream(other, lambda: other.goto(BOARD))
    missing = other.get_by_role("link", name=re.compile("^Missing")).locator("b")
    before = int(missing.inner_text())
    balance = other.locator("#balance span").first.inner_text()

    demo.locator(f"#{card}").get_by_role("button", name="Generate image").click()
    expect(other.locator(f"#{card} .state")).to_be_visible()
    expect(other.locator("#open-orders")).to_be_visible()
    for page in (demo, other):
        expect(page.locator(f"#{card} .frame img")).to_be_visible(timeout=30_000)
        expect(page.locator(f"#{card} .count")).to_have_text("1 take")
    expect(missing).to_have_text(str(before - 1))
    expect(other.locator("#balance span").first).not_to_have_text(balance)
    expect(other.locator("#news")).to_contain_text("the picture is ready")


def test_a_scene_that_somebody_adds_or_moves_is_there(demo: Page, other: Page) -> None:
    wait_for_stream(other, lambda: other.goto(BOARD))
    card = a_scene(demo, "Added")
    expect(other.locator(f"#{card}")).to_be_visible()
    first = other.locator("li.scene").first
    expect(first).not_to_have_attribute("id", card)
    demo.goto(f"/scenes/{card.removeprefix('scene-')}/move/")
    demo.locator("#id_where").select_option("first")
    demo.locator("main form").get_by_role("button").first.click()
    expect(first).to_have_attribute("id", card)


def test_nothing_is_asked_while_nothing_happens(page: Page, site: Site) -> None:
    """By somebody with whom nobody else has to do."""
    make = "from django.contrib.auth.models import User; User.objects.create_user"
    site.manage("shell", "-c", f"{make}('quiet', password='quiet')")
    page.goto("/account/login/?next=/projects/new/")
    page.locator("#id_login").fill("quiet")
    page.locator("#id_password").fill("quiet")
    page.get_by_role("button", name="Sign in").click()
    page.locator("#id_name").fill("A quiet film")
    requests = asked(page)
    wait_for_stream(page, page.locator("main form").get_by_role("button").first.click)
    page.wait_for_timeout(20_000)
    (stream,) = requests
    assert "/live/" in stream


def test_one_request_brings_all_that_changed(demo: Page, other: Page) -> None:
    cards = [a_scene(demo, f"One of three {n}") for n in range(3)]
    wait_for_stream(other, lambda: other.goto(BOARD))
    other.wait_for_timeout(3_500)
    requests = asked(other)
    for card in cards:
        demo.locator(f"#{card}").get_by_role("button", name="Generate image").click()
    for card in cards:
        expect(other.locator(f"#{card} .frame img")).to_be_visible(timeout=30_000)
    assert all("fresh=" in address for address in requests)
    assert len(requests) < 3 * 8, "seven changes of each, some at once"


def test_what_stands_open_or_is_typed_stays(demo: Page, other: Page) -> None:
    card = a_scene(demo, "Typed")
    wait_for_stream(other, lambda: other.goto(BOARD))
    # A field and something that opens in the part that is swapped, as a page may have them.
    more = '<details id="more" {}><summary>More</summary></details><input id="word">'
    other.evaluate(
        """([id, now, then]) => {
          document.getElementById(id).insertAdjacentHTML("beforeend", now);
          htmx.on("htmx:oobBeforeSwap", ({ detail: { fragment } }) =>
            fragment.querySelector?.(`#${id}`)?.insertAdjacentHTML("beforeend", then));
        }""",
        [card, more.format("open"), more.format("")],
    )
    other.locator("#word").fill("half a w")
    other.locator("#word").press("ArrowLeft")
    demo.locator(f"#{card}").get_by_role("button", name="Generate image").click()
    expect(other.locator(f"#{card} .frame img")).to_be_visible(timeout=30_000)
    expect(other.locator("#word")).to_have_value("half a w")
    expect(other.locator("#word")).to_be_focused()
    assert other.locator("#more").get_attribute("open") is not None
    assert other.evaluate("document.getElementById('word').selectionStart") == 7


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_without_a_stream_the_page_asks(how: str, demo: Page, other: Page) -> None:
    card = a_scene(demo, f"No stream, {how}")

    def refuse(route: Route) -> None:
        if how == "refused":
            route.fulfill(status=204)
        # A proxy that keeps everything to itself never answers.

    other.route("**/live/?*", refuse)
    other.goto(BOARD)
    demo.locator(f"#{card}").get_by_role("button", name="Generate image").click()
    expect(other.locator(f"#{card} .frame img")).to_be_visible(timeout=60_000)


def test_a_page_that_nobody_sees_catches_up(demo: Page, other: Page) -> None:
    card = a_scene(demo, "Unseen")
    wait_for_stream(other, lambda: other.goto(BOARD))
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    other.evaluate(hide, True)
    other.wait_for_timeout(7_500)
    requests = asked(other)
    demo.locator(f"#{card}").get_by_role("button", name="Generate image").click()
    expect(demo.locator(f"#{card} .frame img")).to_be_visible(timeout=30_000)
    assert requests == [], "nobody sees it"
    other.evaluate(hide, False)
    expect(other.locator(f"#{card} .frame img")).to_be_visible(timeout=5_000)


def test_the_queue_and_the_page_of_a_scene_follow(demo: Page, other: Page) -> None:
    card = a_scene(demo, "Followed")
    wait_for_stream(other, lambda: other.goto("/queue/"))
    demo.locator(f"#{card} h3 a").click()
    demo.wait_for_url("**/scenes/**")
    other.wait_for_timeout(500)
    demo.get_by_role("button", name="Generate image").click()
    expect(other.locator("#queue")).to_contain_text("Followed")
    expect(demo.locator("#large img")).to_be_visible(timeout=30_000)
    ended = other.locator("#queue section").last.get_by_role("row").filter(has_text="Followed")
    expect(ended).to_contain_text("Done")
