"""The models that pictures are ordered from: what each can do, how its request is written, what it
costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from projects.models import Take


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
    sample = models.ForeignKey(
        Take,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("sample picture"),
        help_text=_("Everybody who chooses a model sees it, so it is never a project's."),
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

    @property
    def needs_cast(self) -> bool:
        """Makes a scene's picture only where somebody of its cast has one."""
        field = self.takes.get(Slot.REFERENCE)
        return self.can(Operation.GENERATE) and field is not None and field.min > 0

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
        percent = _("the site's") if self.percent is None else f"{self.percent} %"
        return f"{self.payer or _('the whole site')}: {percent}"
