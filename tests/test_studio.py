"""From a fresh start to a paid-for picture, in a real browser: site, workers, queue and sandbox
are the processes that `make run` starts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, expect

from tests.servers import Site

pytestmark = [pytest.mark.browser, pytest.mark.everywhere]

PROJECT = "cmkivtwqv0005l80499cyfuzx"  # of the user's document; `manage.py demo` makes it
NAME = "hladanie v psuti_nova"


def sign_in(page: Page) -> None:
    page.goto("/")
    page.get_by_label("Name or e-mail address").fill("demo")
    page.get_by_label("Password", exact=True).fill("demo")
    page.get_by_role("button", name="Sign in").click()


def sandbox_url(site: Site) -> str:
    found = re.search(r"KIE sandbox at (\S+)", site.log.read_text())
    assert found
    return f"{found[1]}/sandbox"


@pytest.fixture
def seconds_of_kie(site: Site) -> Iterator[None]:
    """KIE takes its time, so that asking every two seconds meets every state."""
    url = f"{sandbox_url(site)}/settings"
    requests.post(url, json={"seconds": 12}, timeout=5).raise_for_status()
    yield
    requests.post(url, json={"seconds": 1}, timeout=5).raise_for_status()


@pytest.mark.usefixtures("seconds_of_kie")
def test_a_click_becomes_a_stored_paid_for_picture(page: Page, site: Site) -> None:
    before = len(site.log.read_text())
    requests.delete(f"{sandbox_url(site)}/requests", timeout=5).raise_for_status()
    sign_in(page)
    page.get_by_role("link", name=NAME).first.click()
    scene = page.locator("li.scene").filter(has=page.get_by_text("1", exact=True)).first
    available = float(page.locator("#balance span").first.inner_text().split()[0].replace(",", ""))
    button = scene.get_by_role("button", name="Generate image")
    expect(button).to_contain_text("6 credits")
    button.click()

    # The card changes by itself until the picture is there; the page is never loaded again.
    expect(scene.locator(".state")).to_be_visible()
    picture = scene.locator(".frame img")
    expect(picture).to_be_visible(timeout=30_000)
    expect(scene.locator(".count")).to_have_text("1 take")

    # KIE got exactly the request of the user's document.
    (received,) = requests.get(f"{sandbox_url(site)}/requests", timeout=5).json()
    body = received["body"]
    assert body.pop("callBackUrl").startswith(f"{site.url}/kie/callback/")
    assert body.keys() == {"model", "input"}
    assert body["model"] == "seedream-3.0/2k"
    assert body["input"].keys() == {"prompt", "aspect_ratio"}
    assert body["input"]["aspect_ratio"] == "16:9"
    assert re.search("[áčďéíľňóšťúýž]", body["input"]["prompt"])

    # The ledger says so in the document's words, and adds up.
    page.goto("/credits/")
    charge = page.get_by_role("row").filter(has_text="Charged").first
    expect(charge).to_contain_text("KIE AI Seedream 3.0 (2K) generation (2K)")
    expect(charge).to_contain_text(re.compile(r"[−-]6\b"))
    expect(page.locator("#balance")).to_have_text(f"{available - 6:,g} credits")
    site.manage("check_ledger")

    # The picture lies in storage, whole.
    page.goto(f"/projects/{PROJECT}/")
    src = page.locator("li.scene .frame img").first.get_attribute("src")
    assert src
    response = page.request.get(src.replace("thumbnail", "picture"))
    assert response.headers["content-type"] in ("image/png", "image/jpeg")
    with Image.open(io.BytesIO(response.body())) as image:
        image.load()
        assert image.size == (2048, 1152)
    # The log has the document's lines, in their order; KIE may be at work on other orders, too.
    told = re.findall(r"(\[(?:Image|KIE)\] .*)", site.log.read_text()[before:])
    (task,) = re.findall(r"\[KIE\] Task created: (\S+), polling for completion...", "\n".join(told))
    assert [line for line in told if task in line or " Task " not in line] == [
        "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
        "skipCreditCheck: false, ownerId: none",
        "[KIE] Using model: Seedream 3.0 (2K) - 6 credits ($0.03)",
        f"[KIE] Task created: {task}, polling for completion...",
        f"[KIE] Task {task} state: waiting",
        f"[KIE] Task {task} state: generating",
        f"[KIE] Task {task} state: success",
    ]
