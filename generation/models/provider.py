"""How it stands with the provider: pauses, trouble, our account, and what does not agree."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from credits.amounts import credits_text
from generation.models.catalogue import KieModel
from generation.models.orders import Generation


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

    model = models.OneToOneField(
        KieModel,
        models.CASCADE,
        primary_key=True,
        related_name="breaker",
        verbose_name=_("model"),
    )
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    why = models.CharField(_("last failure"), max_length=500, blank=True)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True)

    class Meta:
        verbose_name = _("breaker")
        verbose_name_plural = _("breakers")

    def __str__(self) -> str:
        return f"{self.model}: {self.failures}"


class Account(models.Model):
    """Our account at a provider, and what it last said is left there (`generation/account.py`)."""

    provider = models.CharField(_("provider"), max_length=20, primary_key=True)
    address = models.CharField(
        _("account"), max_length=200, help_text=_("KIE's address: the sandbox is another account.")
    )
    credits = models.BigIntegerField(
        _("credits"), null=True, help_text=_("Hundredths of a KIE credit.")
    )
    answered_at = models.DateTimeField(_("answered"), null=True)
    trouble = models.CharField(
        _("trouble"), max_length=500, blank=True, help_text=_("Why the last question failed.")
    )
    is_low = models.BooleanField(default=False)  # and the log has said so
    next_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("account at a provider")
        verbose_name_plural = _("accounts at providers")

    def __str__(self) -> str:
        return self.provider


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
