"""How much of the owner's credits a member may spend, and has spent: a budget, not money.

What is spent is asked of the books every time, so that what an order gives back is there again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import F, QuerySet, Sum

from generation.entries import SPENT, with_entries
from generation.models import Generation
from projects import live
from projects.models import Member, Project

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class AllowanceExceeded(Exception):
    """The member has less left than was asked for. Both in hundredths of a credit."""

    def __init__(self, needed: int, left: int) -> None:
        super().__init__(f"{needed} needed, {left} left")
        self.needed = needed
        self.left = left


@dataclass(frozen=True)
class Budget:
    """What somebody may spend in a project, and has spent. `member` None: as much as they like."""

    member: Member | None = None
    spent: int = 0

    @property
    def left(self) -> int | None:
        """None: without limit."""
        total = self.member.allowance if self.member else None
        return None if total is None else max(0, total - self.spent)

    def covers(self, price: int) -> bool:
        return self.left is None or price <= self.left


def budget_of(user: User, project: Project) -> Budget:
    limited = limited_member(user, project)
    return _budget(limited, project) if limited else Budget()


def limited_member(user: User, project: Project) -> Member | None:
    """None for the owner, for a member without limit, and for who is no member."""
    if user.pk == project.owner_id:
        return None
    return _limited(project, user.pk).first()


def spent_by(project: Project, users: Iterable[int] | None = None) -> dict[int, int]:
    """What orders in a project have cost its owner, by the id of who ordered them."""
    paid = Generation.objects.filter(project=project, payer=project.owner_id, price__gt=0)
    if users is not None:
        paid = paid.filter(ordered_by__in=users)
    sums = with_entries(paid).order_by().values_list("ordered_by")
    return dict(sums.annotate(spent=Sum(SPENT)))


def take(order: Generation, price: int) -> None:
    """To be asked in the transaction that writes the order and its hold. Raises AllowanceExceeded.

    `price` is that of all the orders that are placed together with this one. The UPDATE changes
    nothing: it keeps the member's row locked until the transaction ends, so that of two orders at
    once the second counts the first.
    """
    project, user = order.project, order.ordered_by_id
    if project is None or order.payer_id != project.owner_id or user == order.payer_id:
        return
    limited = _limited(project, user)
    if not limited.update(allowance=F("allowance")):
        return
    budget = _budget(limited.get(), project)
    if not budget.covers(price):
        raise AllowanceExceeded(price, budget.left or 0)
    # Whatever else is offered to them may now have to be asked for.
    live.tell(live.of_user(user), live.EVERYTHING)


def _limited(project: Project, user: int) -> QuerySet[Member]:
    return Member.objects.filter(project=project, user=user, allowance__isnull=False)


def _budget(member: Member, project: Project) -> Budget:
    spent = spent_by(project, [member.user_id])
    return Budget(member, spent.get(member.user_id, 0))
