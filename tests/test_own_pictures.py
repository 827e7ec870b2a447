"""Pictures that a person brings along: dropped, pasted or picked, checked, free, and undone."""

from __future__ import annotations

import base64
import io
import re
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from credits import ledger
from projects.models import Character, Project, Scene, Take
from tests import stages
from tests.servers import Site
from tests.test_board import HTMX, page, signed_in
from tests.test_frame import rough
from tests.test_rework import words
from tests.test_studio import PROJECT

__all__ = ["rough"]  # a fixture

database = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]
pytestmark = database
GPS = 0x8825


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def scene(project: Project) -> Scene:
    return stages.add_scene(project, "12A")


def photo(orientation: int = 1, size: tuple[int, int] = (64, 36)) -> bytes:
    """As a telephone takes it: with the place, the camera, and which way up it was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A camera with a name"
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (48.0, 9.0, 0.0)
    data = io.BytesIO()
    Image.new("RGB", size, "teal").save(data, "JPEG", exif=exif, comment=b"a secret")
    return data.getvalue()


def bring(client: Client, subject: Scene | Character, data: bytes, **headers: str) -> Any:
    address = reverse(f"projects:{subject._meta.model_name}_upload", args=[subject.pk])
    file = SimpleUploadedFile("photo.jpg", data, "image/jpeg")
    return client.post(address, {"picture": file}, headers=headers)


def chosen(subject: Scene | Character) -> Take | None:
    subject.refresh_from_db()
    return subject.chosen


def test_the_stored_file_says_neither_where_nor_who(client: Client, scene: Scene) -> None:
    data = photo(orientation=6)
    with Image.open(io.BytesIO(data)) as brought:
        assert brought.getexif().get_ifd(GPS)  # or nothing is proved below
    assert bring(client, scene, data, **HTMX).status_code == 201
    take = scene.takes.get()
    with default_storage.open(take.image.name) as file:
        kept = file.read()
    with Image.open(io.BytesIO(kept)) as image:
        exif = image.getexif()
        assert dict(exif) == {0x0112: 6}  # which way is up, and nothing else
        assert not exif.get_ifd(GPS)
    for word in (b"secret", b"camera with a name", b"GPS"):
        assert word not in kept
    assert (take.width, take.height) == (36, 64)  # as it is shown: upright
    with Image.open(default_storage.open(take.thumbnail.name)) as small:
        assert small.size == (36, 64)
        assert not small.getexif()


def test_it_costs_nothing(client: Client, scene: Scene, alice: User) -> None:
    bring(client, scene, photo(), **HTMX)
    assert not ledger.ledger_of(alice).entries.exists()


def test_the_answer_to_a_script_says_how_it_is_undone(client: Client, scene: Scene) -> None:
    first = stages.add_take(scene)
    client.post(reverse("projects:take_choose", args=[first.pk]))
    answer = bring(client, scene, photo(), **HTMX)
    take = scene.takes.exclude(pk=first.pk).get()
    assert chosen(scene) == take
    assert answer.json() == {"undo": f"/takes/{take.pk}/trash/?instead={first.pk}"}
    client.post(answer.json()["undo"], headers=HTMX)
    assert chosen(scene) == first
    take.refresh_from_db()
    assert take.trashed_at and take.image


def test_undoing_where_none_was_chosen_chooses_none(client: Client, scene: Scene) -> None:
    first = stages.add_take(scene)
    client.post(bring(client, scene, photo(), **HTMX).json()["undo"], headers=HTMX)
    assert chosen(scene) is None
    assert Scene.objects.with_picture().get(pk=scene.pk).picture_id == first.pk  # type: ignore[attr-defined]


def test_what_is_wrong_is_said_to_a_script(client: Client, scene: Scene) -> None:
    answer = bring(client, scene, b"<svg/>", **HTMX)
    assert answer.status_code == 422
    assert answer.json() == {"refused": "This is not a PNG, JPEG or WebP picture."}
    assert not scene.takes.exists()


def test_without_script_the_toast_has_the_way_back(client: Client, scene: Scene) -> None:
    answer = bring(client, scene, photo())
    html = client.get(answer["Location"]).content.decode()
    assert "The picture is in and shown." in words(html)
    take = scene.takes.get()
    assert f'<form method="post" action="/takes/{take.pk}/trash/?instead="' in html


def test_who_may_bring_one_is_offered_it(
    client: Client, scene: Scene, project: Project, bob: User
) -> None:
    upload = reverse("projects:scene_upload", args=[scene.pk])
    board = reverse("generation:board", args=[project.pk])
    for one in (client, signed_in(bob)):
        assert f'data-upload="{upload}"' in page(one, scene)
        assert f'data-upload="{upload}"' in one.get(board).content.decode()
    Scene.objects.update(is_locked=True)
    assert upload not in page(client, scene)
    assert upload not in client.get(board).content.decode()


# In a browser


def png(color: str = "teal") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (320, 180), color).save(data, "PNG")
    return data.getvalue()


def hold_above(place: Locator, kind: str, **files: bytes) -> None:
    """What a browser does with files from elsewhere: `dragover`, `drop` or `paste`."""
    place.evaluate(
        """(place, [kind, files]) => {
          const data = new DataTransfer();
          for (const [name, coded] of Object.entries(files)) {
            const bytes = Uint8Array.from(atob(coded), (one) => one.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/png" }));
          }
          const options = { bubbles: true, cancelable: true };
          const event = kind === "paste"
            ? new ClipboardEvent(kind, { ...options, clipboardData: data })
            : new DragEvent(kind, { ...options, dataTransfer: data });
          place.dispatchEvent(event);
        }""",
        [kind, {name: base64.b64encode(data).decode() for name, data in files.items()}],
    )


def new_scene(page: Page) -> str:
    """The address of a scene that no other test knows, the last on the demo's board."""
    page.goto(f"/projects/{PROJECT}/scenes/new/")
    page.get_by_label("Description").fill("Two tents in the dunes")
    page.get_by_role("button", name="Add scene").click()
    page.wait_for_url(re.compile(f"/projects/{PROJECT}/(\\?|#|$)"))
    link = page.locator("li.scene").last.get_by_role("heading").get_by_role("link")
    return link.get_attribute("href") or ""


@pytest.mark.browser
def test_a_file_dropped_on_the_page_is_shown_and_undone(demo: Page) -> None:
    demo.goto(new_scene(demo))
    main = demo.locator("main")
    hold_above(main, "dragover", **{"own.png": png()})
    expect(demo.locator(".live.dropping")).to_have_attribute("data-dropping", re.compile("Let go"))
    hold_above(main, "drop", **{"own.png": png(), "other.png": png("navy")})
    expect(demo.locator(".dropping")).to_have_count(0)
    toast = demo.locator(".toast").filter(has_text="2 pictures are in, and the last is shown.")
    expect(toast).to_be_visible(timeout=30_000)
    expect(demo.locator("#strip > .take")).to_have_count(2)
    expect(demo.locator("#viewer .number")).to_contain_text("chosen")
    toast.get_by_role("button", name="Undo").click()
    expect(demo.locator("#viewer")).to_contain_text("No picture yet")
    expect(demo.locator("#trash summary")).to_contain_text("2")


@pytest.mark.browser
def test_a_picture_is_pasted_whatever_is_looked_at(demo: Page) -> None:
    demo.goto(new_scene(demo))
    for count, color in enumerate(("teal", "navy"), 1):
        hold_above(demo.locator("body"), "paste", **{"image.png": png(color)})
        expect(demo.locator("#strip > .take")).to_have_count(count, timeout=30_000)
    older = demo.locator("#strip > .take").nth(1)
    older.locator("a.frame").click()
    expect(demo).to_have_url(re.compile(r"\?take="))
    hold_above(demo.locator("body"), "paste", **{"image.png": png("red")})
    expect(demo.locator("#strip > .take").first).to_have_class(re.compile("chosen"), timeout=30_000)
    expect(demo.locator("#strip > .take").first.locator("[aria-current]")).to_have_count(1)


@pytest.mark.browser
def test_a_picture_is_picked(demo: Page) -> None:
    demo.goto(new_scene(demo))
    with demo.expect_file_chooser() as chooser:
        demo.get_by_role("link", name="Own picture").click()
    chooser.value.set_files([{"name": "a.png", "mimeType": "image/png", "buffer": png()}])
    expect(demo.locator("#strip > .take")).to_have_count(1, timeout=30_000)


@pytest.mark.browser
def test_a_file_dropped_on_a_card_of_the_board(demo: Page) -> None:
    new_scene(demo)  # and back on the board
    card = demo.locator("li.scene").last
    hold_above(card.locator("h3"), "drop", **{"own.png": png("orange")})
    toast = demo.locator(".toast").filter(has_text="The picture is in and shown.")
    expect(toast).to_be_visible(timeout=30_000)
    expect(card.locator(".frame img")).to_be_visible()
    toast.get_by_role("button", name="Undo").click()
    expect(card.locator(".frame")).to_contain_text("No picture yet")


@pytest.mark.browser
def test_a_file_beside_the_cards_changes_nothing(demo: Page) -> None:
    demo.goto(f"/projects/{PROJECT}/")
    hold_above(demo.locator("h1"), "drop", **{"own.png": png()})
    expect(demo.locator(".toast")).to_have_count(0)
    expect(demo).to_have_url(re.compile(f"/projects/{PROJECT}/$"))


@pytest.mark.browser
def test_what_is_wrong_with_one_is_said_and_the_others_go_on(rough: Any) -> None:
    page = rough.new_page()
    page.goto(new_scene(page))
    files = {"broken.png": b"\x89PNG\r\n\x1a\nbroken", "good.png": png("pink")}
    hold_above(page.locator("main"), "drop", **files)
    wrong = page.get_by_role("alert").filter(has_text="broken.png")
    expect(wrong).to_be_visible(timeout=30_000)
    expect(page.locator("#strip > .take")).to_have_count(1, timeout=30_000)
    hold_above(page.locator("main"), "drop", **{f"{n}.png": png() for n in range(11)})
    expect(page.get_by_role("alert").filter(has_text="ten pictures")).to_be_visible()
    page.route("**/upload/", lambda route: route.abort())
    hold_above(page.locator("main"), "drop", **{"lost.png": png()})
    expect(page.get_by_role("alert").filter(has_text="lost.png: The site cannot")).to_be_visible()


def change(site: Site, page: Page, code: str) -> None:
    """What somebody else does meanwhile to the scene that `page` shows; the page is not told."""
    pk = re.search(r"/scenes/(\w+)/", page.url)
    assert pk
    lines = f"from projects.models import Scene; scene = Scene.objects.filter(pk={pk[1]!r})"
    site.manage("shell", "--no-imports", "-c", f"{lines}\n{code}")


LOCKED = "is locked. Unlock it first; nothing was changed."
GONE = "This is not there any more. Reload the page."
FORBIDDEN = "You may look at this, but not change it."


def forbid(route: Route) -> None:
    route.fulfill(status=403, content_type="text/html", body="<h1>No</h1>")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("code", "reason"), [("scene.update(is_locked=True)", LOCKED), ("scene.delete()", GONE)]
)
def test_a_drop_that_is_refused_says_why(rough: Any, site: Site, code: str, reason: str) -> None:
    page = rough.new_page()
    page.goto(new_scene(page))
    change(site, page, code)
    hold_above(page.locator("main"), "drop", **{"own.png": png()})
    toast = page.get_by_role("alert").filter(has_text="own.png")
    expect(toast).to_contain_text(reason, timeout=30_000)
    expect(page.locator(".toast.busy")).to_have_count(0)


@pytest.mark.browser
def test_a_drop_by_who_may_not_any_more_says_so(rough: Any) -> None:
    page = rough.new_page()
    page.goto(new_scene(page))
    page.route("**/upload/", forbid)
    hold_above(page.locator("main"), "drop", **{"own.png": png()})
    expect(page.get_by_role("alert").filter(has_text="own.png")).to_contain_text(FORBIDDEN)


@pytest.mark.browser
def test_a_drop_after_signing_out_leads_to_the_sign_in_page(rough: Any) -> None:
    page = rough.new_page()
    address = new_scene(page)
    page.goto(address)
    rough.clear_cookies(name="sessionid")
    hold_above(page.locator("main"), "drop", **{"own.png": png(), "other.png": png()})
    page.wait_for_url(f"/account/login/?next={quote(address, safe='')}")


@pytest.fixture
def dropped(rough: Any) -> tuple[Page, Locator]:
    """The page of a scene that a picture was dropped on, and the toast with its Undo."""
    page = rough.new_page()
    page.goto(new_scene(page))
    hold_above(page.locator("main"), "drop", **{"own.png": png()})
    toast = page.locator(".toast").filter(has_text="in and shown")
    expect(toast).to_be_visible(timeout=30_000)
    expect(page.locator("#strip > .take")).to_have_count(1)
    return page, toast


@pytest.mark.browser
@pytest.mark.parametrize("reason", [LOCKED, FORBIDDEN, "The site cannot be reached."])
def test_an_undo_that_is_refused_says_why_and_can_be_tried_again(
    dropped: tuple[Page, Locator], site: Site, reason: str
) -> None:
    page, toast = dropped
    if reason == LOCKED:
        change(site, page, "scene.update(is_locked=True)")
    else:
        page.route("**/trash/**", forbid if reason == FORBIDDEN else lambda it: it.abort())
    toast.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("alert").filter(has_text=reason)).to_be_visible()
    expect(page.locator("#strip > .take")).to_have_count(1)
    if reason == LOCKED:
        change(site, page, "scene.update(is_locked=False)")
    page.unroute_all()
    toast.get_by_role("button", name="Undo").click()
    expect(page.locator("#viewer")).to_contain_text("No picture yet")
    expect(toast).to_have_count(0)


@pytest.mark.browser
def test_an_undo_after_signing_out_leads_to_the_sign_in_page(
    dropped: tuple[Page, Locator],
) -> None:
    page, toast = dropped
    page.context.clear_cookies(name="sessionid")
    toast.get_by_role("button", name="Undo").click()
    page.wait_for_url(re.compile(r"/account/login/\?next="))


@pytest.mark.browser
def test_progress_is_shown_while_a_file_is_on_its_way(rough: Any) -> None:
    page = rough.new_page()
    page.goto(new_scene(page))
    held: list[Any] = []
    page.route("**/upload/", lambda route: held.append(route))
    hold_above(page.locator("main"), "drop", **{"slow.png": png("gray")})
    toast = page.locator(".toast").filter(has_text="slow.png")
    expect(toast.locator("progress")).to_be_visible()
    page.wait_for_timeout(7_000)  # longer than other toasts stay
    expect(toast).to_be_visible()
    held[0].continue_()
    expect(page.locator(".toast").filter(has_text="in and shown")).to_be_visible(timeout=30_000)
