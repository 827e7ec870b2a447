"""What the board and the page of a scene or character show.

Everything is read for many scenes at once: the number of queries does not grow with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db.models import Count, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from generation import orders
from generation.allowance import Budget
from generation.models import (
    Ask,
    Generation,
    KieModel,
    Operation,
    Reason,
    State,
    TakenBack,
)
from generation.orders import Order
from generation.outdated import changes_since
from generation.rework import WORKS
from generation.setup import Setup, setup_of
from generation.standing import Standing, seconds_since, standings_of
from generation.versions import columns_of, digest
from generation.wishes import OrderRefused, Wish
from projects import live
from projects.cast import CastMember, members
from projects.models import Character, Member, Project, Role, Scene, Take
from projects.templatetags.addresses import address

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TYPICAL_OF = 20  # so many of a project's last pictures say how long one takes
FAILURES = (State.FAILED, State.REVIEW)
MOST_BY_CLICK = 4  # orders
STILL_WANTED = ("", TakenBack.KEEP)
AT_FAULT = (Reason.UNSAFE, Reason.PROMPT)


# Cards


@dataclass(frozen=True)
class Card:
    """A scene or a character, its picture, its order, and what the next one would cost.

    `order` is the newest that is awaited, else the newest of all, and `standing` is how it is with
    it; `open_orders` counts those that are awaited. Exactly one of `offer` and `refused` is set.
    `cast` is who appears in a scene. `changes` says what changed since the picture was made, in no
    words where it is up to date. `budget` is what whoever looks may spend, and `ask` what they
    asked for last.
    """

    subject: Scene | Character
    cast: tuple[CastMember, ...]
    picture: Take | None
    changes: list[str]
    take_count: int
    order: Generation | None
    standing: Standing | None
    open_orders: int
    offer: Order | None
    refused: OrderRefused | None
    payer: User
    may_edit: bool
    typical_seconds: int | None
    budget: Budget
    ask: Ask | None

    @property
    def kind(self) -> str:
        return kind_of(self.subject)

    @property
    def dom_id(self) -> str:
        return f"{self.kind}-{self.subject.pk}"

    @property
    def name(self) -> str:
        """ "Scene 12A", "Miro"."""
        if isinstance(self.subject, Scene):
            return _("Scene %(number)s") % {"number": self.subject.number}
        return self.subject.name

    @property
    def alt(self) -> str:
        """What the picture shows, for those who do not see it."""
        subject = self.subject
        title = subject.title if isinstance(subject, Scene) else ""
        return ": ".join(filter(None, [self.name, title or subject.description[:200]]))

    @property
    def is_locked(self) -> bool:
        return isinstance(self.subject, Scene) and self.subject.is_locked

    @property
    def can_delete(self) -> bool:
        """Nothing was made or ordered for it."""
        return not (self.is_locked or self.take_count or self.order)

    @property
    def edit_url(self) -> str:
        return address(f"projects:{self.kind}_edit", self.subject.pk)

    @property
    def insert_url(self) -> str:
        """Where a scene is written that comes after this one."""
        new = address("projects:scene_new", self.subject.project_id)
        return f"{new}?after={self.subject.pk}"

    @property
    def may_change(self) -> bool:
        """Takes can be chosen, put in the trash and brought along."""
        return self.may_edit and not self.is_locked

    @property
    def upload_url(self) -> str:
        """Where own pictures go; "" for whoever may not bring any."""
        return address(f"projects:{self.kind}_upload", self.subject.pk) if self.may_change else ""

    @property
    def words_at_fault(self) -> bool:
        """The last order failed over the description, which has not been changed since."""
        order = self.order
        return (
            order is not None
            and self.failed
            and order.operation == Operation.GENERATE
            and order.reason in AT_FAULT
            and self.subject.updated_at < order.created_at
        )

    @property
    def again_url(self) -> str:
        """Where what the last order was to do with a take can be tried again; "" if it made a
        picture from words."""
        order = self.order
        if order is None or not self.failed or order.operation not in WORKS:
            return ""
        page = reverse("generation:rework", args=[order.source_id, order.operation])
        return f"{page}?again={order.pk}"

    @property
    def lacks_picture_of(self) -> Character | None:
        """Who could be given a picture where the model needs one of somebody in the cast."""
        return next((m.character for m in self.cast if m.picture is None), None)

    @property
    def variants(self) -> list[tuple[int, int]]:
        """How many pictures one click may order, with the price of all of them."""
        each = self.offer.quote.credits if self.offer else 0
        return [(count, count * each) for count in range(1, MOST_BY_CLICK + 1)]

    @cached_property
    def key(self) -> str:
        """One button, one key, one order."""
        return uuid4().hex

    @property
    def is_open(self) -> bool:
        return self.open_orders > 0

    @property
    def failed(self) -> bool:
        """The last order brought no picture, and whoever ordered it waited for one."""
        order = self.order
        return order is not None and order.state in FAILURES and order.taken_back in STILL_WANTED

    @property
    def is_old(self) -> bool:
        """The picture is out of date."""
        return bool(self.changes)

    @property
    def has_to_say(self) -> bool:
        """Something about its orders stands where the description would."""
        cannot = self.refused is not None and not self.is_locked
        note = self.standing is not None and self.standing.note is not None
        return self.failed or cannot or note or self.is_declined

    @property
    def must_ask(self) -> bool:
        """The next picture is beyond the allowance of whoever looks."""
        return self.offer is not None and not self.budget.covers(self.offer.quote.credits)

    @property
    def is_asked(self) -> bool:
        return self.ask is not None and not self.ask.answer

    @property
    def is_declined(self) -> bool:
        """The payer said no, and nothing was ordered since."""
        ask, order = self.ask, self.order
        if ask is None or ask.answer != Ask.Answer.DECLINED:
            return False
        return order is None or order.created_at < ask.asked_at

    @property
    def click_url(self) -> str:
        verb = "ask" if self.must_ask else "generate"
        return address(f"generation:{verb}", self.kind, self.subject.pk)

    @property
    def can_cancel(self) -> bool:
        return self.may_edit and self.standing is not None and self.standing.can_cancel

    @property
    def can_take_back(self) -> bool:
        return self.may_edit and self.standing is not None and self.standing.can_take_back

    @property
    def news(self) -> str:
        """The names of what changes it (projects/live.py)."""
        faces = (live.name_of(member.character) for member in self.cast)
        return " ".join((self.dom_id, *faces, *(["site"] if self.is_open else [])))

    @property
    def look_in(self) -> int | None:
        """Seconds until it is to be looked at again, whatever was heard; None: never."""
        return self.standing.look_in if self.standing else None

    @cached_property
    def version(self) -> str:
        """Changes when it has something else to show than the clock."""
        offer, refused, ask = self.offer, self.refused, self.ask
        faces = [
            (member.character.name, member.picture and member.picture.pk) for member in self.cast
        ]
        return digest(
            columns_of(self.subject, but="position"),
            faces,
            self.picture and (self.picture.pk, self.picture.is_stored),
            self.take_count,
            (self.subject.starred, self.subject.in_trash),  # type: ignore[union-attr]
            [str(change) for change in self.changes],
            self.standing and self.standing.version,
            self.open_orders,
            offer and offer.quote.credits,
            refused and (refused.code, str(refused.words)),
            ask and (ask.pk, ask.answer, ask.word, ask.price),
            self.must_ask,
            self.may_edit,
            self.payer.pk,
        )

    @property
    def expected_seconds(self) -> int | None:
        """How long the order probably takes in all, as long as that can be believed."""
        typical, standing = self.typical_seconds, self.standing
        return typical if typical and standing and standing.seconds <= typical else None


def cards_of(project: Project, subjects: Any, role: Role, setup: Setup | None = None) -> list[Card]:
    """The cards of scenes or of characters of one project, in the order of `subjects`."""
    rows = _rows(subjects)
    if not rows:
        return []
    setup = setup or setup_of(project)
    faces = [person for row in rows if isinstance(row, Scene) for person in row.cast.all()]
    pictures = Take.objects.in_bulk({row.picture_id for row in (*rows, *faces) if row.picture_id})
    under_way = _under_way(rows)
    newest = _newest_orders([row for row in rows if row.pk not in under_way])
    typical = _typical_seconds(project, setup.model) if under_way else None
    usual_model = setup.model.pk if setup.model else None
    shown = {row.pk: _shown(row, under_way, newest) for row in rows}
    standings = standings_of([order for order in shown.values() if order])
    asks = _asks(rows, setup.budget.member)
    cards = []
    for row in rows:
        row.project = project
        order, open_orders = shown[row.pk], len(under_way.get(row.pk, ()))
        standing = standings[order.pk] if order else None
        cast = members(row.cast.all(), pictures) if isinstance(row, Scene) else ()
        picture = pictures.get(row.picture_id)
        offer, refused = _offer(row, cast, setup)
        cards.append(
            Card(
                subject=row,
                cast=cast,
                picture=picture,
                changes=changes_since(picture, row, cast, sends_faces=setup.sends_faces),
                take_count=row.take_count,
                order=order,
                standing=standing,
                open_orders=open_orders,
                offer=offer,
                refused=refused,
                payer=project.owner,
                may_edit=role >= Role.EDITOR,
                typical_seconds=typical if order and order.model_id == usual_model else None,
                budget=setup.budget,
                ask=asks.get(row.pk),
            )
        )
    return cards


def card_of(subject: Scene | Character, role: Role, setup: Setup | None = None) -> Card:
    return cards_of(subject.project, _alone(subject), role, setup)[0]


def _alone(subject: Scene | Character) -> QuerySet[Any]:
    return type(subject)._default_manager.filter(pk=subject.pk)


def _rows(subjects: QuerySet[Any]) -> list[Any]:
    """The subjects with `picture_id`, `take_count`, `newest_order`, and the faces of the cast."""
    subjects = subjects.with_picture()  # type: ignore[attr-defined]
    if subjects.model is Scene:
        faces = Character.objects.with_picture()
        subjects = subjects.prefetch_related(Prefetch("cast", faces))
    return list(
        subjects.annotate(
            newest_order=of_newest_order(subjects.model, "pk"),
            starred=_number_of(subjects.model, is_starred=True),
            in_trash=_number_of(subjects.model, trashed_at__isnull=False),
        )
    )


def of_newest_order(model: type[Scene | Character], field: str) -> Subquery:
    own = Generation.objects.filter(**{str(model._meta.model_name): OuterRef("pk")})
    return Subquery(own.newest_first().values(field)[:1])


def _number_of(model: type[Scene | Character], **which: bool) -> Subquery:
    """Of its takes, those `which`."""
    key = str(model._meta.model_name)
    own = Take.objects.filter(**{key: OuterRef("pk")}, **which).order_by().values(key)
    return Subquery(own.annotate(n=Count("pk")).values("n"))


def _under_way(rows: Sequence[Any]) -> dict[str, list[Generation]]:
    """The awaited orders by the id of their scene or character, newest first."""
    key = kind_of(rows[0])
    found: dict[str, list[Generation]] = defaultdict(list)
    orders = Generation.objects.filter(**{f"{key}__in": rows}).select_related("payer")
    for order in orders.awaited().newest_first():
        found[getattr(order, f"{key}_id")].append(order)
    return found


def _newest_orders(rows: Sequence[Any]) -> dict[str, Generation]:
    ids = [row.newest_order for row in rows if row.newest_order]
    return Generation.objects.in_bulk(ids) if ids else {}


def _asks(rows: Sequence[Any], member: Member | None) -> dict[str, Ask]:
    """What a member asked for last, by the id of its scene or character: a picture of it, with
    nothing said beyond that."""
    if member is None:
        return {}
    key = kind_of(rows[0])
    found = Ask.objects.filter(member=member, wish={}, **{f"{key}__in": rows})
    return {getattr(ask, f"{key}_id"): ask for ask in found.order_by("asked_at", "pk")}


def _shown(
    row: Any, under_way: dict[str, list[Generation]], newest: dict[str, Generation]
) -> Generation | None:
    return under_way[row.pk][0] if row.pk in under_way else newest.get(row.newest_order)


def _offer(
    subject: Scene | Character, cast: tuple[CastMember, ...], setup: Setup
) -> tuple[Order | None, OrderRefused | None]:
    if setup.refused:
        return None, setup.refused
    try:
        wish = Wish(project=subject.project, subject=subject, cast=cast)
        return orders.prepare(wish, setup.basis), None
    except OrderRefused as refused:
        return None, refused


def _typical_seconds(project: Project, model: KieModel | None) -> int | None:
    """How long this project's last pictures took from the click on: the middle one of them."""
    stored = Generation.objects.filter(project=project, model=model, state=State.DONE)
    times = stored.newest_first().values_list("created_at", "finished_at")[:TYPICAL_OF]
    took = sorted(seconds_since(start, end) for start, end in times if end)
    return max(1, took[len(took) // 2]) if took else None


def kind_of(subject: Scene | Character) -> str:
    return "scene" if isinstance(subject, Scene) else "character"


# One scene or character


def neighbours(scene: Scene) -> tuple[Scene | None, Scene | None]:
    """The scenes before and after it in the film."""
    others = Scene.objects.filter(project=scene.project_id).only("pk", "number", "title")
    here = Q(position=scene.position)
    before = others.filter(Q(position__lt=scene.position) | here & Q(pk__lt=scene.pk)).last()
    after = others.filter(Q(position__gt=scene.position) | here & Q(pk__gt=scene.pk)).first()
    return before, after
