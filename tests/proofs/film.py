"""A film whose scenes are ordered by many people at once, straight through `generation.orders`.

For proofs that are about what comes after the click. To be used inside a Stand: the order is placed
in this process, in the stand's database, and everything else happens in the stand's processes.
"""

from __future__ import annotations

from django.contrib.auth.models import User

from credits import ledger
from generation import orders
from generation.models import Generation

MODEL = "z-image"
ORDERS_OF_ONE = 40  # fewer than one person may have in flight


def order(count: int, name: str = "p", model: str = MODEL) -> list[str]:
    """Places so many orders, of as many people as it takes; their ids."""
    people = [_person(f"{name}{n}") for n in range(-(-count // ORDERS_OF_ONE))]
    return [_place(people[n % len(people)], n, model).pk for n in range(count)]


def _person(name: str) -> User:
    user, is_new = User.objects.get_or_create(username=name)
    if is_new:
        about = ledger.About(type="grant", description="For a proof")
        book = ledger.ledger_of(user)
        ledger.grant(book, 10_000_000, reference=f"proof:{name}", about=about)
    return user


def _place(user: User, number: int, model: str) -> Generation:
    wish = orders.Wish(prompt=f"Dune at dusk, shot {number}", model=model, payer_named=user)
    key = f"{number}"
    return orders.place(orders.prepare(wish), orders.Terms(user=user, key=key))
