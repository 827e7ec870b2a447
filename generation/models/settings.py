"""How a project's pictures are made."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from projects.models import Project


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
