"""Pictures that a member asks the project's owner for: asked, taken back, approved, declined.

An ask holds nothing. What it wishes is prepared again for whoever looks at it, so its price is the
one of now; approving it is placing an order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Prefetch, Q
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _

from generation import orders
from generation.allowance import budget_of
from generation.models import Ask, AskQuerySet, Generation, Operation
from generation.orders import Basis, Order, Terms
from generation.versions import digest
from generation.wishes import OrderRefused, Wish
from projects import access, live
from projects.cast import members, pictures_of
from projects.models import Character, Member, Project, Role, Scene, Take

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Answer = Ask.Answer
MOST_SHOWN = 100  # asks at once
NEWS = timedelta(days=3)  # for so long it is told what became of an ask


class NotAsked(Exception):
    """It was taken back or answered meanwhile, or whoever asked may not order any more."""


# Asking


def ask(wish: Wish, user: User, shown_price: int) -> Ask:
    """Asks whoever pays for what the user's allowance does not cover; the same again is one ask.

    Raises OrderRefused, also where nobody needs to be asked.
    """
    orders.check_price(orders.prepare(wish), shown_price)
    return ask_for_all([(wish, shown_price)], wish.project, user)[0]


def ask_for_all(
    wishes: Sequence[tuple[Wish, int]], project: Project | None, user: User
) -> list[Ask]:
    """Asks for several pictures of a project, each at its price, that the user's allowance does not
    cover in all. The number of queries grows with the asks that are open already, not the others.

    Raises OrderRefused where nobody needs to be asked.
    """
    found: list[Ask] = []
    member = Member.objects.filter(project=project, user=user).first()
    in_all = sum(price for _wish, price in wishes)
    if member is None or budget_of(user, member.project).covers(in_all):
        raise OrderRefused(
            "covered", _("Nobody needs to be asked: you can order this yourself."), status=409
        )
    drawn = {row.digest: row for row in (_drawn_up(member, *wish) for wish in wishes)}
    with transaction.atomic():
        Member.objects.filter(pk=member.pk).update(role=F("role"))  # who asks as well waits here
        for known in Ask.objects.filter(member=member, digest__in=drawn, answer=""):
            known.price = drawn.pop(known.digest).price
            # Not save(): it may be taken back just now.
            Ask.objects.filter(pk=known.pk).update(price=known.price)
            found.append(known)
        found += Ask.objects.bulk_create(drawn.values())
        _tell(member, *found)
    return found


def _drawn_up(member: Member, wish: Wish, price: int) -> Ask:
    """Not written yet."""
    subject, written = wish.subject, _written(wish)
    own = json.dumps([subject.pk if subject else "", written], sort_keys=True)
    return Ask(
        member=member,
        digest=hashlib.sha256(own.encode()).hexdigest(),
        price=price,
        scene=subject if isinstance(subject, Scene) else None,
        character=subject if isinstance(subject, Character) else None,
        wish=written,
    )


def take_back(ask: Ask) -> bool:
    """False if it has been answered."""
    taken_back = bool(Ask.objects.filter(pk=ask.pk, answer="").delete()[0])
    _tell(ask.member, ask)
    return taken_back


def asked_by(user: User, **about: str) -> AskQuerySet:
    """Those that wait for an answer or got one lately, the newest first; `about` narrows them."""
    news = Q(answer="") | Q(answered_at__gt=timezone.now() - NEWS)
    rows = Ask.objects.filter(news, member__user=user, **about).order_by("-asked_at", "-pk")
    return rows.select_related("member__project__owner", "scene", "character", "order")[:MOST_SHOWN]


def ask_for(user: User, ask_id: str) -> Ask:
    """An ask in a project that the user may see. Http404."""
    rows = Ask.objects.select_related("member__user", "member__project__owner")
    found = rows.select_related("scene", "character").filter(pk=ask_id).first()
    if found is None:
        raise Http404
    access.require(user, found.member.project)
    return found


# Answering


def asked_of(owner: User) -> AskQuerySet:
    """The open asks in this person's projects, the oldest first."""
    return Ask.objects.open().filter(member__project__owner=owner).order_by("asked_at", "pk")


def approve(ask: Ask, shown_price: int) -> Generation:
    """Orders it for the member with the owner's credits. Raises OrderRefused, NotAsked."""
    member = ask.member
    with transaction.atomic():
        _answer(ask, Answer.APPROVED, "")
        wish = _wish_of(ask, _takes_of([ask]))
        terms = Terms(user=member.user, key=f"ask:{ask.pk}", shown_price=shown_price, approved=True)
        order = orders.place(orders.prepare(wish), terms)
        Ask.objects.filter(pk=ask.pk).update(order=order)
    return order


def decline(ask: Ask, word: str) -> None:
    """Raises NotAsked."""
    _answer(ask, Answer.DECLINED, word)


def _answer(ask: Ask, answer: Answer, word: str) -> None:
    """The first of two answers wins. The UPDATE asks nothing of another table: PostgreSQL would ask
    that as of before it waited for the other answer."""
    still_open = Ask.objects.filter(pk=ask.pk, answer="")
    if ask.member.role < Role.EDITOR or not still_open.update(
        answer=answer, word=word, answered_at=timezone.now()
    ):
        raise NotAsked(ask.pk)
    _tell(ask.member, ask)


def _tell(member: Member, *asks: Ask) -> None:
    """The open pages of who asks and of who is asked."""
    subjects = [live.name_of(ask.subject) for ask in asks if ask.subject]
    live.tell(live.of_user(member.user_id), "asks", *subjects)
    live.tell(live.of_user(member.project.owner_id), "asks")


# What an owner sees of them


@dataclass(frozen=True)
class Request:
    """An ask as it could be approved now: exactly one of `order` and `refused` is set. `source` is
    the picture that is to be worked on, where one is, and where it is still there."""

    ask: Ask
    source: Take | None
    order: Order | None
    refused: OrderRefused | None

    @property
    def price(self) -> int:
        return self.order.quote.credits if self.order else 0


def requests_in(asks: AskQuerySet) -> dict[str, Any]:
    """The `requests`, their `total` and their version, as the template wants them."""
    found = _requests_of(asks[:MOST_SHOWN])
    shown = [(one.ask.pk, one.price, one.refused and one.refused.code) for one in found]
    return {
        "requests": found,
        "total": sum(request.price for request in found),
        "asks_version": digest(shown),
    }


def _requests_of(asks: AskQuerySet) -> list[Request]:
    """The number of queries grows with the projects and models, not the asks."""
    rows = list(
        asks.select_related(
            "member__user", "member__project__owner", "member__project__image_settings"
        )
        .select_related("scene", "character")
        .prefetch_related(Prefetch("scene__cast", Character.objects.with_picture()))
    )
    takes = _takes_of(rows)
    faces = pictures_of([person for row in rows if row.scene for person in row.scene.cast.all()])
    known: dict[tuple[str, str], Basis] = {}
    return [_request(row, takes, faces, known) for row in rows]


def _request(
    ask: Ask, takes: dict[str, Take], faces: dict[str, Take], known: dict[tuple[str, str], Basis]
) -> Request:
    source = takes.get(ask.wish.get("source", ""))
    try:
        cast = members(ask.scene.cast.all(), faces) if ask.scene else None
        wish = _wish_of(ask, takes, cast=cast)
        key = (ask.member.project_id, wish.model)
        if key not in known:
            known[key] = orders.basis_for(wish)
        return Request(ask, source, orders.prepare(wish, known[key]), None)
    except OrderRefused as refused:
        return Request(ask, source, None, refused)


# A wish, written down

TEXTS = ("prompt", "provider", "model", "aspect_ratio", "resolution", "operation")


def _written(wish: Wish) -> dict[str, Any]:
    """What the wish says, without what it leaves to the project."""
    said = {name: getattr(wish, name) for name in (*TEXTS, "count")}
    said["source"] = wish.source and wish.source.pk
    said["mask"] = wish.mask and wish.mask.pk
    said["references"] = wish.references and [take.pk for take in wish.references]
    empty = Wish()
    return {name: value for name, value in said.items() if value != getattr(empty, name)}


def _takes_of(asks: Iterable[Ask]) -> dict[str, Take]:
    """The pictures that wishes name, by their ids."""
    return Take.objects.in_bulk([pk for ask in asks for pk in _take_ids(ask)])


def _take_ids(ask: Ask) -> list[str]:
    said = ask.wish
    named = [said.get("source"), said.get("mask"), *said.get("references", ())]
    return [pk for pk in named if pk]


def _wish_of(ask: Ask, takes: dict[str, Take], **more: Any) -> Wish:
    """Raises OrderRefused where a picture that it names is gone."""
    said = dict(ask.wish)
    if any(pk not in takes for pk in _take_ids(ask)):
        raise OrderRefused("gone", _("A picture that was to go along is not there any more."))
    for name in ("source", "mask"):
        if name in said:
            said[name] = takes[said[name]]
    if "references" in said:
        said["references"] = tuple(takes[pk] for pk in said["references"])
    if "operation" in said:
        said["operation"] = Operation(said["operation"])
    project, subject = ask.member.project, ask.subject
    if subject:
        subject.project = project  # with its owner and its settings, which are at hand
    return Wish(project=project, subject=subject, **said, **more)
