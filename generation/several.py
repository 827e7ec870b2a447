"""Several orders by one click: all of them, or none; and nothing but what stood on the button."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from generation import asks, orders
from generation.batch import placed
from generation.bill import Bill, Choices, bill_for
from generation.models import Ask, Batch
from generation.orders import Order, Terms
from generation.setup import setup_of
from projects.models import Project, Role
from projects.slate import hold

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class BillChanged(Exception):
    """Something else would be ordered by now, or at another price: nothing was."""


def place_bill(
    project: Project, user: User, role: Role, choices: Choices, key: str, mark: str
) -> Batch:
    """Orders what a bill said, if it still says the same (Bill.mark). The same key again answers
    with the batch of the first time. Raises BillChanged, OrderRefused.
    """
    try:
        with transaction.atomic():
            # Of two bills of a project at once, the second sees what the first has ordered.
            hold(project.pk)
            return placed(project, user, key) or _placed(project, user, role, choices, key, mark)
    except IntegrityError as error:  # a scene has been deleted meanwhile
        raise BillChanged from error


def ask_for_bill(
    project: Project, user: User, role: Role, choices: Choices, mark: str
) -> list[Ask]:
    """Asks the owner for what a bill said, one picture of each scene, if it still says the same.

    Raises BillChanged, OrderRefused.
    """
    bill = _bill(project, user, role, choices, mark)
    wanted = [(line.order.wish, line.order.quote.credits) for line in bill.asked]
    try:
        return asks.ask_for_all(wanted, project, user)
    except IntegrityError as error:  # a scene has been deleted meanwhile
        raise BillChanged from error


def _placed(
    project: Project, user: User, role: Role, choices: Choices, key: str, mark: str
) -> Batch:
    bill = _bill(project, user, role, choices, mark)
    batch = Batch.objects.create(project=project, ordered_by=user, key=key)
    orders.place_all(_placings(bill, Terms(user, key, batch=True, in_batch=batch)))
    return batch


def _bill(project: Project, user: User, role: Role, choices: Choices, mark: str) -> Bill:
    """As it was shown. Raises BillChanged."""
    bill = bill_for(project, user, role, setup_of(project, user), choices)
    if bill.mark != mark or not bill.ready:
        raise BillChanged
    return bill


def place_variants(order: Order, terms: Terms, count: int) -> None:
    """The same order so many times, each with a hold of its own. Raises OrderRefused.

    The first one has the click's own key: where it is known, the click has been answered.
    """
    if not orders.placed(order.wish, terms.user, terms.key):
        keys = [terms.key, *(f"{terms.key}:{number}" for number in range(2, count + 1))]
        orders.place_all([(order, replace(terms, key=key)) for key in keys])


def _placings(bill: Bill, terms: Terms) -> list[tuple[Order, Terms]]:
    """Every scene once before any is made a second time."""
    return [
        (line.order, replace(terms, key=f"batch:{terms.key}:{line.scene.pk}:{number}"))
        for number in range(1, 1 + max(line.variants for line in bill.ready))
        for line in bill.ready
        if number <= line.variants
    ]
