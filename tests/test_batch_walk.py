"""Several pictures at once as a person would: selected, billed, ordered, watched, retried; with a
mouse, by keyboard alone, and without script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.servers import Site
from tests.test_accessibility import faults_here, faults_of
from tests.test_studio import sandbox_url

pytestmark = pytest.mark.browser

SCENES = 6
MAKE = """
from django.contrib.auth.models import User
from generation.models import ImageSettings
from projects.models import Project, Scene
film = Project.objects.create(owner=User.objects.get(username="demo"), name="Several at once")
ImageSettings.objects.create(project=film, model="seedream-3.0/2k")
Scene.objects.bulk_create(
    Scene(project=film, number=str(n), position=n, title=f"Shot {n}", description=f"A lake {n}")
    for n in range(1, %d)
)
print("made", film.pk)
"""


@pytest.fixture
def film(site: Site) -> str:
    """The address of a board of its own, with six scenes, and credits for them."""
    site.manage("grant_credits", "demo", "200")
    made = re.search(r"made (\w+)", site.manage("shell", "-c", MAKE % (SCENES + 1)))
    assert made
    return f"/projects/{made[1]}/"


@pytest.fixture
def faults(site: Site) -> Iterator[Callable[..., None]]:
    """What goes wrong at the next calls of createTask."""
    url = f"{sandbox_url(site)}/faults"

    def meet(*names: str | None) -> None:
        requests.post(url, json={"next": names}, timeout=5).raise_for_status()

    yield meet
    requests.delete(url, timeout=5)


def box(page: Page, number: int) -> Locator:
    return page.get_by_role("checkbox", name=f"Select Scene {number}", exact=True)


def tab_to(page: Page, target: Locator, most: int = 80) -> None:
    """As somebody without a mouse gets there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{target} cannot be reached")


def test_selected_billed_ordered_watched_retried(
    demo: Page, film: str, faults: Callable[..., None]
) -> None:
    demo.goto(film)
    bar = demo.locator("#selection")
    expect(bar).to_be_hidden()
    box(demo, 2).click()
    box(demo, 4).click(modifiers=["Shift"])
    expect(bar.locator("output")).to_have_text("Selected: 3")
    expect(box(demo, 3)).to_be_checked()
    expect(bar.get_by_role("button", name="Generate")).to_contain_text("18 credits")

    bar.get_by_role("button", name="Generate").click()
    expect(demo.get_by_role("radio", name="Selected 3")).to_be_checked()
    order = demo.locator("#order")
    expect(order).to_have_text("Generate 3 pictures 18 credits")
    demo.get_by_role("radio", name="2", exact=True).check(force=True)
    expect(order).to_have_text("Generate 6 pictures 36 credits")  # the bill follows the choices
    demo.get_by_role("radio", name="1", exact=True).check(force=True)
    expect(order).to_have_text("Generate 3 pictures 18 credits")

    faults("internal_error")
    order.click()
    expect(demo.get_by_text("3 pictures ordered: 18 credits.")).to_be_visible()
    box(demo, 3).check()  # whose card changes while its order is under way
    results = demo.locator("#batch-results")
    expect(results).to_contain_text("2 done", timeout=30_000)
    expect(results).to_contain_text("1 failed", timeout=30_000)
    expect(results).to_contain_text("12 of 18 credits charged")
    expect(demo.locator("li.scene .frame img")).to_have_count(2)
    expect(box(demo, 3)).to_be_checked()
    expect(bar.locator("output")).to_have_text("Selected: 1")

    results.get_by_role("link", name="Retry the 1 that failed").click()
    expect(order).to_have_text("Generate 1 picture 6 credits")
    order.click()
    expect(results).to_contain_text("1 done", timeout=30_000)
    expect(demo.locator("li.scene .frame img")).to_have_count(3)
    results.get_by_role("button", name="Put this away").click()
    expect(results).to_have_count(0)


def test_the_bar_selects_all_and_none(demo: Page, film: str) -> None:
    demo.goto(film)
    bar = demo.locator("#selection")
    box(demo, 1).click()
    bar.get_by_role("button", name="Select all shown").click()
    expect(bar.locator("output")).to_have_text(f"Selected: {SCENES}")
    expect(bar.get_by_role("button", name="Select all shown")).to_be_hidden()
    bar.get_by_role("button", name="Clear the selection").click()
    expect(bar).to_be_hidden()
    expect(box(demo, 1)).to_be_focused()


def test_by_keyboard_alone(demo: Page, film: str) -> None:
    demo.goto(film)
    keys = demo.keyboard
    tab_to(demo, box(demo, 1))
    keys.press("Space")
    tab_to(demo, box(demo, 2))
    keys.press("Space")
    bar = demo.locator("#selection")
    expect(bar.locator("output")).to_have_text("Selected: 2")
    tab_to(demo, bar.get_by_role("button", name="Generate"))
    keys.press("Enter")
    order = demo.locator("#order")
    expect(order).to_have_text("Generate 2 pictures 12 credits")
    tab_to(demo, demo.get_by_role("radio", name="1", exact=True))
    keys.press("ArrowRight")
    expect(order).to_have_text("Generate 4 pictures 24 credits")
    tab_to(demo, demo.get_by_label("At most so many credits"))
    keys.type("12")
    keys.press("Enter")  # shows the bill for it, and orders nothing
    expect(order).to_have_text("Generate 2 pictures 12 credits")
    tab_to(demo, order)
    keys.press("Enter")
    results = demo.locator("#batch-results")
    expect(results).to_contain_text("2 done", timeout=30_000)
    expect(demo.locator("li.scene .count")).to_have_text("2 takes")  # of the first scene


def test_without_script(browser: Browser, site: Site, film: str, cookies_of_demo: Any) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    bar = page.locator("#selection")
    expect(bar).to_be_hidden()
    for number in (1, 2, 3):
        box(page, number).check()
    expect(bar).to_be_visible()
    bar.get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_text("3 scenes are locked.")).to_be_visible()
    box(page, 1).check()
    box(page, 2).check()
    bar.get_by_role("button", name="Unlock").click()
    expect(page.get_by_text("2 scenes are unlocked.")).to_be_visible()

    for number in (1, 2, 3):
        box(page, number).check()
    bar.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("It is locked.")).to_be_visible()
    expect(page.locator("#order")).to_have_text("Generate 2 pictures 12 credits")
    page.get_by_role("radio", name="2", exact=True).check(force=True)
    page.get_by_role("button", name="Show the bill").click()
    page.locator("#order").click()
    expect(page.locator("#batch-results")).to_contain_text("4 done", timeout=60_000)
    assert page.url.endswith(film)
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_while_scenes_are_selected(
    theme: Any, browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    context = browser.new_context(
        base_url=site.url,
        color_scheme=theme,
        viewport={"width": 390, "height": 844},
        reduced_motion="reduce",
    )
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    box(page, 1).check()
    expect(page.locator("#selection")).to_be_visible()
    assert faults_here(page) == []
    assert faults_of(page, f"{film}bill/?which=all&cap=much") == []
    assert faults_of(page, f"{film}bill/?which=all&variants=8") == []
    context.close()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_several_of_one_scene(
    script: bool, browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=script)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    page.get_by_role("link", name="Shot 1", exact=True).click()
    button = page.get_by_role("button", name="Generate image 6 credits", exact=True)
    expect(button).to_be_visible()
    page.get_by_role("radio", name="3", exact=True).check(force=True)
    page.get_by_role("button", name="Generate image 18 credits", exact=True).click()
    expect(page.locator("li.take")).to_have_count(3, timeout=60_000)
    context.close()
