"""On a take: edited, reframed, enlarged, cut out, by a model that can take it, at its price."""

from __future__ import annotations

import io
import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image
from playwright.sync_api import Page, expect

from credits import ledger
from generation import records
from generation.models import Generation, KieModel, Price, State
from projects.models import Character, Member, Project, Role, Scene, Take
from tests import stages

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]

TOPAZ, CRISP = "topaz/image-upscale", "recraft/crisp-upscale"
LITE, FLASH = "nano-banana-2-lite", "seedream/5-flash-image-to-image"
INPAINT, QWEN = "ideogram/v3-edit", "qwen2-1/image-to-image"
WORKS = ("edit", "reframe", "upscale", "cutout")
USUAL = {
    "edit": LITE,
    "reframe": "ideogram/v3-reframe",
    "upscale": CRISP,
    "cutout": "recraft/remove-background",
    "layers": "seedream/5-flash-layer-decomposition",
}


@pytest.fixture
def scene(project: Project) -> Scene:
    stages.give_credits(project.owner, 10_000)
    return stages.add_scene(project, "12A")


@pytest.fixture
def take(scene: Scene) -> Take:
    return stages.add_take(scene)


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(take: Take, work: str = "upscale") -> str:
    return reverse("generation:rework", args=[take.pk, work])


def page(client: Client, take: Take, work: str = "upscale", **query: str) -> str:
    response = client.get(address(take, work), query)
    assert response.status_code == 200
    return str(response.content.decode())


def show(client: Client, take: Take, work: str, **form: Any) -> str:
    """The part that a change fetches."""
    response = client.post(
        address(take, work), {"show": "yes", **form}, headers={"HX-Request": "true"}
    )
    assert response.status_code == 200
    return str(response.content.decode())


def press(client: Client, take: Take, work: str, **form: Any) -> Any:
    """The button, with the price that the form would show."""
    form = {"model": USUAL[work], **form}
    fields = {"key": uuid4().hex, **form}
    if "price" not in fields:
        fields["price"] = price_on_button(show(client, take, work, **form))
    return client.post(address(take, work), fields)


def price_on_button(html: str) -> str:
    return re.findall(r'name="price" value="(\d+)"', html)[-1]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def picked(html: str, name: str) -> list[str]:
    boxes = re.findall(rf'<input type="(?:radio|checkbox)" name="{name}"[^>]*>', html)
    return [re.findall('value="([^"]*)"', box)[0] for box in boxes if " checked" in box]


def offered(html: str, name: str) -> list[str]:
    boxes = re.findall(rf'<input type="(?:radio|checkbox)" name="{name}"[^>]*>', html)
    return [re.findall('value="([^"]*)"', box)[0] for box in boxes if " disabled" not in box]


def books(user: User) -> tuple[int, int]:
    book = ledger.ledger_of(user)
    return book.balance, book.held


def picture(width: int = 1600, height: int = 900) -> SimpleUploadedFile:
    file = io.BytesIO()
    Image.new("L", (width, height), 255).save(file, "PNG")
    return SimpleUploadedFile("mask.png", file.getvalue(), "image/png")


# Who may


@pytest.mark.parametrize("work", WORKS)
def test_who_may_rework_a_take(
    take: Take, work: str, bob: User, charlie: User, staff: User
) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=take.project, user=dana, role=Role.VIEWER)
    for client, status in (
        (Client(), 302),
        (signed_in(charlie), 404),
        (signed_in(staff), 404),
        (signed_in(dana), 403),
    ):
        assert client.get(address(take, work)).status_code == status
        form = {"key": uuid4().hex, "price": "50", "model": CRISP}
        assert client.post(address(take, work), form).status_code == status
    assert Generation.objects.count() == 0
    assert signed_in(bob).get(address(take, work)).status_code == 200


def test_the_owner_pays_for_what_a_member_orders(take: Take, alice: User, bob: User) -> None:
    assert press(signed_in(bob), take, "upscale").status_code == 302
    order = Generation.objects.get()
    assert (order.ordered_by, order.payer) == (bob, alice)
    assert "alice pays" in page(signed_in(bob), take)


def test_a_take_of_no_scene_or_character_has_no_page(client: Client, take: Take) -> None:
    Take.objects.update(scene=None)
    assert client.get(address(take)).status_code == 404
    assert client.get(address(take, "upscale").replace("upscale", "segment")).status_code == 404


def test_only_those_who_may_edit_see_the_way_there(take: Take, client: Client) -> None:
    dana = User.objects.create_user("dana")
    Member.objects.create(project=take.project, user=dana, role=Role.VIEWER)
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    for work in WORKS:
        assert address(take, work) in client.get(scene_page).content.decode()
        assert address(take, work) not in signed_in(dana).get(scene_page).content.decode()


def test_a_picture_that_is_only_a_link_cannot_be_reworked(client: Client, take: Take) -> None:
    Take.objects.update(image="", source_url="https://old.example/1.png")
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    assert address(take, "edit") not in client.get(scene_page).content.decode()
    html = page(client, take)
    assert "The picture has not been fetched yet." in html
    assert offered(html, "model") == []
    form = {"key": uuid4().hex, "price": "50", "model": CRISP}
    assert client.post(address(take), form).status_code == 422
    assert Generation.objects.count() == 0


def test_what_no_model_can_do_is_not_offered(client: Client, take: Take) -> None:
    KieModel.objects.filter(model_id="recraft/remove-background").update(is_active=False)
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    html = client.get(scene_page).content.decode()
    assert address(take, "cutout") not in html
    assert address(take, "layers") not in html
    assert "Staff switch models on." in page(client, take, "cutout")


def test_layers_where_a_model_can_make_them(client: Client, take: Take) -> None:
    KieModel.objects.filter(model_id="seedream/5-flash-layer-decomposition").update(is_active=True)
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    assert address(take, "layers") in client.get(scene_page).content.decode()
    assert press(client, take, "layers").status_code == 302
    order = Generation.objects.get()
    assert (order.operation, order.prompt, order.source) == ("layers", "", take)


# The order


def test_upscale_orders_and_leads_back_to_the_card(client: Client, take: Take) -> None:
    response = press(client, take, "upscale", model=TOPAZ, resolution="4×")
    back = reverse("generation:subject", args=["scene", take.scene_id])
    assert response["Location"] == f"{back}#scene-{take.scene_id}"
    order = Generation.objects.get()
    assert (order.operation, order.source, order.scene) == ("upscale", take, take.scene)
    assert (order.model.model_id, order.resolution, order.state) == (TOPAZ, "4×", State.QUEUED)
    assert order.request["input"]["image_url"] == f"take:{take.pk}"
    assert books(order.ordered_by) == (10_000, 3600)


def test_a_character_has_takes_too(client: Client, project: Project, scene: Scene) -> None:
    face = stages.add_character(project).takes.get()
    response = press(client, face, "cutout")
    order = Generation.objects.get()
    assert (order.character, order.operation) == (face.character, "cutout")
    assert response["Location"].endswith(f"#character-{face.character_id}")


def test_edit_by_instruction(client: Client, take: Take) -> None:
    other = stages.add_take(take.scene)  # type: ignore[arg-type]
    miro = stages.add_character(take.project, "Miro")  # type: ignore[arg-type]
    form = {
        "model": LITE,
        "prompt": " Make it night ",
        "aspect_ratio": "9:16",
        "references": [other.pk, miro.takes.get().pk],
    }
    assert press(client, take, "edit", **form).status_code == 302
    order = Generation.objects.get()
    assert order.prompt == "Make it night"
    sent = order.request["input"]
    # The picture itself, then the characters, then other takes: as the page numbers them.
    along = [f"take:{one.pk}" for one in (take, miro.takes.get(), other)]
    assert (sent["image_urls"], sent["aspect_ratio"]) == (along, "9:16")


def test_an_edited_picture_keeps_its_shape(client: Client, take: Take) -> None:
    press(client, take, "edit", model=FLASH, prompt="Make it night")
    assert Generation.objects.get().aspect_ratio == "16:9"


def test_reframe_begins_with_another_shape_than_it_has(client: Client, take: Take) -> None:
    html = page(client, take, "reframe")
    assert picked(html, "aspect_ratio") == ["4:3"]
    assert offered(html, "count") == ["1", "2", "3", "4"]
    press(client, take, "reframe", aspect_ratio="9:16", count="4")
    order = Generation.objects.get()
    assert (order.aspect_ratio, order.count, order.price) == ("9:16", 4, 2800)


def test_reframe_begins_with_the_shape_of_the_project(client: Client, take: Take) -> None:
    Take.objects.update(width=900, height=1600)
    assert picked(page(client, take, "reframe"), "aspect_ratio") == ["16:9"]


def test_one_button_is_one_order(client: Client, take: Take, alice: User) -> None:
    key = uuid4().hex
    for _ in range(3):
        assert press(client, take, "upscale", key=key).status_code == 302
    assert Generation.objects.count() == 1
    assert books(alice) == (10_000, 50)


def test_a_used_button_orders_nothing_else(client: Client, take: Take) -> None:
    key = uuid4().hex
    press(client, take, "edit", key=key, model=LITE, prompt="Make it night")
    response = press(client, take, "edit", key=key, model=LITE, prompt="Make it day")
    assert response.status_code == 409
    assert "This button has been used." in response.content.decode()
    assert key not in response.content.decode()
    assert Generation.objects.count() == 1


def test_a_changed_price_is_shown_and_nothing_ordered(client: Client, take: Take) -> None:
    Price.objects.filter(model__model_id=CRISP).update(credits=70)
    response = press(client, take, "upscale", price="50")
    html = response.content.decode()
    assert response.status_code == 409
    assert "The price has changed: it is 0.7 credits now. Nothing was ordered." in html
    assert price_on_button(html) == "70"
    assert (Generation.objects.count(), books(take.made_by)) == (0, (10_000, 0))


def test_without_credits_nothing_is_ordered(client: Client, take: Take, bob: User) -> None:
    press(client, take, "upscale", model=TOPAZ, resolution="4×")
    press(client, take, "upscale", model=TOPAZ, resolution="4×")
    response = press(client, take, "upscale", model=TOPAZ, resolution="4×")
    html = response.content.decode()
    assert response.status_code == 402
    assert "Not enough credits: this costs 36 credits; you have 28 credits available." in html
    assert f'<a href="{reverse("generation:credits")}">My credits</a>' in html
    assert picked(html, "resolution") == ["4×"]
    told = press(signed_in(bob), take, "upscale", model=TOPAZ, resolution="4×").content.decode()
    assert "alice pays for this project." in told


@pytest.mark.parametrize("form", [{"key": "x"}, {"key": ""}, {"price": "6.5"}, {"price": ""}])
def test_a_garbled_button_orders_nothing(client: Client, take: Take, form: Any) -> None:
    assert press(client, take, "upscale", **form).status_code == 400
    assert Generation.objects.count() == 0


@pytest.mark.parametrize(
    ("work", "form", "field"),
    [
        ("edit", {"model": LITE}, "prompt"),
        ("edit", {"model": LITE, "prompt": "x" * 20_001}, "prompt"),
        ("edit", {"model": LITE, "prompt": "x", "aspect_ratio": "7:5"}, "aspect_ratio"),
        ("edit", {"model": LITE, "prompt": "x", "references": ["nobody"]}, "references"),
        ("edit", {"model": "z-image", "prompt": "x"}, "model"),
        ("edit", {"model": "", "prompt": "x"}, "model"),
        ("edit", {"model": INPAINT, "prompt": "x"}, "mask"),
        ("upscale", {"model": TOPAZ, "resolution": "8×"}, "resolution"),
        ("reframe", {"model": "ideogram/v3-reframe", "count": "9"}, "count"),
        ("reframe", {"model": "ideogram/v3-reframe", "count": "²"}, "count"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    client: Client, take: Take, alice: User, work: str, form: dict[str, Any], field: str
) -> None:
    stages.add_take(take.scene)  # type: ignore[arg-type]
    response = press(client, take, work, price="400", **form)
    html = response.content.decode()
    assert response.status_code == 422
    shown = "models" if field == "model" else field
    place = html.index("errorlist")
    before = re.findall(r'name="(\w+)"', html[:place])[-1]
    assert before == field or shown == "models", words(html[place : place + 300])
    assert (Generation.objects.count(), books(alice)) == (0, (10_000, 0))


def test_a_picture_too_many_is_said_at_the_pictures(client: Client, take: Take) -> None:
    others = [stages.add_take(take.scene).pk for _ in range(3)]  # type: ignore[arg-type]
    form = {"model": "qwen3/image-to-image", "prompt": "Make it night", "references": others}
    response = press(client, take, "edit", price="700", **form)
    html = response.content.decode()
    assert response.status_code == 422
    assert "takes at most 3 pictures here, not 4" in words(html)
    assert sorted(picked(html, "references")) == sorted(others)


# What is offered


def test_every_model_that_can_with_its_prices(client: Client, take: Take) -> None:
    html = page(client, take)
    assert offered(html, "model") == [CRISP, TOPAZ]
    assert "Topaz Upscale Topaz Labs 1× 10 2× 20 4× 36" in words(html)
    KieModel.objects.filter(model_id=TOPAZ).update(is_active=False)
    assert offered(page(client, take), "model") == [CRISP]


def test_a_model_that_cannot_take_the_picture_says_why(client: Client, take: Take) -> None:
    Take.objects.update(width=8500, height=5000)
    html = page(client, take)
    assert offered(html, "model") == [CRISP]
    assert "The result would have 8500 × 5000 pixels, which is too large." in words(html)


def test_a_factor_that_is_too_large_is_off(client: Client, take: Take) -> None:
    Take.objects.update(width=4096, height=2304)
    html = show(client, take, "upscale", model=TOPAZ)
    assert offered(html, "resolution") == ["1×", "2×"]
    assert picked(html, "resolution") == ["2×"]
    assert "4×: The result would have 16384 × 9216 pixels, which is too large." in words(html)


def test_the_cheapest_that_needs_nothing_more_is_chosen(client: Client, take: Take) -> None:
    assert picked(page(client, take), "model") == [CRISP]
    Price.objects.filter(model__model_id=INPAINT).update(credits=1)
    html = page(client, take, "edit")
    assert picked(html, "model") == [FLASH]
    # The source is larger than 1K, and 2K costs the same.
    assert picked(html, "resolution") == ["2K"]


def test_the_model_of_last_time_is_chosen_for_the_same_work(client: Client, take: Take) -> None:
    press(client, take, "upscale", model=TOPAZ, resolution="1×")
    press(client, take, "edit", model=LITE, prompt="Make it night")
    html = page(client, take)
    assert picked(html, "model") == [TOPAZ]
    assert picked(html, "resolution") == ["2×"]  # nothing else is remembered
    KieModel.objects.filter(model_id=TOPAZ).update(is_active=False)
    assert picked(page(client, take), "model") == [CRISP]


def test_the_price_follows_the_choices(client: Client, take: Take) -> None:
    assert price_on_button(show(client, take, "upscale", model=TOPAZ, resolution="1×")) == "1000"
    assert price_on_button(show(client, take, "upscale", model=TOPAZ, resolution="4×")) == "3600"
    assert price_on_button(show(client, take, "reframe", count="3")) == "2100"
    other = stages.add_take(take.scene)  # type: ignore[arg-type]
    form = {"model": "qwen3/image-to-image", "references": [other.pk]}
    assert price_on_button(show(client, take, "edit", **form)) == "580"
    assert Generation.objects.count() == 0


def test_what_another_model_lacks_gives_way(client: Client, take: Take) -> None:
    html = show(client, take, "edit", model=FLASH, resolution="4×", aspect_ratio="8:1")
    assert picked(html, "resolution") == ["2K"]
    assert picked(html, "aspect_ratio") == [""]
    assert offered(html, "count") == []


def test_what_cannot_go_together_leaves_the_button_off(client: Client, take: Take) -> None:
    form = {"model": QWEN, "kept_mask": stages.add_mask(take).pk}
    html = show(client, take, "edit", references=[stages.add_take(take.scene).pk], **form)  # type: ignore[arg-type]
    assert "takes no other picture than the one it works on" in words(html)
    assert re.search(r'id="order" disabled', html)


def test_a_large_picture_goes_as_a_smaller_copy(client: Client, take: Take) -> None:
    assert "a smaller copy is sent" not in page(client, take)
    Take.objects.update(size=12_000_000)
    assert "a smaller copy is sent" in page(client, take)


def test_without_script_a_button_shows_the_price(client: Client, take: Take) -> None:
    form = {"show": "yes", "model": LITE, "prompt": "Make it night", "aspect_ratio": "1:1"}
    response = client.post(address(take, "edit"), form)
    html = response.content.decode()
    assert response.status_code == 200
    assert re.search(r'<noscript><button name="show" value="yes" formnovalidate>', html)
    assert (picked(html, "model"), picked(html, "aspect_ratio")) == ([LITE], ["1:1"])
    assert "Make it night</textarea>" in html
    assert price_on_button(html) == "400"
    assert Generation.objects.count() == 0


def test_who_and_what_can_go_along(client: Client, take: Take, project: Project) -> None:
    zuza, miro = (stages.add_character(project, name) for name in ("Zuza", "Miro"))
    Character.objects.create(project=project, name="Faceless")
    assert take.scene
    take.scene.cast.add(miro)
    stages.add_take(take.scene)
    stages.add_take(stages.add_scene(project, "13"))
    told = words(page(client, take, "edit"))
    along = told[told.index("Pictures that go along") :]
    assert "Miro Zuza Take 2" in along
    assert "Faceless" not in along
    html = show(client, take, "edit", model=FLASH, references=[zuza.takes.get().pk])
    assert "image 2" in html


def test_a_model_that_needs_somebody_begins_with_the_cast(
    client: Client, take: Take, project: Project
) -> None:
    needs = {"model": "ideogram/character-remix"}
    assert needs["model"] not in offered(page(client, take, "edit"), "model")
    miro = stages.add_character(project)
    html = show(client, take, "edit", **needs)
    assert picked(html, "references") == [miro.takes.get().pk]


def test_how_the_models_have_done_stands_beside_them(client: Client, take: Take) -> None:
    assert "usually" not in words(page(client, take)), "nothing is known yet"
    known = records.Record(24, 80, ended=100, takes=100, kept=50, paid_for=100)
    records.cache.set(records.KNOWN, {KieModel.objects.get(model_id=CRISP).pk: known})
    record = "usually 24 s, slow 1 min 20 s · 50 % kept here → 1 credit a kept picture"
    html = page(client, take)
    (row,) = re.findall(rf'<label class="model(?:(?!</label>).)*"{CRISP}".*?</label>', html)
    assert record in words(row)
    assert words(html).count("usually 24 s") == 1, "few models are all in sight"
    flash = KieModel.objects.get(model_id=FLASH)
    records.cache.set(records.KNOWN, {flash.pk: known})
    (chosen,) = re.findall(r'id="chosen-model".*?</summary>', page(client, take, "edit"), re.DOTALL)
    assert "usually 24 s, slow 1 min 20 s · 50 % kept here →" in words(f"<i {chosen}")


# The mask


def test_a_mask_is_kept_beside_the_takes(client: Client, take: Take) -> None:
    form = {"model": INPAINT, "prompt": "A lake", "mask": picture()}
    assert press(client, take, "edit", price="700", **form).status_code == 302
    mask = Take.objects.get(scene=None, character=None)
    assert (mask.project, mask.width, mask.height) == (take.project, 1600, 900)
    order = Generation.objects.get()
    assert order.request["input"]["mask_url"] == f"take:{mask.pk}"
    assert Take.objects.filter(scene=take.scene).count() == 1


def test_a_double_click_with_a_mask_is_one_order(client: Client, take: Take) -> None:
    key = uuid4().hex
    for _ in range(2):
        form = {"model": INPAINT, "prompt": "A lake", "mask": picture(), "key": key}
        assert press(client, take, "edit", price="700", **form).status_code == 302
    assert Generation.objects.count() == 1
    assert Take.objects.filter(scene=None).count() == 1


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            picture(800, 450),
            "The mask has 800 × 450 pixels. It has to be as large as the picture: 1600 × 900.",
        ),
        (SimpleUploadedFile("mask.png", b"no picture"), "This is not a PNG, JPEG or WebP picture."),
    ],
)
def test_a_wrong_mask_is_not_kept(
    client: Client, take: Take, file: SimpleUploadedFile, said: str
) -> None:
    file.seek(0)
    form = {"model": INPAINT, "prompt": "A lake", "mask": file}
    response = press(client, take, "edit", price="700", **form)
    html = response.content.decode()
    assert response.status_code == 422
    assert said in html[html.index('name="mask"') :]
    assert (Generation.objects.count(), Take.objects.count()) == (0, 1)


def test_a_mask_need_not_be_brought_twice(client: Client, take: Take) -> None:
    form = {"model": INPAINT, "prompt": "A lake"}
    html = press(client, take, "edit", price="1", mask=picture(), **form).content.decode()
    (kept,) = picked(html, "kept_mask")
    assert press(client, take, "edit", price="700", kept_mask=kept, **form).status_code == 302
    assert Generation.objects.get().references.get(slot="mask").take_id == kept


def test_without_script_showing_the_price_keeps_the_mask(client: Client, take: Take) -> None:
    form = {"model": INPAINT, "prompt": "A lake", "show": "yes", "mask": picture()}
    html = client.post(address(take, "edit"), form).content.decode()
    assert picked(html, "kept_mask")
    form["mask"] = picture(10, 10)
    assert "It has to be as large" in client.post(address(take, "edit"), form).content.decode()


def test_a_mask_of_somebody_else_is_not_there(client: Client, take: Take, charlie: User) -> None:
    theirs = Project.objects.create(owner=charlie, name="Other")
    mask = stages.add_mask(stages.add_take(stages.add_scene(theirs)))
    for name in (mask.pk, "nobody"):
        form = {"model": INPAINT, "prompt": "A lake", "kept_mask": name}
        response = press(client, take, "edit", price="700", **form)
        assert response.status_code == 422
        assert "The mask is not there any more." in response.content.decode()


def test_what_is_known_of_the_mask_is_said(client: Client, take: Take) -> None:
    assert "White in the mask is what changes" in show(client, take, "edit", model=QWEN)
    html = page(client, take, "edit")
    assert "needs a mask" in html
    assert 'name="mask"' not in html


# Again, and the way back


def test_a_failed_one_can_be_tried_again_with_the_same_values(client: Client, take: Take) -> None:
    other = stages.add_take(take.scene)  # type: ignore[arg-type]
    form = {"model": LITE, "prompt": "Make it night", "references": [other.pk]}
    press(client, take, "edit", aspect_ratio="1:1", **form)
    order = stages.failed(Generation.objects.get())
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    html = client.get(scene_page).content.decode()
    again = f"{address(take, 'edit')}?again={order.pk}"
    assert again in html
    assert "Edit: Not charged." in words(html)
    assert "Edit description" not in html  # it is not at fault
    html = client.get(again).content.decode()
    assert (picked(html, "model"), picked(html, "aspect_ratio")) == ([LITE], ["1:1"])
    assert picked(html, "references") == [other.pk]
    assert "Make it night</textarea>" in html
    assert "Make it night" not in page(client, other, "edit", again=order.pk)


def test_the_card_says_what_is_under_way(client: Client, take: Take) -> None:
    press(client, take, "upscale")
    scene_page = reverse("generation:subject", args=["scene", take.scene_id])
    assert "Upscale · Waiting in line" in words(client.get(scene_page).content.decode())


# As many models, takes and characters as there are


def queries(client: Client, take: Take, work: str) -> int:
    client.get(address(take, work))  # sessions and caches
    with CaptureQueriesContext(
        connection,
    ) as found:
        page(client, take, work)
    return len(found)


@pytest.mark.parametrize("work", ["edit", "upscale"])
def test_no_more_queries_for_more_models_takes_and_characters(
    client: Client, take: Take, project: Project, work: str
) -> None:
    assert take.scene
    stages.add_take(take.scene)
    take.scene.cast.add(stages.add_character(project, "Miro"))
    records.find_out()
    few = queries(client, take, work)
    model = KieModel.objects.get(model_id=LITE if work == "edit" else CRISP)
    for number in range(6):
        stages.add_take(take.scene)
        take.scene.cast.add(stages.add_character(project, f"Person {number}"))
        model.pk, model.model_id = None, f"copy/{number}"
        model.save()
        Price.objects.create(model=model, credits=5000, cost=1)
    assert queries(client, take, work) == few


# In a browser


PROJECT = "/projects/cmkivtwqv0005l80499cyfuzx/"


@pytest.fixture
def generated(demo: Page) -> Page:
    """The page of a scene of the demo, with a picture."""
    demo.goto(PROJECT)
    card = demo.locator("li.scene").nth(9)
    card.get_by_role("heading").get_by_role("link").click()
    demo.wait_for_url("**/scenes/**")  # a click does not wait for it, and the board has takes, too
    if not demo.locator(".take").count():
        demo.get_by_role("button", name="Generate image").click()
    expect(demo.locator(".take").first).to_be_visible(timeout=30_000)
    return demo


@pytest.mark.browser
def test_upscale_from_the_picture_to_the_new_take(generated: Page) -> None:
    before = generated.locator(".take").count()
    generated.get_by_role("link", name="Upscale").first.click()
    button = generated.locator("#order")
    expect(button).to_contain_text("0.5 credits")
    generated.get_by_role("radio", name="Topaz Upscale").check()
    expect(button).to_contain_text("20 credits")
    generated.locator("#options .segments label").filter(has_text="1×").click()
    expect(button).to_contain_text("10 credits")
    button.click()
    expect(generated.locator(".take")).to_have_count(before + 1, timeout=30_000)
    newest = generated.locator("#viewer")
    expect(newest.locator(".parent")).to_contain_text(f"Upscaled from take {before}")
    expect(newest.locator(".parent img")).to_be_visible()
    expect(newest.locator(".recipe summary")).to_contain_text("Topaz Upscale · 1× · 10 credits")
    newest.locator(".recipe summary").click()
    newest.get_by_role("link", name="Receipt").click()
    expect(generated.locator("main")).to_contain_text("Charged 10 credits")
    expect(generated.locator("main")).to_contain_text(f"Upscaled from take {before}")


@pytest.mark.browser
def test_edit_with_the_keyboard_alone(generated: Page) -> None:
    before = generated.locator(".take").count()
    generated.get_by_role("link", name="Edit", exact=True).first.focus()
    generated.keyboard.press("Enter")
    words = generated.get_by_label("What is to change?")
    expect(words).to_be_visible()
    for _ in range(30):
        generated.keyboard.press("Tab")
        if words.evaluate("field => field === document.activeElement"):
            break
    generated.keyboard.type("Make it night")
    generated.keyboard.press("Tab")  # the models
    generated.keyboard.press("Enter")
    generated.keyboard.press("Tab")
    generated.keyboard.press("ArrowDown")
    chosen = generated.locator("#chosen-model")
    expect(chosen).not_to_contain_text("Flash")
    expect(generated.locator("#order")).to_be_enabled()
    for _ in range(40):
        generated.keyboard.press("Tab")
        if generated.locator("#order").evaluate("it => it === document.activeElement"):
            break
    generated.keyboard.press("Enter")
    expect(generated.locator(".take")).to_have_count(before + 1, timeout=30_000)
    parent = generated.locator("#viewer .parent")
    expect(parent).to_contain_text(f"Edited from take {before}")


@pytest.mark.browser
def test_enter_on_a_choice_does_not_order(generated: Page) -> None:
    generated.get_by_role("link", name="Upscale").first.click()
    generated.get_by_role("radio", name="Topaz Upscale").check()
    expect(generated.locator("#order")).to_contain_text("20 credits")
    generated.locator("#options input[name=resolution]:checked").press("Enter")
    expect(generated.get_by_role("radio", name="Topaz Upscale")).to_be_checked()
    expect(generated).to_have_url(re.compile("/upscale/$"))
    expect(generated.locator("#open-orders")).to_have_text("0")
