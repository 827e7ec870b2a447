"""The page of a scene in a real browser: looking through takes, choosing, comparing, undoing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.servers import Site
from tests.test_accessibility import RULES
from tests.test_own_pictures import hold_above, new_scene, png

pytestmark = pytest.mark.browser

COLORS = ("teal", "navy", "maroon")


@pytest.fixture
def scene(demo: Page) -> Page:
    """A scene of its own with three takes, at its page; the last is chosen."""
    address = new_scene(demo)
    demo.goto(address)
    files = {f"{color}.png": png(color) for color in COLORS}
    hold_above(demo.locator("main"), "drop", **files)
    expect(takes(demo)).to_have_count(len(COLORS), timeout=30_000)
    demo.goto(address)  # without the toasts
    return demo


def takes(page: Page) -> Locator:
    return page.locator("#strip > .take")


def take(page: Page, number: int) -> Locator:
    return page.locator(f'#strip > .take[data-number="{number}"]')


def large(page: Page) -> Locator:
    """What is seen large, in words: "Take 3 · chosen"."""
    return page.locator("#viewer .stage .number")


def test_looking_choosing_and_starring(scene: Page) -> None:
    expect(large(scene)).to_have_text("Take 3 · chosen")
    take(scene, 1).locator("a.frame").click()
    expect(large(scene)).to_have_text("Take 1")
    expect(take(scene, 1).locator("a.frame")).to_have_attribute("aria-current", "true")
    expect(scene.locator("#strip [aria-current]")).to_have_count(1)
    expect(take(scene, 3)).to_have_class(re.compile("chosen"))  # looking chooses nothing
    viewer = scene.locator("#viewer")
    viewer.get_by_role("button", name="Choose take 1").click()
    expect(large(scene)).to_have_text("Take 1 · chosen")
    expect(viewer.get_by_role("button", name="Choose take 1")).to_be_focused()
    viewer.get_by_role("button", name="Star take 1").click()
    expect(viewer.get_by_role("button", name="Star take 1")).to_have_attribute(
        "aria-pressed", "true"
    )
    scene.get_by_role("link", name="Starred 1").click()
    expect(takes(scene)).to_have_count(1)
    scene.reload()  # all of it stands in the address
    expect(takes(scene)).to_have_count(1)
    expect(large(scene)).to_have_text("Take 1 · chosen")
    scene.get_by_role("link", name="All 3").click()
    expect(takes(scene)).to_have_count(3)


def test_the_strip_with_the_keyboard_alone(scene: Page) -> None:
    take(scene, 3).locator("a.frame").focus()
    scene.keyboard.press("Tab")
    expect(take(scene, 2).locator("a.frame")).to_be_focused()
    scene.keyboard.press("Enter")
    expect(large(scene)).to_have_text("Take 2")
    expect(take(scene, 2).locator("a.frame")).to_be_focused()
    choose = scene.locator("#viewer").get_by_role("button", name="Choose take 2")
    choose.focus()
    scene.keyboard.press("Enter")
    expect(large(scene)).to_have_text("Take 2 · chosen")
    expect(choose).to_be_focused()


def test_single_keys_act_on_the_take_at_hand(scene: Page) -> None:
    take(scene, 3).locator("a.frame").focus()
    scene.keyboard.press("ArrowRight")
    expect(take(scene, 2).locator("a.frame")).to_be_focused()
    scene.keyboard.press("s")
    expect(take(scene, 2).locator("[data-key=s]")).to_have_attribute("aria-pressed", "true")
    scene.keyboard.press("ArrowRight")
    scene.keyboard.press("c")
    expect(take(scene, 1)).to_have_class(re.compile("chosen"))
    expect(large(scene)).to_have_text("Take 1 · chosen")  # it is shown, and none was asked for
    scene.keyboard.press("Enter")
    scene.locator("#large").focus()
    scene.keyboard.press("s")  # of the one that is seen large
    expect(take(scene, 1).locator("[data-key=s]")).to_have_attribute("aria-pressed", "true")
    scene.locator("#trash-it").click()
    expect(takes(scene)).to_have_count(2)
    scene.keyboard.press("u")
    expect(takes(scene)).to_have_count(3)


def test_a_take_goes_to_the_trash_and_comes_back(scene: Page) -> None:
    trash = scene.locator("#trash-it")
    trash.click()
    expect(large(scene)).to_have_text("Take 2 · shown")
    expect(takes(scene)).to_have_count(2)
    toast = scene.locator(".toast").filter(has_text="Take 3 is in the trash.")
    toast.get_by_role("button", name="Undo").click()
    expect(large(scene)).to_have_text("Take 3 · chosen")  # as it was before
    expect(toast).to_have_count(0)
    expect(takes(scene)).to_have_count(3)
    scene.wait_for_timeout(800)  # a double click does not reach the next one
    trash.click()
    expect(takes(scene)).to_have_count(2)
    expect(trash).to_be_focused()
    scene.locator("#trash summary").click()
    scene.get_by_role("button", name="Put take 3 back").click()
    expect(takes(scene)).to_have_count(3)
    expect(scene.locator("#trash")).to_have_count(0)
    expect(large(scene)).to_have_text("Take 3 · shown")


def test_a_double_click_puts_one_take_in_the_trash(scene: Page) -> None:
    scene.locator("#trash-it").dblclick(delay=60)
    expect(takes(scene)).to_have_count(2)
    scene.wait_for_timeout(1_000)
    expect(takes(scene)).to_have_count(2)


def whole_pictures(page: Page) -> list[str]:
    """The pictures themselves that were fetched, not the thumbnails."""
    entries = "performance.getEntriesByType('resource').map((one) => one.name)"
    return [name for name in page.evaluate(entries) if re.search(r"/takes/\w+/picture", name)]


def test_as_large_as_the_window_by_the_keyboard(scene: Page) -> None:
    box, said = scene.locator("#lightbox"), scene.locator("#lightbox [role=status]")
    assert whole_pictures(scene) == []  # none of them before somebody wants to see it
    scene.locator("#large").focus()
    scene.keyboard.press("Enter")
    expect(said).to_contain_text(re.compile(r"Take 3\s+1 of 3"))
    expect(said.get_by_text("Chosen")).to_be_visible()
    expect(box.locator("img")).to_have_attribute("src", re.compile("/picture$"))
    assert len(whole_pictures(scene)) == 1
    scene.keyboard.press("ArrowRight")
    expect(said).to_contain_text("Take 2")
    scene.keyboard.press("s")
    expect(box.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    scene.keyboard.press("ArrowRight")
    scene.keyboard.press("c")
    expect(said).to_contain_text(re.compile(r"Take 1\s+3 of 3"))
    expect(said.get_by_text("Chosen")).to_be_visible()
    expect(box.get_by_role("button", name="Take after this one")).to_be_disabled()
    expect(box.locator("[data-download]")).to_have_attribute("href", re.compile("download=1$"))
    scene.keyboard.press("ArrowLeft")
    expect(box.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    scene.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(scene.locator("#large")).to_be_focused()
    expect(large(scene)).to_have_text("Take 2")  # what was looked at last
    expect(take(scene, 1)).to_have_class(re.compile("chosen"))


@pytest.mark.parametrize("late", ["card", "take"])
def test_answers_that_cross_leave_what_was_asked_for_last(scene: Page, late: str) -> None:
    """A click on a take while the page asks for news, whichever of the two is answered first."""
    held: list[Route] = []
    wanted = "**fresh=**" if late == "card" else "**/scenes/*/?take=*"
    scene.route(wanted, lambda route: held.append(route), times=1)
    scene.locator("#viewer").get_by_role("button", name="Star take 3").click()
    if late == "card":
        scene.wait_for_timeout(500)
        take(scene, 1).locator("a.frame").click()
        expect(large(scene)).to_have_text("Take 1")
    else:
        take(scene, 1).locator("a.frame").click()
        expect(take(scene, 3).get_by_role("button", name="Star take 3")).to_have_attribute(
            "aria-pressed", "true"
        )
    held[0].continue_()
    expect(take(scene, 3).get_by_role("button", name="Star take 3")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(large(scene)).to_have_text("Take 1")
    expect(take(scene, 1).locator("a.frame")).to_have_attribute("aria-current", "true")


def test_each_take_opens_it_and_gets_the_focus_back(scene: Page) -> None:
    take(scene, 2).hover()
    take(scene, 2).get_by_role("link", name="as large as the window").click()
    box = scene.locator("#lightbox")
    expect(box).to_contain_text("Take 2")
    box.get_by_role("button", name="Take before this one").click()
    expect(box).to_contain_text("Take 3")
    box.get_by_role("button", name="Close").click()
    expect(take(scene, 3).locator("a.frame")).to_be_focused()


def swipe(page: Page, by: int) -> None:
    page.locator("#lightbox").evaluate(
        """(box, by) => {
          const touch = (x) => new Touch({ identifier: 1, target: box, clientX: x, clientY: 300 });
          const at = (kind, x, list) => box.dispatchEvent(
            new TouchEvent(kind, { bubbles: true, touches: list, changedTouches: [touch(x)] }));
          at("touchstart", 200, [touch(200)]);
          at("touchend", 200 + by, []);
        }""",
        by,
    )


def test_on_a_phone_it_is_swiped(scene: Page) -> None:
    scene.set_viewport_size({"width": 390, "height": 800})
    scene.locator("#large").click()
    box = scene.locator("#lightbox")
    swipe(scene, -120)
    expect(box).to_contain_text("Take 2")
    swipe(scene, 120)
    expect(box).to_contain_text("Take 3")
    swipe(scene, 20)
    expect(box).to_contain_text("Take 3")
    wide = scene.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_two_are_compared_with_the_slider_and_one_is_chosen(scene: Page) -> None:
    take(scene, 1).locator("a.frame").click()
    expect(large(scene)).to_have_text("Take 1")
    scene.get_by_role("link", name="Compare").click()
    expect(scene.get_by_role("heading", level=1)).to_have_text("Take 3 beside take 1")
    expect(scene.locator(".compared img")).to_have_count(2)
    scene.get_by_text("Slider", exact=True).click()
    slider = scene.get_by_role("slider", name="How much of take 3 is seen above take 1")
    above = scene.locator(".wipe .above")
    before = above.evaluate("it => getComputedStyle(it).clipPath")
    slider.focus()
    for _ in range(5):
        scene.keyboard.press("ArrowRight")
    assert above.evaluate("it => getComputedStyle(it).clipPath") != before
    box = slider.bounding_box()
    assert box
    scene.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert 20 <= int(slider.input_value()) <= 30
    scene.reload()
    expect(slider).to_be_visible()  # how one looks at them is remembered
    scene.locator("#see-" + (take_id(scene, 2) or "")).click()
    expect(scene.get_by_role("heading", level=1)).to_have_text("Take 3 beside take 2")
    scene.get_by_role("button", name="Choose take 2").click()
    expect(scene.locator(".compared.chosen")).to_contain_text("Take 2")
    scene.get_by_role("link", name="Swap sides").click()
    expect(scene.get_by_role("heading", level=1)).to_have_text("Take 2 beside take 3")


def take_id(page: Page, number: int) -> str | None:
    """On the page of the comparison."""
    item = page.locator("#strip > .take").filter(has=page.get_by_text(str(number), exact=True))
    return (item.locator("a").get_attribute("id") or "").removeprefix("see-")


def test_a_recipe_is_ordered_again_to_the_end(demo: Page) -> None:
    page = demo
    page.goto(new_scene(page))
    page.get_by_role("button", name="Generate image").click()
    expect(takes(page)).to_have_count(1, timeout=30_000)
    page.locator(".recipe summary").click()
    expect(page.locator(".recipe")).to_contain_text("Took")
    page.get_by_role("link", name="Use this recipe again").click()
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_value(re.compile("^Two tents in the dunes"))
    prompt.fill("Two tents in snow")
    expect(page.locator("#order")).to_contain_text("6 credits")
    page.locator("#order").click()
    expect(takes(page)).to_have_count(2, timeout=30_000)
    expect(large(page)).to_have_text("Take 2 · shown")
    page.locator(".recipe summary").click()
    expect(page.locator(".recipe .prompt")).to_have_text("Two tents in snow")
    page.get_by_role("link", name="Compare").click()
    expect(page.locator("ins")).to_have_text(re.compile("snow"))


def test_without_script_all_of_it_goes(scene: Page, browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies(scene.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(scene.url)
    take(page, 1).locator("a.frame").click()
    expect(large(page)).to_have_text("Take 1")
    viewer = page.locator("#viewer")
    viewer.get_by_role("button", name="Choose take 1").click()
    expect(large(page)).to_have_text("Take 1 · chosen")
    viewer.get_by_role("button", name="Star take 1").click()
    page.get_by_role("link", name="Starred 1").click()
    expect(takes(page)).to_have_count(1)
    page.locator("#trash-it").click()
    page.get_by_role("button", name="Undo").click()
    expect(large(page)).to_have_text("Take 1 · chosen")
    page.get_by_role("link", name="Compare").click()
    expect(page.locator(".compared")).to_have_count(2)
    expect(page.get_by_text("Slider", exact=True)).to_be_hidden()
    page.go_back()
    page.get_by_role("link", name="Own picture").click()
    expect(page.get_by_role("heading", name="Upload a picture")).to_be_visible()
    page.go_back()
    page.locator("#large").click()
    page.wait_for_url("**/picture")
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nobody_is_kept_from_any_of_it(scene: Page, theme: Any, width: int) -> None:
    scene.emulate_media(color_scheme=theme, reduced_motion="reduce")
    # So high that nothing is just scrolling past under the bar at the bottom
    scene.set_viewport_size({"width": width, "height": 2400})
    scene.locator("#viewer").get_by_role("button", name="Star take 3").click()
    expect(scene.get_by_role("link", name="Starred 1")).to_be_visible()
    scene.locator("#trash-it").click()
    expect(takes(scene)).to_have_count(2)
    scene.locator("#trash summary").click()
    scene.locator(".recipe summary").click()
    faults = found_by_axe(scene)
    scene.locator("#large").click()
    expect(scene.locator("#lightbox")).to_be_visible()
    faults += found_by_axe(scene)
    scene.keyboard.press("Escape")
    scene.get_by_role("link", name="Compare").click()
    faults += found_by_axe(scene)
    scene.get_by_text("Slider", exact=True).click()
    faults += found_by_axe(scene)
    assert not faults, "\n".join(faults)


def found_by_axe(page: Page) -> list[str]:
    found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [
        f"{page.url}: {fault['id']}: {node['html'][:120]}"
        for fault in found.response["violations"]
        for node in fault["nodes"]
    ] + [f"{page.url}: {wide} pixels too wide"] * (wide > 0)
