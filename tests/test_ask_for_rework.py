"""What an editor wishes to do with a take beyond the allowance: asked for on the page of that work,
shown to the owner with what it is, and ordered when the owner agrees."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from credits import ledger
from generation import asks
from generation.models import Ask, Generation
from projects.models import Member, Project, Take
from tests import stages
from tests.test_rework import LITE, address, page, press, price_on_button, show, signed_in, words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

NIGHT = {"prompt": "Make it night", "model": LITE}


@pytest.fixture
def take(project: Project) -> Take:
    Member.objects.update(allowance=0)
    stages.give_credits(project.owner, 10_000)
    return stages.add_take(stages.add_scene(project, "12A"))


def ask(user: User, take: Take, **form: str) -> Any:
    return press(signed_in(user), take, "edit", ask="yes", **NIGHT | form)


def test_the_button_asks_where_the_allowance_does_not_cover_it(
    take: Take, alice: User, bob: User
) -> None:
    html = show(signed_in(bob), take, "edit", **NIGHT)
    assert 'name="ask"' in html
    assert "Ask alice" in words(html)
    assert "you ask for every picture" in words(html)
    assert 'name="ask"' not in show(signed_in(alice), take, "edit", **NIGHT)
    Member.objects.update(allowance=int(price_on_button(html)))
    html = show(signed_in(bob), take, "edit", **NIGHT)
    assert 'name="ask"' not in html
    assert "Ask alice" not in words(html)


def test_an_ask_holds_nothing_and_is_shown_with_what_it_is_about(
    take: Take, alice: User, bob: User
) -> None:
    response = ask(bob, take)
    assert response["Location"] == address(take, "edit")
    found = Ask.objects.get()
    assert (found.member.user, found.subject, found.work) == (bob, take.scene, "Edit")
    assert (found.wish["source"], found.wish["prompt"]) == (take.pk, "Make it night")
    assert not Generation.objects.exists()
    assert ledger.ledger_of(alice).held == 0
    told = words(page(signed_in(bob), take, "edit"))
    assert "Asked alice for" in told
    assert "Edit: “Make it night”" in told
    assert "Asked alice for" not in words(page(signed_in(bob), take, "upscale")), "another work"
    assert "Asked alice for" not in words(page(signed_in(alice), take, "edit")), "another's"


def test_the_payer_sees_what_is_asked(take: Take, alice: User, bob: User) -> None:
    ask(bob, take)
    asks.ask(asks.orders.Wish(project=take.project, subject=take.scene), bob, 650)
    addresses = (
        reverse("generation:board", args=[take.project_id]),
        reverse("generation:queue"),
    )
    for where in addresses:
        html = signed_in(alice).get(where).content.decode()
        table = html[html.index('id="asks"') :]
        table = table[: table.index("</table>")]
        assert "Edit: “Make it night”" in words(table)
        assert table.count(reverse("projects:thumbnail", args=[take.pk])) == 1
        assert "Prompt Duny" in words(table), "the words of what is a picture of the scene"


def test_approved_it_is_the_order(take: Take, alice: User, bob: User) -> None:
    ask(bob, take)
    found = Ask.objects.get()
    order = asks.approve(found, found.price)
    assert (order.operation, order.source, order.payer) == ("edit", take, alice)
    assert (order.ordered_by, order.price) == (bob, found.price)
    assert "Asked alice" not in words(page(signed_in(bob), take, "edit"))


def test_declined_or_taken_back(take: Take, bob: User) -> None:
    ask(bob, take)
    client = signed_in(bob)
    found = Ask.objects.get()
    back = client.post(
        reverse("generation:ask_take_back", args=[found.pk]),
        headers={"Referer": f"http://testserver{address(take, 'edit')}"},
    )
    assert back["Location"].endswith(address(take, "edit"))
    assert not Ask.objects.exists()
    ask(bob, take)
    asks.decline(Ask.objects.get(), "Too dark")
    assert "alice declined. “Too dark” Edit: “Make it night”" in words(page(client, take, "edit"))
    assert "Ask alice" in words(show(client, take, "edit", **NIGHT)), "another time"


def test_who_need_not_ask_is_told(take: Take, bob: User) -> None:
    Member.objects.update(allowance=None)
    response = ask(bob, take)
    assert response.status_code == 409
    assert "Nobody needs to be asked" in response.content.decode()
    assert not Ask.objects.exists() and not Generation.objects.exists()


def test_beyond_the_allowance_nothing_is_ordered_without_asking(take: Take, bob: User) -> None:
    response = press(signed_in(bob), take, "edit", **NIGHT)
    assert response.status_code == 402
    assert "your allowance has" in response.content.decode()
    assert 'name="ask"' in response.content.decode()
    assert not Ask.objects.exists() and not Generation.objects.exists()


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"prompt": ""}, 422, "Say what is to change."),
        ({"price": "1"}, 409, "The price has changed"),
        ({"model": "nobody/knows"}, 422, "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_before_anybody_is_asked(
    take: Take, bob: User, form: dict[str, str], status: int, said: str
) -> None:
    response = ask(bob, take, **form)
    assert (response.status_code, said in response.content.decode()) == (status, True)
    assert not Ask.objects.exists()


def test_a_garbled_button_asks_nobody(take: Take, bob: User) -> None:
    form = {**NIGHT, "ask": "yes", "price": "many", "key": uuid4().hex}
    assert signed_in(bob).post(address(take, "edit"), form).status_code == 400
    assert not Ask.objects.exists()
