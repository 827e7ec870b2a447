"""Single keys: the HTML declares what help lists; the board without a mouse, and by dragging."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.servers import Site
from tests.test_accessibility import faults_here, faults_of

TEMPLATES = settings.BASE_DIR / "templates"
HELP = (TEMPLATES / "parts" / "keys.html").read_text()
LISTED = {key for keys in re.findall(r'data-for="([^"]+)"', HELP) for key in keys.split()}
# These are no element's: help and Escape are the site's, arrows a grid's.
OF_THE_SITE = {"arrows", "?", "Escape"}


def declared() -> set[str]:
    texts = [path.read_text() for path in TEMPLATES.rglob("*.html")]
    found = [keys for text in texts for keys in re.findall(r'data-key="([^"]+)"', text)]
    return {key for keys in found for key in keys.split()}


def test_every_key_is_explained() -> None:
    assert declared() <= LISTED


@pytest.mark.parametrize("key", sorted(LISTED - OF_THE_SITE - {"c", "s", "x"}))
def test_every_explained_key_is_there(key: str) -> None:
    assert key in declared()


# In a browser, without a mouse. Each test has a project of its own: others use the demo's.


@pytest.fixture
def film(demo: Page, site: Site, request: pytest.FixtureRequest) -> str:
    """A project with nine scenes, 1 to 9; its board is open. The address of it."""
    name = f"Keys {request.node.name}"
    made = site.manage("shell", "--no-imports", "-c", FILM.format(name=name))
    board = f"/projects/{made.split()[-1]}/"
    demo.goto(board)
    return board


FILM = """
from django.contrib.auth.models import User
from projects.models import Project, Scene
project = Project.objects.create(owner=User.objects.get(username="demo"), name={name!r})
Scene.objects.bulk_create(
    Scene(project=project, number=str(n), position=n, title=f"Záber {{n}}", description="Duny")
    for n in range(1, 10)
)
print(project.pk)
"""


def numbers(page: Page) -> list[str]:
    return page.locator("li.scene .number").all_inner_texts()


def at(page: Page, number: str) -> None:
    """The card of this scene has the focus."""
    expect(page.locator("li.scene:is(:focus, :has(:focus)) .number")).to_have_text(number)


@pytest.mark.browser
def test_arrows_go_from_card_to_card(demo: Page, film: str) -> None:
    page, press = demo, demo.keyboard.press
    press("j")
    at(page, "1")
    press("ArrowRight")
    at(page, "2")
    in_a_row = page.locator(".board").evaluate(
        "board => getComputedStyle(board).gridTemplateColumns.split(' ').length"
    )
    press("ArrowDown")
    at(page, str(2 + in_a_row))
    press("ArrowUp")
    at(page, "2")
    press("ArrowLeft")
    press("ArrowLeft")
    at(page, "1")
    for _ in range(12):
        press("ArrowRight")
    at(page, "9")
    press("Enter")
    page.wait_for_url("**/scenes/*/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Záber 9")
    press("k")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Záber 8")
    press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Záber 9")
    press("e")
    page.wait_for_url("**/edit/")


@pytest.mark.browser
def test_g_orders_for_the_card_that_has_the_focus_and_for_no_other(demo: Page, film: str) -> None:
    page, press = demo, demo.keyboard.press
    ordered: list[str] = []

    def note(asked: Request) -> None:
        if "/generate/" in asked.url:
            ordered.append(asked.url)

    page.on("request", note)
    press("g")
    page.locator("#q").focus()
    press("g")
    press("Control+g")
    page.locator("#q").fill("")
    page.locator("#q").blur()
    expect(page.locator("li.scene")).to_have_count(9)
    assert ordered == []
    press("j")
    press("ArrowRight")
    press("Shift+G")
    press("Alt+g")
    assert ordered == []
    card = page.locator("li.scene").filter(has=page.get_by_text("Záber 2"))
    expect(card.locator(".generate .price")).to_contain_text("credits")
    page.keyboard.down("g")
    page.keyboard.down("g")  # is held: it repeats
    page.keyboard.up("g")
    expect(card.locator(".state, .frame img").first).to_be_visible()
    assert len(ordered) == 1
    assert card.get_attribute("id").removeprefix("scene-") in ordered[0]  # type: ignore[union-attr]
    at(page, "2")
    expect(card.locator(".frame img")).to_be_visible(timeout=30_000)
    assert len(ordered) == 1


@pytest.mark.browser
def test_a_scene_is_moved_locked_and_inserted(demo: Page, film: str) -> None:
    page, press = demo, demo.keyboard.press
    press("j")
    press("ArrowRight")
    press("m")
    press("Tab")
    expect(page.get_by_role("link", name="Insert scene after").first).to_be_focused()
    press("Tab")
    press("Tab")
    expect(page.locator("button:focus")).to_have_text(re.compile("Move later"))
    press("Enter")
    expect(page.locator(".toast")).to_contain_text("Scene 2 moved: it comes after scene 3 now.")
    expect(page.locator("li.scene .number")).to_have_text(list("132456789"))
    at(page, "2")
    press("u")
    expect(page.locator("li.scene .number")).to_have_text(list("123456789"))
    page.wait_for_url("**#scene-*")
    at(page, "2")
    press("ArrowLeft")
    at(page, "1")
    press("l")
    expect(page.locator("li.scene").first.locator(".lock")).to_have_text("Locked")
    expect(page.locator("li.scene").first.get_by_role("button", name="Generate")).to_have_count(0)
    at(page, "1")
    press("g")
    press("e")
    press("l")
    expect(page.locator("li.scene").first.locator(".lock")).to_have_count(0)
    assert film in page.url
    press("n")
    page.wait_for_url("**/scenes/new/?after=*")
    expect(page.get_by_label("Number")).to_have_value("1A")


@pytest.mark.browser
def test_search_as_one_types(demo: Page, film: str) -> None:
    page, press = demo, demo.keyboard.press
    press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("ZABER 7")
    expect(page.locator("li.scene .number")).to_have_text(["7"])
    expect(page.locator("#news")).to_have_text("1 scene found")
    expect(page).to_have_url(re.compile(r"\?q=ZABER\+7$"))
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type(" žirafa")
    expect(page.get_by_role("heading", name="No scene with “ZABER 7 žirafa”")).to_be_visible()
    page.reload()
    expect(page.locator("#q")).to_have_value("ZABER 7 žirafa")
    page.get_by_role("link", name="Clear the search").focus()
    press("Enter")
    expect(page.locator("li.scene")).to_have_count(9)
    assert page.url.rstrip("?").endswith(film)


@pytest.mark.browser
def test_help_lists_the_keys_of_this_page_and_turns_them_off(demo: Page, film: str) -> None:
    page, press = demo, demo.keyboard.press
    press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog).to_be_visible()
    for shown in ("Order a picture, at the price on the button", "From card to card", "Search"):
        expect(dialog.get_by_text(shown, exact=True)).to_be_visible()
    press("n")  # nothing happens behind it
    assert page.url.endswith(film)
    press("Escape")
    expect(dialog).to_be_hidden()
    page.locator(".topbar details.menu > summary").focus()
    press("Enter")
    page.get_by_role("button", name="Keyboard").focus()
    press("Enter")
    expect(dialog).to_be_visible()
    page.get_by_label("Single keys do something").focus()
    press("Space")
    press("Escape")
    expect(page.locator(".topbar details.menu > summary")).to_be_focused()
    page.reload()
    for key in ("/", "n", "?", "j"):
        press(key)
    expect(page.locator("#q")).not_to_be_focused()
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Záber 1").focus()
    press("ArrowRight")
    at(page, "2")  # an arrow is no letter
    page.goto(page.get_by_role("link", name="Záber 2").get_attribute("href") or "")
    page.locator(".topbar details.menu > summary").focus()
    press("Enter")
    page.get_by_role("button", name="Keyboard").focus()
    press("Enter")
    expect(dialog.get_by_text("Previous, next")).to_be_visible()
    expect(dialog.get_by_text("From card to card")).to_be_hidden()
    page.get_by_label("Single keys do something").focus()
    press("Space")
    press("Escape")
    press("j")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Záber 3")


# Nor with a mouse or a finger is anything else needed


@pytest.mark.browser
def test_a_card_is_dragged_by_its_picture(demo: Page, film: str) -> None:
    page = demo
    page.set_viewport_size(TALL)
    drag(page, page.locator("li.scene .frame").nth(4), page.locator("li.scene").nth(1))
    expect(page.locator("li.scene .number")).to_have_text(list("152346789"))
    expect(page.locator(".toast")).to_contain_text("Scene 5 moved: it comes after scene 1 now.")
    assert page.url.endswith(film), "the click that ends a drag opens nothing"
    page.reload()
    expect(page.locator("li.scene .number")).to_have_text(list("152346789"))
    page.locator("li.scene .frame").first.hover()
    page.mouse.down()
    page.mouse.move(600, 500, steps=4)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(page.locator(".lifted")).to_have_count(0)
    expect(page.locator("li.scene .number")).to_have_text(list("152346789"))


TALL: Any = {"width": 1280, "height": 1500}  # near its edge the page would scroll


def drag(page: Page, what: Locator, before: Locator) -> None:
    """To the left half of a card."""
    what.hover()
    page.mouse.down()
    box = before.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + 60, steps=8)
    expect(page.locator("[data-drop=before]")).to_have_count(1)
    page.mouse.up()


@pytest.mark.browser
def test_a_card_that_cannot_be_moved_goes_back(
    browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    context = browser.new_context(base_url=site.url, viewport=TALL)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    gone = page.locator("li.scene").nth(1).get_attribute("id") or ""
    code = f"from projects.models import Scene; Scene.objects.get(pk={gone[6:]!r}).delete()"
    site.manage("shell", "--no-imports", "-c", code)
    drag(page, page.locator("li.scene .frame").nth(4), page.locator("li.scene").nth(1))
    expect(page.locator(".toast.error")).to_contain_text("There is no other scene 2.")
    expect(page.locator("li.scene .number")).to_have_text(list("13456789"))
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("how", ["offline", "broken"])
def test_a_card_goes_back_while_the_site_is_away(
    how: str, browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    context = browser.new_context(base_url=site.url, viewport=TALL)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    if how == "offline":
        context.set_offline(True)
    else:
        page.route("**/*", lambda route: route.fulfill(status=502))
    drag(page, page.locator("li.scene .frame").nth(4), page.locator("li.scene").nth(1))
    expect(page.locator(".toast.error")).to_be_visible()
    expect(page.locator("li.scene .number")).to_have_text(list("123456789"))
    context.close()


@pytest.mark.browser
def test_a_card_is_dragged_by_its_grip_with_a_finger(
    browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    phone = browser.new_context(
        base_url=site.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    phone.add_cookies(cookies_of_demo)
    page = phone.new_page()
    page.goto(film)
    grip = page.locator("li.scene .grip").nth(1)
    grip.scroll_into_view_if_needed()
    start, goal = grip.bounding_box(), page.locator("li.scene .words").first.bounding_box()
    assert start
    assert goal
    finger = phone.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        told = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    x, y = start["x"] + 10, start["y"] + 10
    touch("touchStart", (x, y))
    for step in range(1, 9):
        touch("touchMove", (x + (60 - x) * step / 8, y + (goal["y"] + 20 - y) * step / 8))
    touch("touchEnd")
    expect(page.locator("li.scene .number")).to_have_text(list("213456789"))
    expect(page.locator(".toast")).to_contain_text("Scene 2 moved: it is the first now.")
    phone.close()


@pytest.mark.browser
def test_without_script_menus_and_forms_do_it(
    browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(film)
    card = page.locator("li.scene").nth(2)
    card.get_by_label("Scene 3: more").click()
    card.get_by_role("button", name="Move earlier").click()
    expect(page.locator("li.scene .number")).to_have_text(list("132456789"))
    card = page.locator("li.scene").nth(1)
    card.get_by_label("Scene 3: more").click()
    card.get_by_role("link", name="Move to…").click()
    page.get_by_label("Place").select_option("after")
    page.get_by_label("Scene", exact=True).fill("99")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_text("There is no other scene 99.")).to_be_visible()
    page.get_by_label("Scene", exact=True).fill("9")
    page.get_by_role("button", name="Move").click()
    expect(page.locator("li.scene .number")).to_have_text(list("124567893"))
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("li.scene .number")).to_have_text(list("132456789"))
    card = page.locator("li.scene").first
    card.get_by_label("Scene 1: more").click()
    card.get_by_role("button", name="Lock").click()
    expect(page.locator("li.scene").first.locator(".lock")).to_have_text("Locked")
    page.get_by_role("searchbox").fill("zaber 4")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("li.scene .number")).to_have_text(["4"])
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_menus_and_help_are_open_to_everybody(
    theme: Any, width: int, browser: Browser, site: Site, film: str, cookies_of_demo: Any
) -> None:
    """axe-core, with all of it open, a scene locked, and nothing found."""
    context = browser.new_context(
        base_url=site.url,
        color_scheme=theme,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    faults = faults_of(page, film)
    page.locator("li.scene").first.get_by_label("Scene 1: more").click()
    page.locator("li.scene").first.get_by_role("button", name="Lock").click()
    expect(page.locator(".toast")).to_be_visible()
    page.locator("li.scene").first.get_by_label("Scene 1: more").click()
    faults += faults_here(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    faults += faults_here(page)
    faults += faults_of(page, f"{film}?q=nothing")
    context.close()
    assert faults == []
