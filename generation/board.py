"""What the board and the page of a scene or character show.

Everything is read for many scenes at once: the number of queries does not grow with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from generation import defaults, orders
from generation.allowance import Budget, budget_of
from generation.models import (
    Ask,
    Generation,
    KieModel,
    Operation,
    Reason,
    Slot,
    State,
    TakenBack,
)
from generation.orders import Basis, Order
from generation.outdated import OLD, changes_since, with_changes
from generation.pricing import Quote, in_force
from generation.rework import WORKS
from generation.standing import Standing, seconds_since, standings_of
from generation.versions import columns_of, digest
from generation.wishes import OrderRefused, Wish
from projects import live
from projects.cast import CastMember, members
from projects.models import Character, Member, Project, Role, Scene, Take
from projects.search import scenes_with
from projects.templatetags.addresses import address

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TYPICAL_OF = 20  # so many of a project's last pictures say how long one takes
FAILURES = (State.FAILED, State.REVIEW)
# The codes of refusals that are the same for every scene and character.
FOR_ALL = ("provider", "model", "model_off", "operation", "price", "resolution")
MOST_BY_CLICK = 4  # orders
SOME_WORDS = "A lake"  # long enough for every model
STILL_WANTED = ("", TakenBack.KEEP)
AT_FAULT = (Reason.UNSAFE, Reason.PROMPT)


# How a project's pictures are made


@dataclass(frozen=True)
class Setup:
    """A project's settings with the model and the price that follow from them.

    `refused` says why nothing at all can be ordered; then there is no `quote`. Nor is there one
    where what a picture costs depends on what goes along with it. `budget` is what whoever looks
    may spend.
    """

    settings: defaults.Settings
    basis: Basis | None
    resolution: str
    quote: Quote | None
    refused: OrderRefused | None = None
    budget: Budget = Budget()

    @property
    def model(self) -> KieModel | None:
        return self.basis.model if self.basis else None

    @property
    def model_name(self) -> str:
        return self.model.name if self.model else self.settings.model.value

    @property
    def sends_faces(self) -> bool:
        """The pictures of the cast go along with an order."""
        field = self.model.takes.get(Slot.REFERENCE) if self.model else None
        return field is not None and self.resolution not in field.not_at

    @property
    def price_each(self) -> int | None:
        """Hundredths for any picture; None where it depends on what goes along, or is not known."""
        if self.quote is None or self.model is None:
            return None
        depends = self.sends_faces and in_force(self.model, self.resolution).reference_credits
        return None if depends else self.quote.credits


def setup_of(project: Project, user: User | None = None) -> Setup:
    own = defaults.settings_of(project)
    wanted = own.scene_resolution.value
    wish = Wish(project=project, prompt=SOME_WORDS)
    budget = budget_of(user, project) if user else Budget()
    basis = None
    try:
        basis = orders.basis_for(wish)
        order = orders.prepare(wish, basis)
    except OrderRefused as refused:
        whole = refused if refused.code in FOR_ALL else None
        return Setup(own, basis, wanted, None, whole, budget)
    return Setup(own, basis, order.resolution, order.quote, None, budget)


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
            newest_order=_of_newest_order(subjects.model, "pk"),
            starred=_number_of(subjects.model, is_starred=True),
            in_trash=_number_of(subjects.model, trashed_at__isnull=False),
        )
    )


def _of_newest_order(model: type[Scene | Character], field: str) -> Subquery:
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


# All of a project's scenes, or some


@dataclass(frozen=True)
class Choice:
    """A filter above the scenes: `name` stands in the address, `count` beside the words. `ready`
    are those of them that one could order a picture for, but for what only preparing tells."""

    name: str
    words: str
    count: int
    ready: int

    def total(self, setup: Setup) -> int | None:
        """Hundredths for a picture of each that is ready; None where only preparing tells."""
        each = setup.price_each
        return None if each is None else each * self.ready

    @property
    def bill_words(self) -> str:
        """What one click could do about them: "Generate 12 missing"; "" for nothing."""
        words = {
            "missing": ngettext(
                "Generate %(count)d missing", "Generate %(count)d missing", self.ready
            ),
            "failed": ngettext("Retry %(count)d failed", "Retry %(count)d failed", self.ready),
            "old": ngettext("Update %(count)d scene", "Update %(count)d scenes", self.ready),
        }.get(self.name, "")
        return words % {"count": self.ready} if words and self.ready else ""


WHICH = {
    "all": (gettext_lazy("All"), Q()),
    "missing": (gettext_lazy("Missing"), Q(has_take=False)),
    "open": (gettext_lazy("Under way"), Q(under_way=True)),
    "failed": (
        gettext_lazy("Failed"),
        Q(newest_state__in=FAILURES, newest_taken_back__in=STILL_WANTED, under_way=False),
    ),
    "old": (gettext_lazy("Out of date"), OLD),
    "unchosen": (gettext_lazy("Not chosen"), Q(has_several=True, chosen__isnull=True)),
}
READY = Q(is_locked=False, under_way=False, is_in_vain=False) & ~Q(description="")


def scenes_of(
    project: Project, which: str, words: str = "", *, sends_faces: bool = False
) -> tuple[QuerySet[Scene], list[Choice]]:
    """The scenes of one filter (a key of WHICH) in which these words are found, and how many each
    of the filters would show."""
    takes = Take.objects.kept().filter(scene=OuterRef("pk"))
    found = scenes_with(project, words)
    scenes = with_changes(found, project, sends_faces=sends_faces).annotate(
        has_take=Exists(takes),
        has_several=Exists(takes[1:2]),
        under_way=Exists(Generation.objects.awaited().filter(scene=OuterRef("pk"))),
        newest_order=_of_newest_order(Scene, "pk"),
        newest_state=_of_newest_order(Scene, "state"),
        newest_taken_back=_of_newest_order(Scene, "taken_back"),
    )
    scenes = scenes.annotate(is_in_vain=Exists(_in_vain()))
    counts = {name: Count("pk", filter=q) for name, (_w, q) in WHICH.items()}
    ready = {f"{name}_ready": Count("pk", filter=q & READY) for name, (_w, q) in WHICH.items()}
    numbers = scenes.aggregate(**counts, **ready)
    choices = [
        Choice(name, str(label), numbers[name], numbers[f"{name}_ready"])
        for name, (label, _q) in WHICH.items()
    ]
    return scenes.filter(WHICH[which][1]), choices


def counts_of(choices: Sequence[Choice]) -> str:
    """A version of what the filters say."""
    return digest(*(choice.count for choice in choices))


def several_of(choices: Sequence[Choice], setup: Setup) -> list[tuple[str, str, int | None]]:
    """What one click could order: the name of the filter, in words, and what it would cost."""
    offered = [choice for choice in choices if choice.bill_words]
    return [(choice.name, choice.bill_words, choice.total(setup)) for choice in offered]


def _in_vain() -> QuerySet[Generation]:
    """A scene's newest order, where the same again would end as it did: staff look at it, or it
    failed over the description, which has not been changed since (Card.words_at_fault)."""
    at_fault = Q(
        state=State.FAILED,
        reason__in=AT_FAULT,
        operation=Operation.GENERATE,
        created_at__gt=OuterRef("updated_at"),
    )
    newest = Generation.objects.filter(pk=OuterRef("newest_order"))
    return newest.filter(at_fault | Q(state=State.REVIEW))


# One scene or character


def neighbours(scene: Scene) -> tuple[Scene | None, Scene | None]:
    """The scenes before and after it in the film."""
    others = Scene.objects.filter(project=scene.project_id).only("pk", "number", "title")
    here = Q(position=scene.position)
    before = others.filter(Q(position__lt=scene.position) | here & Q(pk__lt=scene.pk)).last()
    after = others.filter(Q(position__gt=scene.position) | here & Q(pk__gt=scene.pk)).first()
    return before, after
