"""Every page against WCAG 2.2 AA by axe-core, in light and in dark, at a desk and on a phone; and
on none of them does anything go wrong beside it: for the console, or for the CSP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.servers import Site
from tests.test_addresses import ROWS
from tests.test_own_pictures import new_scene
from tests.test_studio import NAME, PROJECT
from tests.watched import watch

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What is shown to people of the addresses that answer GET: no files, fragments or programs.
NO_PAGES = {
    "projects:picture",
    "projects:thumbnail",
    "projects:invitation",  # the demo user is in their project already; test_sharing looks at it
    "generation:project_stream",
    "generation:stream",
    "generation:sample",
    "generation:cancel",
    "generation:member_change",
    "generation:receipt",
    "generation:credits_csv",
    "generation:api_image_status",
    "generation:healthz",
}
PAGES = sorted(name for name, row in ROWS.items() if row.get and name not in NO_PAGES)
FOR_ALL = ("/account/login/", "/account/signup/", "/account/password/reset/", "/nothing-here/")
# What the console says of the one address that is not there.
NOTHING_THERE = re.compile(r"\S+/nothing-here/: Failed to load resource: .* status of 404 .*")
VIEWS = [("light", 1280), ("dark", 390)]


def id_in(address: str) -> str:
    return re.findall(r"[a-z0-9]{20,32}", address)[0]


@pytest.fixture(scope="module")
def things(browser: Browser, site: Site, cookies_of_demo: Any) -> dict[str, str]:
    """Addresses of what the demo user has: a scene with a picture, its order, and so on."""
    context = browser.new_context(base_url=site.url)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    site.manage("grant_credits", "demo", "200")  # others may have spent what there was
    page.goto(f"/projects/{PROJECT}/")
    person = page.locator("li.person h3 a").first.get_attribute("href") or ""
    scene = new_scene(page)
    page.goto(scene)
    page.locator("form.generate button").first.click()
    picture = page.locator("img[src*='/takes/']").first
    expect(picture).to_be_visible(timeout=30_000)
    order = page.locator("a[href*='/orders/']").first.get_attribute("href") or ""
    take = picture.get_attribute("src") or ""
    page.goto(f"/projects/{PROJECT}/bill/?which=selected&scene={id_in(scene)}")
    page.locator("#order").click()
    batch = page.locator("a[href^='/batches/']").first.get_attribute("href") or ""
    context.close()
    return {
        "project_id": PROJECT,
        "scene_id": id_in(scene),
        "character_id": id_in(person),
        "take_id": id_in(take),
        "operation": "edit",
        "kind": "scene",
        "subject_id": id_in(scene),
        "generation_id": id_in(order),
        "batch_id": id_in(batch),
    }


@pytest.fixture(params=VIEWS, ids=lambda view: f"{view[0]}-{view[1]}")
def person(request: Any, browser: Browser, site: Site, cookies_of_demo: Any) -> Iterator[Page]:
    theme, width = request.param
    context = browser.new_context(
        base_url=site.url,
        color_scheme=theme,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",  # a colour on its way to another is none of either theme
    )
    context.add_cookies(cookies_of_demo)
    wrong = watch(context)
    yield context.new_page()
    context.close()
    assert [words for words in wrong if not NOTHING_THERE.fullmatch(words)] == []


def faults_of(page: Page, address: str) -> list[str]:
    page.goto(address)
    return faults_here(page)


def faults_here(page: Page) -> list[str]:
    """Of the page as it is now."""
    address = urlsplit(page.url).path
    found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    faults = [
        f"{address}: {fault['id']}: {node['html'][:100]} ({check['message']})"
        for fault in found.response["violations"]
        for node in fault["nodes"]
        for check in (*node["any"], *node["all"], *node["none"])
    ]
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*faults, f"{address}: {wide} pixels too wide"] if wide > 0 else faults


def test_every_page_of_the_studio(person: Page, things: dict[str, str]) -> None:
    from django.urls import reverse

    from tests.test_addresses import addresses

    known = addresses()
    faults = []
    for name in PAGES:
        wanted = {key: things[key] for key in known[name]}
        faults += faults_of(person, reverse(name, kwargs=wanted))
    assert not faults, "\n".join(faults)


def test_every_page_for_whoever_has_not_signed_in(person: Page) -> None:
    person.context.clear_cookies()
    assert [fault for address in FOR_ALL for fault in faults_of(person, address)] == []


def test_what_goes_wrong_beside_a_page_is_noticed(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url)
    wrong = watch(context)
    page = context.new_page()
    page.goto("/account/login/")
    for cause, told in (
        ("document.body.setAttribute('style', 'color: red')", "CSP: style-src-attr blocked inline"),
        ("fetch('https://elsewhere.example/')", "CSP: connect-src blocked https://elsewhere"),
        ("fetch('/nothing-here/')", "status of 404"),
        ("setTimeout(() => { throw Error('oh') })", "oh"),
    ):
        page.evaluate(f"() => {{ {cause} }}")
        for _ in range(50):
            if any(told in words for words in wrong):
                break
            page.wait_for_timeout(20)
        else:
            raise AssertionError(f"{told!r} is not among {wrong}")
    context.close()


def test_the_project_that_was_looked_at_is_the_demos(person: Page) -> None:
    person.goto(f"/projects/{PROJECT}/")
    expect(person.get_by_role("heading", name=NAME, level=1)).to_be_visible()
