"""What happens when somebody clicks "Generate image" in a project: the user's document, live.

Nothing is worked out here that an order works out itself: an order is prepared, quoted and drawn
up by the functions that the click uses, and shown instead of placed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from credits.templatetags.money import dollars, in_credits
from generation import defaults, orders, steps, summary
from generation.casting import Casting, casting_of
from generation.models import KieModel
from generation.orders import Order, Terms
from generation.steps import BUTTON_KEY, Step
from generation.summary import Check
from generation.wishes import OrderRefused, Wish
from projects.cast import cast_of
from projects.models import Project, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SAMPLE = "A beautiful landscape..."  # where no scene has a description yet


@dataclass(frozen=True)
class Setting:
    label: str
    value: str
    source: str


@dataclass(frozen=True)
class Detail:
    label: str
    value: str


@dataclass(frozen=True)
class Flow:
    """What would happen for this project now; `refused` instead of `order` if nothing would."""

    project: Project
    user: User
    scene: Scene | None
    settings: tuple[Setting, ...]
    model_id: str
    model: KieModel | None
    details: tuple[Detail, ...]
    order: Order | None
    refused: OrderRefused | None
    steps: tuple[Step, ...]
    log: str
    casting: Casting
    checks: tuple[Check, ...]

    @property
    def sent_id(self) -> str:
        """The model that createTask would get."""
        return str(self.order.request["model"]) if self.order else ""


def flow(project: Project, user: User | None = None) -> Flow:
    """The flow of `user`'s click, or of its owner's, on the first scene that has a description and
    is not locked."""
    user = user or project.owner
    own = defaults.settings_of(project)
    model = KieModel.objects.prefetch_related("prices").named(own.model.value)
    scene = project.scenes.exclude(description="").filter(is_locked=False).first()
    wish = Wish(project=project, subject=scene, prompt=None if scene else SAMPLE)
    order, refused = _prepared(wish)
    terms = Terms(user=user, key=BUTTON_KEY)
    return Flow(
        project=project,
        user=user,
        scene=scene,
        settings=_settings(own, model),
        model_id=own.model.value,
        model=model,
        details=_details(model, order) if model else (),
        order=order,
        refused=refused,
        steps=steps.steps_of(order, orders.drawn_up(order, terms)) if order else (),
        log=steps.log_of(order) if order else "",
        casting=_casting(scene, model, own, order),
        checks=summary.checks(project, user, model, order, refused),
    )


def _casting(
    scene: Scene | None, model: KieModel | None, own: defaults.Settings, order: Order | None
) -> Casting:
    """Whose picture would go along."""
    cast = cast_of(scene) if scene and not order else ()
    resolution = order.resolution if order else own.scene_resolution.value
    return casting_of(
        order.cast if order else cast, model, resolution, order.pictures if order else ()
    )


def _prepared(wish: Wish) -> tuple[Order | None, OrderRefused | None]:
    try:
        return orders.prepare(wish), None
    except OrderRefused as refused:
        return None, refused


# What the page says before the steps


def _settings(own: defaults.Settings, model: KieModel | None) -> tuple[Setting, ...]:
    resolution = own.scene_resolution
    if not resolution.value and model:
        resolution = defaults.Setting(model.default_resolution, resolution.source)
    rows = (
        (_("Provider"), own.provider),
        (_("Model"), own.model),
        (_("Character Aspect Ratio"), own.character_aspect_ratio),
        (_("Scene Aspect Ratio"), own.scene_aspect_ratio),
        (_("Scene Resolution"), resolution),
    )
    return tuple(Setting(label, row.value or "–", row.source) for label, row in rows)


def _details(model: KieModel, order: Order | None) -> tuple[Detail, ...]:
    quoted = order.quote if order else None
    rows = (
        (_("Name"), model.name),
        (_("Provider"), model.vendor),
        (_("Credits"), _("%s per image") % in_credits(quoted.kie_credits) if quoted else ""),
        (_("Cost"), _("%s per image") % dollars(quoted.cost) if quoted else ""),
        (_("Modality"), ", ".join(model.modality)),
        (_("Supported Resolutions"), ", ".join(model.resolutions)),
        (_("Supported Aspect Ratios"), ", ".join(model.ratios)),
        (_("Id sent to KIE"), model.sent_id),
        (_("Source of these facts"), model.source),
    )
    return tuple(Detail(label, value) for label, value in rows if value)
