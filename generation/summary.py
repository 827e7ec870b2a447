"""The closing checks of the flow: would the click bring a picture now?

What concerns the order itself is what `orders.prepare` says of it. What it refuses first decides:
all that it looks at before that is right, what comes after is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext as _

from credits.models import CreditLedger
from credits.templatetags.money import dollars, in_credits
from generation import checkup, defaults, lifecycle, orders, steps
from generation.allowance import budget_of
from generation.models import KieModel
from generation.orders import Order
from generation.wishes import OrderRefused, Wish
from projects import access
from projects.models import Character, Project, Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User

KIE_PAGES = "https://docs.kie.ai/"

# The codes of OrderRefused, in the order in which `orders.prepare` looks.
STAGES = (
    ("provider",),
    ("model", "model_off"),
    ("aspect_ratio",),
    ("resolution", "combination"),
    ("operation", "source", "references", "reference_missing", "mask"),
    ("price",),
    (
        "prompt_missing",
        "prompt_too_short",
        "prompt_too_long",
        "prompt_characters",
        "prompt_unwanted",
    ),
)


@dataclass(frozen=True)
class Check:
    """`ok` None: nobody can say. `remedy` is what to do about it."""

    label: str
    ok: bool | None
    words: str
    remedy: str = ""


def checks(
    project: Project,
    user: User,
    model: KieModel | None,
    order: Order | None,
    refused: OrderRefused | None,
) -> tuple[Check, ...]:
    """What the database alone can say, in the order of the user's document."""
    own = defaults.settings_of(project)
    cost = _cost(order) if order else ""
    resolution = order.resolution if order else own.scene_resolution.value
    resolution = resolution or _("the model's own")
    to_settings = _("Choose another one in the project's settings.")
    active = _("Model exists and is active")
    return (
        _provider(refused),
        _model(own.model.value, model),
        _judged(_("Cost"), refused, "price", cost, _("Staff set prices in the administration.")),
        _judged(_("Resolution"), refused, "resolution", resolution, to_settings),
        _ratios(project, own, refused),
        _judged(_("Database"), refused, "model", active, to_settings),
        _description(order, refused),
        _credits(project, user, order),
        *_allowance(project, user, order),
        *_permission(project, user),
    )


def outside_checks(order: Order | None) -> tuple[Check, ...]:
    """What somebody else has to be asked for: KIE, the storage, the workers."""
    return (_kie(order), _storage(), _workers())


def is_documented(model: KieModel) -> bool:
    """Does a page of KIE's own documentation have the id that is sent?"""
    pages = KieModel.objects.filter(source__startswith=KIE_PAGES)
    return pages.filter(model_id=model.sent_id).exists()


def _stage_of(code: str) -> int:
    return next((i for i, codes in enumerate(STAGES) if code in codes), 0)


def _judged(label: str, refused: OrderRefused | None, code: str, words: str, remedy: str) -> Check:
    """What `prepare` thinks of the stage that has this code."""
    if refused is None or _stage_of(refused.code) > _stage_of(code):
        return Check(label, True, words)
    if _stage_of(refused.code) == _stage_of(code):
        return Check(label, False, refused.words, remedy)
    return Check(label, None, _("Not known until the rest is right."))


def _provider(refused: OrderRefused | None) -> Check:
    label = _("Provider")
    if lifecycle.is_paused("kie"):
        return Check(
            label,
            False,
            _("Ordering from KIE.ai is paused."),
            _("Staff see why in the administration, and end the pause there. Orders wait."),
        )
    return _judged(label, refused, "provider", "KIE.ai", _("Choose “kie” in the settings."))


def _model(model_id: str, model: KieModel | None) -> Check:
    label = _("Model")
    if model is None:
        return Check(label, False, model_id, _("Choose another one in the project's settings."))
    words = f"{model.model_id} ({model.name})"
    if is_documented(model):
        return Check(label, True, words)
    return Check(
        label,
        None,
        _("%s; KIE may not know this id.") % words,
        _(
            "KIE's documentation does not have it. If it is refused, nothing is charged; staff "
            "can set another id to send."
        ),
    )


def _cost(order: Order) -> str:
    return _("%(credits)s (%(cost)s) per image") % {
        "credits": in_credits(order.quote.credits),
        "cost": dollars(order.quote.cost),
    }


def _ratios(project: Project, own: defaults.Settings, refused: OrderRefused | None) -> Check:
    """Scenes and characters have shapes of their own, and both must be the model's."""
    label, remedy = _("Aspect Ratio"), _("Choose another one in the project's settings.")
    words = _("%(scenes)s for scenes, %(characters)s for characters") % {
        "scenes": own.scene_aspect_ratio.value,
        "characters": own.character_aspect_ratio.value,
    }
    scenes = _judged(label, refused, "aspect_ratio", words, remedy)
    if not scenes.ok:
        return scenes
    try:
        orders.prepare(Wish(project=project, subject=Character(project=project), prompt="-"))
    except OrderRefused as error:
        if error.code in ("aspect_ratio", "combination"):
            return Check(label, False, error.words, remedy)
    return scenes


def _description(order: Order | None, refused: OrderRefused | None) -> Check:
    if order and not order.wish.subject:
        return Check(
            _("Description"),
            None,
            _("No scene has a description yet; the steps show a sample."),
            _("Write what the camera sees in a scene."),
        )
    words = _("Scene %s") % order.wish.subject if order else ""
    return _judged(
        _("Description"), refused, "prompt_missing", words, _("Change the scene's description.")
    )


def _credits(project: Project, user: User, order: Order | None) -> Check:
    """The number itself is the payer's own business."""
    label, payer = _("Credits"), project.owner
    if order is None:
        return Check(label, None, _("Not known until the rest is right."))
    ledger = CreditLedger.objects.filter(owner=payer).first() or CreditLedger(owner=payer)
    has = in_credits(ledger.available) if payer == user else ""
    enough = ledger.available >= order.quote.credits
    if enough:
        words = _("%(payer)s pays and has %(has)s.") if has else _("%(payer)s pays and has enough.")
    else:
        words = (
            _("%(payer)s pays and has only %(has)s.")
            if has
            else _("%(payer)s pays and has not enough.")
        )
    remedy = "" if enough else _("Staff give credits: manage.py grant_credits.")
    return Check(label, enough, words % {"payer": payer, "has": has}, remedy)


def _allowance(project: Project, user: User, order: Order | None) -> tuple[Check, ...]:
    """Said only to a member who has one."""
    left = budget_of(user, project).left
    if left is None or order is None:
        return ()
    enough = order.quote.credits <= left
    words = _("Your allowance has %s left.") % in_credits(left)
    remedy = "" if enough else _("The click asks %s for it.") % project.owner
    return (Check(_("Allowance"), enough, words, remedy),)


def _permission(project: Project, user: User) -> tuple[Check, ...]:
    """Said only to those who may not order."""
    if (access.role_in(user, project) or 0) >= Role.EDITOR:
        return ()
    words = _("%s may look at this project, but not order.") % user
    return (Check(_("Permission"), False, words, _("The owner can make somebody an editor.")),)


def _kie(order: Order | None) -> Check:
    label, found = _("Connection"), checkup.provider()
    name = _("The KIE sandbox") if settings.KIE_IS_SANDBOX else "KIE.ai"
    if found.ok is None:
        return Check(label, None, _("%s gave no clear answer.") % name, _("Look again later."))
    if found.code == "blocked":
        return Check(
            label,
            False,
            _("%s refuses the key, or the account there is empty.") % name,
            _("Staff check the key and the credits at kie.ai."),
        )
    if not found.ok:
        return Check(
            label,
            False,
            _("%s does not answer.") % name,
            _("Orders wait in line until it does."),
        )
    if order and found.credits is not None and found.credits < order.quote.kie_credits:
        return Check(
            label,
            False,
            _("The account at %s has not enough for this picture.") % name,
            _("Staff buy credits at kie.ai."),
        )
    return Check(label, True, _("%s answers, and its account can pay for this picture.") % name)


def _storage() -> Check:
    label, name, found = _("Storage"), steps.storage_name(), checkup.storage()
    if found.ok is None:
        return Check(label, None, name, _("It is being tried; look again in a moment."))
    if found.ok:
        return Check(label, True, _("Writing to %s works.") % name)
    return Check(
        label,
        False,
        _("Writing to %s does not work.") % name,
        _("Pictures wait at KIE until it does; the reason is in the site's log."),
    )


def _workers() -> Check:
    label, found = _("Workers"), checkup.workers()
    if found.ok:
        return Check(label, True, _("Somebody works on every queue, and the clock runs."))
    if found.code == "queue_down":
        return Check(
            label, False, _("The queue (Redis) does not answer."), _("Orders wait until it does.")
        )
    return Check(
        label,
        False,
        _("Not running: %s.") % found.detail,
        _("Staff start the processes of the Procfile. Orders wait until then."),
    )
