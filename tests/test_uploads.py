"""Pictures that go along with an order are handed over to KIE right before it is sent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import django_rq
import pytest
import requests
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from credits import invariants, ledger
from generation import audit, jobs, orders
from generation.kie.sandbox import Options, Sandbox
from generation.models import Generation, KieModel, Operation, Pause, Reason, Reference, State
from generation.wishes import Wish
from projects.models import Project, Scene, Take

pytestmark = pytest.mark.django_db


@pytest.fixture
def kie(settings: Any, valkey: object) -> Iterator[Sandbox]:
    with Sandbox(Options(port=0, seconds=0, rate=0, largest_edge=64)) as sandbox:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = sandbox.url
        yield sandbox


@pytest.fixture
def scene(project: Project, catalogue: None) -> Scene:
    ledger.grant(ledger.ledger_of(project.owner), 10_000, reference="g", about=ledger.About())
    return Scene.objects.create(project=project, number="1", position=1, description="A lake")


def stored(scene: Scene, size: tuple[int, int] = (640, 480), kind: str = "PNG") -> Take:
    file = io.BytesIO()
    Image.effect_noise(size, 100).convert("RGB").save(file, kind)
    ending = "png" if kind == "PNG" else "jpg"
    name = default_storage.save(f"takes/{uuid4().hex}.{ending}", ContentFile(file.getvalue()))
    return Take.objects.create(
        project=scene.project,
        scene=scene,
        made_by=scene.project.owner,
        image=name,
        content_type=f"image/{kind.lower()}",
        width=size[0],
        height=size[1],
        size=len(file.getvalue()),
    )


def ordered(take: Take, model: str = "google/nano-banana-edit", **wish: Any) -> Generation:
    assert take.project is not None
    wishes = {"operation": Operation.EDIT, "prompt": "Make it night", **wish}
    order = orders.prepare(Wish(take.project, take.scene, model=model, source=take, **wishes))
    return orders.place(order, orders.Terms(take.project.owner, uuid4().hex))


def submit(order: Generation) -> Generation:
    Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
    jobs.submit()
    order.refresh_from_db()
    return order


def uploads(kie: Sandbox) -> list[dict[str, Any]]:
    return requests.get(f"{kie.url}/sandbox/uploads", timeout=5).json()  # type: ignore[no-any-return]


def next_faults(kie: Sandbox, *faults: str) -> None:
    answer = requests.post(f"{kie.url}/sandbox/faults", json={"next": list(faults)}, timeout=5)
    assert answer.status_code == 200, answer.text


def creates(kie: Sandbox) -> list[dict[str, Any]]:
    return requests.get(f"{kie.url}/sandbox/requests", timeout=5).json()  # type: ignore[no-any-return]


def books(order: Generation) -> tuple[str, str, int]:
    assert invariants.violations() == audit.violations() == []
    return order.state, order.reason, ledger.ledger_of(order.ordered_by).held


def test_what_was_uploaded_is_what_is_sent(kie: Sandbox, scene: Scene) -> None:
    take = stored(scene)
    order = submit(ordered(take))
    (upload,) = uploads(kie)
    (create,) = creates(kie)
    assert upload["size"] == take.size
    assert create["body"]["input"]["image_urls"] == [upload["url"]]
    assert order.state == State.RUNNING
    assert order.request["input"]["image_urls"] == [f"take:{take.pk}"]
    assert order.references.get().url == upload["url"]


def test_a_prompt_that_looks_like_a_picture_stays_a_prompt(kie: Sandbox, scene: Scene) -> None:
    take = stored(scene)
    submit(ordered(take, prompt=f"take:{take.pk}"))
    assert creates(kie)[0]["body"]["input"]["prompt"] == f"take:{take.pk}"


def test_an_order_that_is_sent_again_hands_nothing_over_twice(kie: Sandbox, scene: Scene) -> None:
    order = ordered(stored(scene))
    next_faults(kie, "create_455")
    assert submit(order).state == State.QUEUED
    assert submit(order).state == State.RUNNING
    assert len(uploads(kie)) == 1


def test_whoever_waits_for_the_window_with_all_handed_over_rings_for_nobody(
    kie: Sandbox, scene: Scene, django_capture_on_commit_callbacks: Any
) -> None:
    """The next worker would find the same order, and the window as it is."""
    order, queue = ordered(stored(scene)), django_rq.get_queue("orders")

    def rung() -> int:
        queue.empty()
        with django_capture_on_commit_callbacks(execute=True):
            assert submit(order).state == State.QUEUED
        return len(queue.get_jobs())

    jobs.creates().retell({})
    jobs.creates().shut()
    assert rung() == 1, "while it hands over, the next one may go"
    assert rung() == 0
    assert len(uploads(kie)) == 1
    assert creates(kie) == []


def test_what_kie_may_have_forgotten_is_handed_over_again(kie: Sandbox, scene: Scene) -> None:
    order = ordered(stored(scene))
    next_faults(kie, "create_455")
    submit(order)
    Reference.objects.update(uploaded_at=timezone.now() - timedelta(hours=7))
    submit(order)
    first, second = uploads(kie)
    assert first["path"] != second["path"]  # an old name may come back stale
    assert creates(kie)[-1]["body"]["input"]["image_urls"] == [second["url"]]


@pytest.mark.parametrize("fault", ["upload_502", "upload_500"])
def test_an_upload_that_fails_is_tried_again(kie: Sandbox, scene: Scene, fault: str) -> None:
    order = ordered(stored(scene))
    next_faults(kie, fault)
    assert books(submit(order)) == (State.QUEUED, "", order.price)
    assert creates(kie) == []
    assert submit(order).state == State.RUNNING


def test_what_came_through_is_kept_where_another_upload_failed(kie: Sandbox, scene: Scene) -> None:
    takes = [stored(scene) for _ in range(3)]
    order = ordered(takes[0], references=tuple(takes[1:]))
    next_faults(kie, "upload_502")
    submit(order)
    assert len(uploads(kie)) == 2
    assert submit(order).state == State.RUNNING
    assert len(uploads(kie)) == 3
    sizes = {upload["url"]: upload["size"] for upload in uploads(kie)}
    sent = creates(kie)[-1]["body"]["input"]["image_urls"]
    assert [sizes[url] for url in sent] == [take.size for take in takes]


def test_uploads_that_never_come_through_end_the_order(kie: Sandbox, scene: Scene) -> None:
    order = ordered(stored(scene))
    Generation.objects.filter(pk=order.pk).update(attempts=jobs.MOST_UPLOADS)
    next_faults(kie, "upload_502")
    assert books(submit(order)) == (State.FAILED, Reason.UPLOAD, 0)


def test_what_nobody_foresaw_does_not_go_round(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ's time-out, say: the order waits as after any other failure, and ends some time."""

    def broken(*_: object) -> None:
        raise RuntimeError("who would have thought")

    order = ordered(stored(scene))
    monkeypatch.setattr(jobs.uploads, "hand_over", broken)
    assert books(submit(order)) == (State.QUEUED, "", order.price)
    assert (order.attempts, order.lease_until) == (1, None)
    assert order.next_at > timezone.now()
    Generation.objects.filter(pk=order.pk).update(attempts=jobs.MOST_UPLOADS)
    assert books(submit(order)) == (State.FAILED, Reason.UPLOAD, 0)


def test_a_file_that_is_gone_ends_the_order(kie: Sandbox, scene: Scene) -> None:
    take = stored(scene)
    order = ordered(take)
    default_storage.delete(take.image.name)
    assert books(submit(order)) == (State.FAILED, Reason.UPLOAD, 0)


def test_a_storage_that_is_down_is_waited_for(
    kie: Sandbox, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered(stored(scene))

    def broken(name: str, mode: str = "rb") -> None:
        raise OSError("Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(default_storage, "open", broken)
        assert books(submit(order)) == (State.QUEUED, "", order.price)
    assert submit(order).state == State.RUNNING


def test_a_key_that_is_refused_pauses_all_ordering(scene: Scene, settings: Any) -> None:
    order = ordered(stored(scene))
    with Sandbox(Options(port=0, key="another")) as kie:
        settings.KIE_API_URL = settings.KIE_UPLOAD_URL = kie.url
        assert books(submit(order)) == (State.QUEUED, "", order.price)
    assert Pause.objects.get().provider == "kie"


def test_a_picture_larger_than_the_model_takes_goes_as_a_smaller_copy(
    kie: Sandbox, scene: Scene
) -> None:
    model = KieModel.objects.get(model_id="google/nano-banana-edit")
    model.picture_fields = [{**model.picture_fields[0], "max_mb": 1, "edges": [1, 1000]}]
    model.save()
    take = stored(scene, (1600, 900))
    assert take.size > 1_000_000
    submit(ordered(take))
    (upload,) = uploads(kie)
    picture = Image.open(io.BytesIO(requests.get(upload["url"], timeout=5).content))
    assert (picture.format, picture.size) == ("JPEG", (1000, 562))
    assert upload["size"] <= 1_000_000


def test_a_picture_that_fits_goes_as_it_is(kie: Sandbox, scene: Scene) -> None:
    take = stored(scene, kind="JPEG")
    submit(ordered(take))
    (upload,) = uploads(kie)
    with default_storage.open(take.image.name) as file:
        assert requests.get(upload["url"], timeout=5).content == file.read()
