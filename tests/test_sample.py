"""A model's sample picture: chosen from a test order, seen by everybody who chooses a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from generation import orders
from generation.models import Generation, KieModel
from projects.models import Project, Take
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


@pytest.fixture
def model() -> KieModel:
    return KieModel.objects.get(model_id="seedream/4.5-text-to-image")


@pytest.fixture
def trial(staff: User) -> Generation:
    """A test order that is done, whose picture is there."""
    order = orders.prepare(orders.Wish(prompt="Duny", free=True))
    made = orders.place(order, orders.Terms(user=staff, key="admin:1"))
    take = stages.done(made)
    default_storage.save(take.thumbnail.name, ContentFile(b"small"))
    return made


def take_of(order: Generation) -> Take:
    return Take.objects.get(output__generation=order)


def page_of(order: Generation, action: str = "change") -> str:
    return reverse(f"admin:generation_generation_{action}", args=[order.pk])


def address(model: KieModel) -> str:
    return reverse("generation:sample", args=[model.pk])


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def read(client: Client, page: str) -> str:
    return str(client.get(page).content.decode())


def test_staff_choose_it_on_the_page_of_a_test_order(
    at_admin: Client, trial: Generation, model: KieModel, alice: User, project: Project
) -> None:
    settings = reverse("generation:settings", args=[project.pk])
    assert address(model) not in read(signed_in(alice), settings)
    assert page_of(trial, "sample") in read(at_admin, page_of(trial))
    asked = read(at_admin, page_of(trial, "sample"))
    take = take_of(trial)
    assert re.search(rf'value="{take.pk}"[^>]* checked', asked)
    at_admin.post(page_of(trial, "sample"), {"take": take.pk})
    model.refresh_from_db()
    assert model.sample == take
    logged = LogEntry.objects.get(object_id=str(model.pk)).get_change_message()
    assert logged == "Seedream 4.5 has a new sample picture."
    page = reverse("admin:generation_kiemodel_change", args=[model.pk])
    assert reverse("admin:projects_take_thumbnail", args=[take.pk]) in read(at_admin, page)

    html = read(signed_in(alice), settings)
    assert f'src="{address(model)}?of={take.pk}"' in html
    assert 'alt="Sample picture of Seedream 4.5"' in html
    answer = signed_in(alice).get(address(model))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert b"".join(answer.streaming_content) == b"small"  # type: ignore[attr-defined]


def test_it_is_taken_away_again(at_admin: Client, trial: Generation, model: KieModel) -> None:
    KieModel.objects.filter(pk=model.pk).update(sample=take_of(trial))
    at_admin.post(page_of(trial, "sample"), {"take": ""})
    model.refresh_from_db()
    assert model.sample is None
    assert at_admin.get(address(model)).status_code == 404


def test_nobodys_film_is_shown_to_others(
    at_admin: Client, project: Project, model: KieModel, alice: User
) -> None:
    stages.give_credits(alice, 5000)
    in_a_film = stages.ordered(stages.add_scene(project))
    by_program = stages.ordered_alone(alice)
    for order in (in_a_film, by_program):
        take = stages.done(order)
        assert page_of(order, "sample") not in read(at_admin, page_of(order))
        at_admin.post(page_of(order, "sample"), {"take": take.pk})
        model.refresh_from_db()
        assert model.sample is None
    KieModel.objects.filter(pk=model.pk).update(sample=Take.objects.filter(project=project)[0])
    assert signed_in(alice).get(address(model)).status_code == 404


def test_an_order_that_is_not_done_has_none(at_admin: Client, staff: User) -> None:
    order = orders.prepare(orders.Wish(prompt="Duny", free=True))
    made = orders.place(order, orders.Terms(user=staff, key="admin:1"))
    assert page_of(made, "sample") not in read(at_admin, page_of(made))


def test_only_who_may_change_models_chooses(
    trial: Generation, model: KieModel, helper: Callable[..., Client]
) -> None:
    browser = helper("view_generation", "change_generation", "view_kiemodel")
    assert page_of(trial, "sample") not in read(browser, page_of(trial))
    taken = browser.post(page_of(trial, "sample"), {"take": take_of(trial).pk})
    assert taken.status_code == 403
    model.refresh_from_db()
    assert model.sample is None


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_sees_it(trial: Generation, model: KieModel, charlie: User, method: str) -> None:
    KieModel.objects.filter(pk=model.pk).update(sample=take_of(trial))
    answers: dict[str, Any] = {
        "nobody": getattr(Client(), method)(address(model)).status_code,
        "anybody": getattr(signed_in(charlie), method)(address(model)).status_code,
    }
    wanted = {"nobody": 302, "anybody": 200} if method == "get" else dict.fromkeys(answers, 405)
    assert answers == wanted


def test_a_model_that_is_not_there_has_none(charlie: User, model: KieModel) -> None:
    assert signed_in(charlie).get(address(model)).status_code == 404
    assert signed_in(charlie).get("/models/999999/sample").status_code == 404
