"""Several pictures by one click: a bill first, then all of it or nothing, and what became of it."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from credits import ledger
from generation import bill as bills
from generation.batch import results_of
from generation.models import Ask, Batch, Generation, ImageSettings, Price, Reason, State
from projects.models import Member, Project, Role, Scene
from tests import stages
from tests.open_page import OpenPage
from tests.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

HTMX = {"HX-Request": "true"}
PRICE = 600


@pytest.fixture
def client(alice: User, project: Project) -> Client:
    """Of alice, who has credits for twenty pictures at 6 apiece."""
    ImageSettings.objects.create(project=project, model="seedream-3.0/2k")
    stages.give_credits(alice, 20 * PRICE)
    return signed_in(alice)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(project: Project) -> str:
    return reverse("generation:bill", args=[project.pk])


def shown(client: Client, project: Project, **query: Any) -> str:
    response = client.get(address(project), query)
    assert response.status_code == 200, response.content.decode()
    return str(response.content.decode())


def button(html: str) -> dict[str, str]:
    """The hidden fields of the button that orders."""
    return dict(re.findall(r'name="(key|mark)" value="(\w*)"', html))


def order(client: Client, project: Project, html: str = "", **choices: Any) -> Any:
    """Presses the button of the bill for these choices."""
    html = html or shown(client, project, **choices)
    return client.post(address(project), {**choices, **button(html)})


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def figures(html: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>(?:<small>)?([^<]+)", html))


def books(user: User) -> tuple[int, int]:
    book = ledger.ledger_of(user)
    return book.balance, book.held


def numbers_ordered() -> list[str]:
    return list(Generation.objects.order_by("created_at").values_list("scene__number", flat=True))


# The bill


def test_the_bill_says_what_it_comes_to(client: Client, project: Project) -> None:
    for number in (1, 2, 3):
        stages.add_scene(project, number)
    html = shown(client, project)
    assert figures(html) == {
        "Pictures": "3",
        "Price of each": "6",
        "Total": "18 credits",
        "Left then": "102",
    }
    assert "3 scenes will be ordered" in html
    assert 'Generate 3 pictures <span class="price">18 credits' in html
    assert "You pay." in html
    assert Generation.objects.count() == 0
    assert books(project.owner) == (12_000, 0)


def test_what_is_skipped_and_why(client: Client, project: Project) -> None:
    stages.add_scene(project, 1)
    locked = stages.add_scene(project, 2)
    Scene.objects.filter(pk=locked.pk).update(is_locked=True)
    stages.add_scene(project, 3, description="")
    stages.ordered(stages.add_scene(project, 4))
    stages.failed(stages.ordered(stages.add_scene(project, 5)), Reason.UNSAFE)
    stages.lost(stages.ordered(stages.add_scene(project, 6)))
    stages.failed(stages.ordered(stages.add_scene(project, 7)), Reason.RENDER)
    html = shown(client, project)
    why = dict(
        re.findall(
            r'slate-number">(\w+)</span> <a[^>]*>[^<]*</a></span><span class="soft">([^<]+)', html
        )
    )
    assert why == {
        "2": "It is locked.",
        "3": "There is no description to make a picture from.",
        "4": "It is under way already.",
        "5": "The model refused this description as unsafe. Change it and try again.",
        "6": "Staff are looking at its last order.",
    }
    assert figures(html)["Pictures"] == "2"
    before = Generation.objects.count()
    order(client, project)
    assert numbers_ordered()[before:] == ["1", "7"]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("missing", ["1", "2"]),
        ("failed", ["2"]),
        ("old", ["4"]),
        ("all", ["1", "2", "3", "4"]),
        ("selected", ["1", "3"]),
    ],
)
def test_which_scenes(which: str, expected: list[str], client: Client, project: Project) -> None:
    scenes = [stages.add_scene(project, number) for number in (1, 2, 3, 4)]
    stages.failed(stages.ordered(scenes[1]), Reason.RENDER)
    for scene in scenes[2:]:
        stages.done(stages.ordered(scene))
    form = {"number": "4", "title": "", "description": "More", "after": scenes[2].pk}
    client.post(reverse("projects:scene_edit", args=[scenes[3].pk]), form)
    before = Generation.objects.count()
    choices: dict[str, Any] = {"which": which}
    if which == "selected":
        choices["scene"] = [scenes[2].pk, scenes[0].pk, "nothing", "Ž"]
    order(client, project, **choices)
    assert numbers_ordered()[before:] == expected


def test_no_scene_of_another_project_is_ordered(
    client: Client, project: Project, charlie: User
) -> None:
    foreign = stages.add_scene(Project.objects.create(owner=charlie, name="Other"))
    html = shown(client, project, which="selected", scene=[foreign.pk])
    assert "There is nothing to order here." in html
    assert "Generate" not in words(html).split("Left then")[1]


def test_a_limit_orders_the_first_ones(client: Client, project: Project) -> None:
    for number in range(1, 6):
        stages.add_scene(project, number)
    choices = {"which": "missing", "cap": "13.5"}
    html = shown(client, project, **choices)
    assert figures(html)["Total"] == "12 credits"
    assert "The limit does not reach for all. 3 scenes are left for another time." in words(html)
    order(client, project, **choices)
    assert numbers_ordered() == ["1", "2"]
    assert books(project.owner) == (12_000, 1200)


@pytest.mark.parametrize("choice", [{"cap": "much"}, {"variants": "9"}, {"which": "some"}])
def test_bad_choices_get_a_clear_error(
    choice: dict[str, str], client: Client, project: Project
) -> None:
    stages.add_scene(project)
    good = button(shown(client, project))
    for response in (
        client.get(address(project), choice),
        client.post(address(project), {**choice, **good}),
    ):
        assert response.status_code == 422
        assert 'class="errorlist"' in response.content.decode()
        assert "Generate 1 picture" not in response.content.decode()
    assert Generation.objects.count() == 0


def test_more_than_there_is_cannot_be_pressed(client: Client, project: Project) -> None:
    for number in range(1, 23):
        stages.add_scene(project, number)
    html = shown(client, project)
    assert "That is more than is available: 120 credits." in words(html)
    assert 'id="order"' not in html
    limited = client.post(address(project), {"show": "fit"}).content.decode()
    assert figures(limited)["Total"] == "120 credits"
    assert 'name="cap" value="120"' in limited
    assert "Generate 20 pictures" in limited


def test_only_so_many_by_one_click(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bills, "MOST", 5)
    for number in range(1, 5):
        stages.add_scene(project, number)
    html = shown(client, project, variants="2")
    assert figures(html)["Pictures"] == "4"
    assert "2 scenes are left for another time." in words(html)
    assert "One click orders at most" in html


def test_the_bill_follows_the_choices(client: Client, project: Project) -> None:
    stages.add_scene(project, 1)
    form = {"which": "all", "variants": "3", "show": "yes"}
    html = client.post(address(project), form, headers=HTMX).content.decode()
    assert html.lstrip().startswith('<div class="form" id="bill">')
    assert figures(html)["Pictures"] == "3"
    assert Generation.objects.count() == 0


# Who orders, who pays


def test_a_members_allowance_is_the_limit(client: Client, project: Project, bob: User) -> None:
    for number in range(1, 5):
        stages.add_scene(project, number)
    Member.objects.filter(user=bob).update(allowance=2000)
    his = signed_in(bob)
    html = shown(his, project)
    assert "That is more than is left of your allowance: 20 credits." in words(html)
    assert "alice pays." in html
    assert 'id="order"' not in html
    assert "102" not in figures(html).values()
    choices = {"which": "missing", "cap": "18"}
    assert figures(shown(his, project, **choices))["Left of your allowance then"] == "2"
    order(his, project, **choices)
    ordered = Generation.objects.all()
    assert {(one.ordered_by, one.payer) for one in ordered} == {(bob, project.owner)}
    assert books(project.owner) == (12_000, 1800)


def test_an_allowance_that_shrank_meanwhile(client: Client, project: Project, bob: User) -> None:
    for number in range(1, 5):
        stages.add_scene(project, number)
    his = signed_in(bob)
    html = shown(his, project)
    assert "Left" not in figures(html)  # what alice has is hers to know
    Member.objects.filter(user=bob).update(allowance=2000)
    response = order(his, project, html, which="missing")
    assert response.status_code == 402
    assert "This costs 24 credits, and your allowance has 20 credits left. Ask alice." in words(
        response.content.decode()
    )
    assert Generation.objects.count() == Batch.objects.count() == 0


def test_credits_that_went_meanwhile(client: Client, project: Project, alice: User) -> None:
    for number in range(1, 21):
        stages.add_scene(project, number)
    html = shown(client, project)
    about = ledger.About(description="Taken")
    ledger.adjust(ledger.ledger_of(alice), -100, reference="taken", about=about)
    response = order(client, project, html, which="missing")
    assert response.status_code == 402
    told = words(response.content.decode())
    assert "Not enough credits: this costs 120 credits; you have 119 credits available." in told
    assert Generation.objects.count() == Batch.objects.count() == 0
    assert books(alice) == (11_900, 0)


def test_who_may(client: Client, project: Project, charlie: User) -> None:
    stages.add_scene(project)
    dana = User.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    html = shown(client, project)
    for who, status in ((Client(), 302), (signed_in(charlie), 404), (signed_in(dana), 403)):
        assert who.post(address(project), button(html)).status_code == status
    assert Generation.objects.count() == 0


# All or nothing


def test_all_is_held_at_the_price_that_was_shown(client: Client, project: Project) -> None:
    for number in (1, 2, 3):
        stages.add_scene(project, number)
    response = order(client, project, which="missing", variants="2")
    assert response["Location"] == reverse("generation:board", args=[project.pk])
    placed = Generation.objects.all()
    assert len(placed) == 6
    assert all(one.batch and one.price == PRICE and one.state == State.QUEUED for one in placed)
    assert books(project.owner) == (12_000, 3600)
    assert len({one.hold_reference for one in placed}) == 6
    # Every scene once before any is made a second time.
    assert numbers_ordered() == ["1", "2", "3", "1", "2", "3"]
    assert "6 pictures ordered: 36 credits." in client.get(response["Location"]).content.decode()


def test_single_clicks_go_before_it(client: Client, project: Project, bob: User) -> None:
    from generation import line

    scene = stages.add_scene(project, 1)
    order(client, project)
    single = stages.ordered(scene, bob)
    assert line.next_in_line() == single


def changed_price() -> None:
    Price.objects.filter(model__model_id="seedream-3.0/2k").update(credits=700)


def locked_scene() -> None:
    Scene.objects.filter(number="2").update(is_locked=True)


def ordered_by_another() -> None:
    stages.ordered(Scene.objects.get(number="2"))


def swapped_scene() -> None:
    """The same number at the same price is not the same bill."""
    locked_scene()
    stages.add_scene(Project.objects.get(), 9)


@pytest.mark.parametrize("change", [changed_price, locked_scene, ordered_by_another, swapped_scene])
def test_a_bill_that_changed_is_shown_and_nothing_ordered(
    change: Any, client: Client, project: Project
) -> None:
    for number in (1, 2, 3):
        stages.add_scene(project, number)
    html = shown(client, project)
    change()
    before = Generation.objects.count()
    response = order(client, project, html, which="missing")
    assert response.status_code == 409
    again = response.content.decode()
    assert "The bill has changed. Nothing was ordered; look at it again." in again
    assert Generation.objects.count() == before
    assert Batch.objects.count() == 0
    assert order(client, project, again, which="missing").status_code == 302


def test_one_click_is_one_batch(client: Client, project: Project) -> None:
    stages.add_scene(project)
    html = shown(client, project)
    for _ in range(3):
        assert order(client, project, html, which="missing").status_code == 302
    assert Generation.objects.count() == Batch.objects.count() == 1
    assert books(project.owner) == (12_000, 600)


def test_a_key_of_another_project_orders_nothing(
    client: Client, project: Project, alice: User
) -> None:
    stages.add_scene(project)
    other = Project.objects.create(owner=alice, name="Other")
    ImageSettings.objects.create(project=other, model="seedream-3.0/2k")
    stages.add_scene(other)
    html = shown(client, project)
    order(client, project, html)
    fields = button(shown(client, other)) | {"key": button(html)["key"]}
    response = client.post(address(other), fields)
    assert response.status_code == 409
    assert Generation.objects.count() == 1


@pytest.mark.parametrize("field", ["key", "mark"])
@pytest.mark.parametrize("value", [None, "", "A" * 32, "0" * 31, "0" * 64 + "\n"])
def test_a_garbled_button_orders_nothing(
    field: str, value: str | None, client: Client, project: Project
) -> None:
    stages.add_scene(project)
    fields = button(shown(client, project)) | {field: value}
    sent = {name: text for name, text in fields.items() if text is not None}
    assert client.post(address(project), sent).status_code == 400
    assert Generation.objects.count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("same_key", [True, False])
def test_two_clicks_at_once_are_one_batch(
    same_key: bool, client: Client, project: Project, alice: User
) -> None:
    """With one key both are answered with it; of two keys the second finds another bill."""
    for number in (1, 2, 3):
        stages.add_scene(project, number)
    html = [shown(client, project) for _ in range(4)]
    pages = [html[0]] * 4 if same_key else html
    clients = [signed_in(alice) for _ in pages]
    calls = [
        lambda client=client, page=page: order(client, project, page, which="missing").status_code
        for client, page in zip(clients, pages, strict=True)
    ]
    statuses = at_once(calls)
    assert sorted(map(str, statuses)) == (["302"] * 4 if same_key else ["302", *["409"] * 3])
    assert Batch.objects.count() == 1, connection.vendor
    assert Generation.objects.count() == 3
    assert books(alice) == (12_000, 1800)


@pytest.mark.django_db(transaction=True)
def test_two_members_at_once_do_not_spend_an_allowance_twice(
    client: Client, project: Project, bob: User
) -> None:
    """Of two bills for other scenes, each covered by itself, one is refused."""
    scenes = [stages.add_scene(project, number) for number in range(1, 7)]
    Member.objects.filter(user=bob).update(allowance=2400)
    picks = [[s.pk for s in scenes[:3]], [s.pk for s in scenes[3:]]]
    his = [signed_in(bob) for _ in picks]
    pages = [shown(c, project, which="selected", scene=p) for c, p in zip(his, picks, strict=True)]
    calls = [
        lambda c=c, page=page, p=p: order(c, project, page, which="selected", scene=p).status_code
        for c, page, p in zip(his, pages, picks, strict=True)
    ]
    assert sorted(map(str, at_once(calls))) == ["302", "402"]
    assert Generation.objects.count() == 3
    assert books(project.owner) == (12_000, 1800)


# Asking the owner for all of it


@pytest.fixture
def asking(client: Client, project: Project, bob: User) -> Client:
    """Of bob, who may edit and has no allowance; there are three scenes."""
    Member.objects.filter(user=bob).update(allowance=0)
    for number in (1, 2, 3):
        stages.add_scene(project, number)
    return signed_in(bob)


def test_whoever_has_no_allowance_asks_for_all_of_it(asking: Client, project: Project) -> None:
    html = words(shown(asking, project))
    assert "You can ask alice for one picture of each scene." in html
    assert "Ask alice for 3 pictures 18 credits" in html
    assert "Generate 3" not in html
    assert "3 scenes are on the bill" in html
    response = order(asking, project, ask="yes")
    board = asking.get(response.url).content.decode()
    assert "alice has been asked for 3 pictures: 18 credits." in words(board)
    assert words(board).count("Asked alice for 6 credits") == 3
    assert {ask.price for ask in Ask.objects.all()} == {PRICE}
    assert not Generation.objects.exists()
    assert books(project.owner) == (20 * PRICE, 0)


def test_what_can_only_be_asked_for_does_not_shine(
    asking: Client, client: Client, project: Project
) -> None:
    board = reverse("generation:board", args=[project.pk])
    link = f'href="{reverse("generation:bill", args=[project.pk])}?which=missing"'
    assert f'<a class="button small primary" {link}' in client.get(board).content.decode()
    assert f'<a class="button small" {link}' in asking.get(board).content.decode()


def test_what_was_asked_for_already_is_the_same_ask(asking: Client, project: Project) -> None:
    order(asking, project, ask="yes", which="selected", scene=[project.scenes.all()[0].pk])
    Price.objects.filter(model__model_id="seedream-3.0/2k").update(credits=700)
    order(asking, project, ask="yes")
    found = Ask.objects.values_list("scene__number", "price").order_by("scene__number")
    assert list(found) == [("1", 700), ("2", 700), ("3", 700)]


def test_one_of_each_scene_is_asked_for(asking: Client, project: Project) -> None:
    choices = {"which": "all", "variants": "4"}
    html = shown(asking, project, **choices)
    assert figures(html)["Pictures"] == "12"
    assert "Ask alice for 3 pictures 18 credits" in words(html)
    order(asking, project, ask="yes", **choices)
    assert Ask.objects.count() == 3


def test_what_the_allowance_covers_is_not_asked_for(
    asking: Client, project: Project, bob: User
) -> None:
    html = shown(asking, project)
    Member.objects.filter(user=bob).update(allowance=3 * PRICE)
    response = order(asking, project, html, ask="yes")
    assert response.status_code == 409
    assert "Nobody needs to be asked" in words(response.content.decode())
    assert not Ask.objects.exists()


def test_the_owner_asks_nobody(client: Client, project: Project) -> None:
    stages.add_scene(project, 1)
    assert order(client, project, ask="yes").status_code == 409
    assert not Ask.objects.exists()


def test_nothing_is_asked_for_that_did_not_stand_there(asking: Client, project: Project) -> None:
    html = shown(asking, project)
    stages.add_scene(project, 4)
    assert order(asking, project, html, ask="yes").status_code == 409
    assert not Ask.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_ask_once(asking: Client, project: Project, bob: User) -> None:
    clients = [signed_in(bob) for _ in range(3)]
    pages = [shown(one, project) for one in clients]
    calls = [
        lambda c=c, page=page: order(c, project, page, ask="yes").status_code
        for c, page in zip(clients, pages, strict=True)
    ]
    assert at_once(calls) == [302, 302, 302]
    assert Ask.objects.count() == 3


def test_as_many_queries_for_3_asks_as_for_80(asking: Client, project: Project) -> None:
    def queries() -> int:
        html = shown(asking, project)
        with CaptureQueriesContext(connection) as captured:
            assert order(asking, project, html, ask="yes").status_code == 302
        return len(captured)

    few = queries()
    Ask.objects.all().delete()
    for number in range(4, 81):
        stages.add_scene(project, number)
    assert queries() == few
    assert Ask.objects.count() == 80


def test_no_more_is_asked_for_than_the_owner_sees(asking: Client, project: Project) -> None:
    for number in range(4, 105):
        stages.add_scene(project, number)
    assert "Ask alice for 100 pictures 600 credits" in words(shown(asking, project))
    order(asking, project, ask="yes")
    assert Ask.objects.count() == 100


# What became of it


@pytest.fixture
def batch(client: Client, project: Project) -> Batch:
    """Of four scenes: one done, one under way, two failed."""
    scenes = [stages.add_scene(project, number) for number in (1, 2, 3, 4)]
    order(client, project)
    made = [scene.generations.get() for scene in scenes]
    stages.done(made[0])
    stages.failed(made[1], Reason.RENDER)
    stages.failed(made[2], Reason.RENDER)
    return Batch.objects.get()


def board(client: Client, project: Project) -> str:
    return client.get(reverse("generation:board", args=[project.pk])).content.decode()


def test_the_board_tells_how_it_is_doing(client: Client, project: Project, batch: Batch) -> None:
    html = board(client, project)
    told = words(html)
    assert "4 pictures by one click 1 done 1 under way 2 failed" in told
    assert "6 of 24 credits charged" in told
    assert "Retry the 2 that failed" in told
    assert reverse("generation:batch", args=[batch.pk]) in html


def test_nobody_else_is_told_on_their_board(project: Project, batch: Batch, bob: User) -> None:
    assert "by one click" not in board(signed_in(bob), project)


def test_what_failed_is_retried_exactly(client: Client, project: Project, batch: Batch) -> None:
    choices = {"which": "retry", "batch": batch.pk}
    html = shown(client, project, **choices)
    assert figures(html)["Pictures"] == "2"
    order(client, project, **choices)
    assert numbers_ordered()[4:] == ["2", "3"]
    assert results_of(batch).to_retry == 0
    html = shown(client, project, **choices)
    assert html.count("It has been ordered again since.") == 2
    assert 'id="order"' not in html


def test_it_is_retried_as_often_as_it_failed(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order(client, project, which="missing", variants="3")
    first, second, third = scene.generations.order_by("created_at")
    stages.failed(first, Reason.RENDER)
    stages.failed(third, Reason.RENDER)
    choices = {"which": "retry", "batch": Batch.objects.get().pk, "variants": "5"}
    html = shown(client, project, **choices)
    assert figures(html)["Pictures"] == "2"  # although the second is still under way
    order(client, project, **choices)
    assert scene.generations.count() == 5
    assert second.state == State.QUEUED


def test_what_would_fail_again_is_not_retried(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order(client, project)
    stages.failed(scene.generations.get(), Reason.UNSAFE)
    html = shown(client, project, which="retry", batch=Batch.objects.get().pk)
    assert "The model refused this description as unsafe." in html
    assert 'id="order"' not in html


def test_no_batch_of_another_project_is_retried(
    client: Client, project: Project, batch: Batch, alice: User
) -> None:
    other = Project.objects.create(owner=alice, name="Other")
    for batch_id in (batch.pk, "nothing", "Ž"):
        response = client.get(address(other), {"which": "retry", "batch": batch_id})
        assert response.status_code == 422
        assert "This batch is not there any more." in response.content.decode()


def test_each_order_of_it_on_a_page(client: Client, project: Project, batch: Batch) -> None:
    page = reverse("generation:batch", args=[batch.pk])
    told = words(client.get(page).content.decode())
    assert re.search(r"1 Scéna 1 Done 6 credits", told)
    assert re.search(r"2 Scéna 2 Failed .*? not charged", told)


def test_open_pages_follow_it(client: Client, project: Project, batch: Batch) -> None:
    page = OpenPage(client, reverse("generation:batch", args=[batch.pk]))
    board = OpenPage(client, reverse("generation:board", args=[project.pk]))
    assert page.ask().status_code == board.ask().status_code == 204
    stages.done(Generation.objects.get(state=State.QUEUED))
    assert {"batch-results", "batch-orders"} <= page.changed().keys()
    assert {"batch-results", "several", "filters"} <= board.changed().keys()


def test_it_can_be_put_away(client: Client, project: Project, batch: Batch, bob: User) -> None:
    address = reverse("generation:batch_put_away", args=[batch.pk])
    assert signed_in(bob).post(address).status_code == 403
    assert "by one click" in board(client, project)
    assert client.post(address).status_code == 302
    assert "pictures by one click" not in board(client, project)
    batch.refresh_from_db()
    assert batch.is_put_away


def test_the_last_one_is_told_and_putting_it_away_brings_back_none_before(
    client: Client, project: Project, batch: Batch
) -> None:
    order(client, project, which="retry", batch=batch.pk)
    assert "2 pictures by one click 2 under way" in words(board(client, project))
    newest = Batch.objects.exclude(pk=batch.pk).get()
    client.post(reverse("generation:batch_put_away", args=[newest.pk]))
    assert "pictures by one click" not in board(client, project)


def test_old_news_is_no_news(client: Client, project: Project) -> None:
    scene = stages.add_scene(project)
    order(client, project)
    stages.done(scene.generations.get())
    assert "1 picture by one click 1 done" in words(board(client, project))
    Batch.objects.update(created_at="2020-01-01T00:00Z")
    assert "by one click" not in words(board(client, project))


# On the board


def test_the_board_leads_to_the_bill(client: Client, project: Project) -> None:
    scenes = [stages.add_scene(project, number) for number in (1, 2, 3, 4)]
    stages.failed(stages.ordered(scenes[0]), Reason.RENDER)
    stages.failed(stages.ordered(scenes[1]), Reason.UNSAFE)
    stages.done(stages.ordered(scenes[2]))
    Project.objects.update(style_changed_at=scenes[2].takes.get().created_at)
    html = board(client, project)
    found = re.findall(
        rf'href="{address(project)}\?which=(\w+)">([^<]*)(?:<.*?>([^<]+)</span>)?', html
    )
    assert [(which, text.strip(), price) for which, text, price in found] == [
        ("missing", "Generate 2 missing", "12 credits"),
        ("failed", "Retry 1 failed", "6 credits"),
        ("old", "Update 1 scene", "6 credits"),
        ("all", "Several at once", ""),
    ]
    for which, text, _price in found[:3]:
        pictures = figures(shown(client, project, which=which))["Pictures"]
        assert pictures in text  # what the board says is what the bill says


def test_a_price_that_depends_on_the_cast_is_only_on_the_bill(
    client: Client, project: Project
) -> None:
    stages.add_scene(project)
    model = Price.objects.filter(reference_credits__gt=0, model__is_active=True).first()
    assert model is not None
    ImageSettings.objects.update(model=model.model.model_id)
    html = board(client, project)
    entry = html[html.index("?which=missing") :].partition("</a>")[0]
    assert "Generate 1 missing" in entry
    assert "price" not in entry


def test_a_viewer_selects_nothing(client: Client, project: Project) -> None:
    stages.add_scene(project)
    dana = User.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    html = board(signed_in(dana), project)
    for word in ('class="pick"', "Several at once", 'id="selection"'):
        assert word not in html
        assert word in board(client, project)


def test_several_are_locked_at_once(client: Client, project: Project, charlie: User) -> None:
    scenes = [stages.add_scene(project, number) for number in (1, 2, 3)]
    foreign = stages.add_scene(Project.objects.create(owner=charlie, name="Other"))
    lock = reverse("projects:scenes_lock", args=[project.pk])
    picked = {"scene": [scenes[0].pk, scenes[2].pk, foreign.pk, "\0"]}
    back = f"{reverse('generation:board', args=[project.pk])}?page=2"
    response = client.post(lock, {**picked, "locked": "yes", "next": back})
    assert response["Location"] == back
    assert list(Scene.objects.filter(is_locked=True)) == [scenes[0], scenes[2]]
    assert "2 scenes are locked." in client.get(back).content.decode()
    client.post(lock, {**picked, "locked": "no"})
    assert not Scene.objects.filter(is_locked=True).exists()


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_no_more_queries_when_there_are_more_scenes(
    client: Client, project: Project, alice: User
) -> None:
    person = stages.add_character(project)

    def fill(up_to: int) -> None:
        first = project.scenes.count() + 1
        scenes = Scene.objects.bulk_create(
            Scene(project=project, number=str(n), position=n, description="Duny")
            for n in range(first, up_to + 1)
        )
        Scene.cast.through.objects.bulk_create(
            Scene.cast.through(scene=scene, character=person) for scene in scenes
        )
        stages.paid_in_bulk(scenes[::2], [alice], len(scenes[::2]))

    fill(10)
    batch = Batch.objects.create(project=project, ordered_by=alice, key=uuid4().hex)
    every = Generation.objects.filter(project=project)
    every.update(in_batch=batch)
    pages = [
        reverse("generation:board", args=[project.pk]),
        reverse("generation:batch", args=[batch.pk]),
        *(f"{address(project)}?which={which}" for which in ("missing", "old", "all", "failed")),
    ]
    few = [queries(client, page) for page in pages]
    fill(1000)
    every.update(in_batch=batch)
    assert [queries(client, page) for page in pages] == few
    assert max(few) < 40
