"""The frame of every page in a real browser: menus, theme, messages, the network failing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

from tests.servers import Site

pytestmark = pytest.mark.browser


def sign_in(page: Page) -> None:
    page.goto("/account/login/")
    page.get_by_label("Name or e-mail address").fill("demo")
    page.get_by_label("Password", exact=True).fill("demo")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Projects", level=1)).to_be_visible()


@pytest.fixture
def rough(browser: Browser, site: Site, cookies_of_demo: Any) -> Iterator[BrowserContext]:
    """A browser in which requests may fail, which `page` would not forgive."""
    context = browser.new_context(base_url=site.url)
    context.add_cookies(cookies_of_demo)
    yield context
    context.close()


@pytest.fixture
def scriptless(browser: Browser, site: Site) -> Iterator[Page]:
    context = browser.new_context(base_url=site.url, java_script_enabled=False, color_scheme="dark")
    yield context.new_page()
    context.close()


def paper(page: Page) -> str:
    return str(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))


def open_menu(page: Page) -> None:
    page.locator(".topbar details.menu > summary").click()


def test_menu_closes_on_escape_and_on_a_click_elsewhere(demo: Page) -> None:
    page = demo
    page.goto("/")
    sign_out = page.get_by_role("button", name="Sign out")
    open_menu(page)
    expect(sign_out).to_be_visible()
    page.keyboard.press("Escape")
    expect(sign_out).to_be_hidden()
    expect(page.locator(".topbar details.menu > summary")).to_be_focused()
    open_menu(page)
    page.mouse.click(300, 600)
    expect(sign_out).to_be_hidden()


def test_theme_and_language_work_without_script(scriptless: Page) -> None:
    sign_in(scriptless)
    dark = scriptless.locator("html")
    expect(dark).not_to_have_attribute("data-theme", re.compile("."))
    open_menu(scriptless)
    scriptless.get_by_role("button", name="Light").click()
    expect(scriptless.locator("html")).to_have_attribute("data-theme", "light")
    open_menu(scriptless)
    scriptless.get_by_role("button", name="Slovenčina").click()
    expect(scriptless.locator("html")).to_have_attribute("lang", "sk")


def test_theme_follows_the_system_until_somebody_chooses(demo: Page) -> None:
    page = demo
    page.emulate_media(color_scheme="dark")
    page.goto("/")
    night = paper(page)
    page.emulate_media(color_scheme="light")
    day = paper(page)
    assert night != day
    open_menu(page)
    page.get_by_role("button", name="Dark").click()
    assert paper(page) == night


def test_a_message_leaves_by_itself_unless_it_is_held(demo: Page) -> None:
    page = demo
    page.clock.install()
    page.goto("/account/tokens/")
    page.get_by_label("Name").fill("Edit suite")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_role("button", name="Revoke Edit suite").click()
    toast = page.locator(".toast")
    expect(toast).to_contain_text("Edit suite")
    toast.hover()
    page.clock.fast_forward(20_000)
    expect(toast).to_be_visible()
    page.mouse.move(10, 700)
    page.clock.fast_forward(7_000)
    page.clock.fast_forward(1_000)
    expect(toast).to_have_count(0)


@pytest.fixture
def posts(demo: Page) -> list[Request]:
    """What forms have sent. The answer says nothing, so that the page stays."""
    sent: list[Request] = []

    def keep(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request)
            route.fulfill(status=204)
        else:
            route.continue_()

    demo.route("**/*", keep)
    return sent


def new_project(page: Page, name: str) -> Locator:
    """The button that makes it."""
    page.goto("/projects/new/")
    page.get_by_label("Name").fill(name)
    return page.get_by_role("button", name="Make the project")


def test_a_double_click_sends_a_form_once(demo: Page, posts: list[Request]) -> None:
    page = demo
    button = new_project(page, "Clicked twice")
    button.click()
    page.wait_for_timeout(200)
    button.click()
    page.get_by_label("Name").press("Enter")
    page.wait_for_timeout(500)
    assert len(posts) == 1


def test_the_pressed_button_is_sent_along(demo: Page, posts: list[Request]) -> None:
    page = demo
    page.goto("/")
    open_menu(page)
    page.get_by_role("button", name="Dark").dblclick()
    page.wait_for_timeout(500)
    assert [request.post_data_json["theme"] for request in posts] == ["dark"]


@pytest.mark.parametrize("how", ["later", "after going back"])
def test_a_form_may_be_sent_again(how: str, demo: Page, posts: list[Request]) -> None:
    page = demo
    button = new_project(page, "Sent again")
    button.click()
    if how == "later":
        page.wait_for_timeout(2_200)
    else:  # this browser keeps no page for "back"
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    button.click()
    page.wait_for_timeout(500)
    assert len(posts) == 2


def on_a_board(page: Page) -> None:
    page.goto("/")
    page.locator(".project a").first.click()
    expect(page.locator("li.scene").first).to_be_visible()


def test_network_failure_is_said_and_stays(rough: BrowserContext) -> None:
    page = rough.new_page()
    on_a_board(page)

    def fail(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route("**/*", fail)
    page.locator("li.scene button", has_text="Generate image").first.click()
    toast = page.get_by_role("alert").filter(has_text="cannot be reached")
    expect(toast).to_be_visible()
    toast.get_by_role("button").click()
    expect(toast).to_have_count(0)


def test_signed_out_meanwhile_leads_to_the_sign_in_page(rough: BrowserContext) -> None:
    page = rough.new_page()
    on_a_board(page)
    board = page.url
    rough.clear_cookies(name="sessionid")
    page.locator("li.scene button", has_text="Generate image").first.click()
    page.wait_for_url(re.compile(r"/account/login/\?next="))
    page.get_by_label("Name or e-mail address").fill("demo")
    page.get_by_label("Password", exact=True).fill("demo")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url(board)
