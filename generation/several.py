"""Several orders by one click: all of them, or none; and nothing but what stood on the button."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from credits import ledger
from credits.templatetags.money import in_credits
from generation import asks, lifecycle, orders
from generation.allowance import AllowanceExceeded
from generation.batch import placed
from generation.bill import Bill, Choices, bill_for
from generation.models import Ask, Batch
from generation.orders import Order, Terms
from generation.setup import setup_of
from generation.wishes import OrderRefused
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
    place_all(_placings(bill, Terms(user, key, batch=True, in_batch=batch)))
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
    keys = [terms.key, *(f"{terms.key}:{number}" for number in range(2, count + 1))]
    if count == 1:
        orders.place(order, terms)
    elif not orders.placed(order.wish, terms.user, terms.key):
        place_all([(order, replace(terms, key=key)) for key in keys])


def place_all(placings: Sequence[tuple[Order, Terms]]) -> None:
    """Orders of one person, for one payer, in one transaction.

    Raises OrderRefused, with words about all of them.
    """
    drawn = [orders.drawn_up(order, terms) for order, terms in placings]
    references = []
    for (order, terms), generation in zip(placings, drawn, strict=True):
        if terms.shown_price is not None:
            orders.check_price(order, terms.shown_price)
        references += orders.references_of(generation, order)
        orders.log_placing(order, terms)
    try:
        lifecycle.place_all(drawn, references)
    except AllowanceExceeded as error:
        words = _no_allowance(error, len(drawn))
        raise OrderRefused("allowance", words, status=402) from error
    except ledger.InsufficientCredits as error:
        words = _no_credits(error, placings)
        raise OrderRefused("credits", words, status=402) from error
    except IntegrityError as error:
        order, terms = placings[0]
        if orders.placed(order.wish, terms.user, terms.key):
            return  # the same click, at the same moment
        gone = _("What was to be pictured is not there any more.")
        raise OrderRefused("gone", gone, status=404) from error


def _placings(bill: Bill, terms: Terms) -> list[tuple[Order, Terms]]:
    """Every scene once before any is made a second time."""
    return [
        (line.order, replace(terms, key=f"batch:{terms.key}:{line.scene.pk}:{number}"))
        for number in range(1, 1 + max(line.variants for line in bill.ready))
        for line in bill.ready
        if number <= line.variants
    ]


def _no_allowance(error: AllowanceExceeded, count: int) -> str:
    words = ngettext(
        "%(count)d picture costs %(price)s, and your allowance has %(left)s left.",
        "%(count)d pictures cost %(price)s, and your allowance has %(left)s left.",
        count,
    )
    told = {"price": in_credits(error.needed), "left": in_credits(error.left)}
    return words % {"count": count, **told}


def _no_credits(error: ledger.InsufficientCredits, placings: Sequence[tuple[Order, Terms]]) -> str:
    """How much somebody has is their own business."""
    (order, terms), count = placings[0], len(placings)
    payer = order.wish.payer
    if payer == terms.user:
        words = ngettext(
            "Not enough credits: %(count)d picture costs %(price)s; you have %(left)s available.",
            "Not enough credits: %(count)d pictures cost %(price)s; you have %(left)s available.",
            count,
        )
        left = {"left": in_credits(error.available)}
    else:
        words = ngettext(
            "%(count)d picture costs %(price)s, more than %(payer)s has.",
            "%(count)d pictures cost %(price)s, more than %(payer)s has.",
            count,
        )
        left = {"payer": str(payer)}
    return words % {"count": count, "price": in_credits(error.needed), **left}
