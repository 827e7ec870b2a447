"""Every model of the catalogue, from the click to the stored picture, against the sandbox.

The sandbox judges each request by KIE's own schema (`generation/kie/facts.json`), which the code
that writes requests never reads, and bills as KIE does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
import requests
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from credits import invariants, ledger
from credits.models import LedgerEntry
from generation import audit, jobs, orders
from generation.catalogue.reading import Entry, read
from generation.kie.sandbox import Options, Sandbox
from generation.kie.sandbox.schema import model_named
from generation.models import Generation, KieModel, Operation, Reason, State
from generation.wishes import OrderRefused, Wish
from projects import pictures
from projects.models import Character, Project, Scene, Take

ENTRIES = {entry.model_id: entry for entry in read().entries}
GROK = "grok-imagine-image-2-0/"

# KIE's price is not known, or not before it is done: what the catalogue says is a choice.
PRICED_BY_CHOICE = {"flux1-kontext"}
# KIE bills these by the megapixel, the catalogue as one of them.
BY_MEGAPIXEL = {"qwen/text-to-image", "qwen/image-edit"}


@pytest.fixture(scope="module")
def kie_of_module() -> Iterator[Sandbox]:
    options = Options(port=0, seconds=0, rate=0, largest_edge=128, credits=1e6)
    with Sandbox(options) as sandbox:
        yield sandbox


@pytest.fixture
def kie(settings: Any, kie_of_module: Sandbox, valkey: object) -> Sandbox:
    settings.KIE_API_URL = settings.KIE_UPLOAD_URL = kie_of_module.url
    settings.KIE_CREATES = settings.KIE_QUERIES = 100_000
    return kie_of_module


@dataclass
class Set:
    """A scene with two people in it, each with a picture, and a picture and a mask of its own."""

    project: Project
    scene: Scene
    faces: list[Take]
    source: Take
    mask: Take


@pytest.fixture
def film(project: Project, catalogue: None) -> Set:
    ledger.grant(ledger.ledger_of(project.owner), 10_000_000, reference="g", about=ledger.About())
    scene = Scene.objects.create(project=project, number="1", position=1, description="A lake")
    faces = []
    for name in ("Miro", "Zuza"):
        person = Character.objects.create(project=project, name=name, description="Tall")
        scene.cast.add(person)
        faces.append(take_of(project, character=person))
    return Set(project, scene, faces, take_of(project, scene=scene), take_of(project))


def take_of(project: Project, size: tuple[int, int] = (640, 480), **subject: Any) -> Take:
    file = io.BytesIO()
    Image.new("RGB", size, (200, 120, 40)).save(file, "JPEG")
    name = default_storage.save(f"takes/{uuid4().hex}.jpg", ContentFile(file.getvalue()))
    return Take.objects.create(
        project=project,
        made_by=project.owner,
        image=name,
        thumbnail=name,
        content_type="image/jpeg",
        width=size[0],
        height=size[1],
        size=len(file.getvalue()),
        **subject,
    )


def wishes_for(entry: Entry, film: Set) -> Iterator[Wish]:
    """One for each resolution of each thing that the model can do, and one for several pictures."""
    model = KieModel.objects.get(model_id=entry.model_id)
    for operation in model.operations:
        for resolution in entry.resolutions or [""]:
            wish = wish_for(model, operation, resolution, film)
            if not wish.source or resolution not in not_for_pictures(entry):
                yield wish
        for count in entry.counts:
            yield replace(wish_for(model, operation, "", film), count=int(count))


def not_for_pictures(entry: Entry) -> set[str]:
    """Resolutions at which the model takes no pictures: it makes them from words alone."""
    return {name for field in entry.picture_fields for name in field.get("not_at", ())}


def wish_for(model: KieModel, operation: Operation, resolution: str, film: Set) -> Wish:
    wish = Wish(
        project=film.project,
        subject=film.scene,
        model=model.model_id,
        resolution=resolution,
        operation=operation,
        aspect_ratio=ratio_for(model, resolution),
    )
    if operation == Operation.GENERATE:
        return wish
    words = None if model.prompt_use == "none" else "Make it night"
    mask = film.mask if model.takes.get("mask") and model.takes["mask"].min else None  # type: ignore[call-overload]
    field = model.source_field
    source = film.source if not (field and field.task_of) else picture_of_family(film)
    return replace(wish, source=source, prompt=words, mask=mask)


def ratio_for(model: KieModel, resolution: str) -> str:
    """The project's 16:9, where the model has it at this resolution."""
    named = resolution or model.default_resolution
    possible = [r for r in model.ratios if [r, named] not in model.impossible]
    return "16:9" if "16:9" in possible else next(iter(possible), "")


def picture_of_family(film: Set) -> Take:
    """Made by a model of the family that segment-edit works on."""
    return done(
        place(Wish(project=film.project, subject=film.scene, model=f"{GROK}text-to-image"))
    )[0]


def place(wish: Wish) -> Generation:
    order = orders.prepare(wish, orders.basis_for(wish, model_of(wish)))
    assert wish.project is not None
    terms = orders.Terms(wish.project.owner, uuid4().hex, shown_price=order.quote.credits)
    return orders.place(order, terms)


def model_of(wish: Wish) -> KieModel:
    """Also one that is switched off, as for a test order of staff."""
    return KieModel.objects.prefetch_related("prices").get(model_id=wish.model)


def follow(order: Generation) -> Generation:
    for step in (jobs.submit, jobs.poll, jobs.store):
        Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
        step()
    order.refresh_from_db()
    return order


def done(order: Generation) -> list[Take]:
    follow(order)
    events = [f"{e.state}: {e.message}" for e in order.events.all()]
    assert order.state == State.DONE, events
    return list(Take.objects.filter(output__generation=order).order_by("output__index"))


@pytest.fixture(autouse=True)
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the decoder works in a process of its own is tested elsewhere; here it is 250 starts."""

    def check(data: bytes) -> pictures.Picture:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
        return pictures.Picture(data, "image/png", "png", width, height, "0" * 64, data)

    monkeypatch.setattr(pictures, "check", check)


@pytest.mark.once
@pytest.mark.django_db
@pytest.mark.parametrize("name", ENTRIES)
def test_an_order_goes_the_whole_way_and_costs_what_was_said(
    name: str, kie: Sandbox, film: Set
) -> None:
    entry, model = ENTRIES[name], model_named(name)
    assert model is not None
    for wish in list(wishes_for(entry, film)):
        order = place(wish)
        quoted = orders.prepare(wish, orders.basis_for(wish, model_of(wish))).quote
        if "segmentation" in entry.modality:  # data in place of a picture, and free
            assert (follow(order).state, order.reason) == (State.FAILED, Reason.DATA)
            assert quoted.credits == 0
            continue
        takes = done(order)

        sent = sent_for(kie, order)
        assert sent["model"] == name
        assert sent["input"].keys() <= {field.name for field in model.fields}
        assert len(takes) == model.pictures(sent["input"])

        hold = LedgerEntry.objects.get(reference=order.hold_reference)
        charge = LedgerEntry.objects.get(reference=f"generation:{order.pk}:capture")
        listed = price_of(entry, order, model.pictures(sent["input"]))
        assert (quoted.credits, quoted.cost) == listed
        assert (hold.held_change, -charge.balance_change) == (quoted.credits, quoted.credits)
        assert charge.real_cost == quoted.cost == quoted.kie_credits * 50  # 1 credit is $0.005
        if name not in PRICED_BY_CHOICE | BY_MEGAPIXEL:
            assert order.kie_credits_used == quoted.kie_credits
    assert invariants.violations() == []
    assert audit.violations() == []


def sent_for(kie: Sandbox, order: Generation) -> dict[str, Any]:
    """The body of createTask that made this order's task; none was refused."""
    received = requests.get(f"{kie.url}/sandbox/requests", timeout=5).json()
    assert {request["code"] for request in received} == {200}
    return next(r["body"] for r in received if r["taskId"] == order.task_id)  # type: ignore[no-any-return]


def price_of(entry: Entry, order: Generation, pictures: int) -> tuple[int, int]:
    """From the catalogue's file: credits and cost, in hundredths and micro-dollars."""
    name = order.resolution
    if entry.price_edges:
        edge = 640 * int(entry.resolutions[order.resolution])
        name = next(n for n, most in entry.price_edges.items() if edge <= most)
    amount = entry.prices[name]
    billed = order.references.exclude(slot="mask").count() - amount.free_references
    extra = max(0, billed)
    count = pictures if entry.counts else 1
    return (
        amount.credits * count + amount.reference_credits * extra,
        amount.cost * count + amount.reference_cost * extra,
    )


@pytest.mark.django_db
def test_the_cast_goes_along_and_is_named_one_by_one(kie: Sandbox, film: Set) -> None:
    order = place(Wish(project=film.project, subject=film.scene, model="nano-banana-2"))
    done(order)
    sent = sent_for(kie, order)["input"]
    assert sent["prompt"] == "A lake\n\nMiro (image 1): Tall\nZuza (image 2): Tall"
    uploads = requests.get(f"{kie.url}/sandbox/uploads", timeout=5).json()
    files = {upload["url"]: upload["size"] for upload in uploads}
    assert [files[url] for url in sent["image_input"]] == [face.size for face in film.faces]
    assert len(set(sent["image_input"])) == 2


@pytest.mark.django_db
def test_what_is_made_from_a_picture_knows_it(kie: Sandbox, film: Set) -> None:
    (take,) = done(
        place(
            Wish(
                project=film.project,
                subject=film.scene,
                model="recraft/crisp-upscale",
                operation=Operation.UPSCALE,
                source=film.source,
            )
        )
    )
    order = take.output.generation
    assert (order.source, order.operation, take.scene) == (film.source, "upscale", film.scene)


@pytest.mark.django_db
def test_an_enlarged_picture_costs_by_its_own_size(film: Set) -> None:
    def price(width: int, factor: str) -> int:
        return orders.prepare(
            Wish(
                project=film.project,
                subject=film.scene,
                model="topaz/image-upscale",
                operation=Operation.UPSCALE,
                resolution=factor,
                source=take_of(film.project, (width, 64), scene=film.scene),
            )
        ).quote.credits

    assert [price(1024, "2×"), price(1025, "2×"), price(2049, "2×")] == [1000, 2000, 3600]
    with pytest.raises(OrderRefused) as refused:
        price(4097, "2×")
    assert (refused.value.code, refused.value.field) == ("too_large", "resolution")
