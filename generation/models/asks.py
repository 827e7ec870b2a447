"""What a member asks a project's owner for."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from generation.models.catalogue import Operation
from generation.models.orders import Generation
from projects.ids import new_id
from projects.models import Character, Member, Role, Scene


class AskQuerySet(models.QuerySet["Ask"]):
    def open(self) -> AskQuerySet:
        """Those that wait for an answer, of members who may still order."""
        return self.filter(answer="", member__role__gte=Role.EDITOR)


class Ask(models.Model):
    """What a member wishes to be ordered, beyond what their allowance covers: it holds nothing.

    The project's owner approves it, and so becomes its payer, or declines it. It goes with the
    member who asked.
    """

    class Answer(models.TextChoices):
        APPROVED = "approved", _("approved")
        DECLINED = "declined", _("declined")

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    member = models.ForeignKey(Member, models.CASCADE, related_name="asks")
    scene = models.ForeignKey(Scene, models.CASCADE, null=True, blank=True, related_name="asks")
    character = models.ForeignKey(
        Character, models.CASCADE, null=True, blank=True, related_name="asks"
    )
    wish = models.JSONField(_("wish"), help_text=_("What the wish says beyond its subject."))
    digest = models.CharField(max_length=64, editable=False, help_text=_("Of subject and wish."))
    price = models.PositiveBigIntegerField(
        _("price"), help_text=_("That was shown; hundredths of a credit.")
    )
    asked_at = models.DateTimeField(_("asked"), auto_now_add=True)
    answer = models.CharField(_("answer"), max_length=10, choices=Answer.choices, blank=True)
    answered_at = models.DateTimeField(_("answered"), null=True, blank=True)
    word = models.CharField(_("word"), max_length=300, blank=True)
    order = models.OneToOneField(
        Generation,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="ask",
        verbose_name=_("order"),
    )

    objects = AskQuerySet.as_manager()

    class Meta:
        verbose_name = _("ask")
        verbose_name_plural = _("asks")
        indexes = [models.Index(fields=["member", "-asked_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["member", "digest"], condition=Q(answer=""), name="one_open_ask"
            )
        ]

    def __str__(self) -> str:
        return f"{self.member_id}: {self.subject}"

    @property
    def subject(self) -> Scene | Character | None:
        return self.scene or self.character

    @property
    def work(self) -> str:
        """What it is to do to a picture that is there; "" for a picture from words."""
        operation = self.wish.get("operation")
        return str(Operation(operation).label) if operation else ""

    @property
    def is_from_other_words(self) -> bool:
        """A picture from words that are not the scene's own."""
        return "prompt" in self.wish and "operation" not in self.wish
