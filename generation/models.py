"""An order for a picture, and what it stands on: the models, a project's settings, its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from credits.amounts import credits_text
from projects.ids import new_id
from projects.models import Character, Project, Scene, Take


class Operation(models.TextChoices):
    """What an order does. All but the first work on a picture that is there."""

    GENERATE = "generate", _("Generate")
    EDIT = "edit", _("Edit")
    REFRAME = "reframe", _("Reframe")
    UPSCALE = "upscale", _("Upscale")
    CUT_OUT = "cutout", _("Cut out")
    LAYERS = "layers", _("Split into layers")
    SEGMENT = "segment", _("Map its parts")


# By KIE's words for what a model does (`KieModel.modality`).
MODALITIES: dict[str, tuple[Operation, ...]] = {
    "text-to-image": (Operation.GENERATE,),
    "image-to-image": (Operation.GENERATE, Operation.EDIT),
    "character-reference": (Operation.GENERATE,),
    "edit": (Operation.EDIT,),
    "inpaint": (Operation.EDIT,),
    "reframe": (Operation.REFRAME,),
    "upscale": (Operation.UPSCALE,),
    "background-removal": (Operation.CUT_OUT,),
    "layer-decomposition": (Operation.LAYERS,),
    "segmentation": (Operation.SEGMENT,),
}


class Slot(models.TextChoices):
    """What a picture is to an order, and so which of the model's fields it goes into.

    A model without a field for the source takes it as the first of its references.
    """

    SOURCE = "source", _("picture worked on")
    REFERENCE = "reference", _("reference")
    MASK = "mask", _("mask")


class PromptUse(models.TextChoices):
    REQUIRED = "required", _("required")
    OPTIONAL = "optional", _("optional")
    NONE = "none", _("none")


AUTO = "auto"  # among the ratios: as the picture that goes along


@dataclass(frozen=True)
class PictureField:
    """A field of a model's request that takes pictures: the addresses of `min` to `max` of them, as
    a list or as one text.

    `max_mb`: how large each file may be; None: no limit known. `task_of`: the field takes the
    source's KIE task in place of its address, which has to be one of a model whose id begins so.
    `beside`: so many other pictures go along with it; None: any number. `not_at`: resolutions at
    which the model takes none. `pixels` and `edges`: the least and the most that a picture, and
    each of its edges, may have; empty: no limit known.
    """

    field: str
    slot: Slot
    min: int
    max: int
    is_list: bool
    max_mb: int | None = None
    task_of: str = ""
    beside: int | None = None
    not_at: tuple[str, ...] = ()
    pixels: tuple[int, ...] = ()
    edges: tuple[int, ...] = ()

    @classmethod
    def of(cls, described: dict[str, Any]) -> PictureField:
        """From an object of `KieModel.picture_fields`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in described.items()
        }
        return cls(**values | {"slot": Slot(described["slot"])})


class KieModelQuerySet(models.QuerySet["KieModel"]):
    def named(self, model_id: str) -> KieModel | None:
        """The model with this id, or with this alias (an id that older documents use)."""
        if "\x00" in model_id:  # PostgreSQL cannot even be asked
            return None
        exact = self.filter(model_id=model_id).first()
        if exact is not None:
            return exact
        return next((m for m in self.exclude(aliases=[]) if model_id in m.aliases), None)


class KieModel(models.Model):
    """One image model of the catalogue: what it can do, what it costs, how its request is written.

    The request's `input` is written from this row alone (`generation/prompts.py`): the prompt,
    `ratios[ratio]` in `ratio_field`, `resolutions[resolution]` in `resolution_field`,
    `counts[count]` in `count_field`, the addresses of pictures in `picture_fields`, and `constants`
    as they stand. A field name of "" means that the model has no such field.
    """

    model_id = models.CharField(_("model"), max_length=100, unique=True)
    api_model_id = models.CharField(
        _("id sent to KIE"),
        max_length=100,
        blank=True,
        help_text=_("Empty: the model's own id. KIE refuses an id that it does not know."),
    )
    aliases = models.JSONField(
        _("aliases"), default=list, blank=True, help_text=_("Other ids that mean this model.")
    )
    name = models.CharField(_("name"), max_length=120)
    vendor = models.CharField(_("provider"), max_length=80)
    modality = models.JSONField(_("modality"), default=list)
    is_active = models.BooleanField(_("active"), default=True)
    prompt_use = models.CharField(
        _("prompt"), max_length=8, choices=PromptUse.choices, default=PromptUse.REQUIRED
    )
    prompt_min_length = models.PositiveIntegerField(
        _("shortest prompt"), default=1, help_text=_("Characters.")
    )
    prompt_max_length = models.PositiveIntegerField(
        _("longest prompt"),
        null=True,
        blank=True,
        help_text=_("Characters; empty: no limit known."),
    )
    ratio_field = models.CharField(_("aspect ratio field"), max_length=60, blank=True)
    ratios = models.JSONField(
        _("aspect ratios"),
        default=dict,
        blank=True,
        help_text=_("Our ratio to the value that is sent, e.g. {“16:9”: “landscape_16_9”}."),
    )
    resolution_field = models.CharField(_("resolution field"), max_length=60, blank=True)
    resolutions = models.JSONField(
        _("resolutions"),
        default=dict,
        blank=True,
        help_text=_("Our resolution to the value that is sent, e.g. {“4K”: “high”}."),
    )
    default_resolution = models.CharField(
        _("default resolution"),
        max_length=20,
        blank=True,
        help_text=_("One of the resolutions; empty for a model without any."),
    )
    impossible = models.JSONField(
        _("impossible pairs"),
        default=list,
        blank=True,
        help_text=_("Pairs of ratio and resolution that the model refuses."),
    )
    count_field = models.CharField(_("count field"), max_length=60, blank=True)
    counts = models.JSONField(
        _("counts"),
        default=dict,
        blank=True,
        help_text=_("How many pictures to the value that is sent, e.g. {“4”: “4”}."),
    )
    picture_fields = models.JSONField(
        _("picture fields"),
        default=list,
        blank=True,
        help_text=_("The fields that take pictures, and how many each."),
    )
    price_edges = models.JSONField(
        _("price by size"),
        default=dict,
        blank=True,
        help_text=_(
            "For a model that enlarges and is billed by what comes out: the price's name to the "
            "longest edge in pixels up to which it holds, e.g. {“4K”: 4096}."
        ),
    )
    constants = models.JSONField(
        _("fixed fields"),
        default=dict,
        blank=True,
        help_text=_("Sent with every order as they are."),
    )
    quirks = models.JSONField(_("quirks"), default=list, blank=True)
    source = models.CharField(_("source of these facts"), max_length=300, blank=True)
    as_of = models.DateField(_("facts as of"), null=True, blank=True)
    replacement = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("replacement"),
        help_text=_("What projects are offered once this model is switched off."),
    )
    # The row as the catalogue's file last had it: what differs from it is staff's own change.
    loaded = models.JSONField(default=dict, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    objects = KieModelQuerySet.as_manager()

    class Meta:
        ordering = ["vendor", "name"]
        verbose_name = _("KIE model")
        verbose_name_plural = _("KIE models")

    def __str__(self) -> str:
        return self.name

    @property
    def sent_id(self) -> str:
        """The id that createTask gets."""
        return self.api_model_id or self.model_id

    def resolution_named(self, wanted: str) -> str | None:
        """The model's own spelling of a resolution ("2k" is "2K"); None if it has no such one."""
        return next((r for r in self.resolutions if r.lower() == wanted.lower()), None)

    @property
    def price_names(self) -> list[str]:
        """By what its prices differ: the resolutions, or how large the result is; else [""]."""
        return list(self.price_edges or self.resolutions or [""])

    @cached_property
    def takes(self) -> dict[Slot, PictureField]:
        """The fields for pictures, by what a picture is to the order."""
        fields = map(PictureField.of, self.picture_fields)
        return {field.slot: field for field in fields}

    @property
    def source_field(self) -> PictureField | None:
        """The field for the picture that is worked on."""
        return self.takes.get(Slot.SOURCE) or self.takes.get(Slot.REFERENCE)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """What the model can be ordered for, in the order of Operation."""
        named = {operation for word in self.modality for operation in MODALITIES.get(word, ())}
        return tuple(o for o in Operation if o in named and self._is_ready_for(o))

    def can(self, operation: Operation) -> bool:
        return operation in self.operations

    def _is_ready_for(self, operation: Operation) -> bool:
        """A picture that comes from words needs no other one but those of its cast."""
        if operation != Operation.GENERATE:
            return self.source_field is not None
        needed = {slot for slot, field in self.takes.items() if field.min}
        return self.prompt_use != PromptUse.NONE and needed <= {Slot.REFERENCE}


class Price(models.Model):
    """What a picture of a model costs since a moment. A change is a new row, never an edit.

    For a model without a choice of how many, it is what an order costs, however many it brings.
    """

    model = models.ForeignKey(KieModel, models.CASCADE, related_name="prices")
    resolution = models.CharField(
        _("resolution"), max_length=20, blank=True, help_text=_("Empty: every resolution.")
    )
    credits = models.PositiveBigIntegerField(
        _("credits"), help_text=_("Hundredths of a KIE credit per picture.")
    )
    cost = models.PositiveBigIntegerField(_("real cost"), help_text=_("Micro-dollars per picture."))
    reference_credits = models.PositiveBigIntegerField(
        _("credits per reference"),
        default=0,
        help_text=_("Hundredths of a KIE credit for each picture that goes along."),
    )
    reference_cost = models.PositiveBigIntegerField(
        _("real cost per reference"), default=0, help_text=_("Micro-dollars.")
    )
    free_references = models.PositiveSmallIntegerField(
        _("references free of charge"), default=0, help_text=_("So many go along for nothing.")
    )
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        ordering = ["-since", "-pk"]
        verbose_name = _("price")
        verbose_name_plural = _("prices")

    def __str__(self) -> str:
        return f"{self.model} {self.resolution} {self.credits / 100:g}"


class Multiplier(models.Model):
    """How many of our credits a KIE credit costs since a moment: on the whole site, or for whoever
    pays. A change is a new row, never an edit."""

    payer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("for"),
        help_text=_("Who pays by it; empty: everybody who has none of their own."),
    )
    percent = models.PositiveIntegerField(
        _("percent"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text=_("100: a credit of ours for a KIE credit. Empty: the site's, from then on."),
    )
    since = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        ordering = ["-since", "-pk"]
        verbose_name = _("multiplier")
        verbose_name_plural = _("multipliers")

    def __str__(self) -> str:
        return f"{self.payer or 'site'}: {self.percent} %"


class ImageSettings(models.Model):
    """A project's own choices (`project.modelConfig.image.*`); an empty one means the default."""

    project = models.OneToOneField(
        Project, models.CASCADE, primary_key=True, related_name="image_settings"
    )
    provider = models.CharField(_("provider"), max_length=20, blank=True)
    model = models.CharField(_("model"), max_length=100, blank=True)
    character_aspect_ratio = models.CharField(
        _("character aspect ratio"), max_length=10, blank=True
    )
    scene_aspect_ratio = models.CharField(_("scene aspect ratio"), max_length=10, blank=True)
    scene_resolution = models.CharField(_("scene resolution"), max_length=20, blank=True)

    class Meta:
        verbose_name = _("image settings")
        verbose_name_plural = _("image settings")

    def __str__(self) -> str:
        return f"{self.project}: {self.model}"


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
    """Why an order did not bring a picture, in words for the person who ordered it."""

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
    CANCELLED = "cancelled", _("You cancelled this order.")
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
        return self.open().filter(lease_until__isnull=True, next_at__lte=now)

    def expired(self, now: datetime) -> GenerationQuerySet:
        """Orders whose worker has not been heard of for as long as its lease."""
        return self.open().filter(lease_until__lte=now)

    def set_aside(self) -> GenerationQuerySet:
        """Orders whose picture several workers died over: tried seldom, and staff look at them."""
        return self.filter(state=State.STORING, deaths__gte=MOST_DEATHS)

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
        Project, models.PROTECT, null=True, blank=True, related_name="generations"
    )
    scene = models.ForeignKey(
        Scene, models.PROTECT, null=True, blank=True, related_name="generations"
    )
    character = models.ForeignKey(
        Character, models.PROTECT, null=True, blank=True, related_name="generations"
    )
    ordered_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="orders")
    payer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="paid_orders",
        help_text=_("Empty: nobody pays (an order of staff with skipCreditCheck)."),
    )
    order_key = models.CharField(
        max_length=100, help_text=_("One click, one order: the same key again is the same order.")
    )
    batch = models.BooleanField(
        _("of a batch"), default=False, help_text=_("Single clicks go before it.")
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
    model = models.ForeignKey(KieModel, models.PROTECT, related_name="generations")
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
    next_at = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.CharField(max_length=32, blank=True)
    attempts = models.PositiveIntegerField(
        default=0, help_text=_("Tries of the present step that came to nothing.")
    )
    deaths = models.PositiveIntegerField(
        default=0, help_text=_("Workers, or their decoders, that died over its picture.")
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
    index = models.PositiveSmallIntegerField()
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
    task_id = models.CharField(max_length=200)
    received_at = models.DateTimeField(auto_now_add=True)
    heard_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When KIE was asked what it means.")
    )

    class Meta:
        verbose_name = _("callback")
        verbose_name_plural = _("callbacks")
        constraints = [
            models.UniqueConstraint(fields=["generation", "task_id"], name="one_callback_per_task")
        ]

    def __str__(self) -> str:
        return f"{self.generation_id} {self.task_id}"


class Pause(models.Model):
    """Ordering from a provider is stopped for all: no credits there, or the key is refused."""

    provider = models.CharField(_("provider"), max_length=20, unique=True)
    why = models.CharField(_("why"), max_length=500)
    since = models.DateTimeField(_("since"), auto_now_add=True)

    class Meta:
        verbose_name = _("pause of ordering")
        verbose_name_plural = _("pauses of ordering")

    def __str__(self) -> str:
        return f"{self.provider}: {self.why}"


class Breaker(models.Model):
    """Orders of one model that failed in a row by no fault of theirs.

    From `generation.breaker.TRIPS_AT` on, the model is sent only one order at a time, to try.
    """

    model = models.OneToOneField(KieModel, models.CASCADE, primary_key=True, related_name="breaker")
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    why = models.CharField(_("last failure"), max_length=500, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True)

    class Meta:
        verbose_name = _("breaker")
        verbose_name_plural = _("breakers")

    def __str__(self) -> str:
        return f"{self.model}: {self.failures}"


class BalanceSample(models.Model):
    """What KIE said is left on our account, at a moment at which it was known what our orders had
    taken of it (`generation/reconcile.py`)."""

    account = models.CharField(
        _("account"), max_length=200, help_text=_("KIE's address: the sandbox is another account.")
    )
    at = models.DateTimeField(_("when"), default=timezone.now)
    credits = models.BigIntegerField(_("credits"), help_text=_("Hundredths of a KIE credit."))

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name = _("balance at KIE")
        verbose_name_plural = _("balances at KIE")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {credits_text(self.credits)}"


class DifferenceQuerySet(models.QuerySet["Difference"]):
    def open(self) -> DifferenceQuerySet:
        return self.filter(settled_at__isnull=True)


class Difference(models.Model):
    """KIE took something else than was booked: for one order, or for the account since a sample.

    Amounts are hundredths of a KIE credit. It goes by itself when the two agree after all
    (`generation/reconcile.py`); else staff settle it with a note.
    """

    generation = models.OneToOneField(
        Generation, models.CASCADE, null=True, blank=True, related_name="difference"
    )
    since = models.ForeignKey(
        BalanceSample, models.CASCADE, null=True, blank=True, related_name="+"
    )
    until = models.OneToOneField(
        BalanceSample, models.CASCADE, null=True, blank=True, related_name="difference"
    )
    booked = models.BigIntegerField(_("booked"))
    used = models.BigIntegerField(_("used, says KIE"))
    found_at = models.DateTimeField(_("found"), default=timezone.now)
    note = models.CharField(_("note"), max_length=500, blank=True)
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)

    objects = DifferenceQuerySet.as_manager()

    class Meta:
        ordering = ["-found_at", "-pk"]
        verbose_name = _("difference with KIE")
        verbose_name_plural = _("differences with KIE")
        constraints = [
            models.CheckConstraint(
                condition=Q(generation__isnull=False, since__isnull=True, until__isnull=True)
                | Q(generation__isnull=True, since__isnull=False, until__isnull=False),
                name="difference_of_order_or_account",
            )
        ]

    def __str__(self) -> str:
        what = f"{self.until.at:%Y-%m-%d %H:%M}" if self.until else self.generation_id
        return f"{what}: {'+' if self.more > 0 else ''}{credits_text(self.more)}"

    @property
    def more(self) -> int:
        """So much more than was booked; less than 0 where KIE took less, or gave."""
        return self.used - self.booked
