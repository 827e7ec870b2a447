"""The staff's site: who gets in, what can be done there, and what cannot."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import cache
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.checks import ERROR, run_checks
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image
from playwright.sync_api import Page

from credits import ledger
from credits.models import CreditLedger, LedgerEntry
from generation import breaker, lifecycle, orders, records
from generation.models import (
    MOST_DEATHS,
    Ask,
    Breaker,
    Callback,
    Difference,
    Generation,
    ImageSettings,
    KieModel,
    Output,
    Pause,
    Price,
    Reason,
    State,
)
from generation.pricing import quote
from imagegen.urls import admin
from projects.models import ApiToken, Character, Invitation, Member, Project, Scene, Take
from projects.pictures import Picture, check, store
from tests import stages

pytestmark = pytest.mark.django_db

OURS = ("projects", "credits", "generation")
REFERENCE = "admin:" + "0" * 32


@pytest.fixture
def model(catalogue: None) -> KieModel:
    return KieModel.objects.get(model_id="seedream-3.0/2k")


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    grant(project.owner, 10_000)
    return Scene.objects.create(project=project, number="12A", position=1, description="Duny")


def grant(user: User, hundredths: int) -> CreditLedger:
    own = ledger.ledger_of(user)
    ledger.grant(own, hundredths, reference=f"t:{user.pk}", about=ledger.About(type="grant"))
    own.refresh_from_db()
    return own


def place(scene: Scene, key: str = "k") -> Generation:
    owner = scene.project.owner
    order = orders.prepare(orders.Wish(project=scene.project, subject=scene))
    return orders.place(order, orders.Terms(user=owner, key=key))


@cache
def picture() -> Picture:
    out = io.BytesIO()
    Image.new("RGB", (90, 60), "teal").save(out, "PNG")
    return check(out.getvalue())


def take_of(scene: Scene, name: str = "a") -> Take:
    stored = store(picture(), name)
    return Take.objects.create(
        project=scene.project, scene=scene, made_by=scene.project.owner, **asdict(stored)
    )


def page_of(thing: Any, action: str = "change") -> str:
    options = thing._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_{action}", args=[thing.pk])


def list_of(kind: Any) -> str:
    return reverse(f"admin:{kind._meta.app_label}_{kind._meta.model_name}_changelist")


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


LISTS = [list_of(kind) for kind in admin.site._registry if kind._meta.app_label in OURS]


def test_nothing_is_wrong_in_the_eyes_of_django() -> None:
    assert [found for found in run_checks() if found.level >= ERROR] == []


# Who gets in


@pytest.mark.parametrize("address", ["/admin/", "/admin/queues/", *LISTS])
def test_strangers_and_users_are_sent_to_sign_in(client: Client, alice: User, address: str) -> None:
    login = reverse("admin:login")
    assert client.get(address).url.startswith(login)  # type: ignore[attr-defined]
    client.force_login(alice)
    answer = client.get(address)
    assert answer.status_code == 302
    assert answer.url.startswith(login)  # type: ignore[attr-defined]


def test_staff_sign_in_where_everybody_does(client: Client, alice: User) -> None:
    answer = client.get("/admin/login/?next=/admin/")
    assert answer.url == f"{reverse('account_login')}?next=%2Fadmin%2F"  # type: ignore[attr-defined]
    client.force_login(alice)
    assert client.get("/admin/login/").status_code == 403


def test_staff_without_permissions_see_the_first_page_only(helper: Callable[..., Client]) -> None:
    browser = helper()
    first = text(browser.get("/admin/"))
    assert reverse("django_rq:home") in first
    assert "?list=staff" not in first
    assert {browser.get(address).status_code for address in LISTS} == {403}


@pytest.mark.parametrize("address", LISTS)
def test_a_superuser_sees_every_list(at_admin: Client, scene: Scene, address: str) -> None:
    Difference.objects.create(generation=place(scene), booked=650, used=800)
    take_of(scene)
    ApiToken.objects.create(user=scene.project.owner, name="t", digest="d")
    Invitation.objects.create(project=scene.project, email="d@example.com", role=1, digest="d")
    Ask.objects.create(member=Member.objects.get(), scene=scene, wish={}, price=650)
    Character.objects.create(project=scene.project, name="Miro")
    Pause.objects.create(provider="kie", why="empty")
    page = text(at_admin.get(address))
    assert "0 results" not in page
    text(at_admin.get(address, {"q": "12A"}))  # every field of the search can be searched


def test_the_first_page_says_what_waits_for_staff(at_admin: Client, scene: Scene) -> None:
    for number, state in enumerate((State.REVIEW, State.REVIEW, State.RUNNING, State.DONE)):
        Generation.objects.filter(pk=place(scene, str(number)).pk).update(state=state)
    Generation.objects.filter(state=State.RUNNING).update(
        created_at=timezone.now() - timedelta(minutes=11)
    )
    Pause.objects.create(provider="kie", why="Credits insufficient")
    page = text(at_admin.get("/admin/"))
    assert re.search(r"staff&#x27;s list</a> <b>2</b>|staff's list</a> <b>2</b>", page)
    assert "10 minutes</a> <b>1</b>" in page
    assert "Open orders</a> <b>1</b>" in page
    assert "Credits insufficient" in page


@pytest.mark.parametrize("kind", [CreditLedger, LedgerEntry, Generation, Take, Scene, Pause])
def test_nothing_is_deleted_in_bulk(at_admin: Client, scene: Scene, kind: Any) -> None:
    place(scene)
    take_of(scene)
    Pause.objects.create(provider="kie", why="w")
    before = kind.objects.count()
    chosen = {
        "action": "delete_selected",
        "post": "yes",
        "_selected_action": kind.objects.first().pk,
    }
    at_admin.post(list_of(kind), chosen)
    assert kind.objects.count() == before > 0


@pytest.mark.parametrize("kind", [CreditLedger, LedgerEntry, Generation, Take, Scene])
def test_what_is_read_only_is(at_admin: Client, scene: Scene, kind: Any) -> None:
    place(scene)
    take_of(scene)
    thing = kind.objects.first()
    before = kind.objects.filter(pk=thing.pk).values().get()
    assert at_admin.get(list_of(kind) + "add/").status_code == 403
    assert at_admin.post(page_of(thing), {"state": "done", "balance": 9}).status_code == 403
    assert at_admin.post(page_of(thing, "delete"), {"post": "yes"}).status_code == 403
    assert kind.objects.filter(pk=thing.pk).values().get() == before


def test_a_model_a_project_and_a_price_are_never_deleted(
    at_admin: Client, project: Project, model: KieModel
) -> None:
    for thing in (project, model):
        assert at_admin.post(page_of(thing, "delete"), {"post": "yes"}).status_code == 403


def test_it_speaks_the_users_language(at_admin: Client) -> None:
    at_admin.cookies["django_language"] = "sk"
    page = text(at_admin.get("/admin/"))
    assert '<html lang="sk"' in page
    assert "Odhlásiť" in page
    assert reverse("projects:list") in page


# As long as the lists get


PICTURE = {"image": "takes/1.png", "thumbnail": "takes/1.webp", "width": 90, "height": 60}


@pytest.mark.parametrize("kind", [Generation, Take, Scene, Project, LedgerEntry, KieModel])
def test_longer_lists_ask_no_more(at_admin: Client, scene: Scene, kind: Any) -> None:
    def grow(first: int, last: int) -> None:
        for number in range(first, last):
            owner = User.objects.create_user(f"u{number}")
            film = Project.objects.create(owner=owner, name=f"Film {number}")
            grant(owner, 5000)
            shot = Scene.objects.create(
                project=film, number=str(number), position=1, description="Duny"
            )
            place(shot, str(number))
            Take.objects.create(project=film, scene=shot, made_by=owner, **PICTURE)
            new = KieModel.objects.create(model_id=f"m{number}", name="M", vendor="V")
            Price.objects.create(model=new, credits=600, cost=30_000)

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            text(at_admin.get(list_of(kind)))
        return len(captured)

    grow(0, 2)
    queries()  # content types are read once
    few = queries()
    grow(2, 7)
    assert queries() == few


# The catalogue


def form_of(model: KieModel | None = None, **changes: Any) -> dict[str, Any]:
    """What a browser sends for a model's page with no new price."""
    fields = {
        "name": "Painter",
        "vendor": "Acme",
        "model_id": "acme/painter",
        "api_model_id": "",
        "is_active": "on",
        "ratio_field": "image_size",
        "ratios": '{"1:1": "square_hd", "16:9": "landscape_16_9"}',
        "resolution_field": "quality",
        "resolutions": '{"2K": "basic", "4K": "high"}',
        "default_resolution": "2K",
        "impossible": '[["1:1", "4K"]]',
        "constants": '{"n": 1}',
        "modality": "text-to-image",
        "aliases": "painter\r\nacme-painter\r\n",
        "quirks": "",
        "source": "",
        "as_of": "",
        "prompt_use": "required",
        "prompt_min_length": "1",
        "prompt_max_length": "",
        "count_field": "",
        "counts": "{}",
        "picture_fields": "[]",
        "price_edges": "{}",
        "prices-TOTAL_FORMS": "0",
        "prices-INITIAL_FORMS": "0",
    }
    if model is not None:
        del fields["model_id"]
    return fields | changes


def price_rows(model: KieModel, *rows: dict[str, str], **changes: str) -> dict[str, str]:
    """The inline of prices: those that are there, then the new ones."""
    there = list(model.prices.all())
    data = {
        "prices-TOTAL_FORMS": str(len(there) + len(rows)),
        "prices-INITIAL_FORMS": str(len(there)),
    }
    for number, price in enumerate(there):
        data |= {f"prices-{number}-id": str(price.pk), f"prices-{number}-model": str(model.pk)}
    for number, row in enumerate(rows, start=len(there)):
        row = {"resolution": "", "since_0": "", "since_1": ""} | row
        data |= {f"prices-{number}-{field}": value for field, value in row.items()}
    return data | changes


@pytest.fixture
def painter(at_admin: Client, catalogue: None) -> KieModel:
    """A model as staff make one, with a price for every resolution."""
    price = {
        "prices-TOTAL_FORMS": "1",
        "prices-0-resolution": "",
        "prices-0-in_credits": "3.24",
        "prices-0-in_dollars": "0.0162",
        "prices-0-since_0": "",
        "prices-0-since_1": "",
    }
    answer = at_admin.post(list_of(KieModel) + "add/", form_of(**price))
    assert answer.status_code == 302, errors(answer)
    return KieModel.objects.get(model_id="acme/painter")


def errors(answer: Any) -> str:
    found = re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', answer.content.decode(), re.DOTALL)
    return re.sub(r"<[^>]+>|&quot;", "", " | ".join(found))


def test_a_model_is_added_with_its_price(painter: KieModel) -> None:
    assert painter.ratios == {"1:1": "square_hd", "16:9": "landscape_16_9"}
    assert painter.impossible == [["1:1", "4K"]]
    assert painter.aliases == ["painter", "acme-painter"]
    assert painter.modality == ["text-to-image"]
    assert painter.constants == {"n": 1}
    assert (painter.quirks, painter.loaded) == ([], {})
    price = quote(painter, "4K")
    assert (price.credits, price.cost) == (324, 16_200)


def test_saving_a_page_as_it_is_changes_nothing(at_admin: Client, model: KieModel) -> None:
    before = KieModel.objects.filter(pk=model.pk).values().get()
    page = at_admin.get(page_of(model)).context["adminform"].form
    data = {
        name: page[name].value() if page[name].value() is not None else "" for name in page.fields
    }
    data["is_active"] = "on"
    answer = at_admin.post(page_of(model), data | price_rows(model))
    assert answer.status_code == 302, errors(answer)
    after = KieModel.objects.filter(pk=model.pk).values().get()
    assert {**after, "updated_at": 0} == {**before, "updated_at": 0}
    assert "Nothing: as the catalogue" in text(at_admin.get(page_of(model)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratios": "{"}, "valid JSON"),
        ({"ratios": '["16:9"]'}, "Write an object"),
        ({"ratios": '{"16:9": 1}'}, "must be a text"),
        ({"ratios": '{"wide": "w"}'}, "not a ratio such as 16:9"),
        ({"ratios": '{"1:1": "a", "1:1": "b", "16:9": "c"}'}, "stands twice"),
        ({"ratios": "{}", "impossible": "[]"}, "Name the ratios"),
        ({"ratio_field": ""}, "no aspect ratio field"),
        ({"resolutions": '{"2K": null, "4K": "high"}'}, "must be a text, a number"),
        ({"resolutions": '{"2K": "a", "2k": "b", "4K": "c"}'}, "upper and lower case"),
        ({"resolutions": '{"%s": "a"}' % ("K" * 21)}, "1 to 20 letters"),
        ({"resolution_field": ""}, "no resolution field"),
        ({"default_resolution": "8K"}, "Choose one of: 2K, 4K"),
        ({"default_resolution": ""}, "Choose one of: 2K, 4K"),
        ({"impossible": '{"1:1": "4K"}'}, "Write a list"),
        ({"impossible": '[["1:1"]]'}, "not a pair"),
        ({"impossible": '[["4K", "1:1"]]'}, "4K is not one of the ratios"),
        ({"impossible": '[["1:1", "8K"]]'}, "8K is not one of the resolutions"),
        ({"impossible": '[[["1:1"], "4K"]]'}, "is not one of the ratios"),
        ({"constants": "[1]"}, "Write an object"),
        ({"constants": '{"prompt": "x"}'}, "“prompt” is written by the order itself"),
        ({"constants": '{"quality": "x"}'}, "“quality” is written by the order itself"),
        ({"constants": '{"n": NaN}'}, "NaN is not JSON"),
        ({"constants": '{"n": "\\u0000"}'}, "no text"),
        ({"constants": '{"n": "\\ud800"}'}, "no text"),
        ({"modality": " \r\n "}, "required"),
        ({"aliases": "acme/painter"}, "this model itself"),
        ({"aliases": "same\r\nsame"}, "this model itself"),
        ({"aliases": "seedream-3.0/2k"}, "means Seedream 3.0 (2K) already"),
        ({"aliases": "taken"}, "means Seedream 3.0 (2K) already"),
        ({"model_id": "taken"}, "an alias of Seedream 3.0 (2K)"),
        ({"model_id": "seedream-3.0/2k"}, "already exists"),
    ],
)
def test_facts_that_would_make_a_wrong_request_are_refused(
    at_admin: Client, model: KieModel, changes: dict[str, str], words: str
) -> None:
    KieModel.objects.filter(pk=model.pk).update(aliases=["taken"])
    answer = at_admin.post(list_of(KieModel) + "add/", form_of(**changes))
    assert words in errors(answer)
    assert not KieModel.objects.filter(name="Painter").exists()


def test_a_refused_form_shows_what_was_typed(at_admin: Client, catalogue: None) -> None:
    answer = at_admin.post(list_of(KieModel) + "add/", form_of(ratios="{oops", aliases="a\r\na"))
    page = text(answer)
    assert "{oops" in page
    assert ">\na\r\na</textarea>" in page


def test_a_models_id_is_chosen_once(at_admin: Client, painter: KieModel) -> None:
    data = form_of(painter, model_id="other") | price_rows(painter)
    assert at_admin.post(page_of(painter), data).status_code == 302
    painter.refresh_from_db()
    assert painter.model_id == "acme/painter"


def test_a_new_price_follows_the_old_one_which_stays(at_admin: Client, painter: KieModel) -> None:
    old = painter.prices.get()
    new = {"resolution": "4K", "in_credits": "7", "in_dollars": "0.035"}
    tampered = {"prices-0-in_credits": "1", "prices-0-in_dollars": "1", "prices-0-DELETE": "on"}
    answer = at_admin.post(
        page_of(painter), form_of(painter) | price_rows(painter, new, **tampered)
    )
    assert answer.status_code == 302, errors(answer)
    kept = painter.prices.get(pk=old.pk)
    assert (kept.credits, kept.cost, kept.since) == (324, 16_200, old.since)
    assert painter.prices.count() == 2
    assert quote(painter, "4K").credits == 700
    assert quote(painter, "2K").credits == 324
    page = text(at_admin.get(page_of(painter)))
    assert "2K: 3.24 ($0.0162), 4K: 7 ($0.035)" in page


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"in_credits": "1,000", "in_dollars": "1"}, "Write a number such as 1250.5"),
        ({"in_credits": "3.245", "in_dollars": "1"}, "at most 2 decimals"),
        ({"in_credits": "6", "in_dollars": "0.0000001"}, "at most 6 decimals"),
        ({"in_credits": "0", "in_dollars": "1"}, "more than 0"),
        ({"in_credits": "6", "in_dollars": "0"}, "more than 0"),
        ({"in_credits": "6"}, "required"),
        ({"in_credits": "6", "in_dollars": "1", "resolution": "8K"}, "valid choice"),
        (
            {"in_credits": "6", "in_dollars": "1", "since_0": "2020-01-01", "since_1": "00:00"},
            "cannot begin in the past",
        ),
    ],
)
def test_a_price_that_cannot_be_meant_is_refused(
    at_admin: Client, painter: KieModel, row: dict[str, str], words: str
) -> None:
    row = {"in_credits": "", "in_dollars": "", **row}
    answer = at_admin.post(page_of(painter), form_of(painter) | price_rows(painter, row))
    assert words in errors(answer)
    assert painter.prices.count() == 1


def test_a_price_may_begin_later(at_admin: Client, painter: KieModel) -> None:
    row = {"in_credits": "9", "in_dollars": "1", "since_0": "2999-01-01", "since_1": "00:00"}
    at_admin.post(page_of(painter), form_of(painter) | price_rows(painter, row))
    assert painter.prices.count() == 2
    assert quote(painter, "2K").credits == 324


def test_prices_are_written_as_in_slovak(at_admin: Client, painter: KieModel) -> None:
    at_admin.cookies["django_language"] = "sk"
    row = {"in_credits": "3,5", "in_dollars": "0,0175"}
    answer = at_admin.post(page_of(painter), form_of(painter) | price_rows(painter, row))
    assert answer.status_code == 302, errors(answer)
    price = quote(painter, "2K")
    assert (price.credits, price.cost) == (350, 17_500)


def test_who_may_not_add_prices_cannot(painter: KieModel, helper: Callable[..., Client]) -> None:
    browser = helper("change_kiemodel", "view_price")
    row = {"in_credits": "9", "in_dollars": "1"}
    browser.post(page_of(painter), form_of(painter, name="Brush") | price_rows(painter, row))
    painter.refresh_from_db()
    assert painter.name == "Brush"
    assert painter.prices.count() == 1


def test_a_model_without_a_price_says_so(at_admin: Client, painter: KieModel) -> None:
    model = KieModel.objects.create(model_id="m", name="Bare", vendor="V")
    assert "no price: it cannot be ordered" in text(at_admin.get(page_of(model)))
    assert "no price: it cannot be ordered" in text(at_admin.get(list_of(KieModel)))


def test_what_staff_changed_is_shown_against_the_file(at_admin: Client, model: KieModel) -> None:
    KieModel.objects.filter(pk=model.pk).update(name="Ours", prompt_max_length=7)
    page = text(at_admin.get(page_of(model)))
    assert "<code>&quot;Seedream 3.0 (2K)&quot;</code>" in page
    assert "Longest prompt: <code>null</code>" in page.replace("longest", "Longest")


def test_the_week_of_a_model(at_admin: Client, scene: Scene) -> None:
    placed = [place(scene, str(number)) for number in range(6)]
    Generation.objects.filter(pk=placed[5].pk).update(created_at=timezone.now() - timedelta(days=8))
    page = text(at_admin.get(list_of(KieModel), {"q": placed[0].model.model_id}))
    assert '<td class="field-orders_in_a_week">5</td>' in page


def test_how_a_model_does_stands_in_the_list_and_on_its_page(
    at_admin: Client, scene: Scene, model: KieModel
) -> None:
    known = records.Record(24, 80, ended=40, failed=4, takes=100, kept=61, paid_for=100)
    few = records.Record(ended=4, failed=1, takes=3, kept=1, paid_for=3)
    records.cache.set(records.KNOWN, {model.pk: known, scene.pk: few})
    records.cache.set(records.FRESH, 1)
    for address in (list_of(KieModel) + "?q=seedream-3.0", page_of(model)):
        page = text(at_admin.get(address))
        for words in ("24 s / 1 min 20 s", "4 / 40 (10 %)", "61 / 100 (61 %)", "→ 9.8"):
            assert words in page, (address, words)
    records.cache.set(records.KNOWN, {model.pk: few})
    page = text(at_admin.get(page_of(model)))
    assert "1 / 4" in page
    assert "1 / 3" in page
    assert " %)" not in page


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"can": "upscale"}, {"recraft/crisp-upscale", "topaz/image-upscale"}),
        ({"can": "cutout"}, {"recraft/remove-background"}),
        ({"can": "segment"}, {"grok-imagine-image-2-0/segment-map"}),
        ({"trouble": "yes"}, {"z-image"}),
        ({"own": "yes"}, {"qwen/text-to-image", "google/imagen4", "staffs/own"}),
        ({"is_active__exact": "0", "can": "edit"}, {"flux1-kontext", "nano-banana-2-1"}),
    ],
)
def test_models_are_filtered(
    at_admin: Client, catalogue: None, query: dict[str, str], ids: set[str]
) -> None:
    for _ in range(breaker.TRIPS_AT):
        breaker.failed(KieModel.objects.get(model_id="z-image"), "HTTP 502")
    KieModel.objects.filter(model_id="qwen/text-to-image").update(counts={"1": 1})
    imagen = KieModel.objects.get(model_id="google/imagen4")
    imagen.prices.create(credits=900, cost=45_000)
    KieModel.objects.create(model_id="staffs/own", name="Own", vendor="Staff")
    changelist = at_admin.get(list_of(KieModel), query).context["cl"]
    assert {model.model_id for model in changelist.result_list} == ids
    everybody = {m.model_id for m in at_admin.get(list_of(KieModel)).context["cl"].result_list}
    if list(query.values()) == ["yes"]:
        others = at_admin.get(list_of(KieModel), dict.fromkeys(query, "no")).context["cl"]
        assert {model.model_id for model in others.result_list} == everybody - ids


def test_a_price_of_staff_is_shown_against_the_file(at_admin: Client, model: KieModel) -> None:
    model.prices.create(resolution="2K", credits=900, cost=45_000)
    page = text(at_admin.get(page_of(model)))
    assert "price 2K: <code>6 credits ($0.03)</code>" in page


def test_every_models_page_shows_a_request_that_it_would_write(
    at_admin: Client, catalogue: None
) -> None:
    for model in KieModel.objects.all():
        shown = json.loads(unescape(re.sub("<[^>]*>", "", str(example(model)))))
        fields = {field["field"] for field in model.picture_fields}
        assert fields <= shown["input"].keys(), model
        assert ("prompt" in shown["input"]) == (model.prompt_use != "none"), model
        assert (model.ratio_field or "input") in {*shown["input"], "input"}, model
    page = text(at_admin.get(page_of(KieModel.objects.get(model_id="recraft/crisp-upscale"))))
    assert "&quot;image&quot;: &quot;take:…&quot;" in page


def example(model: KieModel) -> str:
    return str(admin.site.get_model_admin(KieModel).example(model))  # type: ignore[attr-defined]


def test_a_model_without_pictures_bills_none(at_admin: Client, painter: KieModel) -> None:
    assert "reference_in_credits" not in text(at_admin.get(page_of(painter)))


PICTURES = '[{"field": "urls", "slot": "reference", "min": 0, "max": 8, "is_list": true}]'


def test_a_price_of_references_is_added(at_admin: Client, painter: KieModel) -> None:
    KieModel.objects.filter(pk=painter.pk).update(picture_fields=json.loads(PICTURES))
    row = {
        "in_credits": "3",
        "in_dollars": "0.015",
        "reference_in_credits": "0.5",
        "reference_in_dollars": "0.0025",
        "free_references": "2",
    }
    data = form_of(painter, picture_fields=PICTURES) | price_rows(painter, row)
    answer = at_admin.post(page_of(painter), data)
    assert answer.status_code == 302, errors(answer)
    asked = quote(painter, "2K", references=5)
    assert (asked.kie_credits, asked.cost) == (450, 22_500)
    assert "reference_in_credits" in text(at_admin.get(page_of(painter)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"reference_in_credits": "1"}, "more than 0"),
        ({"reference_in_dollars": "1"}, "more than 0"),
        ({"reference_in_credits": "1,000", "reference_in_dollars": "1"}, "Write a number"),
        ({"free_references": "2"}, "Every reference is free"),
        ({"free_references": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_price_of_references_that_cannot_be_meant_is_refused(
    at_admin: Client, painter: KieModel, row: dict[str, str], words: str
) -> None:
    KieModel.objects.filter(pk=painter.pk).update(picture_fields=json.loads(PICTURES))
    row = {"in_credits": "3", "in_dollars": "0.015", **row}
    data = form_of(painter, picture_fields=PICTURES) | price_rows(painter, row)
    assert words in errors(at_admin.post(page_of(painter), data))
    assert painter.prices.count() == 1


def test_what_is_free_at_kie_costs_nothing(at_admin: Client, painter: KieModel) -> None:
    row = {"in_credits": "0", "in_dollars": "0"}
    at_admin.post(page_of(painter), form_of(painter) | price_rows(painter, row))
    assert quote(painter, "2K").credits == 0


def test_a_price_is_named_as_the_model_names_it(at_admin: Client, catalogue: None) -> None:
    topaz = KieModel.objects.get(model_id="topaz/image-upscale")
    page = text(at_admin.get(page_of(topaz)))
    for name in ("2K", "4K", "8K"):
        assert f'<option value="{name}">' in page
    assert '<option value="2×">' not in page[page.index("prices-__prefix__-resolution") :]


@pytest.mark.parametrize("words", ["seedream/4-5-text-to-image", "Seedream", "ByteDance"])
def test_models_are_found(at_admin: Client, catalogue: None, words: str) -> None:
    page = text(at_admin.get(list_of(KieModel), {"q": words}))
    assert "seedream/4.5-text-to-image" in page
    assert "google/imagen4" not in page


# Test orders


def trial(**changes: str) -> dict[str, str]:
    wish = {"prompt": "A desert", "aspect_ratio": "16:9", "resolution": "2K", "key": "admin:1"}
    return wish | changes


def test_a_test_order_is_real_and_nobody_pays(
    at_admin: Client, staff: User, model: KieModel
) -> None:
    address = page_of(model, "test")
    assert "admin:" in text(at_admin.get(address))
    answer = at_admin.post(address, trial())
    order = Generation.objects.get()
    assert answer.url == page_of(order)  # type: ignore[attr-defined]
    assert (order.ordered_by, order.payer, order.project, order.price) == (staff, None, None, 0)
    assert order.request == {
        "model": "seedream-3.0/2k",
        "input": {"prompt": "A desert", "aspect_ratio": "16:9"},
    }
    assert (order.state, order.kie_credits, order.cost) == (State.QUEUED, 600, 30_000)
    assert not LedgerEntry.objects.exists()
    assert order.pk in LogEntry.objects.get().get_change_message()
    at_admin.post(address, trial())
    assert Generation.objects.count() == 1


def test_a_model_is_tried_before_it_is_offered(at_admin: Client, model: KieModel) -> None:
    KieModel.objects.filter(pk=model.pk).update(is_active=False)
    at_admin.post(page_of(model, "test"), trial())
    assert Generation.objects.get().model == model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": " "}, "required"),
        ({"prompt": "x" * 20_001}, "The prompt has 20001 characters"),
        ({"aspect_ratio": "5:4"}, "not one of the available choices"),
        ({"resolution": "8K"}, "not one of the available choices"),
    ],
)
def test_a_test_order_that_is_refused_says_why(
    at_admin: Client, model: KieModel, changes: dict[str, str], words: str
) -> None:
    answer = at_admin.post(page_of(model, "test"), trial(**changes))
    assert words in errors(answer)
    assert not Generation.objects.exists()


def test_a_pair_that_the_model_refuses_is_said(at_admin: Client, painter: KieModel) -> None:
    answer = at_admin.post(page_of(painter, "test"), trial(aspect_ratio="1:1", resolution="4K"))
    assert "Painter cannot do 1:1 at 4K" in errors(answer)


def test_only_who_may_change_models_orders_tests(
    model: KieModel, helper: Callable[..., Client]
) -> None:
    browser = helper("view_kiemodel")
    address = page_of(model, "test")
    assert address not in text(browser.get(page_of(model)))
    assert browser.get(address).status_code == 403
    assert browser.post(address, trial()).status_code == 403
    assert not Generation.objects.exists()


def test_who_may_not_see_orders_stays_at_the_model(
    model: KieModel, helper: Callable[..., Client]
) -> None:
    answer = helper("change_kiemodel").post(page_of(model, "test"), trial())
    assert answer.url == page_of(model)  # type: ignore[attr-defined]
    assert Generation.objects.exists()


# Orders


def test_an_order_shows_all_there_is(at_admin: Client, scene: Scene) -> None:
    order = place(scene)
    take = take_of(scene)
    link = "https://tempfile.example/a.png"
    Output.objects.create(generation=order, index=0, url=link, take=take)
    lifecycle._note(order, State.RUNNING, "KIE: generating", {"code": 200, "msg": "<b>ok</b>"})
    Callback.objects.create(generation=order, task_id="task-9")
    entry = LedgerEntry.objects.get(reference=order.hold_reference)
    page = text(at_admin.get(page_of(order)))
    for shown in (
        "&quot;aspect_ratio&quot;: &quot;16:9&quot;",  # the request as sent
        "KIE: generating",
        "&lt;b&gt;ok&lt;/b&gt;",  # KIE's answer
        f'href="{link}"',
        reverse("admin:projects_take_thumbnail", args=[take.pk]),
        page_of(entry),
        "held: 6.5 credits",
        "task-9",
        "Ordered",
    ):
        assert shown in page, shown
    assert "<b>ok</b>" not in page


def test_a_link_that_is_no_link_is_text(at_admin: Client, scene: Scene) -> None:
    order = place(scene)
    Output.objects.create(generation=order, index=0, url="javascript:alert(1)")
    page = text(at_admin.get(page_of(order)))
    assert "javascript:alert(1)" in page
    assert 'href="javascript' not in page


def test_an_open_order_asks_again_until_it_ends(at_admin: Client, scene: Scene) -> None:
    order = place(scene)
    asks = re.search(r'hx-get="([^"]+)"', text(at_admin.get(page_of(order))))
    assert asks is not None
    address = asks[1]
    assert address.startswith(page_of(order))
    htmx = {"HX-Request": "true"}
    assert at_admin.get(address, headers=htmx).status_code == 204
    assert at_admin.get(address).status_code == 200  # not htmx: somebody opened the address
    assert lifecycle.cancel(order)
    ended = text(at_admin.get(address, headers=htmx))
    assert "Cancelled before it was sent" in ended
    assert "hx-get" not in ended


def test_from_an_entry_to_its_order(at_admin: Client, scene: Scene) -> None:
    order = place(scene)
    entry = LedgerEntry.objects.get(reference=order.hold_reference)
    address = reverse("admin:generation_generation_of_reference", args=[entry.reference])
    assert address in text(at_admin.get(page_of(entry)))
    assert at_admin.get(address).url == page_of(order)  # type: ignore[attr-defined]


def test_the_lists_that_staff_work_through(at_admin: Client, scene: Scene) -> None:
    lost, late, new, old, aside = (place(scene, str(number)) for number in range(5))
    Generation.objects.filter(pk=lost.pk).update(state=State.REVIEW, reason=Reason.LOST)
    Generation.objects.filter(pk=aside.pk).update(state=State.STORING, deaths=MOST_DEATHS)
    Generation.objects.filter(pk=late.pk).update(created_at=timezone.now() - timedelta(hours=1))
    Generation.objects.filter(pk=old.pk).update(
        state=State.DONE, created_at=timezone.now() - timedelta(days=45)
    )
    last_month = f"{timezone.localdate() - timedelta(days=45):%Y-%m}"

    def listed(**query: str) -> set[str]:
        page = text(at_admin.get(list_of(Generation), query))
        return {order.pk for order in (lost, late, new, old, aside) if page_of(order) in page}

    assert listed() == {lost.pk, late.pk, new.pk, old.pk, aside.pk}
    assert listed(list="staff") == {lost.pk, aside.pk}
    assert "set aside" in text(at_admin.get(list_of(Generation), {"list": "staff"}))
    assert listed(list="open") == {late.pk, new.pk, aside.pk}
    assert listed(list="late") == {late.pk}
    assert listed(reason="lost") == {lost.pk}
    assert listed(month=last_month) == {old.pk}
    assert listed(month="nonsense") == listed()
    assert listed(q=new.pk) == {new.pk}
    assert listed(q=scene.project.pk) == listed()
    assert listed(q="alice") == listed()
    assert listed(state__exact="done") == {old.pk}


def test_a_count_goes_no_further_than_it_must(
    at_admin: Client, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.admin.orders.COUNTED", 2)
    for number in range(3):
        place(scene, str(number))
    assert at_admin.get(list_of(Generation)).context["cl"].result_count == 2


def test_orders_that_were_not_sent_are_taken_back(at_admin: Client, scene: Scene) -> None:
    waiting, sent = place(scene, "1"), place(scene, "2")
    Generation.objects.filter(pk=sent.pk).update(state=State.RUNNING)
    at_admin.post(
        list_of(Generation),
        {"_selected_action": [waiting.pk, sent.pk], "action": "cancel_orders"},
    )
    assert {o.pk: o.state for o in Generation.objects.all()} == {
        waiting.pk: State.CANCELLED,
        sent.pk: State.RUNNING,
    }
    assert LedgerEntry.objects.filter(reference=f"generation:{waiting.pk}:release").exists()
    assert LogEntry.objects.get().object_id == waiting.pk
    said = text(at_admin.get(list_of(Generation)))
    assert "Done for 1 order." in said
    assert "1 order is at another stage and was left as it is." in said


def test_one_order_is_taken_back_on_its_page(at_admin: Client, scene: Scene) -> None:
    order = place(scene)
    address = page_of(order, "cancel")
    assert address in text(at_admin.get(page_of(order)))
    assert "given back" in text(at_admin.get(address))
    assert Generation.objects.get().state == State.QUEUED
    assert at_admin.post(address).url == page_of(order)  # type: ignore[attr-defined]
    assert Generation.objects.get().state == State.CANCELLED
    assert address not in text(at_admin.get(page_of(order)))


def test_a_lost_order_gets_its_task_from_kies_log(at_admin: Client, scene: Scene) -> None:
    order, other = place(scene, "1"), place(scene, "2")
    Generation.objects.filter(pk=order.pk).update(state=State.REVIEW, reason=Reason.LOST)
    Generation.objects.filter(pk=other.pk).update(state=State.RUNNING, task_id="theirs")
    address = page_of(order, "adopt")
    assert address in text(at_admin.get(page_of(order)))
    assert "belongs to another order" in errors(at_admin.post(address, {"task_id": "theirs"}))
    at_admin.post(address, {"task_id": "task-7"})
    order.refresh_from_db()
    assert (order.state, order.task_id, order.reason) == (State.RUNNING, "task-7", "")
    assert address not in text(at_admin.get(page_of(order)))
    assert "gone on by itself" in errors(at_admin.post(address, {"task_id": "task-8"}))


def given_up(scene: Scene, key: str = "k") -> Generation:
    """KIE's task of it never came to an end within a day."""
    order = stages.running(place(scene, key))
    lifecycle.give_up(stages._claimed(order, State.RUNNING), Reason.LOST, "no end")
    order.refresh_from_db()
    return order


def test_kie_is_asked_again_after_what_was_given_up(at_admin: Client, scene: Scene) -> None:
    order = given_up(scene)
    address = page_of(order, "try_again")
    assert address in text(at_admin.get(page_of(order)))
    assert "asked after its task" in text(at_admin.get(address))
    assert at_admin.post(address).url == page_of(order)  # type: ignore[attr-defined]
    order.refresh_from_db()
    assert (order.state, order.task_id) == (State.RUNNING, f"task-{order.pk}")
    assert LogEntry.objects.get().object_id == order.pk
    assert address not in text(at_admin.get(page_of(order)))
    assert "gone on by itself" in errors(at_admin.post(address))
    stages.arrive(order)
    assert not LedgerEntry.objects.filter(kind="capture").exists()  # given back stays given back


def test_a_picture_set_aside_is_fetched_again(at_admin: Client, scene: Scene) -> None:
    order = stages.running(place(scene))
    Generation.objects.filter(pk=order.pk).update(state=State.STORING, deaths=MOST_DEATHS)
    assert page_of(order, "close") not in text(at_admin.get(page_of(order)))
    at_admin.post(page_of(order, "try_again"))
    order.refresh_from_db()
    assert (order.state, order.deaths) == (State.STORING, 0)


def test_what_could_not_be_had_is_closed(at_admin: Client, scene: Scene) -> None:
    order = stages.lost(place(scene))
    address = page_of(order, "close")
    assert page_of(order, "try_again") not in text(at_admin.get(page_of(order)))  # no task
    assert address in text(at_admin.get(page_of(order)))
    at_admin.post(address)
    order.refresh_from_db()
    assert (order.state, order.reason) == (State.FAILED, Reason.CLOSED)


@pytest.mark.parametrize("then", ["keep", "discard"])
def test_a_users_credits_are_given_back(at_admin: Client, scene: Scene, then: str) -> None:
    order = stages.running(place(scene))
    address = page_of(order, "take_back")
    assert address in text(at_admin.get(page_of(order)))
    assert "cannot be stopped" in text(at_admin.get(address))
    assert "valid choice" in errors(at_admin.post(address, {"then": "free"}))
    assert ledger.ledger_of(scene.project.owner).held == 650
    at_admin.post(address, {"then": then})
    order.refresh_from_db()
    assert (order.state, order.taken_back) == (State.RUNNING, then)
    assert ledger.ledger_of(scene.project.owner).held == 0
    assert address not in text(at_admin.get(page_of(order)))


def test_many_orders_are_acted_on_from_the_list(at_admin: Client, scene: Scene) -> None:
    def act(action: str, *acted_on: Generation) -> None:
        ids = [order.pk for order in acted_on]
        at_admin.post(list_of(Generation), {"_selected_action": ids, "action": action})
        for order in acted_on:
            order.refresh_from_db()

    first, second, lost = given_up(scene, "1"), given_up(scene, "2"), stages.lost(place(scene, "3"))
    sent = stages.running(place(scene, "4"))
    act("try_again_orders", first, second, lost, sent)
    assert [o.state for o in (first, second, lost)] == [State.RUNNING, State.RUNNING, State.REVIEW]
    act("close_orders", first, lost)
    assert [o.state for o in (first, lost)] == [State.RUNNING, State.FAILED]
    act("take_back_orders", sent, lost)
    assert [o.taken_back for o in (sent, lost)] == ["keep", ""]


@pytest.mark.parametrize("action", ["cancel", "adopt", "take_back", "try_again", "close"])
def test_who_may_only_look_does_nothing_to_orders(
    scene: Scene, helper: Callable[..., Client], action: str
) -> None:
    order = place(scene)
    browser = helper("view_generation")
    assert page_of(order, action) not in text(browser.get(page_of(order)))
    assert browser.post(page_of(order, action), {"task_id": "t"}).status_code == 403
    browser.post(list_of(Generation), {"_selected_action": order.pk, "action": "cancel_orders"})
    order.refresh_from_db()
    assert (order.state, order.task_id) == (State.QUEUED, None)


# The ledger


def booking(amount: str, **changes: str) -> dict[str, str]:
    return {"amount": amount, "reason": "Thanks for the report", "reference": REFERENCE} | changes


def test_credits_are_granted_once(at_admin: Client, alice: User) -> None:
    own = grant(alice, 1000)
    address = page_of(own, "grant")
    assert address in text(at_admin.get(page_of(own)))
    for _again in range(2):
        assert at_admin.post(address, booking("250.5")).url == page_of(own)  # type: ignore[attr-defined]
    own.refresh_from_db()
    assert own.balance == 26_050
    entry = LedgerEntry.objects.get(reference=REFERENCE)
    assert (entry.kind, entry.type, entry.balance_change) == ("grant", "grant", 25_050)
    assert entry.description == "Thanks for the report"
    assert entry.metadata == {"by": "staff"}
    logged = LogEntry.objects.get()
    assert logged.user.username == "staff"
    assert logged.object_id == str(own.pk)
    assert "Credits: 250.5, now 260.5. Thanks for the report" in logged.get_change_message()


def test_a_balance_is_adjusted_both_ways(at_admin: Client, alice: User) -> None:
    own = grant(alice, 1000)
    at_admin.post(page_of(own, "adjust"), booking("-4", reference="admin:" + "a" * 32))
    at_admin.post(page_of(own, "adjust"), booking("1.25", reference="admin:" + "b" * 32))
    own.refresh_from_db()
    assert own.balance == 725
    assert list(own.entries.values_list("kind", "balance_change")) == [
        ("adjust", 125),
        ("adjust", -400),
        ("grant", 1000),
    ]


@pytest.mark.parametrize(
    ("action", "data", "words"),
    [
        ("grant", booking("0"), "more than 0"),
        ("grant", booking("-5"), "Write a number"),
        ("grant", booking("1,000"), "Write a number"),
        ("grant", booking("5", reason=" "), "required"),
        ("grant", booking("5", reference="generation:x:hold"), "valid value"),
        ("adjust", booking("0"), "more or less than 0"),
        ("adjust", booking("-4.01"), "Available: 4 credits."),
    ],
)
def test_a_booking_that_cannot_be_is_an_error_of_the_form(
    at_admin: Client, scene: Scene, action: str, data: dict[str, str], words: str
) -> None:
    own = CreditLedger.objects.get()
    ledger.adjust(own, -8_950, reference="less", about=ledger.About(description="-"))
    place(scene)  # 10.5 are left, 6.5 of them held
    before = LedgerEntry.objects.count()
    answer = at_admin.post(page_of(own, action), data)
    assert words in errors(answer)
    assert LedgerEntry.objects.count() == before
    assert not LogEntry.objects.exists()


def test_a_form_that_was_used_for_something_else(at_admin: Client, alice: User) -> None:
    own = grant(alice, 1000)
    at_admin.post(page_of(own, "grant"), booking("5"))
    answer = at_admin.post(page_of(own, "grant"), booking("6"))
    assert "used for something else" in errors(answer)
    own.refresh_from_db()
    assert own.balance == 1500


@pytest.mark.django_db(transaction=True)
def test_a_double_click_books_and_logs_once(staff: User, alice: User) -> None:
    own = grant(alice, 1000)
    together = threading.Barrier(2)

    def click() -> None:
        browser = Client()
        browser.force_login(staff)
        together.wait()
        assert browser.post(page_of(own, "grant"), booking("5")).status_code == 302
        connection.close()

    clicks = [threading.Thread(target=click) for _ in range(2)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    own.refresh_from_db()
    assert own.balance == 1500
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("action", ["grant", "adjust"])
def test_who_may_only_look_books_nothing(
    alice: User, helper: Callable[..., Client], action: str
) -> None:
    own = grant(alice, 1000)
    browser = helper("view_creditledger", "view_ledgerentry")
    assert page_of(own, action) not in text(browser.get(page_of(own)))
    assert browser.get(page_of(own, action)).status_code == 403
    assert browser.post(page_of(own, action), booking("5")).status_code == 403
    assert (
        browser.post(reverse("admin:credits_creditledger_open"), {"user": "x"}).status_code == 403
    )
    own.refresh_from_db()
    assert own.balance == 1000


def test_who_may_change_ledgers_books(alice: User, helper: Callable[..., Client]) -> None:
    own = grant(alice, 1000)
    helper("change_creditledger").post(page_of(own, "grant"), booking("5"))
    own.refresh_from_db()
    assert own.balance == 1500
    assert own.entries.first().metadata == {"by": "helper"}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["bob", "BOB@example.com"])
def test_a_user_without_a_ledger_gets_one(at_admin: Client, bob: User, name: str) -> None:
    address = reverse("admin:credits_creditledger_open")
    assert address in text(at_admin.get(list_of(CreditLedger)))
    assert not CreditLedger.objects.exists()
    answer = at_admin.post(address, {"user": name})
    assert answer.url == page_of(CreditLedger.objects.get(owner=bob), "grant")  # type: ignore[attr-defined]


def test_whose_ledger_must_be_clear(at_admin: Client, bob: User) -> None:
    address = reverse("admin:credits_creditledger_open")
    assert "no such user" in errors(at_admin.post(address, {"user": "nobody"}))
    User.objects.create_user("bob2", "bob@example.com")
    assert "Several users" in errors(at_admin.post(address, {"user": "bob@example.com"}))
    assert not CreditLedger.objects.exists()


# Pauses


def test_ordering_is_paused_by_hand_and_goes_on(at_admin: Client, scene: Scene) -> None:
    at_admin.post(list_of(Pause) + "add/", {"provider": "kie", "why": "Their status page"})
    assert lifecycle.is_paused("kie")
    place(scene)
    address = page_of(Pause.objects.get(), "delete")
    page = text(at_admin.get(address))
    assert "1 order that waits in line is sent" in page
    assert "<h1>Let ordering go on</h1>" in page
    assert "Their status page" in page
    at_admin.post(address, {"post": "yes"})
    assert not lifecycle.is_paused("kie")
    assert LogEntry.objects.count() == 2


def test_a_pauses_page_has_a_button_that_says_what_it_does(
    at_admin: Client, helper: Callable[..., Client]
) -> None:
    pause = Pause.objects.create(provider="kie", why="Credits insufficient")
    end = page_of(pause, "delete")
    link = f'<a href="{end}">Let ordering go on</a>'
    page = text(at_admin.get(page_of(pause)))
    assert link in page
    assert "Delete" not in page
    assert link in text(at_admin.get(list_of(Pause)))
    assert link not in text(helper("view_pause").get(page_of(pause)))


def test_a_model_in_trouble_is_tried_again_now(
    at_admin: Client, model: KieModel, helper: Callable[..., Client]
) -> None:
    for _ in range(breaker.TRIPS_AT):
        breaker.failed(model, "HTTP 502 from createTask")
    row = Breaker.objects.get()
    address = page_of(row, "try")
    page = text(at_admin.get(page_of(row)))
    assert "HTTP 502 from createTask" in page
    assert address in page
    assert breaker.closed_to() == [model.pk]
    assert "sent at once" in text(at_admin.get(address))
    assert breaker.closed_to() == [model.pk]
    assert at_admin.post(address).url == page_of(row)  # type: ignore[attr-defined]
    assert breaker.closed_to() == []
    assert LogEntry.objects.get().object_id == str(row.pk)
    looker = helper("view_breaker")
    assert address not in text(looker.get(page_of(row)))
    assert looker.post(address).status_code == 403
    breaker.worked(model.pk)
    assert address not in text(at_admin.get(page_of(row)))


def test_only_a_provider_that_there_is_can_be_paused(at_admin: Client) -> None:
    answer = at_admin.post(list_of(Pause) + "add/", {"provider": "gemini", "why": "w"})
    assert "valid choice" in errors(answer)


# Projects and their pictures


def settings_form(project: Project, **changes: str) -> dict[str, str]:
    """A project's page with image settings and no members to add."""
    first = "0" if project.members.count() == 0 else "1"
    data = {
        "name": project.name,
        "owner": str(project.owner_id),
        "style": "35 mm",
        "members-TOTAL_FORMS": first,
        "members-INITIAL_FORMS": first,
        "image_settings-TOTAL_FORMS": "1",
        "image_settings-INITIAL_FORMS": "0",
        "image_settings-0-project": project.pk,
        "image_settings-0-model": "seedream-3.0/2k",
        "image_settings-0-scene_resolution": "2k",
        "image_settings-0-scene_aspect_ratio": "16:9",
    }
    for member in project.members.all():
        data |= {
            "members-0-id": str(member.pk),
            "members-0-user": str(member.user_id),
            "members-0-role": str(member.role),
        }
    return data | changes


def test_a_project_with_its_members_and_settings(
    at_admin: Client, project: Project, charlie: User, catalogue: None
) -> None:
    more = {
        "members-TOTAL_FORMS": "2",
        "members-1-user": str(charlie.pk),
        "members-1-role": "1",
    }
    answer = at_admin.post(page_of(project), settings_form(project, **more))
    assert answer.status_code == 302, errors(answer)
    own = ImageSettings.objects.get(project=project)
    assert (own.model, own.scene_resolution) == ("seedream-3.0/2k", "2k")
    assert set(Member.objects.values_list("user__username", "role")) == {("bob", 2), ("charlie", 1)}
    KieModel.objects.filter(model_id="seedream-3.0/2k").update(is_active=False)
    saved = settings_form(
        project,
        **{"members-TOTAL_FORMS": "1", "members-INITIAL_FORMS": "0"},
        **{"image_settings-INITIAL_FORMS": "1", "members-0-id": "", "members-0-user": ""},
        **{"members-0-role": "", "name": "Renamed"},
    )
    answer = at_admin.post(page_of(project), saved)  # a model that was switched off may stay
    assert answer.status_code == 302, errors(answer)
    project.refresh_from_db()
    assert project.name == "Renamed"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": "gemini"}, "“gemini” is not available"),
        ({"model": "nothing/at-all"}, "valid choice"),
        ({"scene_aspect_ratio": "21:9"}, "The model has: "),
        ({"character_aspect_ratio": "5:4"}, "The model has: "),
        ({"scene_resolution": "8K"}, "The model has: 2K"),
    ],
)
def test_settings_that_the_model_cannot_do_are_refused(
    at_admin: Client, project: Project, catalogue: None, changes: dict[str, str], words: str
) -> None:
    changes = {f"image_settings-0-{field}": value for field, value in changes.items()}
    answer = at_admin.post(page_of(project), settings_form(project, **changes))
    assert words in errors(answer)
    assert not ImageSettings.objects.exists()


def test_projects_are_counted_and_found(at_admin: Client, scene: Scene) -> None:
    Scene.objects.create(project=scene.project, number="13", position=2)
    take_of(scene)
    for words in (scene.project.pk, "psuti", "alice", "alice@example.com"):
        page = text(at_admin.get(list_of(Project), {"q": words}))
        assert '<td class="field-scene_count">2</td>' in page
        assert '<td class="field-take_count">1</td>' in page
    assert "field-scene_count" not in text(at_admin.get(list_of(Project), {"q": "nothing"}))


def test_staff_with_the_permission_see_pictures_without_being_members(
    scene: Scene, helper: Callable[..., Client], charlie: User
) -> None:
    take = take_of(scene)
    browser = helper("view_take")
    page = text(browser.get(list_of(Take)))
    for name, content_type in (("picture", "image/png"), ("thumbnail", "image/webp")):
        address = reverse(f"admin:projects_take_{name}", args=[take.pk])
        assert address in page
        answer = browser.get(address)
        assert (answer.status_code, answer["Content-Type"]) == (200, content_type)
        assert "private" in answer["Cache-Control"]
        assert browser.get(reverse(f"projects:{name}", args=[take.pk])).status_code == 404
        stranger = Client()
        stranger.force_login(charlie)
        assert stranger.get(address).status_code == 302
        assert Client().get(address).status_code == 302
    assert browser.get(reverse("admin:projects_take_picture", args=["nothing"])).status_code == 404


def test_staff_without_the_permission_see_no_pictures(
    scene: Scene, helper: Callable[..., Client]
) -> None:
    take = take_of(scene)
    browser = helper("view_scene")
    for name in ("picture", "thumbnail"):
        address = reverse(f"admin:projects_take_{name}", args=[take.pk])
        assert browser.get(address).status_code == 403


def test_a_take_that_is_only_a_link_has_no_picture(at_admin: Client, scene: Scene) -> None:
    take = Take.objects.create(
        project=scene.project, made_by=scene.project.owner, source_url="https://old.example/a.png"
    )
    assert reverse("admin:projects_take_thumbnail", args=[take.pk]) not in text(
        at_admin.get(list_of(Take))
    )
    address = reverse("admin:projects_take_picture", args=[take.pk])
    assert at_admin.get(address).status_code == 404


def test_tokens_are_revoked_and_never_shown(at_admin: Client, alice: User) -> None:
    token = ApiToken.objects.create(user=alice, name="render farm", digest="d" * 64)
    assert "d" * 64 not in text(at_admin.get(page_of(token)))
    assert at_admin.get(list_of(ApiToken) + "add/").status_code == 403
    at_admin.post(page_of(token, "delete"), {"post": "yes"})
    assert not ApiToken.objects.exists()


# The queues, and our policy


QUEUE_PAGES = [
    "",
    "queues/0/",
    "queues/0/details/",
    "queues/0/finished/",
    "queues/0/failed/",
    "queues/0/scheduled/",
    "queues/0/started/",
    "queues/0/deferred/",
    "queues/0/empty/",
    "queues/0/failed/clear/",
    "queues/0/requeue-all/",
    "workers/0/",
]


@pytest.mark.parametrize("page", QUEUE_PAGES)
def test_the_queues_pages_have_nothing_inline(at_admin: Client, page: str) -> None:
    """At their own addresses; `test_no_page_breaks_our_policy` sees the others with a browser."""
    html = text(at_admin.get(f"/admin/queues/{page}"))
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)| style=| on[a-z]+=\"", html)


def test_what_is_taken_out_of_a_queues_page() -> None:
    from django.utils.safestring import mark_safe

    from generation.templatetags.staff import without_inline

    html = mark_safe('<tr class="a" onclick="go(\'/x\')"><td style="color: red">&quot;</td></tr>')
    assert without_inline(html) == '<tr class="a"><td>&quot;</td></tr>'


@pytest.mark.browser
def test_no_page_breaks_our_policy(page: Page) -> None:
    """Every page in a real browser: the fixture fails on whatever its console complains of."""
    page.goto("/admin/")
    page.fill("[name=login]", "staff")
    page.fill("[name=password]", "staff")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/")
    page.goto("/admin/generation/kiemodel/")
    page.click("text=Seedream 3.0 (2K)")
    page.click("text=Test order")
    page.click("input[type=submit]")
    page.wait_for_url("**/generation/generation/*/change/")
    page.wait_for_selector(".field-pictures img", timeout=30_000)  # the page has asked by itself
    assert page.evaluate("document.querySelector('.field-pictures img').naturalWidth") > 0
    firsts = (
        "/admin/auth/user/",
        *LISTS,
        "/admin/queues/",
        "/admin/queues/queues/0/finished/",
        "/admin/queues/queues/1/finished/",
        "/admin/queues/workers/0/",
    )
    for address in firsts:
        page.goto(address)
        link = page.query_selector("#result_list tbody th a, #results_list tbody th a")
        if link is not None:
            link.click()
            page.wait_for_load_state()
    for address in ("projects/project/add/", "credits/creditledger/1/grant/"):
        page.goto(f"/admin/{address}")
