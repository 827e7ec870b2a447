"""Orders at every stage of their life, brought there by the code that brings them there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from credits import ledger
from credits.models import CreditLedger, LedgerEntry
from generation import lifecycle, orders
from generation.models import Generation, KieModel, Operation, Output, Reason, State
from projects.models import Character, Project, Scene, Take
from projects.pictures import Stored


def give_credits(user: User, hundredths: int) -> None:
    ledger.grant(
        ledger.ledger_of(user),
        hundredths,
        reference=f"grant:{uuid4().hex}",
        about=ledger.About(type="grant", description="Granted by staff"),
    )


def add_scene(project: Project, number: int | str = 1, description: str = "Duny") -> Scene:
    return Scene.objects.create(
        project=project,
        number=str(number),
        position=project.scenes.count() + 1,
        title=f"Scéna {number}",
        description=description,
    )


def add_character(project: Project, name: str = "Miro") -> Character:
    """With a picture of their own, whose files nobody reads."""
    person = Character.objects.create(project=project, name=name, description="Tall")
    add_take(person)
    return person


def add_take(subject: Scene | Character) -> Take:
    """A picture that somebody uploaded; there is no file behind it."""
    return Take.objects.create(
        project=subject.project,
        scene=subject if isinstance(subject, Scene) else None,
        character=subject if isinstance(subject, Character) else None,
        made_by=subject.project.owner,
        image=f"takes/{uuid4().hex}.png",
        thumbnail="takes/thumb.webp",
        content_type="image/png",
        width=1600,
        height=900,
        size=1000,
    )


def add_mask(take: Take) -> Take:
    """Of a picture: as large as it, and of no scene or character."""
    mask = Take.objects.get(pk=take.pk)
    mask.pk, mask.scene, mask.character = uuid4().hex, None, None
    mask.save(force_insert=True)
    return mask


def ordered(subject: Scene | Character, user: User | None = None) -> Generation:
    """Waits in line."""
    owner = subject.project.owner
    order = orders.prepare(orders.Wish(project=subject.project, subject=subject))
    terms = orders.Terms(user=user or owner, key=uuid4().hex)
    return orders.place(order, terms)


def reworked(take: Take, operation: Operation, **wish: Any) -> Generation:
    """An order to do something with a take of a scene or character, in line."""
    subject = take.scene or take.character
    asked = orders.Wish(
        project=take.project, subject=subject, operation=operation, source=take, **wish
    )
    terms = orders.Terms(user=take.made_by, key=uuid4().hex)
    return orders.place(orders.prepare(asked), terms)


def ordered_alone(user: User) -> Generation:
    """An order of a program, for no project."""
    order = orders.prepare(orders.Wish(prompt="Duny", payer_named=user))
    return orders.place(order, orders.Terms(user=user, key=uuid4().hex))


def sent(order: Generation) -> None:
    """KIE has it."""
    claimed = _claimed(order, State.QUEUED)
    lifecycle.submitting(claimed)
    lifecycle.adopt(claimed, f"task-{order.pk}")


def generating(order: Generation, word: str = "generating") -> None:
    """KIE says so."""
    lifecycle.still_running(_claimed(order, State.RUNNING), word)


def running(order: Generation, word: str = "generating") -> Generation:
    """KIE is at work on it."""
    sent(order)
    generating(order, word)
    order.refresh_from_db()
    return order


def done(order: Generation, pictures: int = 1) -> Take:
    """Its pictures are stored and charged; the first of them."""
    return arrive(running(order), pictures)


def arrive(order: Generation, pictures: int = 1) -> Take:
    """The picture of a running order is made and stored; of several, the first of so many."""
    made(order, pictures)
    take = stored(order, pictures)
    order.refresh_from_db()
    return take


def made(order: Generation, pictures: int = 1) -> None:
    """KIE has the pictures."""
    urls = [f"https://kie/{number}.png" for number in range(pictures)]
    lifecycle.succeeded(_claimed(order, State.RUNNING), urls, order.kie_credits, None)


def stored(order: Generation, pictures: int = 1) -> Take:
    """So have we; the first of them."""
    found = {number: _stored(f"{order.pk}-{number}") for number in range(pictures)}
    return lifecycle.done(_claimed(order, State.STORING), found)[0]


def _stored(name: str) -> Stored:
    return Stored(
        image=f"takes/{name}.png",
        thumbnail=f"takes/{name}.thumb.webp",
        content_type="image/png",
        width=1600,
        height=900,
        size=100,
        sha256="0" * 64,
    )


def failed(order: Generation, why: str = Reason.UNSAFE) -> Generation:
    running(order)
    lifecycle.fail(_claimed(order, State.RUNNING), why, "KIE's own secret words")
    order.refresh_from_db()
    return order


def lost(order: Generation) -> Generation:
    """Nobody ever said whether KIE took it: its hold went back, staff look at it."""
    claimed = _claimed(order, State.QUEUED)
    lifecycle.submitting(claimed)
    lifecycle.unclear(claimed, "no answer")
    lifecycle.give_up(_claimed(order, State.UNKNOWN), Reason.LOST, "no word")
    order.refresh_from_db()
    return order


def paid_in_bulk(scenes: Sequence[Scene], people: Sequence[User], number: int) -> None:
    """So many orders that are done and charged, by turns for these scenes and of these people, as
    rows alone: two entries each."""
    model = KieModel.objects.get(model_id="seedream-3.0/2k")
    owner = scenes[0].project.owner
    give_credits(owner, 600 * number)
    book = ledger.ledger_of(owner)
    made = [
        Generation(
            project=scene.project,
            scene=scene,
            ordered_by=people[n % len(people)],
            payer=owner,
            order_key=uuid4().hex,
            provider="kie",
            model=model,
            prompt="Duny",
            aspect_ratio="16:9",
            request={},
            price=600,
            kie_credits=600,
            cost=30_000,
            state=State.DONE,
        )
        for n, scene in zip(range(number), cycle(scenes))
    ]
    takes = [
        Take(project=o.project, scene=o.scene, made_by=o.ordered_by, image=f"{o.pk}.png")
        for o in made
    ]
    Generation.objects.bulk_create(made)
    Take.objects.bulk_create(takes)
    Output.objects.bulk_create(
        Output(generation=order, index=0, url="https://kie/1.png", take=take)
        for order, take in zip(made, takes, strict=True)
    )
    holds = [_entry(book, order, "hold", 0, 600) for order in made]
    LedgerEntry.objects.bulk_create(holds)
    LedgerEntry.objects.bulk_create(
        _entry(book, order, "capture", -600, -600, hold)
        for order, hold in zip(made, holds, strict=True)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum does: PostgreSQL plans for tables that it knows


def _entry(
    book: CreditLedger,
    order: Generation,
    kind: str,
    balance_change: int,
    held_change: int,
    hold: LedgerEntry | None = None,
) -> LedgerEntry:
    """What is left after it is not worked out."""
    return LedgerEntry(
        ledger=book,
        kind=kind,
        balance_change=balance_change,
        held_change=held_change,
        balance_after=1_000_000,
        held_after=0,
        reference=f"generation:{order.pk}:{kind}",
        hold=hold,
        project=order.project_id or "",
    )


def _claimed(order: Generation, state: State) -> Generation:
    Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
    (claimed,) = lifecycle.claim([order.pk], state)
    return claimed
