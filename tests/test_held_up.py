"""What holds orders up is said: to users calmly, to staff with the provider's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from generation import breaker, lifecycle
from generation.models import MOST_DEATHS, Generation, KieModel, Pause, State, TakenBack
from projects.models import Member, Project, Role, Scene
from tests import stages
from tests.open_page import OpenPage
from tests.servers import Site

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

WHY = "Credits insufficient. Please top up."
PAUSED = "Ordering is paused for the moment. The order waits and nothing is lost."
TRIPPED = "The provider has trouble with this model. The order waits, and the model is tried"
ASIDE = "Storing the picture is giving trouble; staff are looking at it. You have not been charged."


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def scene(project: Project) -> Scene:
    stages.give_credits(project.owner, 100_000)
    return stages.add_scene(project, "12A")


@pytest.fixture
def model(catalogue: None) -> KieModel:
    """The project's own."""
    return KieModel.objects.get(model_id="seedream/4.5-text-to-image")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def pause() -> None:
    lifecycle.pause("kie", WHY)


def trip(model: KieModel, failures: int = breaker.TRIPS_AT) -> None:
    for _ in range(failures):
        breaker.failed(model, "HTTP 502 from createTask")


def read(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return str(response.content.decode())


def board_of(project: Project) -> str:
    return reverse("generation:board", args=[project.pk])


def page_of(scene: Scene) -> str:
    return reverse("generation:subject", args=["scene", scene.pk])


# Everywhere


def test_users_are_told_calmly_on_every_page(client: Client, scene: Scene) -> None:
    calm = "<b>Ordering is paused for the moment.</b> Your orders wait and nothing is lost."
    addresses = ["/", "/queue/", "/credits/", board_of(scene.project), page_of(scene)]
    assert all(calm not in read(client, address) for address in addresses)
    pause()
    for address in addresses:
        html = read(client, address)
        assert calm in html, address
        assert WHY not in html, address
    assert calm not in read(Client(), reverse("account_login"))


def test_staff_are_told_why_and_where_to_end_it(
    staff: User, model: KieModel, project: Project
) -> None:
    Member.objects.create(project=project, user=staff, role=Role.VIEWER)
    client = signed_in(staff)
    addresses = ["/", "/queue/", board_of(project), "/admin/", "/admin/generation/kiemodel/"]
    assert all('class="strip bad"' not in read(client, address) for address in addresses)
    pause()
    trip(model)
    end = reverse("admin:generation_pause_delete", args=[Pause.objects.get().pk])
    trouble = reverse("admin:generation_breaker_change", args=[model.pk])
    for address in addresses:
        html = read(client, address)
        assert f"<b>Ordering from kie is paused:</b> {WHY}" in html, address
        assert f'<a href="{end}">Let ordering go on</a>' in html, address
        assert f"{model} failed 8 times in a row:</b> HTTP 502 from createTask" in html, address
        assert f'<a href="{trouble}">' in html, address


def test_staff_without_the_permission_are_told_without_the_link(
    django_user_model: type[User], model: KieModel
) -> None:
    client = signed_in(django_user_model.objects.create_user("helper", is_staff=True))
    pause()
    trip(model)
    html = read(client, "/queue/")
    assert WHY in html
    assert "/admin/generation/" not in html


def test_a_pause_that_is_lifted_is_gone(client: Client, staff: User, scene: Scene) -> None:
    pause()
    end = reverse("admin:generation_pause_delete", args=[Pause.objects.get().pk])
    assert signed_in(staff).post(end, {"post": "yes"}).status_code == 302
    assert "paused" not in read(client, "/queue/")


# On what waits


def test_an_order_that_waits_for_the_end_of_a_pause_says_so(client: Client, scene: Scene) -> None:
    stages.ordered(scene)
    board = OpenPage(client, board_of(scene.project))
    for address in (board_of(scene.project), page_of(scene), "/queue/"):
        assert PAUSED not in read(client, address)
    pause()
    for address in (board_of(scene.project), page_of(scene), "/queue/"):
        assert PAUSED in read(client, address), address
    part = f"scene-{scene.pk}"
    assert 'site"' in (changed := board.changed())[part]  # the news of which it is about
    assert PAUSED in changed[part]
    assert "Ordering is paused for the moment." in changed["held-up"]
    assert board.ask().status_code == 204
    Pause.objects.all().delete()
    assert PAUSED not in board.changed()[part]


def test_what_kie_has_does_not_wait_for_a_pause(client: Client, scene: Scene) -> None:
    stages.running(stages.ordered(scene))
    pause()
    for address in (board_of(scene.project), "/queue/"):
        assert PAUSED not in read(client, address)


def test_an_order_of_a_model_in_trouble_says_so(
    client: Client, scene: Scene, model: KieModel
) -> None:
    stages.ordered(scene)
    trip(model, breaker.TRIPS_AT - 1)
    board = OpenPage(client, board_of(scene.project))
    assert TRIPPED not in read(client, board_of(scene.project))
    trip(model, 1)
    for address in (board_of(scene.project), page_of(scene), "/queue/"):
        assert TRIPPED in read(client, address), address
    assert f"scene-{scene.pk}" in board.changed()
    assert "HTTP 502" not in read(client, board_of(scene.project))
    breaker.worked(model.pk)
    assert TRIPPED not in read(client, board_of(scene.project))


def test_a_model_in_trouble_is_said_before_the_click(
    client: Client, scene: Scene, model: KieModel
) -> None:
    address = reverse("generation:settings", args=[scene.project_id])
    assert "trouble" not in read(client, board_of(scene.project)) + read(client, address)
    trip(model)
    html = read(client, board_of(scene.project))
    assert f"The provider has trouble with {model}." in html
    assert "Choose another model" in html
    assert read(client, address).count("trouble at the provider") == 1
    other = KieModel.objects.get(model_id="seedream-3.0/2k")
    breaker.worked(model.pk)
    trip(other)
    assert "trouble" not in read(client, board_of(scene.project))


# Other notes


def test_a_picture_set_aside_is_said(client: Client, scene: Scene) -> None:
    order = stages.running(stages.ordered(scene))
    lifecycle.succeeded(
        stages._claimed(order, State.RUNNING), ["https://kie/1.png"], 650, answer=None
    )
    board = OpenPage(client, board_of(scene.project))
    for _ in range(MOST_DEATHS):
        assert ASIDE not in read(client, board_of(scene.project))
        claimed = stages._claimed(order, State.STORING)
        lifecycle.put_off(claimed, "The decoder died", died=True)
    for address in (board_of(scene.project), page_of(scene), "/queue/"):
        assert ASIDE in read(client, address), address
    assert f"scene-{scene.pk}" in board.changed()


def test_a_picture_that_was_found_is_free_and_says_so(client: Client, scene: Scene) -> None:
    order = stages.lost(stages.ordered(scene))
    assert "Not charged." in read(client, board_of(scene.project))
    lifecycle.adopt(order, "late")
    stages.arrive(order)
    found = "We found your picture. It is free."
    for address in (board_of(scene.project), page_of(scene), "/queue/"):
        assert found in read(client, address), address
    row = read(client, "/queue/").split(found)[1].split("</tr>")[0]
    assert "free" in row
    assert "credits" not in row
    stages.done(stages.ordered(scene))
    assert found not in read(client, board_of(scene.project))  # there is a newer one


def test_a_found_picture_is_news_for_who_does_not_see_the_card(
    client: Client, scene: Scene
) -> None:
    order = stages.lost(stages.ordered(scene))
    lifecycle.adopt(order, "late")
    board = OpenPage(client, board_of(scene.project))
    stages.arrive(order)
    (news,) = re.findall(r'<p id="news"[^>]*>([^<]*)</p>', board.changed()["news"])
    assert news.strip() == "Scene 12A: We found your picture. It is free."


def test_no_more_queries_when_more_is_held_up(scene: Scene, bob: User) -> None:
    client = signed_in(bob)  # who is told whose credits come back

    def count(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            read(client, address)
        return len(captured)

    def add(number: int) -> None:
        for letter, stage in zip("abcd", (None, _find, _keep, _slow_down), strict=True):
            order = stages.ordered(stages.add_scene(scene.project, f"{number}{letter}"), bob)
            if stage:
                stage(order)

    pause()
    add(1)
    addresses = (board_of(scene.project), "/queue/")
    few = [count(address) for address in addresses]
    for number in range(2, 8):
        add(number)
    assert [count(address) for address in addresses] == few
    assert read(client, addresses[0]).count("We found your picture.") == 7


def _find(order: Generation) -> None:
    stages.lost(order)
    lifecycle.adopt(order, f"late-{order.pk}")
    stages.arrive(order)


def _keep(order: Generation) -> None:
    lifecycle.take_back(stages.running(order), TakenBack.KEEP)


def _slow_down(order: Generation) -> None:
    stages.running(order)
    Generation.objects.filter(pk=order.pk).update(submitted_at="2020-01-01T00:00Z")


# In a browser


@pytest.fixture
def rough(browser: Browser, site: Site) -> Iterator[Page]:
    """A click takes the place of a look that is under way, of which htmx complains to the console,
    and `page` would not forgive that."""
    context = browser.new_context(base_url=site.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def paused(site: Site) -> Iterator[None]:
    models = "from generation.models import Pause; Pause.objects"
    site.manage("shell", "-v0", "-c", f"{models}.create(provider='kie', why='{WHY}')")
    yield
    site.manage("shell", "-v0", "-c", f"{models}.all().delete()")


@pytest.mark.browser
@pytest.mark.usefixtures("paused")
def test_cancelling_in_the_queue_keeps_the_focus_with_its_order(rough: Page) -> None:
    page = rough
    page.goto("/account/login/?next=/projects/cmkivtwqv0005l80499cyfuzx/")
    page.locator("#id_login").fill("demo")
    page.locator("#id_password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Ordering is paused for the moment.").first).to_be_visible()
    for number in (10, 11, 12):
        card = page.locator("li.scene").nth(number)
        card.get_by_role("button", name=re.compile("Generate image|Try again")).click()
        expect(card).to_contain_text(PAUSED)
    page.get_by_role("link", name="Queue").first.click()
    buttons = page.get_by_role("button", name="Cancel")
    expect(buttons).to_have_count(3)
    second = buttons.nth(1).evaluate("button => button.closest('tr').id")
    buttons.nth(1).focus()
    for _ in range(3):
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)
    expect(buttons).to_have_count(2)
    expect(page.locator(f"#{second}")).to_be_focused()
    expect(page.locator(f"#{second}")).to_contain_text("Cancelled")
    for _ in range(2):
        buttons.first.click()
        page.wait_for_timeout(1000)
    expect(buttons).to_have_count(0)
