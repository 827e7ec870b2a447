"""Those who order pictures over HTTP, as honest programs do.

Each order has a key of its own. Where an answer did not come, or said that the site is in trouble,
the same order is sent again with the same key until there is one. Now and then an order is sent
twice at the same moment.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

TIMEOUT = 10  # seconds that a customer waits for an answer
AGAIN_AFTER = 0.4  # seconds
GIVES_UP_AFTER = 120  # seconds without any answer to an order
TWICE = 0.05  # probability that an order is sent two times at once
KEY = re.compile(r"\[([\w-]+)\]")  # in the prompt, so that the outside shows it as well
CLERKS = 6  # orders that are being placed at the same time
NOT_PLACED = 402  # the only refusal that these orders can meet: not enough credits


@dataclass(frozen=True)
class Customer:
    name: str
    token: str
    weight: int  # how often it is their turn


@dataclass
class Wish:
    """One order, as its customer knows it."""

    key: str
    customer: Customer
    model: str
    sent: int = 0  # requests
    placed: bool | None = None  # None: there was never an answer
    order_ids: set[str] = field(default_factory=set)  # told in the answers
    oddities: list[str] = field(default_factory=list)  # answers that nobody should get

    def body(self) -> dict[str, str]:
        prompt = f"Dune at dusk, a man and a dog, wide shot [{self.key}]"
        return {"prompt": prompt, "model": self.model}


class Customers:
    """Orders until `wanted` orders are placed, each as soon as `may_order` lets it."""

    def __init__(
        self,
        site_url: str,
        customers: list[Customer],
        models: tuple[str, ...],
        wanted: int,
        may_order: Callable[[], bool],
        rng: random.Random,
    ) -> None:
        self.wishes: list[Wish] = []
        self.troubles: Counter[str] = Counter()  # answers that led to sending again
        self._site_url = site_url
        self._customers = customers
        self._models = models
        self._wanted = wanted
        self._may_order = may_order
        self._rng = rng
        self._lock = threading.Lock()
        self.placed = 0
        self._under_way = 0
        self._clerks = [threading.Thread(target=self._work, daemon=True) for _ in range(CLERKS)]

    @property
    def begun(self) -> int:
        """Orders that are placed, or being placed."""
        return self.placed + self._under_way

    def start(self) -> None:
        for clerk in self._clerks:
            clerk.start()

    @property
    def are_done(self) -> bool:
        return not any(clerk.is_alive() for clerk in self._clerks)

    def _work(self) -> None:
        while self.placed < self._wanted:
            wish, twice = self._next()
            if wish is None:
                time.sleep(0.05)
                continue
            twin = threading.Thread(target=self._order, args=(wish,), daemon=True)
            if twice:
                twin.start()
            self._order(wish)
            if twice:
                twin.join()
            with self._lock:
                self._under_way -= 1
                self.placed += wish.placed is True

    def _next(self) -> tuple[Wish | None, bool]:
        """A new wish, and whether it is to be sent two times; None if there is to be none now."""
        with self._lock:
            if self.begun >= self._wanted or not self._may_order():
                return None, False
            who = self._rng.choices(self._customers, [c.weight for c in self._customers])[0]
            wish = Wish(f"k-{len(self.wishes)}", who, self._rng.choice(self._models))
            self.wishes.append(wish)
            self._under_way += 1
            return wish, self._rng.random() < TWICE

    def _order(self, wish: Wish) -> None:
        until = time.monotonic() + GIVES_UP_AFTER
        while time.monotonic() < until:
            trouble = self._send(wish)
            if not trouble:
                return
            with self._lock:
                self.troubles[trouble] += 1
            time.sleep(AGAIN_AFTER)
        wish.oddities.append(f"no answer within {GIVES_UP_AFTER} s")

    def _send(self, wish: Wish) -> str:
        """Sends the order once; what makes it worth sending again, "" if it has its answer."""
        wish.sent += 1
        try:
            answer = requests.post(
                f"{self._site_url}/api/image",
                json=wish.body(),
                headers={
                    "Authorization": f"Bearer {wish.customer.token}",
                    "Idempotency-Key": wish.key,
                },
                timeout=TIMEOUT,
            )
        except requests.RequestException as error:
            return type(error).__name__
        with self._lock:
            return _take_in(wish, answer)


def _take_in(wish: Wish, answer: requests.Response) -> str:
    """Notes what an answer says; what makes the order worth sending again, or ""."""
    said = _object(answer)
    code = said.get("error", {}).get("code")
    if answer.status_code in (200, 202):
        wish.placed = True
        if url := said.get("statusUrl"):
            wish.order_ids.add(url.rpartition("/")[2])
    elif answer.status_code == NOT_PLACED and code == "credits":
        wish.placed = wish.placed or False
    elif code in ENDINGS:
        wish.placed = True
    elif answer.status_code >= 500 or answer.status_code == 429:
        return f"HTTP {answer.status_code}"
    else:
        wish.oddities.append(f"HTTP {answer.status_code} {answer.text[:200]}")
    return ""


# The codes of an order that stands but has ended without a picture already.
ENDINGS = {"unsafe", "prompt", "render", "empty", "picture", "lost", "expired", "cancelled"}


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
