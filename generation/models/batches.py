"""Several orders that were placed by one click."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from projects.ids import new_id
from projects.models import Project


class Batch(models.Model):
    """One click, one batch: the same key again is the same batch.

    The board tells how its orders are doing until whoever placed it puts that away.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="batches")
    ordered_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="batches")
    key = models.CharField(max_length=32)
    is_put_away = models.BooleanField(_("put away"), default=False)
    created_at = models.DateTimeField(_("ordered"), auto_now_add=True)

    class Meta:
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        indexes = [models.Index(fields=["project", "ordered_by", "-created_at"])]
        constraints = [
            models.UniqueConstraint(fields=["ordered_by", "key"], name="one_batch_per_key")
        ]

    def __str__(self) -> str:
        return self.pk
