"""An order for a picture: what was asked, what goes along, where it is, what it brought."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from generation.models.batches import Batch
from generation.models.catalogue import KieModel, Operation, Slot
from projects.ids import new_id
from projects.models import Character, Project, Scene, Take

MOST_DEATHS = 3  # of workers, or of their decoders, over the same picture


class State(models.TextChoices):
    """Where an order is. `generation/lifecycle.py` draws the ways between them."""

    QUEUED = "queued", _("Waiting in line")
    SUBMITTING = "submitting", _("Being ordered")
    UNKNOWN = "unknown", _("Waiting for the provider's word")
    RUNNING = "running", _("Generating")
    STORING = "storing", _("Storing the picture")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    REVIEW = "review", _("Staff are looking at it")


OPEN_STATES = (State.QUEUED, State.SUBMITTING, State.UNKNOWN, State.RUNNING, State.STORING)
SENT_STATES = OPEN_STATES[1:]
# Those that KIE or a worker is busy with: what a person may have only so many of at once.
IN_FLIGHT_STATES = (State.SUBMITTING, State.RUNNING, State.STORING)


class Reason(models.TextChoices):
    """Why an order did not bring a picture, in words for whoever sees the order."""

    UNSAFE = "unsafe", _("The model refused this description as unsafe. Change it and try again.")
    PROMPT = "prompt", _("The model found the description missing or too long. Change it.")
    MODEL = "model", _("The provider does not offer this model. Choose another one.")
    INPUT = "input", _("The model does not take these settings. Staff have been told.")
    UPLOAD = "upload", _("The pictures that go along could not be handed over. Try again.")
    RENDER = "render", _("The model failed to make the picture. Try again.")
    EMPTY = "empty", _("The model finished without a picture. Try again.")
    DATA = "data", _("The model answered with data, not with a picture. Staff can read them.")
    PICTURE = "picture", _("What came back was not a picture that we can keep. Try again.")
    LOST = "lost", _("The provider never said whether it took the order. Staff are looking at it.")
    EXPIRED = "expired", _("The picture could not be fetched in time. Staff are looking at it.")
    CANCELLED = "cancelled", _("The order was cancelled.")
    CLOSED = "closed", _("Staff looked for the picture and could not get it.")


class TakenBack(models.TextChoices):
    """What becomes of a picture that still comes after its credits were taken back."""

    KEEP = "keep", _("Keep it, free of charge")
    DISCARD = "discard", _("Throw it away")


class GenerationQuerySet(models.QuerySet["Generation"]):
    def open(self) -> GenerationQuerySet:
        return self.filter(state__in=OPEN_STATES)

    def awaited(self) -> GenerationQuerySet:
        """Those under way, and still wanted by whoever ordered them (Generation.is_awaited)."""
        return self.open().exclude(taken_back=TakenBack.DISCARD)

    def due(self, now: datetime) -> GenerationQuerySet:
        """Open orders whose next step is due and which no worker holds."""
        return self.filter(state__in=OPEN_STATES, lease_until__isnull=True, next_at__lte=now)

    def expired(self, now: datetime) -> GenerationQuerySet:
        """Orders whose worker has not been heard of for as long as its lease."""
        return self.open().filter(lease_until__lte=now)

    def set_aside(self) -> GenerationQuerySet:
        """Orders whose picture several workers died over: tried seldom, and staff look at them."""
        return self.filter(state=State.STORING, deaths__gte=MOST_DEATHS)

    def trials(self) -> GenerationQuerySet:
        """Test orders of staff: for no project, and nobody pays."""
        return self.filter(project=None, payer=None)

    def of(self, subject: Scene | Character) -> GenerationQuerySet:
        key = "scene" if isinstance(subject, Scene) else "character"
        return self.filter(**{key: subject})

    def newest_first(self) -> GenerationQuerySet:
        return self.order_by("-created_at", "-pk")


class Generation(models.Model):
    """One order: what was asked, what was sent, KIE's task, where it is, what it cost.

    Only `generation/lifecycle.py` writes `state` and the fields below it.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    project = models.ForeignKey(
        Project,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="generations",
        verbose_name=_("project"),
    )
    scene = models.ForeignKey(
        Scene,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="generations",
        verbose_name=_("scene"),
    )
    character = models.ForeignKey(
        Character,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="generations",
        verbose_name=_("character"),
    )
    ordered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="orders",
        verbose_name=_("ordered by"),
    )
    payer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="paid_orders",
        verbose_name=_("payer"),
        help_text=_("Empty: nobody pays (an order of staff with skipCreditCheck)."),
    )
    order_key = models.CharField(
        _("order key"),
        max_length=100,
        help_text=_("One click, one order: the same key again is the same order."),
    )
    batch = models.BooleanField(
        _("of a batch"), default=False, help_text=_("Single clicks go before it.")
    )
    in_batch = models.ForeignKey(
        Batch,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="orders",
        help_text=_("The click that placed it with others."),
    )
    # What was asked
    operation = models.CharField(
        _("operation"), max_length=10, choices=Operation.choices, default=Operation.GENERATE
    )
    source = models.ForeignKey(
        Take,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="orders_on_it",
        verbose_name=_("made from"),
        help_text=_("The take that it works on."),
    )
    count = models.PositiveSmallIntegerField(
        _("pictures"), default=1, help_text=_("How many the price is for.")
    )
    provider = models.CharField(_("provider"), max_length=20)
    model = models.ForeignKey(
        KieModel, models.PROTECT, related_name="generations", verbose_name=_("model")
    )
    prompt = models.TextField(_("prompt"))
    aspect_ratio = models.CharField(_("aspect ratio"), max_length=10)
    resolution = models.CharField(_("resolution"), max_length=20, blank=True)
    request = models.JSONField(
        _("request"),
        help_text=_(
            "createTask's model and input, as sent; “take:…” stands for the address at which KIE "
            "finds that take."
        ),
    )
    # The quote that was shown
    price = models.PositiveBigIntegerField(_("price"), help_text=_("Hundredths of a credit."))
    kie_credits = models.PositiveBigIntegerField(help_text=_("Hundredths of a KIE credit."))
    cost = models.PositiveBigIntegerField(_("real cost"), help_text=_("Micro-dollars."))
    created_at = models.DateTimeField(_("ordered"), auto_now_add=True)

    # The life
    state = models.CharField(_("state"), max_length=12, choices=State.choices, default=State.QUEUED)
    next_at = models.DateTimeField(_("next step"), default=timezone.now)
    lease_until = models.DateTimeField(_("with a worker until"), null=True, blank=True)
    lease_token = models.CharField(max_length=32, blank=True)
    attempts = models.PositiveIntegerField(
        _("attempts"), default=0, help_text=_("Tries of the present step that came to nothing.")
    )
    deaths = models.PositiveIntegerField(
        _("deaths"),
        default=0,
        help_text=_("Workers, or their decoders, that died over its picture."),
    )
    taken_back = models.CharField(
        _("taken back"),
        max_length=8,
        choices=TakenBack.choices,
        blank=True,
        help_text=_("The credits were taken back after it had been sent."),
    )
    task_id = models.CharField(_("KIE task"), max_length=200, null=True, blank=True, unique=True)
    task_state = models.CharField(_("KIE's word"), max_length=40, blank=True)
    kie_credits_used = models.PositiveBigIntegerField(
        null=True, blank=True, help_text=_("What KIE says it took; hundredths of a KIE credit.")
    )
    reason = models.CharField(_("reason"), max_length=12, choices=Reason.choices, blank=True)
    detail = models.CharField(
        _("provider's words"), max_length=500, blank=True, help_text=_("For staff, not for users.")
    )
    submitted_at = models.DateTimeField(_("sent"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects = GenerationQuerySet.as_manager()

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        indexes = [
            models.Index(
                fields=["next_at"], name="open_by_next", condition=Q(state__in=OPEN_STATES)
            ),
            models.Index(
                fields=["lease_until"], name="by_lease", condition=Q(lease_until__isnull=False)
            ),
            models.Index(fields=["-created_at", "-id"]),
            models.Index(fields=["state", "-created_at"]),
            models.Index(fields=["scene", "-created_at"]),
            models.Index(fields=["character", "-created_at"]),
            models.Index(fields=["project", "-created_at"]),
            models.Index(fields=["ordered_by", "-created_at"]),
        ]
        constraints = [
            models.UniqueConstraint(fields=["ordered_by", "order_key"], name="one_order_per_key"),
            models.CheckConstraint(
                condition=Q(scene__isnull=True) | Q(character__isnull=True),
                name="order_for_scene_or_character",
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="state_is_known"),
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def subject(self) -> Scene | Character | None:
        return self.scene or self.character

    @property
    def work(self) -> str:
        """What it does to a picture that was there; "" for one that makes a picture from words."""
        is_new = self.operation == Operation.GENERATE
        return "" if is_new else str(Operation(self.operation).label)

    @property
    def price_each(self) -> int:
        """Hundredths for each of its pictures."""
        return -(-self.price // self.count)

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def is_awaited(self) -> bool:
        """Under way, and whoever ordered it still wants what comes."""
        return self.is_open and self.taken_back != TakenBack.DISCARD

    @property
    def is_set_aside(self) -> bool:
        return self.state == State.STORING and self.deaths >= MOST_DEATHS

    @property
    def kie_credits_number(self) -> int | float:
        """KIE's price as KIE writes it: 6, or 3.24."""
        whole, part = divmod(self.kie_credits, 100)
        return whole if not part else self.kie_credits / 100

    @property
    def hold_reference(self) -> str:
        return f"generation:{self.pk}:hold"


class Reference(models.Model):
    """A picture that goes along with an order. KIE's address for it is known once it was handed
    over, right before the order is sent."""

    generation = models.ForeignKey(Generation, models.CASCADE, related_name="references")
    take = models.ForeignKey(Take, models.PROTECT, related_name="+", verbose_name=_("take"))
    slot = models.CharField(_("slot"), max_length=10, choices=Slot.choices)
    position = models.PositiveSmallIntegerField(_("position"))
    url = models.URLField(_("address at KIE"), max_length=2000, blank=True)
    uploaded_at = models.DateTimeField(_("handed over"), null=True, blank=True)

    class Meta:
        ordering = ["generation", "position"]
        verbose_name = _("reference")
        verbose_name_plural = _("references")
        constraints = [
            models.UniqueConstraint(
                fields=["generation", "position"], name="one_reference_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"{self.generation_id} {self.slot} {self.take_id}"


class Output(models.Model):
    """One picture that an order brought: KIE's link, and the take once it is stored."""

    generation = models.ForeignKey(Generation, models.CASCADE, related_name="outputs")
    index = models.PositiveSmallIntegerField(_("position"))
    url = models.URLField(_("KIE's link"), max_length=2000)
    # projects.pictures.Stored, from when the picture is in the storage: a step that is tried again
    # does not fetch it again.
    stored = models.JSONField(null=True, editable=False)
    take = models.OneToOneField(
        Take, models.PROTECT, null=True, blank=True, related_name="output", verbose_name=_("take")
    )

    class Meta:
        ordering = ["generation", "index"]
        verbose_name = _("output")
        verbose_name_plural = _("outputs")
        constraints = [
            models.UniqueConstraint(fields=["generation", "index"], name="one_output_per_index")
        ]

    def __str__(self) -> str:
        return f"{self.generation_id} #{self.index}"


class Event(models.Model):
    """The trail of an order: one row for every change of its state, and for what KIE said."""

    generation = models.ForeignKey(Generation, models.CASCADE, related_name="events")
    at = models.DateTimeField(_("when"), auto_now_add=True)
    state = models.CharField(_("state"), max_length=12, choices=State.choices)
    message = models.CharField(_("what happened"), max_length=500)
    answer = models.JSONField(_("KIE's answer"), null=True, blank=True)

    class Meta:
        ordering = ["pk"]
        verbose_name = _("event")
        verbose_name_plural = _("events")

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.message}"


class Callback(models.Model):
    """KIE's word that a task of ours has ended: a hint, kept before it is answered."""

    generation = models.ForeignKey(Generation, models.CASCADE, related_name="callbacks")
    task_id = models.CharField(_("KIE task"), max_length=200)
    received_at = models.DateTimeField(_("received"), auto_now_add=True)
    heard_at = models.DateTimeField(
        _("heard"), null=True, blank=True, help_text=_("When KIE was asked what it means.")
    )

    class Meta:
        verbose_name = _("callback")
        verbose_name_plural = _("callbacks")
        constraints = [
            models.UniqueConstraint(fields=["generation", "task_id"], name="one_callback_per_task")
        ]
        indexes = [
            models.Index(fields=["received_at"], name="unheard", condition=Q(heard_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.generation_id} {self.task_id}"
