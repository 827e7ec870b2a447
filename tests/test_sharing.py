"""Two people and one purse, in a real browser: invited, accepted, asked, approved, pictured."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.servers import Site
from tests.test_accessibility import faults_of
from tests.watched import watch

pytestmark = [pytest.mark.browser, pytest.mark.everywhere]

PASSWORD = "a film about the sea"


@pytest.fixture
def guest(browser: Browser, site: Site) -> Iterator[Page]:
    """Another browser, where nobody is signed in; on a phone."""
    context = browser.new_context(base_url=site.url, viewport={"width": 390, "height": 844})
    wrong = watch(context)
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()
    assert wrong == []


def without_script(browser: Browser, site: Site, page: Page) -> BrowserContext:
    return browser.new_context(
        base_url=site.url, java_script_enabled=False, storage_state=page.context.storage_state()
    )


def project_of_two_scenes(demo: Page) -> str:
    """The address of its board; a picture costs 6.5 credits."""
    demo.goto("/projects/new/")
    demo.get_by_label("Name").fill("More na púšti")
    demo.get_by_role("button", name="Make the project").click()
    board = demo.url
    for words in ("Prázdna pláž", "Maják v noci"):
        demo.goto(f"{board}scenes/new/")
        demo.get_by_label("Description").fill(words)
        demo.get_by_role("button", name="Add scene").click()
    return board


def test_from_the_invitation_to_the_picture(
    browser: Browser, demo: Page, guest: Page, site: Site
) -> None:
    board = project_of_two_scenes(demo)
    demo.goto(board)
    demo.get_by_role("link", name="Members").click()
    demo.get_by_label("E-mail address").fill("guest@example.com")
    demo.get_by_label("Up to so many credits, then they ask").check()
    demo.locator("#id_amount").fill("6.5")
    demo.get_by_role("button", name="Invite").click()
    link = demo.locator("#link").inner_text()
    expect(demo.get_by_text("guest@example.com").first).to_be_visible()

    # Whoever has no account makes one on the way.
    guest.goto(link)
    guest.get_by_role("link", name="Make an account").click()
    guest.locator("#id_username").fill("guest")
    guest.locator("#id_email").fill("guest@example.com")
    guest.locator("#id_password1").fill(PASSWORD)
    guest.locator("#id_password2").fill(PASSWORD)
    guest.get_by_role("button", name="Make the account").click()
    expect(guest.get_by_text("demo pays for your pictures up to 6.5 credits")).to_be_visible()
    assert faults_of(guest, link) == []
    guest.get_by_role("button", name="Accept").click()
    expect(guest).to_have_url(board)
    expect(guest.get_by_text("6.5 left of your 6.5 credits")).to_be_visible()

    # What the allowance covers is ordered, the next is asked for.
    scenes = guest.locator("li.scene")
    covered, beyond = scenes.nth(0), scenes.nth(1)
    covered.get_by_role("button", name=re.compile("Generate image 6.5 credits.*demo pays")).click()
    expect(covered.locator(".frame img")).to_be_visible(timeout=30_000)
    expect(guest.get_by_text("0 left of your 6.5 credits")).to_be_visible()
    beyond.get_by_role("button", name="Ask demo 6.5 credits").press("Enter")
    expect(beyond.get_by_text("Asked demo for 6.5 credits")).to_be_visible()

    for page in (guest, demo):
        for address in (board, f"{board}members/", "/queue/", "/credits/"):
            assert faults_of(page, address) == []

    guest.goto(board)
    # The owner approves without script; the picture comes to the card that waits for it.
    with without_script(browser, site, demo) as context:
        owner = context.new_page()
        owner.goto(board)
        owner.get_by_role("link", name="1 ask waits for your answer").click()
        expect(owner.get_by_role("heading", name="You are asked for 1 picture")).to_be_visible()
        owner.get_by_role("button", name="Approve 6.5 credits").click()
        expect(owner.get_by_text("1 picture ordered: 6.5 credits.")).to_be_visible()
    expect(beyond.locator(".frame img")).to_be_visible(timeout=30_000)
    assert faults_of(demo, "/credits/?by=subject") == []

    guest.goto("/queue/")
    expect(guest.get_by_text("demo approved")).to_be_visible()
    demo.goto(f"{board}members/")
    expect(demo.get_by_text("13 of 6.5 credits spent")).to_be_visible()
    demo.goto("/credits/")
    demo.get_by_label("Ordered by").select_option("guest")
    expect(demo.locator("#entries")).to_have_text("Entries 4")
    expect(demo).to_have_url(re.compile(r"person=\d+"))
    expect(demo.get_by_role("row").filter(has_text="Charged").locator("img")).to_have_count(2)
    with demo.expect_download() as download:
        demo.get_by_role("link", name="Download as CSV").click()
    assert download.value.path().read_text(encoding="utf-8-sig").count("\n") == 5
    site.manage("check_ledger")

    # Of several pictures, too.
    guest.goto(board)
    guest.get_by_role("link", name="Several at once").click()
    expect(guest.get_by_text("2 scenes are on the bill")).to_be_visible()
    guest.get_by_role("button", name="Ask demo for 2 pictures 13 credits").click()
    expect(guest.get_by_text("demo has been asked for 2 pictures: 13 credits.")).to_be_visible()
    expect(guest.get_by_text("Asked demo for 6.5 credits")).to_have_count(2)

    demo.goto(f"{board}members/")
    demo.get_by_text("Change", exact=True).click()
    demo.get_by_role("button", name="Remove from the project").click()
    expect(demo.get_by_text("guest is not in this project any more.")).to_be_visible()
    assert guest.request.get(board).status == 404
