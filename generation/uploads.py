"""Hands the pictures that go along with an order over to KIE, right before the order is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta

from django.db.models import prefetch_related_objects
from django.utils import timezone

from generation import lifecycle
from generation.kie.client import Kie
from generation.models import Generation, PictureField, Reference, Slot
from generation.references import MEGABYTE, STANDS_FOR, fits
from projects import pictures
from projects.ids import new_id

FRESH = timedelta(hours=6)  # KIE keeps an upload for one to three days
AT_ONCE = 4
KEEP_ALIVE_SECONDS = 5


def references_of(order: Generation) -> list[Reference]:
    """With all that handing them over wants to know: its threads do not ask the database."""
    references = list(order.references.select_related("take"))
    if references:
        prefetch_related_objects([order], "model")
    return references


def stale(references: Sequence[Reference]) -> list[Reference]:
    """Those that KIE does not have, or not for much longer."""
    return [r for r in references if not r.uploaded_at or r.uploaded_at < timezone.now() - FRESH]


def hand_over(
    kie: Kie, references: Sequence[Reference], keep_alive: Callable[[], None]
) -> dict[str, str]:
    """KIE's addresses of an order's `references_of`, by what stands for them in its request.

    `keep_alive` renews the caller's lease. Raises KieError, or where we cannot read a picture
    ourselves StorageDown or PictureGone, and where we cannot make it smaller DecoderDown or
    BadPicture; what was handed over until then is kept.
    """
    if missing := stale(references):
        _upload_all(kie, missing, keep_alive)
    return {f"{STANDS_FOR}{reference.take_id}": reference.url for reference in references}


def _upload_all(kie: Kie, references: Sequence[Reference], keep_alive: Callable[[], None]) -> None:
    error: BaseException | None = None
    with ThreadPoolExecutor(AT_ONCE) as threads:
        coming = {threads.submit(_upload, kie, reference): reference for reference in references}
        pending: set[Future[str]] = set(coming)
        while pending:
            ended, pending = wait(pending, KEEP_ALIVE_SECONDS, FIRST_COMPLETED)
            keep_alive()
            for future in ended:
                if future.exception() is None:
                    coming[future].url = future.result()
                    lifecycle.keep_address(coming[future])
                error = error or future.exception()
    if error:
        raise error


def _upload(kie: Kie, reference: Reference) -> str:
    """Runs in a thread; touches no database. An old name may come back stale from KIE's caches."""
    take, field = reference.take, reference.generation.model.takes.get(Slot(reference.slot))
    data = pictures.read(str(take.image.name))
    if field and not fits(field, take):
        return kie.upload(_smaller(data, field), f"{new_id()}.jpg", "image/jpeg")
    ending = str(take.image.name).rpartition(".")[2]
    return kie.upload(data, f"{new_id()}.{ending}", take.content_type)


def _smaller(data: bytes, field: PictureField) -> bytes:
    return pictures.copy_within(
        data,
        (field.max_mb or len(data)) * MEGABYTE,
        field.pixels[1] if field.pixels else pictures.MAX_PIXELS,
        field.edges[1] if field.edges else pictures.MAX_EDGE,
    )
