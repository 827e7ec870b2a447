"""A test order: staff try any model of the catalogue with whatever it needs, and nobody pays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from credits.models import LedgerEntry
from generation import jobs
from generation.catalogue.reading import read
from generation.kie.sandbox import Options, Sandbox
from generation.models import Generation, KieModel, Operation, Reason, Slot, State
from projects import pictures
from projects.models import Take

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

MODELS = [entry.model_id for entry in read().entries]
GROK = "grok-imagine-image-2-0/"


@pytest.fixture(scope="module")
def kie_of_module() -> Iterator[Sandbox]:
    with Sandbox(Options(port=0, seconds=0, rate=0, largest_edge=128, credits=1e6)) as sandbox:
        yield sandbox


@pytest.fixture
def kie(settings: Any, kie_of_module: Sandbox, valkey: object) -> Sandbox:
    settings.KIE_API_URL = settings.KIE_UPLOAD_URL = kie_of_module.url
    settings.KIE_CREATES = settings.KIE_QUERIES = 100_000
    return kie_of_module


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the decoder works in a process of its own is tested elsewhere; here it is 250 starts."""

    def check(data: bytes) -> pictures.Picture:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
        digest = f"{hash(data):x}".strip("-").rjust(64, "0")
        return pictures.Picture(data, "image/png", "png", width, height, digest, data)

    monkeypatch.setattr(pictures, "check", check)


def named(model_id: str) -> KieModel:
    return KieModel.objects.prefetch_related("prices").get(model_id=model_id)


def address(model: KieModel) -> str:
    return reverse("admin:generation_kiemodel_test", args=[model.pk])


def upload(colour: str = "teal", size: tuple[int, int] = (512, 512)) -> SimpleUploadedFile:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return SimpleUploadedFile(f"{colour}.png", out.getvalue(), "image/png")


def filled_in(client: Client, model: KieModel, **changes: Any) -> dict[str, Any]:
    """The form as it is shown, with a picture in each field that needs one."""
    form = client.get(address(model)).context["form"]
    data = {name: form[name].value() or "" for name in form.fields}
    for name in ("source", "references", "mask"):
        field = form.fields.get(name)
        if field is None:
            continue
        if hasattr(field, "queryset"):
            data[name] = field.queryset.first().pk
        elif field.required:
            data[name] = upload({"source": "teal", "references": "red", "mask": "white"}[name])
        else:
            del data[name]
    return data | changes


def order(client: Client, model: KieModel, **changes: Any) -> Generation:
    before = set(Generation.objects.values_list("pk", flat=True))
    answer = client.post(address(model), filled_in(client, model, **changes))
    assert answer.status_code == 302, answer.context["form"].errors
    made = Generation.objects.exclude(pk__in=before).get()
    assert answer["Location"] == reverse("admin:generation_generation_change", args=[made.pk])
    return made


def follow(made: Generation) -> Generation:
    for step in (jobs.submit, jobs.poll, jobs.store):
        Generation.objects.filter(pk=made.pk).update(next_at=timezone.now())
        step()
    made.refresh_from_db()
    return made


def errors(client: Client, model: KieModel, **changes: Any) -> dict[str, Any]:
    answer = client.post(address(model), filled_in(client, model, **changes))
    assert answer.status_code == 200
    assert not Generation.objects.exists()
    return dict(answer.context["form"].errors)


@pytest.mark.once
@pytest.mark.usefixtures("decoded_here", "kie")
@pytest.mark.parametrize("model_id", MODELS)
def test_every_model_can_be_tried(model_id: str, at_admin: Client) -> None:
    """For each thing that it can do, with all that it needs, the whole way."""
    model = named(model_id)
    if (field := model.source_field) and field.task_of:
        follow(order(at_admin, named(f"{GROK}text-to-image")))
    for operation in model.operations:
        changes: dict[str, Any] = {"operation": operation}
        if operation != Operation.GENERATE and field and not field.task_of:
            changes["source"] = upload()
        if operation == Operation.GENERATE and field and field.min:
            changes["references"] = upload("red")
        made = follow(order(at_admin, model, **changes))
        trail = [f"{event.state}: {event.message}" for event in made.events.all()]
        wanted = (State.FAILED, Reason.DATA) if "segment" in operation else (State.DONE, "")
        assert (made.state, made.reason) == wanted, trail
        assert (made.payer, made.project, made.price) == (None, None, 0)
    assert not LedgerEntry.objects.exists()


@pytest.mark.usefixtures("kie")
def test_what_was_brought_goes_along(at_admin: Client, staff: User) -> None:
    model = named("ideogram/character-edit")
    made = order(at_admin, model, prompt="Make it night", count="1")
    sent = [(r.slot, r.take.made_by, r.take.project) for r in made.references.all()]
    assert sent == [
        (Slot.SOURCE, staff, None),
        (Slot.REFERENCE, staff, None),
        (Slot.MASK, staff, None),
    ]
    take = made.references.all()[0].take
    assert default_storage.exists(take.thumbnail.name)
    assert made.source == take
    follow(made)
    page = at_admin.get(reverse("admin:generation_generation_change", args=[made.pk]))
    html = page.content.decode()
    for reference in made.references.all():
        assert reference.url.startswith("http")
        assert f'href="{reference.url}"' in html
        assert reverse("admin:projects_take_thumbnail", args=[reference.take_id]) in html
    assert made.events.filter(answer__isnull=False).exists()


def test_several_references(at_admin: Client) -> None:
    made = order(at_admin, named("nano-banana-pro"), references=[upload("red"), upload("blue")])
    assert made.operation == Operation.GENERATE
    assert [reference.slot for reference in made.references.all()] == [Slot.REFERENCE] * 2
    assert len(made.request["input"]["image_input"]) == 2


def test_the_same_picture_is_kept_once(at_admin: Client) -> None:
    model = named("recraft/crisp-upscale")
    order(at_admin, model)
    order(at_admin, model)
    assert Take.objects.count() == 1


def test_sent_twice_it_is_ordered_once(at_admin: Client) -> None:
    model = named("recraft/crisp-upscale")
    data = filled_in(at_admin, model)
    for _again in range(2):
        data["source"].seek(0)
        assert at_admin.post(address(model), data).status_code == 302
    assert Generation.objects.count() == 1
    changed = at_admin.post(address(model), data | {"source": upload("red")})
    assert "This key was used for another order." in changed.content.decode()


def test_only_what_the_model_takes_is_asked_for(at_admin: Client) -> None:
    def fields(model_id: str) -> set[str]:
        return set(at_admin.get(address(named(model_id))).context["form"].fields) - {"key"}

    assert fields("seedream-3.0/2k") == {"prompt", "aspect_ratio", "resolution"}
    assert fields("recraft/crisp-upscale") == {"source"}
    assert fields("wan/2-7-image") >= {"operation", "source", "references", "count", "prompt"}
    assert fields("ideogram/v3-edit") >= {"source", "mask", "prompt"}
    assert "references" not in fields("ideogram/v3-edit")
    assert "source" not in fields("ideogram/character")


def test_a_picture_keeps_its_shape_where_nothing_else_is_said(at_admin: Client) -> None:
    how = {"operation": "edit", "source": upload(), "aspect_ratio": ""}
    made = order(at_admin, named("seedream/4.5-edit"), **how)
    assert made.aspect_ratio == "1:1"


@pytest.mark.parametrize(
    ("model_id", "changes", "field", "words"),
    [
        ("recraft/crisp-upscale", {"source": ""}, "source", "required"),
        (
            "recraft/crisp-upscale",
            {"source": SimpleUploadedFile("a.png", b"no picture")},
            "source",
            "not a PNG",
        ),
        ("nano-banana-pro", {"operation": "edit"}, "source", "needs a picture to work on"),
        ("nano-banana-pro", {"source": upload()}, "operation", "what is to be done"),
        ("nano-banana-pro", {"operation": "upscale"}, "operation", "valid choice"),
        ("ideogram/v3-edit", {"mask": upload("white", (64, 64))}, "mask", "as large as"),
        ("wan/2-7-image", {"count": "9"}, "count", "valid choice"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(
    at_admin: Client, model_id: str, changes: dict[str, Any], field: str, words: str
) -> None:
    for brought in changes.values():
        if isinstance(brought, SimpleUploadedFile):
            brought.seek(0)
    found = errors(at_admin, named(model_id), **changes)
    assert words in " ".join(map(str, found[field])), found


def test_a_family_member_works_on_test_orders_only(
    at_admin: Client, project: Any, alice: User
) -> None:
    """Nobody's film is offered to staff here."""
    family = named(f"{GROK}text-to-image")
    for payer, of in ((alice, project), (alice, None)):
        take = Take.objects.create(project=of, made_by=alice, image="a.png", thumbnail="t.webp")
        made = Generation.objects.create(
            model=family,
            project=of,
            payer=payer,
            ordered_by=alice,
            order_key=take.pk,
            provider="kie",
            request={},
            price=1,
            kie_credits=1,
            cost=1,
            state=State.DONE,
            task_id=take.pk,
        )
        made.outputs.create(index=0, url="https://kie/1.png", take=take)
    form = at_admin.get(address(named(f"{GROK}segment-edit"))).context["form"]
    assert not form.fields["source"].queryset.exists()
    assert "From test orders of grok-imagine-image-2-0." in str(form.fields["source"].help_text)


def test_the_storage_is_down(at_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any) -> None:
        raise pictures.StorageDown("no disk")

    monkeypatch.setattr(pictures, "store", down)
    found = errors(at_admin, named("recraft/crisp-upscale"))
    assert "could not be stored just now" in str(found["source"])


def test_only_who_may_change_models(helper: Callable[..., Client]) -> None:
    model = named("recraft/crisp-upscale")
    assert helper("view_kiemodel").post(address(model), {"source": upload()}).status_code == 403
    assert not Take.objects.exists()
