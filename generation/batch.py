"""Batches: several orders that one click placed, and how they are doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Sum
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _

from generation.entries import with_entries
from generation.models import OPEN_STATES, Batch, Generation, State, TakenBack
from generation.versions import digest
from generation.wishes import OrderRefused
from projects import access
from projects.models import Project

if TYPE_CHECKING:
    from django.contrib.auth.models import User

NEWS = timedelta(hours=1)  # for so long it is told that all of a batch has come
AWAITED = Q(state__in=OPEN_STATES) & ~Q(taken_back=TakenBack.DISCARD)


@dataclass(frozen=True)
class Results:
    """How many of a batch's orders are where.

    `failed` brought no picture, and `to_retry` are those of them that have not been ordered again;
    staff look at those in `review`. `held` was set aside for all of it, and `charged` is what it
    has cost: hundredths.
    """

    batch: Batch
    total: int
    done: int
    open: int
    failed: int
    review: int
    to_retry: int
    held: int
    charged: int

    @property
    def cancelled(self) -> int:
        return self.ended - self.done - self.failed - self.review

    @property
    def ended(self) -> int:
        return self.total - self.open

    @property
    def version(self) -> str:
        numbers = (self.total, self.done, self.open, self.failed, self.review, self.to_retry)
        return digest(self.batch.pk, *numbers, self.held, self.charged)

    @property
    def is_news(self) -> bool:
        """It is still worth telling on the board."""
        return bool(self.open or self.to_retry) or timezone.now() - self.batch.created_at < NEWS


def placed(project: Project, user: User, key: str) -> Batch | None:
    """The batch that this click placed before. Raises OrderRefused for a key of another project."""
    found = Batch.objects.filter(ordered_by=user, key=key).first()
    if found and found.project_id != project.pk:
        words = _("This key was used for another order.")
        raise OrderRefused("key_reused", words, field="key", status=409)
    return found


def batch_for(user: User, batch_id: str) -> Batch:
    """A batch in a project that the user may see. Http404."""
    rows = Batch.objects.select_related("project__owner", "ordered_by")
    found = rows.filter(pk=batch_id).first()
    if found is None:
        raise Http404
    access.require(user, found.project)
    return found


def put_away(batch: Batch) -> None:
    """And those before it, which would come to the fore otherwise."""
    before = Batch.objects.filter(project=batch.project_id, ordered_by=batch.ordered_by_id)
    before.filter(created_at__lte=batch.created_at).update(is_put_away=True)


def news_of(project: Project, user: User) -> Results | None:
    """The last batch that somebody placed in a project, as long as there is something to tell."""
    mine = Batch.objects.filter(project=project, ordered_by=user).order_by("-created_at", "-pk")
    newest = mine.first()
    if newest is None or newest.is_put_away:
        return None
    found = results_of(newest)
    return found if found.is_news else None


def results_of(batch: Batch) -> Results:
    orders = with_entries(batch.orders.all()).order_by().annotate(charge=F("charged"))
    failed = Q(state=State.FAILED)
    counts = orders.aggregate(
        total=Count("pk"),
        done=Count("pk", filter=Q(state=State.DONE)),
        open=Count("pk", filter=AWAITED),
        failed=Count("pk", filter=failed),
        review=Count("pk", filter=Q(state=State.REVIEW)),
        held=Sum("price", default=0),
        charged=Sum("charge", default=0),
    )
    again = retried(batch.orders.filter(failed)).count() if counts["failed"] else 0
    return Results(batch=batch, to_retry=counts["failed"] - again, **counts)


def retried(orders: QuerySet[Generation]) -> QuerySet[Generation]:
    """Those whose scene has been ordered again since, by another click."""
    later = Generation.objects.filter(
        scene=OuterRef("scene"), created_at__gt=OuterRef("created_at")
    )
    other = Q(in_batch__isnull=True) | ~Q(in_batch=OuterRef("in_batch"))
    return orders.filter(Exists(later.filter(other)))
