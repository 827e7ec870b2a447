"""The money. Only `credits/ledger.py` writes these rows."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class CreditLedger(models.Model):
    """What one paying user has. Amounts are hundredths of a credit.

    `balance` is what is theirs, `held` is the part of it set aside for orders under way.
    """

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="credit_ledger",
        verbose_name=_("owner"),
    )
    balance = models.BigIntegerField(_("balance"), default=0)
    held = models.BigIntegerField(_("held"), default=0)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("credit ledger")
        verbose_name_plural = _("credit ledgers")
        constraints = [
            models.CheckConstraint(condition=Q(held__gte=0), name="held_not_negative"),
            models.CheckConstraint(condition=Q(balance__gte=F("held")), name="held_is_covered"),
        ]

    def __str__(self) -> str:
        return str(self.owner)

    @property
    def available(self) -> int:
        """Hundredths of a credit that may be spent now."""
        return self.balance - self.held


class LedgerEntry(models.Model):
    """One thing that happened to a ledger. Never changed, never deleted: triggers refuse both.

    `balance_after` and `held_after` are the ledger right after this entry, so that every entry
    can be checked against the one before it.
    """

    class Kind(models.TextChoices):
        GRANT = "grant", _("granted")
        HOLD = "hold", _("held")
        CAPTURE = "capture", _("charged")
        RELEASE = "release", _("given back")
        ADJUST = "adjust", _("adjusted")

    ledger = models.ForeignKey(
        CreditLedger, models.PROTECT, related_name="entries", verbose_name=_("credit ledger")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    balance_change = models.BigIntegerField(_("balance change"))
    held_change = models.BigIntegerField(_("held change"))
    balance_after = models.BigIntegerField(_("balance after"))
    held_after = models.BigIntegerField(_("held after"))
    reference = models.CharField(_("reference"), max_length=200, unique=True)
    hold = models.OneToOneField(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="resolution",
        verbose_name=_("resolves"),
        help_text=_("The hold that this entry captures or releases."),
    )
    # What the entry is about, in the words of the user's document.
    type = models.CharField(_("type"), max_length=20, blank=True)
    description = models.CharField(_("description"), max_length=300, blank=True)
    project = models.CharField(_("project"), max_length=32, blank=True, db_index=True)
    provider = models.CharField(_("provider"), max_length=20, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    real_cost = models.BigIntegerField(_("real cost"), default=0, help_text=_("Micro-dollars."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        indexes = [models.Index(fields=["ledger", "-id"])]
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(kind="grant", balance_change__gt=0, held_change=0)
                    | Q(kind="hold", balance_change=0, held_change__gt=0)
                    | Q(kind="capture", balance_change__lt=0, held_change__lt=0)
                    | Q(kind="release", balance_change=0, held_change__lt=0)
                    | (Q(kind="adjust", held_change=0) & ~Q(balance_change=0))
                ),
                name="entry_changes_fit_its_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["capture", "release"], hold__isnull=False)
                | (~Q(kind__in=["capture", "release"]) & Q(hold__isnull=True)),
                name="entry_resolves_a_hold",
            ),
            models.CheckConstraint(
                condition=Q(held_after__gte=0) & Q(balance_after__gte=F("held_after")),
                name="entry_leaves_held_covered",
            ),
        ]

    def __str__(self) -> str:
        return self.reference
