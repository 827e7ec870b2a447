"""manage.py demo: what is there to try, and that trying again destroys nothing."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from credits import invariants, ledger
from generation import missing, orders
from generation.defaults import settings_of
from generation.missing import Ready
from generation.models import Generation
from projects.access import user_of_token
from projects.models import Character, Project, Scene

pytestmark = pytest.mark.django_db

ID = "cmkivtwqv0005l80499cyfuzx"


def demo(**options: Any) -> str:
    out = StringIO()
    call_command("demo", stdout=out, **options)
    return out.getvalue()


def token_in(words: str) -> str:
    found = re.search(r"^API token +(\S+)", words, re.MULTILINE)
    assert found
    return found[1]


def test_the_project_is_the_documents() -> None:
    demo()
    project = Project.objects.get(pk=ID)
    own = settings_of(project)
    assert (project.name, project.owner.username) == ("hladanie v psuti_nova", "demo")
    assert {setting.source.rpartition(".")[2]: setting.value for setting in vars(own).values()} == {
        "provider": "kie",
        "model": "seedream-3.0/2k",
        "characterAspectRatio": "1:1",
        "sceneAspectRatio": "16:9",
        "sceneResolution": "2k",
    }


def test_everything_can_be_ordered_and_nothing_is(catalogue: None) -> None:
    demo()
    found = list(missing.survey(None, [Character, Scene], None))
    assert len(found) == Scene.objects.count() + Character.objects.count() == 16
    assert all(isinstance(item, Ready) for item in found)
    assert not Generation.objects.exists()
    scene = Scene.objects.get(number="12A")
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
    assert [part.kind for part in order.parts] == ["scene", "cast", "style"]


def test_who_is_printed_can_sign_in() -> None:
    words = demo()
    for name, password in re.findall(r"user (\w+), password (\w+)", words):
        assert authenticate(username=name, password=password) is not None
    user = user_of_token(token_in(words))
    assert user is not None and user.username == "demo"
    assert User.objects.get(username="staff").is_superuser
    assert not User.objects.get(username="demo").is_staff


def test_again_keeps_what_people_made_and_who_is_signed_in() -> None:
    first = demo()
    browser = Client()
    assert browser.login(username="demo", password="demo")
    Scene.objects.get(number="12A").delete()
    Project.objects.filter(pk=ID).update(name="hľadanie")
    second = demo()
    assert Scene.objects.count() == 12
    assert Project.objects.get(pk=ID).name == "hľadanie"
    assert browser.get("/").status_code == 200
    assert ledger.ledger_of(User.objects.get(username="demo")).balance == 25_000
    assert user_of_token(token_in(first)) is None
    assert user_of_token(token_in(second)) is not None
    assert invariants.violations() == []


def test_a_changed_password_is_what_is_printed_again() -> None:
    demo()
    user = User.objects.get(username="demo")
    user.set_password("something else")
    user.save()
    demo()
    assert authenticate(username="demo", password="demo") is not None


def test_not_where_pictures_cost_real_money(settings: Any) -> None:
    settings.KIE_API_KEY = "a-real-key"
    with pytest.raises(CommandError, match="real money"):
        demo()
    assert not User.objects.exists()
    demo(yes=True)
    assert Project.objects.filter(pk=ID).exists()
