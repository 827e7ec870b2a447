"""A model is switched off with a replacement: who is told, and what one click changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from generation.models import ImageSettings, KieModel, Multiplier
from generation.replacement import projects_on, replacement_for, uses_of
from projects.models import Member, Project, Role

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

LIST = "/admin/generation/kiemodel/"


def named(model_id: str) -> KieModel:
    return KieModel.objects.get(model_id=model_id)


@pytest.fixture
def old(project: Project) -> KieModel:
    """The project's model, still on."""
    ImageSettings.objects.create(
        project=project,
        model="seedream/4.5-text-to-image",
        scene_aspect_ratio="21:9",
        character_aspect_ratio="3:4",
        scene_resolution="4k",
    )
    return named("seedream/4.5-text-to-image")


@pytest.fixture
def new() -> KieModel:
    """Has 3:4, but neither 21:9 nor a 4K."""
    return named("seedream-3.0/2k")


def off(model: KieModel, instead: KieModel | None = None) -> None:
    KieModel.objects.filter(pk=model.pk).update(is_active=False, replacement=instead)


def page_of(model: KieModel, action: str = "change") -> str:
    return reverse(f"admin:generation_kiemodel_{action}", args=[model.pk])


def board(project: Project) -> str:
    return reverse("generation:board", args=[project.pk])


def settings_of(project: Project) -> str:
    return reverse("generation:settings", args=[project.pk])


def use(project: Project) -> str:
    return reverse("generation:use_replacement", args=[project.pk])


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return str(answer.content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


# In the admin


def test_its_page_asks_what_takes_its_place(at_admin: Client, old: KieModel, new: KieModel) -> None:
    assert page_of(old, "switch") in read(at_admin, page_of(old))
    asked = read(at_admin, page_of(old, "switch"))
    assert "1 project uses it." in asked
    assert f"({new.model_id})</option>" in asked
    assert f"({old.model_id})</option>" not in asked
    assert "topaz/image-upscale" not in asked, "it makes no pictures"
    assert named(old.model_id).is_active, "looking switches nothing"
    at_admin.post(page_of(old, "switch"), {f"instead_of_{old.pk}": new.pk})
    old.refresh_from_db()
    assert (old.is_active, old.replacement) == (False, new)
    logged = LogEntry.objects.get(object_id=str(old.pk)).get_change_message()
    assert logged == "Switched off; Seedream 3.0 (2K) takes its place."


def test_none_need_take_its_place(at_admin: Client, old: KieModel) -> None:
    at_admin.post(page_of(old, "switch"))
    old.refresh_from_db()
    assert (old.is_active, old.replacement) == (False, None)


def test_from_the_list_each_gets_its_own(at_admin: Client, old: KieModel, new: KieModel) -> None:
    other = named("google/imagen4")
    chosen: dict[str, Any] = {"action": "switch_off", "_selected_action": [old.pk, other.pk]}
    asked = at_admin.post(LIST, chosen)
    form = asked.context["form"]
    assert [field.label for field in form.visible_fields()] == [str(old), str(other)]
    assert not KieModel.objects.filter(pk__in=[old.pk, other.pk], is_active=False).exists()
    hidden = {field.name: field.value() for field in form.hidden_fields()}
    at_admin.post(LIST, hidden | {f"instead_of_{other.pk}": new.pk, "switch": "Switch off"})
    old.refresh_from_db()
    other.refresh_from_db()
    assert [(m.is_active, m.replacement) for m in (old, other)] == [(False, None), (False, new)]


def test_what_is_off_already_is_not_asked_for(at_admin: Client, old: KieModel) -> None:
    off(old)
    chosen = {"action": "switch_off", "_selected_action": [old.pk]}
    assert "0 models changed" in words(
        str(at_admin.post(LIST, chosen, follow=True).content, "utf8")
    )


def test_it_is_switched_on_again(at_admin: Client, old: KieModel, new: KieModel) -> None:
    off(old, new)
    at_admin.get(page_of(old, "switch"))
    at_admin.post(page_of(old, "switch"), {"switch": "Switch off"})  # the second of a double click
    assert not named(old.model_id).is_active
    at_admin.post(page_of(old, "switch"), {"on": "yes"})
    assert named(old.model_id).is_active
    off(old)
    at_admin.post(LIST, {"action": "switch_on", "_selected_action": [old.pk]})
    assert named(old.model_id).is_active


def test_who_may_only_look_switches_nothing(old: KieModel, helper: Callable[..., Client]) -> None:
    browser = helper("view_kiemodel")
    assert page_of(old, "switch") not in read(browser, page_of(old))
    assert browser.post(page_of(old, "switch")).status_code == 403
    browser.post(LIST, {"action": "switch_off", "_selected_action": [old.pk], "switch": "1"})
    assert named(old.model_id).is_active


def test_a_models_own_page_neither_switches_it_nor_loses_its_replacement(
    at_admin: Client, old: KieModel, new: KieModel
) -> None:
    off(old, new)
    page = at_admin.get(page_of(old)).context["adminform"].form
    data = {name: page[name].value() or "" for name in page.fields} | {"is_active": "on"}
    data |= {"prices-TOTAL_FORMS": "0", "prices-INITIAL_FORMS": "0"}
    assert at_admin.post(page_of(old), data).status_code == 302
    old.refresh_from_db()
    assert (old.is_active, old.replacement) == (False, new)


def test_staff_see_the_projects_that_it_makes_the_pictures_of(
    at_admin: Client, project: Project, old: KieModel, alice: User
) -> None:
    own = Project.objects.create(owner=alice, name="Never chose")
    other = Project.objects.create(owner=alice, name="Another model")
    ImageSettings.objects.create(project=other, model="google/imagen4")
    assert set(projects_on(old)) == {project, own}
    address = f"/admin/projects/project/?model={old.model_id.replace('/', '%2F')}"
    assert f'<a href="{address}">2</a>' in read(at_admin, LIST)
    assert f'<a href="{address}">2</a>' in read(at_admin, page_of(old))
    listed = read(at_admin, address)
    assert "hladanie v psuti_nova" in listed
    assert "Another model" not in listed


def test_uses_are_counted_for_all_models_at_once(project: Project, alice: User) -> None:
    models = list(KieModel.objects.all())
    for model_id in ("seedream/4-5-text-to-image", "seedream/4.5-text-to-image", "", "z-image"):
        film = Project.objects.create(owner=alice, name="Film")
        ImageSettings.objects.create(project=film, model=model_id)
    with CaptureQueriesContext(connection) as captured:
        uses = uses_of(models)
    assert len(captured) == 2
    counted = {model.model_id: uses[model.pk] for model in models if uses[model.pk]}
    assert counted == {"seedream/4.5-text-to-image": 4, "z-image": 1}  # one under an alias


# In the project


def test_people_are_told_and_one_click_changes_the_model(
    project: Project, bob: User, old: KieModel, new: KieModel
) -> None:
    client = signed_in(bob)
    assert "was switched off" not in read(client, board(project))
    off(old, new)
    for address in (board(project), settings_of(project)):
        told = words(read(client, address))
        assert "Seedream 4.5 was switched off. Seedream 3.0 (2K) takes its place." in told
        assert "Seedream 3.0 (2K) does not have 4k, 21:9" in told or "does not have 21:9" in told
        assert "Use Seedream 3.0 (2K) 6 credits" in told
    assert ImageSettings.objects.get().model == old.model_id, "nothing changes by itself"
    answer = client.post(use(project), {"model": new.model_id})
    assert answer["Location"] == board(project)
    own = ImageSettings.objects.get()
    assert (own.model, own.scene_aspect_ratio, own.character_aspect_ratio) == (
        new.model_id,
        "",
        "3:4",
    )
    assert own.scene_resolution == ""
    told = read(client, board(project))
    assert "was switched off" not in told
    assert "makes the pictures from now on." in told


def test_the_price_is_what_the_owner_pays(
    project: Project, bob: User, old: KieModel, new: KieModel
) -> None:
    off(old, new)
    Multiplier.objects.create(payer=project.owner, percent=150)
    assert "9 credits" in words(read(signed_in(bob), board(project)))


def test_viewers_are_told_without_a_button(project: Project, old: KieModel, new: KieModel) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    off(old, new)
    client = signed_in(dana)
    for address in (board(project), settings_of(project)):
        html = read(client, address)
        assert "takes its place." in html
        assert use(project) not in html
    assert client.post(use(project), {"model": new.model_id}).status_code == 403
    assert ImageSettings.objects.get().model == old.model_id


def test_strangers_are_kept_out(
    project: Project, charlie: User, old: KieModel, new: KieModel
) -> None:
    off(old, new)
    assert signed_in(charlie).post(use(project), {"model": new.model_id}).status_code == 404
    assert Client().post(use(project), {"model": new.model_id}).status_code == 302
    assert signed_in(project.owner).get(use(project)).status_code == 405
    assert ImageSettings.objects.get().model == old.model_id


def test_another_offer_than_was_seen_is_not_taken(
    project: Project, alice: User, old: KieModel, new: KieModel
) -> None:
    off(old, named("google/imagen4"))
    client = signed_in(alice)
    client.post(use(project), {"model": new.model_id})
    assert ImageSettings.objects.get().model == old.model_id
    assert "Something else is offered by now" in read(client, board(project))
    KieModel.objects.update(is_active=True)
    client.post(use(project), {"model": new.model_id})
    assert ImageSettings.objects.get().model == old.model_id


def test_without_a_replacement_people_choose(project: Project, alice: User, old: KieModel) -> None:
    off(old)
    told = words(read(signed_in(alice), board(project)))
    assert "Seedream 4.5 is switched off. Choose another model. Change the settings" in told
    assert "takes its place" not in told


def test_the_next_that_is_on_takes_the_place(
    project: Project, old: KieModel, new: KieModel
) -> None:
    between = named("google/imagen4")
    off(between, new)
    off(old, between)
    found = replacement_for(project)
    assert found and found.new == new
    off(new, old)  # round in a circle
    found = replacement_for(project)
    assert found and found.new is None


@pytest.mark.parametrize("fault", ["no price", "no pictures of scenes"])
def test_what_cannot_be_ordered_takes_no_place(
    project: Project, old: KieModel, new: KieModel, fault: str
) -> None:
    if fault == "no price":
        new.prices.all().delete()
    else:
        new = named("topaz/image-upscale")
    off(old, new)
    found = replacement_for(project)
    assert found and found.new is None


def test_a_pair_that_the_new_model_refuses_gives_way(project: Project, old: KieModel) -> None:
    new = named("gpt-image-2-text-to-image")
    ImageSettings.objects.update(character_aspect_ratio="1:1", scene_resolution="4K")
    off(old, new)
    signed_in(project.owner).post(use(project), {"model": new.model_id})
    own = ImageSettings.objects.get()
    assert (own.model, own.scene_resolution) == (new.model_id, "")


def test_a_project_that_never_chose_is_offered_it_too(
    project: Project, alice: User, new: KieModel
) -> None:
    default = named("seedream/4.5-text-to-image")
    off(default, new)
    signed_in(alice).post(use(project), {"model": new.model_id})
    assert ImageSettings.objects.get().model == new.model_id
