"""Who orders pictures, changes their minds, and looks after what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import resolve

from credits import ledger
from generation import lifecycle, orders
from generation.models import Generation, ImageSettings, KieModel, Pause, State, TakenBack
from projects.models import Project, Scene
from tests.proofs.simulation.kie import Kie
from tests.proofs.simulation.world import Step, World

if TYPE_CHECKING:
    from tests.proofs.simulation.database import Database

USERS = {"ana": 600, "boris": 1200, "cyril": 5000}  # and what each has, in hundredths
RICH = "cyril"
# Is there anything that staff could look after?
LISTED = """
SELECT EXISTS(SELECT 1 FROM generation_pause) OR EXISTS(
  SELECT 1 FROM generation_generation WHERE state IN ('review', 'storing')
)
"""
MODELS = ("seedream-3.0/2k", "seedream/4.5-text-to-image")


def settle() -> None:
    """The people of every story: each with credits, a project and a scene. And two models."""
    KieModel.objects.exclude(model_id__in=MODELS).delete()
    for name, hundredths in USERS.items():
        user = User.objects.create(username=name)
        book = ledger.ledger_of(user)
        ledger.grant(book, hundredths, reference=f"grant:{name}", about=ledger.About())
        project = Project.objects.create(owner=user, name=name)
        ImageSettings.objects.create(project=project, model=MODELS[0])
        Scene.objects.create(project=project, number="1", position=1, description="Duny")


@dataclass
class Wish:
    """What somebody clicked. `name` is its prompt and its key, `price` what the button said."""

    name: str
    user: str
    model: str
    with_scene: bool
    price: int | None = None
    tries: int = 0
    is_cancelled: bool = False  # lifecycle said so
    is_closed: bool = False  # by staff


class People:
    def __init__(self, world: World, kie: Kie, database: Database) -> None:
        self.world, self.kie, self.database = world, kie, database
        self.wishes: dict[str, Wish] = {}
        self.is_site_off = False
        self.projects = {p.name: p for p in Project.objects.select_related("owner")}
        self.on_step: Callable[[Step], None] = lambda step: None

    def _ask(self, name: str, do: Callable[[], None], then: Callable[[bool], None]) -> None:
        """A request to the site, where it is there."""
        if self.is_site_off:
            then(False)
            return
        step = Step(name, self.world.now, is_spared=name == "staff")
        self.on_step(step)
        self.world.take(step, do, then)

    # Ordering

    def click(self, wish: Wish) -> None:
        self.wishes[wish.name] = wish
        wish.tries += 1
        self._ask("place", lambda: self._place(wish), lambda ok: self._placed(wish, ok))

    def _place(self, wish: Wish) -> None:
        project = self.projects[wish.user]
        scene = Scene.objects.get(project=project) if wish.with_scene else None
        try:
            order = orders.prepare(
                orders.Wish(project=project, subject=scene, prompt=wish.name, model=wish.model)
            )
            if wish.price is None:
                wish.price = order.quote.credits
            terms = orders.Terms(user=project.owner, key=wish.name, shown_price=wish.price)
            orders.place(order, terms)
        except orders.OrderRefused as refused:
            self.world.tell(f"{wish.name} is refused: {refused.code}")

    def _placed(self, wish: Wish, is_answered: bool) -> None:
        """Whoever got no answer may click again: the same key."""
        if not is_answered and wish.tries < 3 and self.world.rng.random() < 0.7:
            self.world.later(self.world.rng.choice((0.5, 5, 60)), lambda: self.click(wish))

    # Changing one's mind

    def cancel(self, wish: Wish) -> None:
        self._ask("cancel", lambda: self._cancel(wish), lambda ok: None)

    def _cancel(self, wish: Wish) -> None:
        generation = Generation.objects.filter(prompt=wish.name).first()
        if generation and lifecycle.cancel(generation):
            wish.is_cancelled = True
            self.world.tell(f"{wish.name} is cancelled")

    def take_back(self, wish: Wish, then: TakenBack) -> None:
        self._ask("take back", lambda: self._take_back(wish, then), lambda ok: None)

    def _take_back(self, wish: Wish, then: TakenBack) -> None:
        generation = Generation.objects.filter(prompt=wish.name).first()
        if generation and lifecycle.take_back(generation, then):
            self.world.tell(f"{wish.name}'s credits are taken back: {then}")

    # KIE's callbacks

    def report(
        self,
        address: str,
        body: dict[str, Any],
        headers: dict[str, str],
        answered: Callable[[bool], None],
    ) -> None:
        """KIE calls; `answered` is told whether it was with 200."""
        status = 0

        def call() -> None:
            nonlocal status
            path = address.partition("studio.test")[2]
            request = RequestFactory(headers=headers).post(
                path, json.dumps(body), content_type="application/json"
            )
            found = resolve(path)
            status = found.func(request, *found.args, **found.kwargs).status_code
            self.world.tell(f"a callback of {body['data']['taskId']} is answered: {status}")

        self._ask("callback", call, lambda ok: answered(ok and status == 200))

    # Staff

    def look_after(self, *, carefully: bool = False) -> None:
        """Staff pay KIE's bill, and look at some of what waits for them; `carefully`: at all."""
        self._ask("staff", lambda: self._look_after(carefully), lambda ok: None)

    def _look_after(self, carefully: bool) -> None:
        rng = self.world.rng
        self.kie.is_blocked = False
        if not self.database.rows(LISTED)[0][0]:
            return
        for pause in Pause.objects.all():
            pause.delete()
        waiting = Generation.objects.filter(state=State.REVIEW) | Generation.objects.set_aside()
        for generation in waiting.order_by("pk"):
            if carefully or rng.random() < 0.5:
                self._look_at(generation)

    def _look_at(self, generation: Generation) -> None:
        """In KIE's own log, which lists the prompts."""
        tasks = [t for t in self.kie.tasks.values() if t.order == generation.prompt]
        if generation.task_id:
            lifecycle.try_again(generation)
        elif tasks:
            lifecycle.adopt(generation, tasks[0].id)
        elif self.world.rng.random() < 0.3:
            self.wishes[generation.prompt].is_closed = lifecycle.close(generation)
