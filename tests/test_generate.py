"""The click on "Generate image": one order, at the price that stood on the button."""

from __future__ import annotations

import re
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Locator, Page, expect
from redis import Redis

from credits import ledger
from generation import doorbell
from generation.models import Generation, ImageSettings, Price, State
from projects.models import Character, Member, Project, Role, Scene
from tests import stages
from tests.servers import Site

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}


@pytest.fixture
def scene(project: Project) -> Scene:
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    stages.give_credits(project.owner, 1000)
    return stages.add_scene(project, "12A")


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def click(client: Client, subject: Scene | Character, *, htmx: bool = True, **form: Any) -> Any:
    """With `form` values of None left out."""
    fields = {"key": uuid4().hex, "price": "600", "on": "board"} | form
    return client.post(
        reverse("generation:generate", args=[subject._meta.model_name, subject.pk]),
        {name: value for name, value in fields.items() if value is not None},
        headers=HTMX if htmx else {},
    )


def books(user: User) -> tuple[int, int]:
    book = ledger.ledger_of(user)
    return book.balance, book.held


def test_a_click_orders_and_answers_with_the_card(client: Client, scene: Scene) -> None:
    response = click(client, scene)
    order = Generation.objects.get()
    assert (order.scene, order.state, order.price) == (scene, State.QUEUED, 600)
    assert order.ordered_by == order.payer == scene.project.owner
    assert books(scene.project.owner) == (1000, 600)
    html = response.content.decode()
    assert response.status_code == 200
    assert html.lstrip().startswith(f'<li class="scene" id="scene-{scene.pk}"')
    assert "Waiting in line" in html
    # What else changed on the page comes along: credits, open orders, words for screen readers.
    assert re.search(r'id="balance"[^>]*hx-swap-oob="true"><span>4 credits', html)
    assert re.search(r'id="open-orders" hx-swap-oob="true">1<', html)
    assert re.search(r'id="news" hx-swap-oob="innerHTML">Scene 12A: Waiting in line', html)


def test_the_button_is_enough(client: Client, scene: Scene) -> None:
    """What the card posts is what the view takes."""
    html = client.get(reverse("generation:board", args=[scene.project_id])).content.decode()
    fields = dict(re.findall(r'name="(key|price|on)" value="(\w+)"', html))
    assert click(client, scene, **fields).status_code == 200
    assert Generation.objects.get().order_key == fields["key"]


def test_a_character_has_pictures_too(client: Client, scene: Scene) -> None:
    miro = Character.objects.create(project=scene.project, name="Miro", description="Geológ")
    html = click(client, miro).content.decode()
    assert Generation.objects.get().character == miro
    assert f'id="character-{miro.pk}"' in html


def test_without_script_the_answer_is_the_page_at_its_card(client: Client, scene: Scene) -> None:
    board = reverse("generation:board", args=[scene.project_id])
    response = click(client, scene, htmx=False)
    assert (response.status_code, response["Location"]) == (302, f"{board}#scene-{scene.pk}")
    assert Generation.objects.count() == 1


def test_without_script_the_answer_leads_back_to_where_the_button_stood(
    client: Client, scene: Scene
) -> None:
    address = reverse("generation:generate", args=["scene", scene.pk])

    def back_from(page: str) -> str:
        form = {"key": uuid4().hex, "price": "600"}
        return client.post(address, form, headers={"Referer": page})["Location"]

    board = reverse("generation:board", args=[scene.project_id])
    assert back_from(f"http://testserver{board}?page=2").endswith(
        f"{board}?page=2#scene-{scene.pk}"
    )
    assert back_from("https://evil.example/") == f"{board}#scene-{scene.pk}"


def test_one_key_is_one_order(client: Client, scene: Scene) -> None:
    key = uuid4().hex
    for _ in range(3):
        assert click(client, scene, key=key).status_code == 200
    assert Generation.objects.count() == 1
    assert books(scene.project.owner) == (1000, 600)


@pytest.mark.parametrize(
    "form",
    [
        {"key": None},
        {"key": ""},
        {"key": "api:1"},
        {"key": "A" * 32},
        {"key": "0" * 32 + "\n"},
        {"key": "0" * 33},
        {"price": None},
        {"price": ""},
        {"price": "6.5"},
        {"price": "-600"},
        {"price": "six"},
    ],
)
def test_a_garbled_button_orders_nothing(
    form: dict[str, Any], client: Client, scene: Scene
) -> None:
    assert click(client, scene, **form).status_code == 400
    assert Generation.objects.count() == 0


def test_a_changed_price_is_shown_and_nothing_ordered(client: Client, scene: Scene) -> None:
    Price.objects.filter(model__model_id="seedream-3.0/2k").update(credits=700)
    response = click(client, scene, price="600")
    html = response.content.decode()
    assert response.status_code == 409
    assert "The price has changed: it is 7 credits now. Nothing was ordered." in html
    assert 'name="price" value="700"' in html
    assert Generation.objects.count() == 0
    assert click(client, scene, price="700").status_code == 200


def test_without_credits_the_card_says_where_to_look(client: Client, scene: Scene) -> None:
    click(client, scene)
    response = click(client, scene, on="subject")
    html = response.content.decode()
    assert response.status_code == 402
    assert "Not enough credits: this costs 6 credits; you have 4 credits available." in html
    assert f'<a href="{reverse("generation:credits")}">My credits</a>' in html
    assert Generation.objects.count() == 1


def test_without_the_owners_credits_a_member_is_told_whose(scene: Scene, bob: User) -> None:
    client = signed_in(bob)
    click(client, scene)
    html = click(client, scene).content.decode()
    assert "alice pays for this project." in html
    assert "My credits" not in html


def test_a_refusal_without_script_is_a_message(client: Client, scene: Scene) -> None:
    response = click(client, scene, htmx=False, price="500")
    html = client.get(response["Location"]).content.decode()
    assert "The price has changed" in html


def test_the_owner_pays_for_what_a_member_orders(scene: Scene, bob: User, alice: User) -> None:
    stages.give_credits(bob, 5000)
    click(signed_in(bob), scene)
    order = Generation.objects.get()
    assert (order.ordered_by, order.payer) == (bob, alice)
    assert books(alice) == (1000, 600)
    assert books(bob) == (5000, 0)


def test_who_may_order(scene: Scene, bob: User, charlie: User, staff: User) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=scene.project, user=dana, role=Role.VIEWER)
    for client, status in (
        (Client(), 302),
        (signed_in(charlie), 404),
        (signed_in(staff), 404),
        (signed_in(dana), 403),
    ):
        assert click(client, scene).status_code == status
        assert Generation.objects.count() == 0
    assert click(signed_in(bob), scene).status_code == 200


def test_a_click_is_a_post_with_a_token(alice: User, scene: Scene) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert click(client, scene).status_code == 403
    address = reverse("generation:generate", args=["scene", scene.pk])
    assert client.get(address).status_code == 405
    assert Generation.objects.count() == 0


def test_an_order_stands_when_the_bell_is_broken(
    client: Client,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """No Redis: the row is the truth, and the tick finds it when Redis is back."""
    monkeypatch.setattr(doorbell, "redis", lambda: Redis(port=9))
    with django_capture_on_commit_callbacks(execute=True) as bells:
        assert click(client, scene).status_code == 200
    assert bells
    assert Generation.objects.get().state == State.QUEUED
    assert books(scene.project.owner) == (1000, 600)


def test_the_bell_rings(
    client: Client, scene: Scene, valkey: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        click(client, scene)
    assert valkey.llen("rq:queue:orders") == 1


# Several by one click


def test_a_click_can_order_several(client: Client, scene: Scene) -> None:
    stages.give_credits(scene.project.owner, 1000)
    key = uuid4().hex
    for _ in range(2):
        assert click(client, scene, key=key, variants="3").status_code == 200
    placed = Generation.objects.all()
    assert sorted(one.order_key for one in placed) == [key, f"{key}:2", f"{key}:3"]
    assert [(one.price, one.batch, one.count) for one in placed] == [(600, False, 1)] * 3
    assert books(scene.project.owner) == (2000, 1800)


def test_a_used_button_orders_no_more_of_them(client: Client, scene: Scene) -> None:
    key = uuid4().hex
    click(client, scene, key=key)
    assert click(client, scene, key=key, variants="4").status_code == 200
    assert Generation.objects.count() == 1


def test_several_are_ordered_all_or_none(client: Client, scene: Scene) -> None:
    response = click(client, scene, variants="2", on="subject")
    assert response.status_code == 402
    html = response.content.decode()
    assert "Not enough credits: this costs 12 credits; you have 10 credits available." in html
    assert Generation.objects.count() == 0
    assert books(scene.project.owner) == (1000, 0)
    assert click(client, scene, variants="1").status_code == 200


def test_several_have_to_be_within_the_allowance(scene: Scene, bob: User) -> None:
    Member.objects.filter(user=bob).update(allowance=700)
    response = click(signed_in(bob), scene, variants="2")
    assert response.status_code == 402
    words = "This costs 12 credits, and your allowance has 7 credits left. Ask alice."
    assert words in response.content.decode()
    assert Generation.objects.count() == 0


@pytest.mark.parametrize("variants", ["0", "5", "-1", "two", "1.5"])
def test_only_so_many_by_one_click(variants: str, client: Client, scene: Scene) -> None:
    assert click(client, scene, variants=variants).status_code == 400
    assert Generation.objects.count() == 0


def test_the_price_of_each_number_stands_on_the_button(client: Client, scene: Scene) -> None:
    html = client.get(reverse("generation:subject", args=["scene", scene.pk])).content.decode()
    prices = re.findall(r'class="of-(\d)">([^<]+)<', html)
    assert prices == [
        ("1", "6 credits"),
        ("2", "12 credits"),
        ("3", "18 credits"),
        ("4", "24 credits"),
    ]
    assert re.search(r'name="variants" value="1" checked', html)


@pytest.mark.django_db(transaction=True)
def test_clicks_at_the_same_time_with_one_key_are_one_order(scene: Scene, alice: User) -> None:
    key, clients = uuid4().hex, [signed_in(alice) for _ in range(4)]
    statuses: list[int] = []

    def go(client: Client) -> None:
        try:
            statuses.append(click(client, scene, key=key).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4, connection.vendor
    assert Generation.objects.count() == 1
    assert books(alice) == (1000, 600)


# In a browser


BOARD = "/projects/cmkivtwqv0005l80499cyfuzx/"


@pytest.fixture
def board(demo: Page) -> Page:
    """The demo's board."""
    demo.goto(BOARD)
    return demo


def picture(card: Locator) -> Locator:
    """Of the scene itself: its cast has pictures on the card, too."""
    return card.locator(".frame img")


@pytest.mark.browser
def test_the_focus_stays_with_the_card_and_a_second_enter_cancels_nothing(board: Page) -> None:
    card = board.locator("li.scene").nth(3)
    button = card.get_by_role("button", name="Generate image")
    button.focus()
    board.keyboard.press("Enter")
    expect(card.locator(".state")).to_be_visible()
    board.keyboard.press("Enter")
    expect(card.locator("footer")).to_be_focused()
    expect(picture(card)).to_be_visible(timeout=30_000)
    expect(card.get_by_role("button", name="Generate image")).to_be_focused()
    expect(board.locator("#news")).to_contain_text("the picture is ready")


@pytest.mark.browser
def test_a_double_click_orders_once(board: Page) -> None:
    card = board.locator("li.scene").nth(4)
    title = card.get_by_role("heading").get_by_role("link").inner_text()
    card.get_by_role("button", name="Generate image").dblclick(delay=30)
    expect(picture(card)).to_be_visible(timeout=30_000)
    expect(card.locator(".count")).to_have_text("1 take")
    board.goto("/queue/")
    orders = board.get_by_role("row").filter(has_text=title)
    expect(orders).to_have_count(1)
    expect(orders).to_contain_text("Done")  # the second click has not cancelled what the first did


@pytest.mark.browser
@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_on_its_own_page_a_double_click_orders_once_too(board: Page, by: str) -> None:
    card = board.locator("li.scene").nth(7 if by == "mouse" else 8)
    card.get_by_role("heading").get_by_role("link").click()
    button = board.get_by_role("button", name="Generate image")
    if by == "mouse":
        button.dblclick(delay=120)
    else:
        button.focus()
        for _ in range(5):
            board.keyboard.press("Enter")
            board.wait_for_timeout(150)
    expect(board.locator(".take")).to_have_count(1, timeout=30_000)
    expect(board.get_by_role("row")).to_have_count(2)  # the head, and one order


@pytest.mark.browser
def test_without_script_a_click_orders_and_the_board_follows(
    browser: Browser, site: Site, cookies_of_demo: Any
) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies(cookies_of_demo)
    page = context.new_page()
    page.goto(BOARD)
    card = page.locator("li.scene").nth(5)
    card.get_by_role("button", name="Generate image").click()
    assert page.url.endswith(f"#{card.get_attribute('id')}")
    expect(picture(card)).to_be_visible(timeout=40_000)
    context.close()


@pytest.mark.browser
def test_choosing_a_take_changes_the_page_in_place(board: Page) -> None:
    card = board.locator("li.scene").nth(6)
    card.get_by_role("button", name="Generate image").click()
    expect(picture(card)).to_be_visible(timeout=30_000)
    card.get_by_role("heading").get_by_role("link").click()
    choose = board.locator("#viewer").get_by_role("button", name="Choose take 1")
    choose.click()
    expect(board.locator(".take .state")).to_have_text("Chosen")
    expect(choose).to_be_focused()
    choose.click()
    expect(board.locator(".take .state")).to_have_text("Shown")
