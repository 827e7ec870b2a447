"""Orders at every stage of their life, brought there by the code that brings them there."""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.models import User
from django.utils import timezone

from credits import ledger
from generation import lifecycle, orders
from generation.models import Generation, Reason, State
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


def ordered(subject: Scene | Character, user: User | None = None) -> Generation:
    """Waits in line."""
    owner = subject.project.owner
    order = orders.prepare(orders.Wish(project=subject.project, subject=subject))
    terms = orders.Terms(user=user or owner, key=uuid4().hex)
    return orders.place(order, terms)


def ordered_alone(user: User) -> Generation:
    """An order of a program, for no project."""
    order = orders.prepare(orders.Wish(prompt="Duny", payer_named=user))
    return orders.place(order, orders.Terms(user=user, key=uuid4().hex))


def running(order: Generation, word: str = "generating") -> Generation:
    """KIE is at work on it."""
    claimed = _claimed(order, State.QUEUED)
    lifecycle.submitting(claimed)
    lifecycle.adopt(claimed, f"task-{order.pk}")
    lifecycle.still_running(_claimed(order, State.RUNNING), word)
    order.refresh_from_db()
    return order


def done(order: Generation) -> Take:
    """Its picture is stored and charged."""
    return arrive(running(order))


def arrive(order: Generation) -> Take:
    """The picture of a running order is made and stored."""
    lifecycle.succeeded(
        _claimed(order, State.RUNNING), ["https://kie/1.png"], order.kie_credits, None
    )
    stored = Stored(
        image=f"takes/{order.pk}.png",
        thumbnail=f"takes/{order.pk}.thumb.webp",
        content_type="image/png",
        width=1600,
        height=900,
        size=100,
        sha256="0" * 64,
    )
    (take,) = lifecycle.done(_claimed(order, State.STORING), {0: stored})
    order.refresh_from_db()
    return take


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


def _claimed(order: Generation, state: State) -> Generation:
    Generation.objects.filter(pk=order.pk).update(next_at=timezone.now())
    (claimed,) = lifecycle.claim([order.pk], state)
    return claimed
