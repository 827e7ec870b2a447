"""Which settings hold for a project's pictures, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

from generation.models import ImageSettings
from projects.models import Character, Project, Scene

PROVIDER = "kie"
MODEL = "seedream/4.5-text-to-image"
SCENE_RATIO = "16:9"
CHARACTER_RATIO = "1:1"

SITE_DEFAULT = "default"


@dataclass(frozen=True)
class Setting:
    """A value and its source: `project.modelConfig.image.…`, or "default"."""

    value: str
    source: str


@dataclass(frozen=True)
class Settings:
    """What an order of this project uses where it does not say otherwise.

    `scene_resolution` may be "": the model's own default.
    """

    provider: Setting
    model: Setting
    character_aspect_ratio: Setting
    scene_aspect_ratio: Setting
    scene_resolution: Setting

    def ratio_for(self, subject: Scene | Character | None) -> str:
        if isinstance(subject, Character):
            return self.character_aspect_ratio.value
        return self.scene_aspect_ratio.value


def settings_of(project: Project | None) -> Settings:
    """The project's choices over the site's defaults; the defaults alone without a project."""
    own = getattr(project, "image_settings", None) or ImageSettings()

    def setting(value: str, name: str, default: str) -> Setting:
        return (
            Setting(value, f"project.modelConfig.image.{name}")
            if value
            else Setting(default, SITE_DEFAULT)
        )

    return Settings(
        provider=setting(own.provider, "provider", PROVIDER),
        model=setting(own.model, "model", MODEL),
        character_aspect_ratio=setting(
            own.character_aspect_ratio, "characterAspectRatio", CHARACTER_RATIO
        ),
        scene_aspect_ratio=setting(own.scene_aspect_ratio, "sceneAspectRatio", SCENE_RATIO),
        scene_resolution=setting(own.scene_resolution, "sceneResolution", ""),
    )
