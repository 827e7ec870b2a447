"""Which scenes and characters have no picture, and what ordering one for each would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from generation import orders
from generation.models import Generation, Reason, State
from generation.wishes import OrderRefused, Wish
from projects.models import Character, Project, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Subject = Scene | Character

# The same request would be answered the same way again.
FINAL = (Reason.UNSAFE, Reason.PROMPT, Reason.MODEL, Reason.INPUT)


@dataclass(frozen=True)
class Ready:
    """A missing picture that can be ordered, on these terms."""

    subject: Subject
    order: orders.Order
    terms: orders.Terms


@dataclass(frozen=True)
class Skipped:
    """A missing picture that cannot be ordered, or had better not be."""

    subject: Subject
    why: str


def survey(
    projects: QuerySet[Project] | None, kinds: Sequence[type[Subject]], orderer: User | None
) -> Iterator[Ready | Skipped]:
    """Looks at everything without a picture and without an order under way.

    `projects` None: all of them. `orderer` None: the owner of each.
    """
    for kind in kinds:
        for subject in _without_picture(kind, projects):
            yield _look_at(subject, orderer or subject.project.owner)


def is_served(subject: Subject) -> bool:
    """Has somebody ordered it, or put a picture there, since the survey?"""
    return subject.takes.kept().exists() or Generation.objects.of(subject).awaited().exists()


def _without_picture(
    kind: type[Subject], projects: QuerySet[Project] | None
) -> QuerySet[Scene] | QuerySet[Character]:
    under_way = Generation.objects.awaited().filter(**{str(kind._meta.model_name): OuterRef("pk")})
    rows = kind.objects.without_picture().filter(~Exists(under_way))
    if projects is not None:
        rows = rows.filter(project__in=projects)
    rows = rows.prefetch_related(*(["cast"] if kind is Scene else []))
    rows = rows.select_related("project__owner", "project__image_settings")
    return rows.order_by("project", *(kind._meta.ordering or ()))


def _look_at(subject: Subject, user: User) -> Ready | Skipped:
    try:
        order = orders.prepare(Wish(project=subject.project, subject=subject))
    except OrderRefused as error:
        return Skipped(subject, error.words)
    before = list(Generation.objects.of(subject).newest_first().only("state", "reason", "request"))
    if before and before[0].state == State.REVIEW:
        return Skipped(subject, _("Staff are looking at its last order."))
    if before and before[0].reason in FINAL and before[0].request == order.request:
        return Skipped(subject, before[0].get_reason_display())
    return Ready(
        subject,
        order,
        orders.Terms(
            user=user,
            # The same in two runs at once; another one once an order has ended.
            key=f"backfill:{subject.pk}:{len(before)}",
            shown_price=order.quote.credits,
            batch=True,
        ),
    )
