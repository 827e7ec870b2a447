"""A project's settings: only what the model can do is offered and taken."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from generation import defaults, orders, records
from generation.models import ImageSettings, KieModel, Multiplier, Operation, Price, Slot
from projects.models import Member, Project, Role
from tests import stages
from tests.servers import Site

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

DOCUMENT = {
    "name": "hladanie v psuti_nova",
    "style": "",
    "provider": "kie",
    "model": "seedream-3.0/2k",
    "character_aspect_ratio": "1:1",
    "scene_aspect_ratio": "16:9",
    "scene_resolution": "2K",
}


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(project: Project) -> str:
    return reverse("generation:settings", args=[project.pk])


def save(client: Client, project: Project, **changes: str) -> Any:
    return client.post(address(project), DOCUMENT | changes)


def form(client: Client, project: Project, **values: str) -> str:
    return str(client.get(address(project), values).content.decode())


def options(client: Client, project: Project, **values: str) -> str:
    response = client.get(address(project), values, headers={"HX-Request": "true"})
    return str(response.content.decode())


def offered(html: str, name: str) -> list[str]:
    return re.findall(rf'<input type="radio" name="{name}" value="([^"]*)"', html)


def picked(html: str, name: str) -> list[str]:
    return re.findall(rf'<input type="radio" name="{name}" value="([^"]*)"[^>]*checked', html)


def test_the_documents_settings_are_kept(client: Client, project: Project) -> None:
    response = save(client, project, name="Duny", style="35 mm")
    assert response["Location"] == reverse("generation:board", args=[project.pk])
    project = Project.objects.get()
    assert (project.name, project.style) == ("Duny", "35 mm")
    own = defaults.settings_of(project)
    assert own.model == defaults.Setting("seedream-3.0/2k", "project.modelConfig.image.model")
    assert own.scene_resolution.value == "2K"
    assert own.character_aspect_ratio.value == "1:1"


def test_nothing_chosen_is_the_default(client: Client, project: Project) -> None:
    html = form(client, project)
    for words in ("Default (kie)", "Default (16:9)", "Default (1:1)", "Default (2K)"):
        assert words in html
    assert picked(html, "model") == [""]
    assert "Seedream 4.5" in html
    empty = dict.fromkeys(set(DOCUMENT) - {"name"}, "")
    assert save(client, project, **empty).status_code == 302
    own = defaults.settings_of(Project.objects.get())
    assert own.model == defaults.Setting(defaults.MODEL, "default")
    assert own.scene_resolution == defaults.Setting("", "default")


def test_every_active_model_with_its_prices(client: Client, project: Project) -> None:
    KieModel.objects.filter(model_id="z-image").update(is_active=False)
    html = form(client, project)
    models = [m for m in KieModel.objects.filter(is_active=True) if m.can(Operation.GENERATE)]
    assert set(offered(html, "model")) == {"", *(model.model_id for model in models)}
    assert "topaz/image-upscale" not in html
    pro = html[html.index("seedream/5-pro-text-to-image</code>") :]
    words = " ".join(re.sub(r"<[^>]*>", " ", pro[: pro.index("</label>")]).split())
    assert words == "seedream/5-pro-text-to-image 1K 7 2K 14"


def test_only_what_the_model_can_do_is_offered(client: Client, project: Project) -> None:
    html = options(client, project, model="grok-imagine/text-to-image")
    assert html.lstrip().startswith('<div class="form" id="options"')
    assert offered(html, "scene_aspect_ratio") == ["", "16:9", "3:2", "1:1", "2:3", "9:16"]
    assert offered(html, "scene_resolution") == ["", "standard", "pro"]
    html = options(client, project, model="google/imagen4")
    assert "no choice of resolution" in html
    assert offered(html, "scene_resolution") == []


def test_a_default_that_the_model_lacks_is_not_offered(client: Client, project: Project) -> None:
    html = options(client, project, model="4o-image-api")  # 1:1, 3:2, 2:3
    assert offered(html, "scene_aspect_ratio") == ["3:2", "1:1", "2:3"]
    assert picked(html, "scene_aspect_ratio") == ["3:2"]
    assert offered(html, "character_aspect_ratio") == ["", "3:2", "1:1", "2:3"]


def test_what_another_model_lacks_gives_way_and_is_said(client: Client, project: Project) -> None:
    save(client, project, model="seedream/4.5-text-to-image", scene_aspect_ratio="21:9")
    html = options(client, project, model="seedream-3.0/2k", scene_aspect_ratio="21:9")
    assert "does not have 21:9" in html
    assert picked(html, "scene_aspect_ratio") == [""]
    kept = options(client, project, model="nano-banana-2", scene_aspect_ratio="21:9")
    assert picked(kept, "scene_aspect_ratio") == ["21:9"]
    assert defaults.settings_of(Project.objects.get()).model.value != "nano-banana-2"


def test_a_price_shows_at_once(client: Client, project: Project) -> None:
    pro = "seedream/5-pro-text-to-image"
    assert "<b>7 credits</b> ($0.035)" in options(client, project, model=pro)
    html = options(client, project, model=pro, scene_resolution="2K")
    assert "<b>14 credits</b> ($0.07)" in html


def test_without_script_a_button_shows_the_models_options(client: Client, project: Project) -> None:
    response = save(client, project, model="google/imagen4", show="yes", name="Unsaved")
    html = response.content.decode()
    assert response.status_code == 200
    assert picked(html, "model") == ["google/imagen4"]
    assert "no choice of resolution" in html
    assert 'value="Unsaved"' in html
    assert Project.objects.get().name == project.name
    assert not ImageSettings.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"style": "x" * 1001},
        {"provider": "gemini"},
        {"model": "no/such"},
        {"scene_aspect_ratio": "21:9"},
        {"character_aspect_ratio": "17:3"},
        {"scene_resolution": "4K"},
        {"model": "4o-image-api", "scene_aspect_ratio": ""},
        {
            "model": "gpt-image-2-text-to-image",
            "scene_aspect_ratio": "9:21",
            "scene_resolution": "4K",
        },
        # The default ratio of characters, 1:1, is the impossible one
        {
            "model": "gpt-image-2-text-to-image",
            "character_aspect_ratio": "",
            "scene_resolution": "4K",
        },
    ],
)
def test_what_cannot_be_is_refused_whole(
    changes: dict[str, str], client: Client, project: Project
) -> None:
    response = save(client, project, **{"name": "Other"} | changes)
    assert response.status_code == 422
    assert "errorlist" in response.content.decode()
    assert Project.objects.get().name == "hladanie v psuti_nova"
    assert not ImageSettings.objects.exists()


def test_a_model_that_is_off_or_without_price_is_not_taken(
    client: Client, project: Project
) -> None:
    save(client, project)
    KieModel.objects.filter(model_id="seedream-3.0/2k").update(is_active=False)
    assert "not offered any more" in form(client, project)
    response = save(client, project)
    assert response.status_code == 422
    assert "This model is not offered any more." in response.content.decode()
    Price.objects.filter(model__model_id="google/imagen4").delete()
    assert save(client, project, model="google/imagen4").status_code == 422


def test_a_model_that_does_not_exist_can_be_left(client: Client, project: Project) -> None:
    ImageSettings.objects.create(project=project, model="gone/for-ever", provider="gemini")
    html = form(client, project)
    assert "gone/for-ever" in html
    assert "not offered any more" in html
    assert save(client, project).status_code == 302


def test_an_alias_and_another_spelling_are_understood(client: Client, project: Project) -> None:
    ImageSettings.objects.create(
        project=project, model="seedream/4-5-text-to-image", scene_resolution="4k"
    )
    html = form(client, project)
    assert picked(html, "model") == ["seedream/4.5-text-to-image"]
    assert picked(html, "scene_resolution") == ["4K"]


def test_a_model_without_resolutions_forgets_the_old_one(client: Client, project: Project) -> None:
    save(client, project)
    save(client, project, model="google/imagen4")
    scene = stages.add_scene(Project.objects.get())
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
    assert (order.model.model_id, order.resolution) == ("google/imagen4", "")


def test_every_model_can_be_chosen_and_then_ordered(client: Client, project: Project) -> None:
    """With nothing else chosen than what the form offers for it; some need somebody's picture."""
    scene = stages.add_scene(project)
    scene.cast.add(stages.add_character(project))
    for model in KieModel.objects.filter(is_active=True):
        if not model.can(Operation.GENERATE):
            assert save(client, project, model=model.model_id).status_code == 422
            continue
        html = options(client, project, model=model.model_id)
        values = {
            name: (picked(html, name) or [""])[0]
            for name in ("scene_aspect_ratio", "character_aspect_ratio", "scene_resolution")
        }
        response = save(client, project, **values | {"model": model.model_id})
        assert response.status_code == 302, (model, values)
        fresh = Project.objects.get()
        subject = fresh.scenes.get()
        subject.description = "A lake in the desert"
        orders.prepare(orders.Wish(project=fresh, subject=subject))


def test_who_may_change_them(project: Project, bob: User, charlie: User) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=project, user=dana, role=Role.VIEWER)
    for client, look, change in (
        (Client(), 302, 302),
        (signed_in(charlie), 404, 404),
        (signed_in(dana), 200, 403),
    ):
        assert client.get(address(project)).status_code == look
        assert save(client, project, name="Stolen").status_code == change
        assert Project.objects.get().name == "hladanie v psuti_nova"
    assert save(signed_in(bob), project, name="Bob's").status_code == 302
    assert Project.objects.get().name == "Bob's"
    html = signed_in(dana).get(address(project)).content.decode()
    assert '<fieldset class="whole" disabled>' in html
    assert ">Save<" not in html


def test_its_people_are_listed(client: Client, project: Project) -> None:
    words = " ".join(re.sub(r"<[^>]*>", " ", form(client, project)).split())
    assert "alice owner; pays for the pictures bob editor" in words
    assert reverse("projects:delete", args=[project.pk]) in form(client, project)


def test_only_the_owner_is_offered_to_delete(project: Project, bob: User) -> None:
    assert reverse("projects:delete", args=[project.pk]) not in form(signed_in(bob), project)


def row(html: str, model_id: str) -> str:
    """The words of a model's row in the list."""
    start = html.index(f"<code>{model_id}</code>")
    return " ".join(re.sub(r"<[^>]*>", " ", html[start : html.index("</label>", start)]).split())


def know(**known: records.Record) -> None:
    """How the models do here, by the ends of their ids."""
    by_pk = {
        KieModel.objects.get(model_id__endswith=end.replace("_", "-")).pk: record
        for end, record in known.items()
    }
    records.cache.set(records.KNOWN, by_pk)
    records.cache.set(records.FRESH, 1)


def test_how_a_model_does_here_is_said_before_it_is_chosen(
    client: Client, project: Project
) -> None:
    Multiplier.objects.create(percent=150)  # 6.5 are 9.75
    known = records.Record(24, 80, ended=100, takes=100, kept=61, paid_for=100)
    know(z_image=known)
    said = "usually 24 s, slow 1 min 20 s · 61 % kept here → 2 credits a kept picture"
    html = form(client, project)
    assert row(html, "z-image") == f"z-image {said} 1.2"
    assert row(html, "google/imagen4") == "google/imagen4 12"
    chosen = " ".join(re.sub(r"<[^>]*>", " ", options(client, project, model="z-image")).split())
    assert f"A picture costs 1.2 credits ($0.004). {said}" in chosen


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (records.Record(24, 80, ended=6), "usually 24 s, slow 1 min 20 s 0.8"),
        (records.Record(ended=6, takes=10, kept=0, paid_for=10), "0 % kept here 0.8"),
        (records.Record(ended=4, failed=4, takes=4, kept=4, paid_for=4), "0.8"),
    ],
)
def test_what_is_not_known_is_left_out(
    client: Client, project: Project, record: records.Record, said: str
) -> None:
    know(z_image=record)
    assert row(form(client, project), "z-image") == f"z-image {said}"


def test_where_prices_differ_it_says_what_of(client: Client, project: Project) -> None:
    know(**{"5_pro_text_to_image": records.Record(takes=10, kept=5, paid_for=10)})
    words = row(form(client, project), "seedream/5-pro-text-to-image")
    assert "50 % kept here → 14 credits a kept picture (1K) 1K 7 2K 14" in words


def test_models_that_need_the_casts_pictures_say_so(client: Client, project: Project) -> None:
    html = form(client, project)
    note = "Works only from pictures of the cast."
    for model in KieModel.objects.filter(is_active=True):
        if model.can(Operation.GENERATE):
            field = model.takes.get(Slot.REFERENCE)
            needs = field is not None and field.min > 0
            assert (note in row(html, model.model_id)) is needs, model
    assert note in row(html, "seedream/4.5-edit")
    assert note not in row(html, "nano-banana-pro")


def test_more_models_ask_no_more(client: Client, project: Project) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            form(client, project)
        return len(captured)

    records.find_out()
    many = queries()
    KieModel.objects.filter(pk__in=KieModel.objects.values("pk")[10:]).update(is_active=False)
    assert queries() == many


@pytest.mark.browser
def test_a_list_narrows_as_one_types(demo: Page) -> None:
    page = demo
    page.goto("/projects/cmkivtwqv0005l80499cyfuzx/settings/")
    field = page.get_by_role("searchbox", name="Find a model")
    shown = page.locator(".model:visible")
    every = page.locator(".model").count()
    assert shown.count() == every > 40
    field.press_sequentially("nano PRO")
    found = page.get_by_role("status", name="").filter(has_text="Models found")
    expect(found).to_have_text(f"Models found: 1 of {every}")
    expect(shown).to_have_count(2)  # the chosen one stays
    expect(page.locator(".vendor:visible")).to_have_count(2)
    field.press("Enter")
    assert page.url.endswith("/settings/"), "Enter saves nothing"
    field.press("ArrowDown")
    expect(page.locator(".model:visible input").first).to_be_focused()
    field.fill("nothing has this name")
    expect(found).to_have_text(f"Models found: 0 of {every}")
    field.fill("")
    expect(shown).to_have_count(every)
    expect(page.locator("#options")).to_contain_text("A picture costs 6 credits")


@pytest.mark.browser
def test_without_script_the_whole_list_is_there(site: Site, browser: Browser, demo: Page) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    context.add_cookies(demo.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/projects/cmkivtwqv0005l80499cyfuzx/settings/")
    assert page.locator(".model:visible").count() > 40
    assert page.locator("#find-model:visible").count() == 0
    context.close()


@pytest.mark.browser
def test_another_model_brings_its_options_and_price_at_once(demo: Page) -> None:
    page = demo
    page.goto("/projects/cmkivtwqv0005l80499cyfuzx/settings/")
    options = page.locator("#options")
    expect(options).to_contain_text("A picture costs 6 credits")
    page.get_by_role("radio", name="Seedream 5.0 Pro seedream").check()
    expect(options).to_contain_text("A picture costs 14 credits")  # 2K, as before
    expect(options).to_contain_text("21:9")
    page.get_by_text("1K · 7 credits").click()
    expect(options).to_contain_text("A picture costs 7 credits")
    expect(page.get_by_label("1K · 7 credits")).to_be_focused()
    page.reload()
    expect(options).to_contain_text("A picture costs 6 credits")  # nothing was saved
