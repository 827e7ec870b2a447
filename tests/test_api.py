"""POST /api/image, as the user's document has it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from credits import ledger
from credits.models import LedgerEntry
from generation import lifecycle, orders
from generation.models import Generation, ImageSettings, KieModel, State
from projects.access import issue_token
from projects.models import Member, Project, Role, Scene
from projects.pictures import Stored

pytestmark = pytest.mark.django_db

STORED = Stored(
    image="takes/a.png",
    thumbnail="takes/a.thumb.webp",
    content_type="image/png",
    width=16,
    height=9,
    size=100,
    sha256="0" * 64,
)


@pytest.fixture(autouse=True)
def settings_of_the_document(project: Project, catalogue: None) -> None:
    ImageSettings.objects.create(
        project=project,
        provider="kie",
        model="seedream-3.0/2k",
        character_aspect_ratio="1:1",
        scene_aspect_ratio="16:9",
        scene_resolution="2k",
    )


@pytest.fixture
def credits(alice: User) -> None:
    grant(alice, 1000)


def grant(user: User, hundredths: int) -> None:
    ledger.grant(
        ledger.ledger_of(user),
        hundredths,
        reference=f"test:{user.pk}:{hundredths}",
        about=ledger.About(),
    )


@pytest.fixture
def api(alice: User) -> Client:
    """Alice's program."""
    return program_of(alice)


def program_of(user: User) -> Client:
    return Client(headers={"Authorization": f"Bearer {issue_token(user, 'test')}"})


def post(client: Client, body: Any, **headers: str) -> Any:
    raw = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post("/api/image", raw, content_type="application/json", headers=headers)


def wish(project: Project, **changes: Any) -> dict[str, Any]:
    return {
        "prompt": "Krásna krajina, púšť pri západe slnka",
        "aspectRatio": "16:9",
        "resolution": "2k",
        "provider": "kie",
        "model": "seedream-3.0/2k",
        "projectId": project.pk,
        **changes,
    }


def nothing_happened() -> bool:
    return (
        not Generation.objects.exists() and not LedgerEntry.objects.exclude(kind="grant").exists()
    )


@pytest.mark.usefixtures("credits")
def test_the_documents_order(
    api: Client, project: Project, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    response = post(api, wish(project))
    assert response.status_code == 202
    generation = Generation.objects.get()
    url = reverse("generation:api_image_status", args=[generation.pk])
    assert response.json() == {"status": "queued", "statusUrl": f"http://testserver{url}"}
    assert response.headers["Location"] == url
    assert generation.request == {
        "model": "seedream-3.0/2k",
        "input": {"prompt": "Krásna krajina, púšť pri západe slnka", "aspect_ratio": "16:9"},
    }
    assert (generation.price, generation.cost, generation.payer) == (600, 30_000, alice)
    assert ledger.ledger_of(alice).held == 600
    assert (
        "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
        "skipCreditCheck: false, ownerId: none"
    ) in caplog.messages


@pytest.mark.usefixtures("credits")
def test_when_it_is_ready(api: Client, project: Project) -> None:
    status_url = post(api, wish(project)).headers["Location"]
    assert api.get(status_url).status_code == 202
    take = finish(Generation.objects.get())
    response = api.get(status_url)
    assert response.status_code == 200
    assert response.json() == {
        "imageUrl": f"http://testserver{reverse('projects:picture', args=[take])}",
        "cost": 0.03,
        "storage": "local",
    }


def finish(generation: Generation) -> str:
    """The rest of the order's life, without KIE. Returns the take's id."""
    (claimed,) = lifecycle.claim([generation.pk], State.QUEUED)
    lifecycle.submitting(claimed)
    lifecycle.adopt(claimed, "task-1")
    Generation.objects.update(next_at=generation.created_at)
    (running,) = lifecycle.claim(lifecycle.tasks_due(1), State.RUNNING)
    lifecycle.succeeded(running, ["https://kie/1.png"], 600, None)
    (storing,) = lifecycle.claim([generation.pk], State.STORING)
    (take,) = lifecycle.done(storing, {0: STORED})
    return take.pk


@pytest.mark.usefixtures("credits")
def test_nothing_named_means_the_projects_own(api: Client, project: Project) -> None:
    assert post(api, {"prompt": "x", "projectId": project.pk}).status_code == 202
    generation = Generation.objects.get()
    assert generation.model.model_id == "seedream-3.0/2k"
    assert (generation.aspect_ratio, generation.resolution) == ("16:9", "2K")


@pytest.mark.usefixtures("credits")
def test_without_a_project_the_documents_fallbacks_hold(api: Client, alice: User) -> None:
    assert post(api, {"prompt": "x"}).status_code == 202
    generation = Generation.objects.get()
    assert (generation.provider, generation.model.model_id, generation.payer) == (
        "kie",
        "seedream/4.5-text-to-image",
        alice,
    )


@pytest.mark.usefixtures("credits")
def test_the_documents_spelling_of_seedream_4_5_is_understood(api: Client) -> None:
    assert post(api, {"prompt": "x", "model": "seedream/4-5-text-to-image"}).status_code == 202
    assert Generation.objects.get().request["model"] == "seedream/4.5-text-to-image"


@pytest.mark.usefixtures("credits")
def test_a_scene_brings_its_own_prompt(api: Client, project: Project) -> None:
    scene = Scene.objects.create(
        project=project, number="1", position=1, description="Duny pri západe"
    )
    assert post(api, {"sceneId": scene.pk}).status_code == 202
    generation = Generation.objects.get()
    assert (generation.scene, generation.project, generation.prompt) == (
        scene,
        project,
        "Duny pri západe",
    )


@pytest.mark.usefixtures("credits")
def test_the_same_key_is_the_same_order(api: Client, project: Project) -> None:
    first = post(api, wish(project), **{"Idempotency-Key": "k1"})
    second = post(api, wish(project), **{"Idempotency-Key": "k1"})
    assert first.json() == second.json()
    assert Generation.objects.count() == 1
    other = post(api, wish(project, prompt="other"), **{"Idempotency-Key": "k1"})
    assert other.status_code == 409
    finish(Generation.objects.get())
    assert post(api, wish(project), **{"Idempotency-Key": "k1"}).status_code == 200
    assert post(api, wish(project), **{"Idempotency-Key": "k" * 91}).status_code == 422


@pytest.mark.usefixtures("credits")
def test_a_key_answers_with_its_order_whatever_has_changed(api: Client, project: Project) -> None:
    scene = Scene.objects.create(project=project, number="1", position=1, description="Duny")
    first = post(api, {"sceneId": scene.pk}, **{"Idempotency-Key": "k"})
    KieModel.objects.update(is_active=False)
    Scene.objects.update(description="Something else")
    again = post(api, {"sceneId": scene.pk}, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert Generation.objects.count() == 1


@pytest.mark.usefixtures("credits")
@pytest.mark.django_db(transaction=True)  # foreign keys are looked at when it is committed
def test_a_scene_that_is_deleted_meanwhile(project: Project, alice: User) -> None:
    scene = Scene.objects.create(project=project, number="1", position=1, description="Duny")
    order = orders.prepare(orders.Wish(project=project, subject=scene))
    Scene.objects.filter(pk=scene.pk).delete()
    with pytest.raises(orders.OrderRefused) as caught:
        orders.place(order, orders.Terms(user=alice, key="k"))
    assert caught.value.code == "gone"


def test_what_the_owner_has_is_not_told_to_others(project: Project, bob: User) -> None:
    grant(project.owner, 333)
    message = post(program_of(bob), wish(project)).json()["error"]["message"]
    assert "6" in message and "3.33" not in message


@pytest.mark.usefixtures("credits")
@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"prompt": ""}, 422, "prompt_missing", "prompt"),
        ({"prompt": None}, 422, "prompt_missing", "prompt"),
        ({"prompt": " \n "}, 422, "prompt_missing", "prompt"),
        ({"prompt": "x" * 20_001}, 422, "prompt_too_long", "prompt"),
        (
            {"prompt": "x" * 1001, "model": "z-image", "resolution": ""},
            422,
            "prompt_too_long",
            "prompt",
        ),
        ({"prompt": "a\x00b"}, 422, "characters", "prompt"),
        ({"prompt": "a\ud800b"}, 422, "characters", "prompt"),
        ({"prompt": 7}, 422, "type", "prompt"),
        ({"prompt": ["x"]}, 422, "type", "prompt"),
        ({"model": 0}, 422, "type", "model"),
        ({"resolution": []}, 422, "type", "resolution"),
        ({"aspectRatio": False}, 422, "type", "aspectRatio"),
        ({"provider": {}}, 422, "type", "provider"),
        ({"referenceImages": ""}, 422, "type", "referenceImages"),
        ({"skipCreditCheck": ""}, 422, "type", "skipCreditCheck"),
        ({"ownerId": True}, 422, "type", "ownerId"),
        ({"ownerId": "\x00"}, 422, "type", "ownerId"),
        ({"model": "no/such"}, 422, "model", "model"),
        ({"model": "x" * 10_000}, 422, "model", "model"),
        ({"model": 1e400}, 400, "json", None),
        ({"model": "off/model"}, 422, "model_off", "model"),
        ({"aspectRatio": "17:9"}, 422, "aspect_ratio", "aspectRatio"),
        ({"aspectRatio": "-16:9"}, 422, "aspect_ratio", "aspectRatio"),
        ({"aspectRatio": 16}, 422, "type", "aspectRatio"),
        ({"resolution": "8K"}, 422, "resolution", "resolution"),
        ({"resolution": "-1"}, 422, "resolution", "resolution"),
        ({"resolution": 10**30}, 422, "type", "resolution"),
        ({"provider": "gemini"}, 422, "provider", "provider"),
        ({"provider": "KIE"}, 422, "provider", "provider"),
        ({"referenceImages": ["https://x/1.png"]}, 422, "take", "referenceImages"),
        ({"referenceImages": ["a" * 24]}, 422, "take", "referenceImages"),
        ({"referenceImages": [7]}, 422, "type", "referenceImages"),
        ({"sourceImage": "https://x/takes/nothing/picture"}, 422, "take", "sourceImage"),
        ({"maskImage": "../../etc"}, 422, "take", "maskImage"),
        ({"operation": "paint"}, 422, "operation", "operation"),
        ({"operation": "upscale"}, 422, "operation", "model"),
        ({"count": 0}, 422, "type", "count"),
        ({"count": True}, 422, "type", "count"),
        ({"count": "2"}, 422, "type", "count"),
        ({"count": 2}, 422, "count", "count"),
        ({"referenceImages": "x"}, 422, "type", "referenceImages"),
        ({"aspect_ratio": "1:1"}, 422, "unknown_field", "aspect_ratio"),
        ({"skipCreditCheck": "yes"}, 422, "type", "skipCreditCheck"),
        ({"ownerId": [1]}, 422, "type", "ownerId"),
        ({"projectId": "nosuch"}, 404, "not_found", None),
        ({"projectId": "\x00"}, 422, "characters", "projectId"),
        ({"sceneId": "nosuch"}, 404, "not_found", None),
        ({"sceneId": "a", "characterId": "b"}, 422, "subject", "characterId"),
    ],
)
def test_bad_wishes_change_nothing(
    api: Client, project: Project, change: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    KieModel.objects.create(model_id="off/model", name="Off", vendor="x", is_active=False)
    response = post(api, wish(project, **change))
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert (error["code"], error.get("field")) == (code, field)
    assert error["message"]
    assert nothing_happened()


@pytest.mark.usefixtures("credits")
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe", 400),
        (b'{"prompt": NaN}', 400),
        (b'{"prompt": "x", "model": "a", "model": "b"}', 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "' + b"x" * 1_100_000 + b'"}', 413),
    ],
)
def test_broken_json_changes_nothing(api: Client, raw: bytes, status: int) -> None:
    assert post(api, raw).status_code == status
    assert nothing_happened()


def test_no_credits_is_402(api: Client, project: Project, alice: User) -> None:
    grant(alice, 599)
    response = post(api, wish(project))
    assert response.status_code == 402
    assert response.json()["error"]["code"] == "credits"
    assert nothing_happened()
    assert ledger.ledger_of(alice).held == 0


@pytest.mark.usefixtures("credits")
def test_who_may_order(project: Project, bob: User, charlie: User) -> None:
    assert post(Client(), wish(project)).status_code == 401
    assert post(Client(headers={"Authorization": "Bearer wrong"}), wish(project)).status_code == 401
    assert post(program_of(charlie), wish(project)).status_code == 404
    Member.objects.filter(project=project).delete()
    member = Member.objects.create(project=project, user=bob, role=Role.VIEWER)
    assert post(program_of(bob), wish(project)).status_code == 403
    assert nothing_happened()
    member.role = Role.EDITOR
    member.save()
    response = post(program_of(bob), wish(project))
    assert response.status_code == 202
    generation = Generation.objects.get()
    assert (generation.ordered_by, generation.payer) == (bob, project.owner)
    status_url = response.headers["Location"]
    assert program_of(charlie).get(status_url).status_code == 404
    assert Client().get(status_url).status_code == 401


@pytest.mark.usefixtures("credits")
def test_an_order_without_a_project_is_its_makers_alone(api: Client, bob: User) -> None:
    status_url = post(api, {"prompt": "x"}).headers["Location"]
    assert api.get(status_url).status_code == 202
    assert program_of(bob).get(status_url).status_code == 404


@pytest.mark.usefixtures("credits")
def test_a_session_needs_the_csrf_header(alice: User, project: Project) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert post(client, wish(project)).status_code == 403
    assert nothing_happened()
    client.get("/")  # hands out the cookie
    token = client.cookies["csrftoken"].value
    assert post(client, wish(project), **{"X-CSRFToken": token}).status_code == 202


@pytest.mark.usefixtures("credits")
@pytest.mark.parametrize(
    ("change", "skip", "owner"),
    [
        ({"skipCreditCheck": True}, "true (refused: not staff)", "none"),
        ({"ownerId": "charlie"}, "false", "charlie (refused: not staff)"),
        ({"ownerId": "x\n[KIE] forged"}, "false", "x??KIE??forged (refused: not staff)"),
    ],
)
def test_staffs_fields_are_refused_from_others(
    api: Client,
    project: Project,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    skip: str,
    owner: str,
) -> None:
    caplog.set_level(logging.INFO)
    response = post(api, wish(project, **change))
    assert response.status_code == 403
    assert response.json()["error"]["field"] == next(iter(change))
    assert nothing_happened()
    assert (
        "[Image] Using provider: kie, model: seedream-3.0/2k, reference images: 0, "
        f"skipCreditCheck: {skip}, ownerId: {owner}"
    ) in caplog.messages


def test_staff_may_order_for_free(staff: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert post(program_of(staff), {"prompt": "x", "skipCreditCheck": True}).status_code == 202
    generation = Generation.objects.get()
    assert (generation.payer, generation.price) == (None, 0)
    assert not LedgerEntry.objects.exists()
    assert "skipCreditCheck: true, ownerId: none" in caplog.text


@pytest.mark.parametrize("named", ["username", "pk"])
def test_staff_may_name_who_pays(
    staff: User, charlie: User, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    grant(charlie, 1000)
    owner_id = getattr(charlie, named)
    assert post(program_of(staff), {"prompt": "x", "ownerId": owner_id}).status_code == 202
    assert Generation.objects.get().payer == charlie
    assert ledger.ledger_of(charlie).held == 650
    assert f"ownerId: {owner_id}" in caplog.text


def test_staff_naming_nobody(staff: User) -> None:
    response = post(program_of(staff), {"prompt": "x", "ownerId": "9" * 30})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "ownerId")


@pytest.mark.usefixtures("credits")
@pytest.mark.parametrize(
    ("why", "status"), [("unsafe", 422), ("render", 502), ("picture", 502), ("lost", 502)]
)
def test_an_order_without_a_picture_says_why(
    api: Client, project: Project, alice: User, why: str, status: int
) -> None:
    status_url = post(api, wish(project)).headers["Location"]
    (claimed,) = lifecycle.claim([Generation.objects.get().pk], State.QUEUED)
    lifecycle.fail(claimed, why, "secret words of the provider")
    response = api.get(status_url)
    assert (response.status_code, response.json()["error"]["code"]) == (status, why)
    assert "secret words" not in response.content.decode()
    assert ledger.ledger_of(alice).available == 1000


def test_only_post_orders(api: Client) -> None:
    assert api.get("/api/image").status_code == 405
    assert api.put("/api/image").status_code == 405


@pytest.mark.parametrize(
    "path", ["/projects/%00/", "/credits/?page=%00", "/admin/auth/user/?q=%00"]
)
def test_an_address_with_a_nul(client: Client, staff: User, path: str) -> None:
    client.force_login(staff)
    assert client.get(path).status_code in (400, 404)


def test_another_sites_name_is_a_bad_request(client: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["studio.example"]
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_staff_naming_what_may_be_two_people(staff: User, charlie: User, alice: User) -> None:
    User.objects.filter(pk=charlie.pk).update(username=str(alice.pk))
    response = post(program_of(staff), {"prompt": "x", "ownerId": alice.pk})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "owner")
