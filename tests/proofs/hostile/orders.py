"""The orders of the corpus: placed and paid for by one user each, and what became of them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image, ImageFile

from credits import invariants, ledger
from credits.models import LedgerEntry
from generation import audit, jobs
from generation import orders as product
from generation.models import Generation, State
from projects import pictures
from projects.models import Take
from tests.proofs.hostile.corpus import MARKS, Case

OUTCOMES = {
    State.DONE: "clean",
    State.FAILED: "never",
    State.REVIEW: "staff",
    State.STORING: "later",
    State.RUNNING: "later",
}
ORIENTATION = 0x0112
MOST_TRIES = 3


def place(cases: Iterable[Case]) -> dict[str, str]:
    """One user, who has what two pictures cost, for each; the orders' ids by the cases' names."""
    placed = {}
    for case in cases:
        user = User.objects.create(username=case.name)
        order = product.prepare(product.Wish(prompt=case.name, payer_named=user))
        wallet = ledger.ledger_of(user)
        ledger.grant(wallet, 2 * order.quote.credits, reference=case.name, about=ledger.About())
        terms = product.Terms(user=user, key=case.name)
        placed[case.name] = product.place(order, terms).pk
    return placed


def send(placed: dict[str, str], stay: int, seconds: float = 120) -> None:
    """Takes them to where their pictures are to be fetched, as the workers of `orders` do. So many
    stay with KIE, because its word is not understood."""
    until = time.monotonic() + seconds
    mine = Generation.objects.filter(pk__in=placed.values())
    while mine.filter(state=State.QUEUED).exists():
        assert time.monotonic() < until, "not all orders could be sent"
        jobs.submit()
    while mine.filter(state=State.RUNNING).count() > stay:
        assert time.monotonic() < until, "not all orders have an answer of KIE's"
        jobs.poll()
        time.sleep(0.1)


def rest() -> None:
    """Those that wait shall wait, while others are tried."""
    waiting = Generation.objects.filter(state=State.STORING)
    waiting.update(next_at=timezone.now() + timedelta(days=1))


def are_settled(placed: dict[str, str], cases: Iterable[Case]) -> bool:
    """Has each been tried, and come to the end that it should come to? On a machine that has no
    time a decoder may need several tries."""
    tries = {case.name: 1 if case.expected == "later" else MOST_TRIES for case in cases}
    waiting = Generation.objects.filter(state=State.STORING).values_list("pk", "attempts")
    attempts = dict(waiting)
    return all(attempts.get(pk, MOST_TRIES) >= tries[name] for name, pk in placed.items())


def outcome(pk: str) -> str:
    state = State(Generation.objects.values_list("state", flat=True).get(pk=pk))
    return OUTCOMES.get(state, state)


def wrongs(case: Case, pk: str) -> Iterator[str]:
    """Everything about an order that is not as it has to be."""
    order = Generation.objects.get(pk=pk)
    found = outcome(pk)
    if found != case.expected:
        last = order.events.last()
        yield f"{found} instead of {case.expected}: {last.message[:80] if last else ''}"
    is_clean = case.expected == "clean"
    charges = LedgerEntry.objects.filter(hold__reference=order.hold_reference, kind="capture")
    charged = -sum(charges.values_list("balance_change", flat=True))
    if charged != order.price * is_clean:
        yield f"charged {charged} of {order.price}"
    if ledger.hold_is_open(order.hold_reference) != (case.expected == "later"):
        yield "its hold is open" if case.expected != "later" else "its hold is gone"
    takes = list(Take.objects.filter(output__generation=order))
    if len(takes) != is_clean:
        yield f"{len(takes)} takes"
    kept = stored(pk)
    if len(kept) != 2 * is_clean:
        yield f"stored: {kept}"
    for name in kept:
        try:
            yield from impurities(name)
        except Exception as error:  # whatever Pillow trips over
            yield f"{name} cannot be read: {error!r}"


def stored(pk: str) -> list[str]:
    names = default_storage.listdir("takes")[1] if default_storage.exists("takes") else []
    return [f"takes/{name}" for name in names if name.startswith(pk)]


def impurities(name: str) -> Iterator[str]:
    """Whatever a stored file has but one still picture, its colours, and which way up it is."""
    data = default_storage.open(name).read()
    yield from (f"{name} has {mark!r} in it" for mark in MARKS if mark.lower() in data.lower())
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        if {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name.rpartition(".")[2]] != image.format:
            yield f"{name} is {image.format}"
        if (pictures_inside := getattr(image, "n_frames", 1)) != 1:
            yield f"{name} has {pictures_inside} pictures"
        if also := {"comment", "Comment", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
            yield f"{name} has {also}"
        if tags := set(image.getexif()) - {ORIENTATION}:
            yield f"{name} has EXIF {tags}"
    if ".thumb." not in name and pictures.check(data).data != data:
        yield f"{name} is not clean"


def general() -> Iterator[str]:
    """What must be true of the whole."""
    yield from invariants.violations()
    yield from audit.violations()
    folder = Path(default_storage.path("."))
    drafts = [str(path) for path in folder.rglob("*") if path.suffix == ".part"]
    yield from (f"left behind: {draft}" for draft in drafts)
