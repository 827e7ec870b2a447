"""Who owns which pile of work, and its pictures."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from projects.ids import new_id

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Role(models.IntegerChoices):
    """What somebody may do in a project; a higher role may do all that a lower one may."""

    VIEWER = 1, _("viewer")
    EDITOR = 2, _("editor")
    OWNER = 3, _("owner")


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: User) -> ProjectQuerySet:
        return self.filter(
            Q(owner=user) | Q(pk__in=Member.objects.filter(user=user).values("project"))
        )


class Project(models.Model):
    """A film or a part of one."""

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="projects", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=200)
    style = models.TextField(
        _("style"),
        blank=True,
        max_length=1000,
        help_text=_("Goes into every prompt of this project: medium, light, palette, period."),
    )
    style_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]
        verbose_name = _("project")
        verbose_name_plural = _("projects")

    def __str__(self) -> str:
        return self.name


class Seat(models.Model):
    """What somebody besides the owner may do in a project, and spend of the owner's credits."""

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="%(class)ss", verbose_name=_("project")
    )
    role = models.PositiveSmallIntegerField(
        _("role"), choices=[(r.value, r.label) for r in (Role.VIEWER, Role.EDITOR)]
    )
    allowance = models.PositiveBigIntegerField(
        _("allowance"),
        null=True,
        blank=True,
        help_text=_("Hundredths of a credit. Empty: without limit; 0: asks for every picture."),
    )

    class Meta:
        abstract = True


class Member(Seat):
    """Somebody besides the owner who works on a project."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="memberships",
        verbose_name=_("user"),
    )

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership")]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"


def in_two_weeks() -> datetime:
    return timezone.now() + timedelta(days=14)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(accepted_by__isnull=True, expires_at__gt=timezone.now())


class Invitation(Seat):
    """A place in a project for whoever holds its link, or has its address: for one of them, once.

    Only the SHA-256 of the link's token is kept. Who accepted it is kept, so that the link leads
    them to the project from then on.
    """

    email = models.EmailField(_("e-mail address"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    expires_at = models.DateTimeField(_("valid until"), default=in_two_weeks)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("accepted by"),
    )

    objects = InvitationQuerySet.as_manager()

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "email"],
                condition=Q(accepted_by__isnull=True),
                name="one_open_invitation",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.get_role_display()})"

    @property
    def is_open(self) -> bool:
        return self.accepted_by_id is None and self.expires_at > timezone.now()


class Pictured(models.Model):
    """What has pictures of its own, of which one is shown: a scene or a character.

    `chosen` is what a person picked. While nobody has picked, the newest take is shown, so that
    a new take never pushes aside one that somebody wanted. What lies in the trash is not shown.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    project = models.ForeignKey(
        Project, models.CASCADE, related_name="%(class)ss", verbose_name=_("project")
    )
    description = models.TextField(_("description"), max_length=8000, blank=True)
    words_changed_at = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text=_("When what it brings into a prompt was changed last."),
    )
    chosen = models.ForeignKey(
        "Take", models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("chosen")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        abstract = True


PicturedModel = TypeVar("PicturedModel", bound=Pictured)


class PicturedQuerySet(models.QuerySet[PicturedModel]):
    def with_picture(self) -> Self:
        """Adds `picture_id` (chosen, else newest take; None without any) and `take_count`, without
        those in the trash."""
        takes = self._takes()
        key = self._key
        count = takes.order_by().values(key).annotate(n=models.Count("pk")).values("n")
        newest = takes.newest_first().values("pk")[:1]
        return self.annotate(
            picture_id=Coalesce("chosen_id", models.Subquery(newest)),
            take_count=Coalesce(models.Subquery(count), 0),
        )

    def without_picture(self) -> Self:
        return self.filter(~models.Exists(self._takes()))

    def _takes(self) -> TakeQuerySet:
        """Those of each row that are not in the trash."""
        return Take.objects.kept().filter(**{self._key: models.OuterRef("pk")})

    @property
    def _key(self) -> str:
        """Take's field for it."""
        return "scene" if issubclass(self.model, Scene) else "character"


class Character(Pictured):
    """A person or thing that must look the same everywhere."""

    name = models.CharField(_("name"), max_length=200)
    picture_changed_at = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text=_("When another picture of it came to be shown last."),
    )

    objects = PicturedQuerySet["Character"].as_manager()

    class Meta:
        ordering = ["created_at", "pk"]
        verbose_name = _("character")
        verbose_name_plural = _("characters")

    def __str__(self) -> str:
        return self.name


class ShotSize(models.TextChoices):
    """How much of somebody is seen; the words go into the prompt as they stand in `SHOT_WORDS`."""

    EXTREME_CLOSE_UP = "ecu", _("Extreme close-up")
    CLOSE_UP = "cu", _("Close-up")
    MEDIUM_CLOSE_UP = "mcu", _("Medium close-up")
    MEDIUM = "ms", _("Medium shot")
    COWBOY = "mls", _("Medium long shot")
    LONG = "ls", _("Long shot")
    EXTREME_LONG = "els", _("Extreme long shot")


class Angle(models.TextChoices):
    """From where the camera looks."""

    EYE_LEVEL = "eye", _("Eye level")
    LOW = "low", _("Low angle")
    HIGH = "high", _("High angle")
    OVERHEAD = "overhead", _("Overhead")
    DUTCH = "dutch", _("Dutch angle")
    OVER_SHOULDER = "ots", _("Over the shoulder")
    POINT_OF_VIEW = "pov", _("Point of view")


# What a model reads; models are trained on English.
SHOT_WORDS: dict[str, str] = {
    ShotSize.EXTREME_CLOSE_UP: "extreme close-up",
    ShotSize.CLOSE_UP: "close-up",
    ShotSize.MEDIUM_CLOSE_UP: "medium close-up",
    ShotSize.MEDIUM: "medium shot",
    ShotSize.COWBOY: "medium long shot",
    ShotSize.LONG: "long shot",
    ShotSize.EXTREME_LONG: "extreme long shot",
    Angle.EYE_LEVEL: "eye level",
    Angle.LOW: "low angle",
    Angle.HIGH: "high angle",
    Angle.OVERHEAD: "overhead shot",
    Angle.DUTCH: "Dutch angle",
    Angle.OVER_SHOULDER: "over-the-shoulder shot",
    Angle.POINT_OF_VIEW: "point-of-view shot",
}


class Scene(Pictured):
    """One shot in words. `number` is its name on the slate (12, 12A); `position` is its order."""

    number = models.CharField(_("number"), max_length=12)
    position = models.PositiveIntegerField(_("position"))
    title = models.CharField(_("title"), max_length=200, blank=True)
    shot_size = models.CharField(
        _("shot size"), max_length=10, choices=ShotSize.choices, blank=True
    )
    angle = models.CharField(_("angle"), max_length=10, choices=Angle.choices, blank=True)
    lens = models.CharField(_("lens"), max_length=40, blank=True)
    cast = models.ManyToManyField(
        Character, blank=True, related_name="scenes", verbose_name=_("cast")
    )
    is_locked = models.BooleanField(
        _("locked"),
        default=False,
        help_text=_("It is done: nothing about it is changed and nothing is ordered for it."),
    )

    objects = PicturedQuerySet["Scene"].as_manager()

    class Meta:
        ordering = ["position", "pk"]
        verbose_name = _("scene")
        verbose_name_plural = _("scenes")
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_scene_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.title}".strip()

    @property
    def shot(self) -> str:
        """Size, angle and lens as the model reads them: "close-up, low angle, 35 mm lens"."""
        lens = f"{self.lens} lens" if self.lens and "lens" not in self.lens.lower() else self.lens
        words = (SHOT_WORDS.get(self.shot_size), SHOT_WORDS.get(self.angle), lens)
        return ", ".join(filter(None, words))


class TakeQuerySet(models.QuerySet["Take"]):
    def newest_first(self) -> TakeQuerySet:
        return self.order_by("-created_at", "-pk")

    def kept(self) -> TakeQuerySet:
        """Those that are not in the trash."""
        return self.filter(trashed_at__isnull=True)


class Take(models.Model):
    """One picture of a scene or a character, or one that was ordered for neither.

    Its files lie in the default storage under names that are never used again for another take.
    A take that came from an older system may have only `source_url`, the provider's link, and no
    file yet (`backfill_images --rehost` fetches it). The trash only hides: no picture is deleted.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    project = models.ForeignKey(
        Project,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="takes",
        verbose_name=_("project"),
    )
    scene = models.ForeignKey(
        Scene,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="takes",
        verbose_name=_("scene"),
    )
    character = models.ForeignKey(
        Character,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="takes",
        verbose_name=_("character"),
    )
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("made by")
    )
    image = models.FileField(_("image"), max_length=200, blank=True)
    thumbnail = models.FileField(_("thumbnail"), max_length=200, blank=True)
    content_type = models.CharField(_("type"), max_length=40, blank=True)
    width = models.PositiveIntegerField(_("width"), default=0)
    height = models.PositiveIntegerField(_("height"), default=0)
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True)
    source_url = models.URLField(_("provider's link"), max_length=2000, blank=True)
    as_of = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("It shows the words as they were then; empty for one that a person brought."),
    )
    is_starred = models.BooleanField(_("starred"), default=False)
    trashed_at = models.DateTimeField(_("in the trash since"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TakeQuerySet.as_manager()

    class Meta:
        verbose_name = _("take")
        verbose_name_plural = _("takes")
        indexes = [
            models.Index(fields=["scene", "-created_at"]),
            models.Index(fields=["character", "-created_at"]),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(scene__isnull=True) | Q(character__isnull=True),
                name="take_of_scene_or_character",
            ),
            models.CheckConstraint(
                condition=~Q(image="") | ~Q(source_url=""), name="take_has_file_or_link"
            ),
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def is_stored(self) -> bool:
        return bool(self.image)


class ApiToken(models.Model):
    """A key for programs: acts as its user at `/api/`. Only the SHA-256 of the secret is kept."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="api_tokens",
        verbose_name=_("user"),
    )
    name = models.CharField(_("name"), max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"
