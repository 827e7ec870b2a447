"""Taking back an order that KIE has: the credits come back, the picture is kept or thrown away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from credits import ledger
from generation import lifecycle, orders
from generation.models import Generation, Reason, State
from projects.models import Member, Project, Role, Scene
from tests import stages
from tests.servers import Site

HTMX = {"HX-Request": "true"}
PROJECT = "cmkivtwqv0005l80499cyfuzx"  # the demo's

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def scene(project: Project) -> Scene:
    stages.give_credits(project.owner, 2000)
    return stages.add_scene(project, "12A")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def submitting(order: Generation) -> Generation:
    lifecycle.submitting(stages._claimed(order, State.QUEUED))
    order.refresh_from_db()
    return order


def unknown(order: Generation) -> Generation:
    claimed = stages._claimed(order, State.QUEUED)
    lifecycle.submitting(claimed)
    lifecycle.unclear(claimed, "no answer")
    order.refresh_from_db()
    return order


def storing(order: Generation) -> Generation:
    stages.running(order)
    claimed = stages._claimed(order, State.RUNNING)
    lifecycle.succeeded(claimed, ["https://kie/1.png"], 600, None)
    order.refresh_from_db()
    return order


def address(order: Generation) -> str:
    return reverse("generation:cancel", args=[order.pk])


def take_back(client: Client, order: Generation, *, htmx: bool = False, **form: str) -> Any:
    return client.post(address(order), form, headers=HTMX if htmx else {})


def held(user: User) -> int:
    return ledger.ledger_of(user).held


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def board(client: Client, project: Project, **query: str) -> str:
    address = reverse("generation:board", args=[project.pk])
    return str(client.get(address, query).content.decode())


def queue(client: Client) -> str:
    return str(client.get("/queue/").content.decode())


# What is offered


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (submitting, "KIE may have it already and cannot be stopped."),
        (unknown, "KIE may have it already and cannot be stopped."),
        (stages.running, "KIE is already at work on it and cannot be stopped."),
        (storing, "KIE has made it already, and it is being stored."),
    ],
)
def test_a_sent_order_says_what_is_true_wherever_it_stands(
    stage: Callable[[Generation], Generation], told: str, client: Client, scene: Scene
) -> None:
    order = stage(stages.ordered(scene))
    page = client.get(reverse("generation:subject", args=["scene", scene.pk])).content.decode()
    alone = client.get(address(order)).content.decode()
    for html in (board(client, scene.project), page, queue(client), alone):
        said = words(html)
        assert f"{told} You get 6.5 credits back now. If the picture still comes:" in said
        assert f'action="{address(order)}"' in html
        for then in ("keep", "discard"):
            assert f'name="then" value="{then}"' in html
    for html in (board(client, scene.project), page, queue(client)):
        assert re.search(rf'<details class="take-back" id="take-back-{order.pk}">', html)
        # Without script an open page loads itself again, so the choice has a page of its own.
        assert f'<noscript><a class="button small" href="{address(order)}">' in html


def test_whose_credits_come_back_is_said(scene: Scene, bob: User) -> None:
    order = stages.running(stages.ordered(scene, bob))
    html = signed_in(bob).get(address(order)).content.decode()
    assert "alice gets 6.5 credits back now." in words(html)


def test_what_nobody_pays_has_no_credits_to_give_back(client: Client, scene: Scene) -> None:
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene, free=True))
    terms = orders.Terms(user=scene.project.owner, key="k")
    free = stages.running(orders.place(order, terms))
    assert "take-back" not in board(client, scene.project) + queue(client)
    assert client.get(address(free)).status_code == 302
    take_back(client, free)
    assert "It has been sent already and cannot be taken back." in queue(client)


def test_a_viewer_is_not_asked(scene: Scene) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=scene.project, user=dana, role=Role.VIEWER)
    order = stages.running(stages.ordered(scene))
    client = signed_in(dana)
    assert "take-back" not in board(client, scene.project)
    assert client.get(address(order)).status_code == 403
    assert take_back(client, order, then="keep").status_code == 403
    assert held(scene.project.owner) == 650


def test_strangers_are_kept_out(scene: Scene, charlie: User) -> None:
    order = stages.running(stages.ordered(scene))
    assert Client().post(address(order), {"then": "keep"}).status_code == 302
    assert take_back(signed_in(charlie), order, then="keep").status_code == 404
    assert signed_in(charlie).get(address(order)).status_code == 404
    assert held(scene.project.owner) == 650


# What becomes of it


def test_kept_it_is_followed_on_and_comes_free(client: Client, scene: Scene, alice: User) -> None:
    order = stages.running(stages.ordered(scene))
    html = take_back(client, order, htmx=True, then="keep", on="board").content.decode()
    assert html.lstrip().startswith(f'<li class="scene" id="scene-{scene.pk}"')
    assert "The credits are given back. If the picture comes, it is free." in html
    assert "The credits are given back. KIE still has the order; what comes is free." in html
    assert 'data-again="60"' in html
    assert "See the order" in html
    assert "take-back" not in html
    assert re.search(r'id="open-orders" hx-swap-oob="true">1<', html)
    assert held(alice) == 0
    assert "free" in words(queue(client))
    stages.arrive(order)
    assert ledger.ledger_of(alice).balance == 2000
    for html in (board(client, scene.project), queue(client)):
        assert "The picture came after all. It is free." in html
    assert "6.5 credits" not in words(queue(client)).split("Ended")[1]


def test_thrown_away_it_is_not_awaited_any_more(client: Client, scene: Scene, alice: User) -> None:
    stages.add_scene(scene.project, "13")
    order = stages.running(stages.ordered(scene))
    html = take_back(client, order, htmx=True, then="discard", on="board").content.decode()
    assert "If the picture comes, it is thrown away." in html
    assert "KIE still has the order; what comes is thrown away." in html
    assert "every" not in html
    assert "Generate image" in html  # at once
    assert re.search(r'id="open-orders" hidden hx-swap-oob="true">0<', html)
    assert held(alice) == 0
    told = words(board(client, scene.project))
    assert "Under way" not in told
    assert "Missing 2" in told
    told = words(queue(client))
    assert "Nothing is under way." in told
    assert "Taken back The credits are given back." in told
    assert "not charged" in told
    assert 'hx-trigger="every' not in queue(client)


def test_what_was_thrown_away_is_no_failure_afterwards(client: Client, scene: Scene) -> None:
    stages.add_scene(scene.project, "13")  # so that there is something to filter
    order = stages.running(stages.ordered(scene))
    take_back(client, order, then="discard")
    lifecycle.fail(stages._claimed(order, State.RUNNING), Reason.RENDER, "no")
    html = board(client, scene.project)
    assert "The model failed" not in html
    assert "Failed" not in words(html)
    assert "Generate image" in html


def test_a_kept_one_that_fails_says_so(client: Client, scene: Scene) -> None:
    order = stages.running(stages.ordered(scene))
    take_back(client, order, then="keep")
    lifecycle.fail(stages._claimed(order, State.RUNNING), Reason.RENDER, "no")
    assert "The model failed to make the picture." in board(client, scene.project)


def test_another_order_goes_on_beside_one_thrown_away(client: Client, scene: Scene) -> None:
    order = stages.running(stages.ordered(scene))
    take_back(client, order, then="discard")
    stages.ordered(scene)
    html = board(client, scene.project)
    assert "Waiting in line" in html
    assert "2 orders" not in html
    assert "what comes is thrown away" not in html


# What is asked too late, twice, or wrongly


@pytest.mark.parametrize("then", ["free", "KEEP", "keep ", "keep\x00"])
def test_a_word_that_is_none_changes_nothing(
    then: str, client: Client, scene: Scene, alice: User
) -> None:
    order = stages.running(stages.ordered(scene))
    response = take_back(client, order, then=then)
    assert response.status_code == 400
    assert "This button is broken" in response.content.decode()
    order.refresh_from_db()
    assert (order.taken_back, held(alice)) == ("", 650)


def test_twice_is_once(client: Client, scene: Scene, alice: User) -> None:
    order = stages.running(stages.ordered(scene))
    take_back(client, order, then="keep")
    take_back(client, order, then="discard")
    assert "Its credits have been given back already." in queue(client)
    order.refresh_from_db()
    assert order.taken_back == "keep"
    assert (ledger.ledger_of(alice).balance, held(alice)) == (2000, 0)


def test_too_late_is_said(client: Client, scene: Scene, alice: User) -> None:
    order = stages.ordered(scene)
    stages.done(order)
    take_back(client, order, then="keep")
    assert "It was too late: the picture is stored already." in queue(client)
    assert ledger.ledger_of(alice).balance == 1350
    failed = stages.failed(stages.ordered(scene))
    take_back(client, failed, then="keep")
    assert "It has ended already." in queue(client)


def test_what_has_gone_back_in_line_is_cancelled(client: Client, scene: Scene, alice: User) -> None:
    order = stages.ordered(scene)
    take_back(client, order, then="keep")
    assert "Cancelled. Not charged." in queue(client)
    order.refresh_from_db()
    assert (order.state, held(alice)) == (State.CANCELLED, 0)


def test_what_is_being_sent_right_now_is_neither(client: Client, scene: Scene) -> None:
    order = stages.ordered(scene)
    Generation.objects.filter(pk=order.pk).update(lease_until=timezone.now(), lease_token="x")
    take_back(client, order, then="keep")
    assert "It is being sent right now. Try again in a moment." in queue(client)
    order.refresh_from_db()
    assert (order.state, order.taken_back) == (State.QUEUED, "")


def test_credits_that_are_back_already_are_not_offered_again(client: Client, scene: Scene) -> None:
    """Given up, then its task turned up: the hold went back long ago."""
    order = stages.lost(stages.ordered(scene))
    lifecycle.adopt(order, "late")
    for html in (board(client, scene.project), queue(client)):
        assert "KIE still has the order; what comes is free." in html
        assert "take-back" not in html


# Without script


def test_a_cancel_that_came_too_late_leads_to_the_choice(client: Client, scene: Scene) -> None:
    order = stages.running(stages.ordered(scene))
    response = take_back(client, order)
    assert (response.status_code, response["Location"]) == (302, address(order))
    html = client.get(address(order)).content.decode()
    assert "Say what becomes of the picture." in html
    assert "http-equiv" not in html  # it does not load itself again under one's hands


def test_the_page_of_the_choice_leads_back_to_where_one_was(client: Client, scene: Scene) -> None:
    order = stages.running(stages.ordered(scene))
    there = f"http://testserver{reverse('generation:board', args=[scene.project_id])}?page=1"
    html = client.get(address(order), headers={"Referer": there}).content.decode()
    (back,) = re.findall(r'name="next" value="(http[^"]*)"', html)
    assert back == there
    assert take_back(client, order, then="keep", next=back)["Location"] == there
    other = stages.running(stages.ordered(scene))
    away = take_back(client, other, then="keep", next="https://evil.example/")
    assert away["Location"] == "/queue/"


def test_the_page_cancels_what_still_waits_and_leaves_what_ended(
    client: Client, scene: Scene
) -> None:
    order = stages.ordered(scene)
    assert "It has not been sent yet" in client.get(address(order)).content.decode()
    take_back(client, order)
    assert client.get(address(order))["Location"] == reverse("generation:order", args=[order.pk])


# In a browser


@pytest.fixture
def slow_kie(site: Site) -> Iterator[None]:
    found = re.search(r"KIE sandbox at (\S+)", site.log.read_text())
    assert found
    url = f"{found[1]}/sandbox/settings"
    requests.post(url, json={"seconds": 25}, timeout=5).raise_for_status()
    yield
    requests.post(url, json={"seconds": 1}, timeout=5).raise_for_status()


@pytest.fixture
def rough(browser: Browser, site: Site) -> Iterator[Page]:
    """A click takes the place of a look that is under way, of which htmx complains to the console,
    and `page` would not forgive that."""
    context = browser.new_context(base_url=site.url)
    yield context.new_page()
    context.close()


def sign_in(page: Page, leads_to: str) -> None:
    page.goto(f"/account/login/?next={leads_to}")
    page.locator("#id_login").fill("demo")
    page.locator("#id_password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{leads_to}")


@pytest.mark.browser
@pytest.mark.usefixtures("slow_kie")
def test_the_choice_stays_open_while_the_card_changes_and_enter_orders_nothing(rough: Page) -> None:
    page = rough
    sign_in(page, f"/projects/{PROJECT}/")
    card = page.locator("li.scene").nth(9)
    card.get_by_role("button", name="Generate image").click()
    summary = card.get_by_text("Take my credits back")
    summary.click(timeout=15_000)
    discard = card.get_by_role("button", name="Throw it away")
    expect(discard).to_be_visible()
    stage = card.locator(".state").inner_text().split(" · ")[0]
    expect(card.locator(".state")).not_to_contain_text(stage, timeout=25_000)
    expect(discard).to_be_visible()  # though the card was swapped
    # So long that the filters above the scenes are swapped, too, before this swap has settled.
    page.evaluate("htmx.config.defaultSettleDelay = 1000")
    discard.focus()
    page.keyboard.press("Enter")
    expect(card.get_by_text("what comes is thrown away")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
    expect(card.get_by_role("button", name="Generate image")).to_be_visible()
    expect(card).to_be_focused()


@pytest.mark.browser
@pytest.mark.usefixtures("slow_kie")
def test_without_script_the_credits_come_back_too(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, f"/projects/{PROJECT}/")
    card = page.locator("li.scene").nth(10)
    card.get_by_role("button", name="Generate image").click()
    card.get_by_role("link", name="Take my credits back").click(timeout=15_000)
    page.get_by_role("button", name="Throw it away").click()
    page.wait_for_url(f"**/projects/{PROJECT}/**")
    expect(card).to_contain_text("what comes is thrown away")
    context.close()
