"""A scene's shot: size, angle and lens are chosen in its form and stand in the prompt."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from generation import orders
from generation.wishes import Wish
from projects.models import SHOT_WORDS, Angle, Project, Scene, ShotSize
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


def test_every_size_and_angle_has_words_for_the_model() -> None:
    assert SHOT_WORDS.keys() == {*ShotSize.values, *Angle.values}


@pytest.mark.parametrize(
    ("size", "angle", "lens", "words"),
    [
        ("", "", "", ""),
        ("cu", "", "", "close-up"),
        ("", "low", "35 mm", "low angle, 35 mm lens"),
        ("els", "overhead", "anamorphic lens", "extreme long shot, overhead shot, anamorphic lens"),
    ],
)
def test_a_shot_in_words(size: str, angle: str, lens: str, words: str) -> None:
    assert Scene(shot_size=size, angle=angle, lens=lens).shot == words


def test_what_is_chosen_in_the_form_stands_in_the_prompt(project: Project, alice: User) -> None:
    scene = stages.add_scene(project, description="Duny")
    client = Client()
    client.force_login(alice)
    fields = {"number": "1", "title": "", "description": "Duny", "after": ""}
    address = reverse("projects:scene_edit", args=[scene.pk])
    client.post(address, {**fields, "shot_size": "cu", "angle": "low", "lens": "35 mm"})
    scene = Scene.objects.get()
    order = orders.prepare(Wish(project=scene.project, subject=scene))
    assert [(part.kind, part.text) for part in order.parts] == [
        ("scene", "Duny"),
        ("shot", "Close-up, low angle, 35 mm lens."),
    ]
    assert order.prompt == "Duny\n\nClose-up, low angle, 35 mm lens."
    page = client.get(reverse("generation:subject", args=["scene", scene.pk])).content.decode()
    assert '<div data-kind="shot"><dt>Shot</dt>' in page


def test_a_shot_need_not_be_said(project: Project, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    form = client.get(reverse("projects:scene_new", args=[project.pk])).content.decode()
    assert form.count('<option value="" selected>Not said</option>') == 2


def test_what_is_no_size_is_refused(project: Project, alice: User) -> None:
    scene = stages.add_scene(project)
    client = Client()
    client.force_login(alice)
    fields = {"number": "1", "description": "Duny", "shot_size": "huge"}
    address = reverse("projects:scene_edit", args=[scene.pk])
    assert client.post(address, fields).status_code == 422
    assert Scene.objects.get().shot == ""
