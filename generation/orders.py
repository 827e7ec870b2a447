"""An order before it is placed: every wish checked, the request written, the price known.

Whatever is wrong is said here, before anything is held or sent.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.utils.translation import gettext as _

from credits import ledger
from credits.amounts import credits_text
from generation import defaults, lifecycle, prompts
from generation.models import Generation, KieModel
from generation.pricing import NoPrice, Quote, quote
from projects.models import Character, Project, Scene

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

NO_ID = re.compile(r"[^\w@.+-]")  # what no user's name or id has
LONGEST_PROMPT = 20_000  # characters, where the model itself names no limit


class OrderRefused(Exception):
    """The order was not placed; nothing changed. `words` are for the person who asked.

    `status` is the HTTP status that fits, `field` the wish that is wrong (as in the API), `code`
    a short word for programs.
    """

    def __init__(self, code: str, words: str, *, field: str = "", status: int = 422) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.field = field
        self.status = status


@dataclass(frozen=True)
class Wish:
    """What somebody asks for. Empty: whatever the project's settings say.

    `prompt` is None for the scene's or character's own.
    """

    project: Project | None = None
    subject: Scene | Character | None = None
    prompt: str | None = None
    provider: str = ""
    model: str = ""
    aspect_ratio: str = ""
    resolution: str = ""
    reference_images: int = 0


@dataclass(frozen=True)
class Order:
    """A wish that can be placed: what will be sent, and what it costs."""

    wish: Wish
    provider: str
    model: KieModel
    parts: list[prompts.Part]
    prompt: str
    aspect_ratio: str
    resolution: str
    request: dict[str, Any]
    quote: Quote


@dataclass(frozen=True)
class Terms:
    """Who orders and who pays. `payer` None: nobody, which only staff may ask for.

    `key` makes one click one order; `shown_price` is what stood on the button, in hundredths.
    `owner_id` is whom staff named to pay instead of the project's owner. A `batch` goes after the
    single clicks of everybody.
    """

    user: User
    payer: User | None
    key: str
    shown_price: int | None = None
    owner_id: str = "none"
    batch: bool = False


def prepare(wish: Wish, model: KieModel | None = None) -> Order:
    """Checks a wish against the project's settings and the catalogue. Raises OrderRefused.

    `model` is the project's own from `model_named`, where many wishes of one project are checked
    at once: it is then read only once.
    """
    own = defaults.settings_of(wish.project)
    provider = wish.provider or own.provider.value
    if provider != "kie":
        raise OrderRefused(
            "provider",
            _("The provider “%(name)s” is not available here.") % {"name": provider[:40]},
            field="provider",
        )
    model = model or model_named(wish.model or own.model.value)
    if wish.reference_images:
        raise OrderRefused(
            "references",
            _("%(model)s takes no reference images.") % {"model": model},
            field="referenceImages",
        )
    ratio = _ratio(model, wish.aspect_ratio, own.ratio_for(wish.subject))
    # The project's resolution goes with the project's model, not with another one.
    usual = own.scene_resolution.value if wish.model in ("", own.model.value) else ""
    resolution = _resolution(model, wish.resolution or usual)
    if [ratio, resolution] in model.impossible:
        raise OrderRefused(
            "combination",
            _("%(model)s cannot do %(ratio)s at %(resolution)s.")
            % {"model": model, "ratio": ratio, "resolution": resolution},
            field="resolution",
        )
    try:
        price = quote(model, resolution)
    except NoPrice as error:
        raise OrderRefused(
            "price",
            _("%(model)s has no price yet, so it cannot be ordered.") % {"model": model},
            field="model",
        ) from error
    parts = _parts(wish)
    prompt = _prompt(model, parts)
    return Order(
        wish=wish,
        provider=provider,
        model=model,
        parts=parts,
        prompt=prompt,
        aspect_ratio=ratio,
        resolution=resolution,
        request=prompts.request_for(model, prompt, ratio, resolution),
        quote=price,
    )


def payer_for(user: User, project: Project | None) -> User:
    """Who pays for an order: the project's owner; without a project, whoever orders."""
    return project.owner if project else user


def place(order: Order, terms: Terms) -> Generation:
    """Holds the credits and puts the order in line, in one transaction.

    The same key again answers with the order of the first time, whatever became of it.
    """
    if before := placed(order.wish, terms.user, terms.key):
        return before
    if terms.shown_price is not None and terms.shown_price != order.quote.credits:
        raise OrderRefused(
            "price_changed",
            _("The price has changed: it is %(price)s credits now. Nothing was ordered.")
            % {"price": credits_text(order.quote.credits)},
            status=409,
        )
    wish = order.wish
    generation = drawn_up(order, terms)
    log_wish(
        order.provider,
        order.model.model_id,
        wish.reference_images,
        terms.payer is None,
        terms.owner_id,
    )
    try:
        return _same(lifecycle.place(generation), wish)
    except ledger.InsufficientCredits as error:
        raise OrderRefused("credits", _no_credits(error, terms), status=402) from error
    except IntegrityError as error:
        raise OrderRefused(
            "gone", _("What was to be pictured is not there any more."), status=404
        ) from error


def drawn_up(order: Order, terms: Terms) -> Generation:
    """The order's row as `place` writes it; not saved."""
    wish = order.wish
    return Generation(
        project=wish.project,
        scene=wish.subject if isinstance(wish.subject, Scene) else None,
        character=wish.subject if isinstance(wish.subject, Character) else None,
        ordered_by=terms.user,
        payer=terms.payer,
        order_key=terms.key,
        batch=terms.batch,
        provider=order.provider,
        model=order.model,
        prompt=order.prompt,
        aspect_ratio=order.aspect_ratio,
        resolution=order.resolution,
        request=order.request,
        price=order.quote.credits if terms.payer else 0,
        kie_credits=order.quote.kie_credits,
        cost=order.quote.cost,
    )


def placed(wish: Wish, user: User, key: str) -> Generation | None:
    """The order that this key placed before, whatever has changed since.

    To be asked before anything about the wish is checked: an order that stands must not be
    answered with a refusal. Raises OrderRefused if the key was used for another wish.
    """
    before = (
        Generation.objects.filter(ordered_by=user, order_key=key)
        .select_related("project", "scene", "character", "model")
        .first()
    )
    return _same(before, wish) if before else None


def log_wish(
    provider: str,
    model: str,
    reference_images: int,
    skip_credit_check: bool,
    owner_id: str,
    refused: str = "",
) -> None:
    """The line of the user's document; `refused` says why the two fields of staff do not count.

    An ownerId comes from outside: it cannot look like another part of the line.
    """
    owner = NO_ID.sub("?", owner_id[:60])
    log.info(
        "[Image] Using provider: %s, model: %s, reference images: %d, skipCreditCheck: %s, "
        "ownerId: %s",
        provider,
        model,
        reference_images,
        f"true{refused}" if skip_credit_check else "false",
        f"{owner}{refused}" if owner != "none" else owner,
    )


def _same(generation: Generation, wish: Wish) -> Generation:
    """The order that has this key, if it is what is asked for; unsaid wishes fit every order."""
    model, resolution = generation.model, generation.resolution
    fits = (
        (generation.project, generation.subject) == (wish.project, wish.subject)
        and (wish.prompt is None or wish.prompt.strip() == generation.prompt)
        and (wish.model or model.model_id) in (model.model_id, *model.aliases)
        and (wish.aspect_ratio or generation.aspect_ratio) == generation.aspect_ratio
        and (wish.resolution or resolution).lower() == resolution.lower()
    )
    if not fits:
        raise OrderRefused(
            "key_reused", _("This key was used for another order."), field="key", status=409
        )
    return generation


def _no_credits(error: ledger.InsufficientCredits, terms: Terms) -> str:
    """How much somebody has is their own business."""
    told = {"price": credits_text(error.needed), "left": credits_text(error.available)}
    if terms.payer == terms.user:
        return _("Not enough credits: this costs %(price)s, and %(left)s are available.") % told
    return _("This costs %(price)s credits, more than its payer has.") % told


def model_named(model_id: str) -> KieModel:
    """A model that can be ordered, with its prices. Raises OrderRefused."""
    model = KieModel.objects.prefetch_related("prices").named(model_id)
    if model is None:
        raise OrderRefused(
            "model",
            _("There is no model “%(name)s”.") % {"name": model_id[:100]},
            field="model",
        )
    if not model.is_active:
        raise OrderRefused(
            "model_off",
            _("%(model)s is switched off. Choose another model.") % {"model": model},
            field="model",
        )
    return model


def _ratio(model: KieModel, asked: str, usual: str) -> str:
    """The ratio that was asked for, else the project's; "" for a model without a choice."""
    ratio = asked or (usual if model.ratio_field else "")
    if ratio in model.ratios or not ratio:
        return ratio
    raise OrderRefused(
        "aspect_ratio",
        _("%(model)s has no aspect ratio “%(ratio)s”. It has: %(all)s.")
        % {"model": model, "ratio": ratio[:20], "all": ", ".join(model.ratios) or "–"},
        field="aspectRatio",
    )


def _resolution(model: KieModel, wanted: str) -> str:
    resolution = model.resolution_named(wanted) if wanted else model.default_resolution
    if resolution is not None:
        return resolution
    if model.resolutions:
        words = _("%(model)s has no resolution “%(resolution)s”. It has: %(all)s.")
    else:
        words = _("%(model)s has no choice of resolution, so not “%(resolution)s” either.")
    raise OrderRefused(
        "resolution",
        words % {"model": model, "resolution": wanted[:20], "all": ", ".join(model.resolutions)},
        field="resolution",
    )


def _parts(wish: Wish) -> list[prompts.Part]:
    if wish.prompt is not None:
        return [prompts.Part("prompt", wish.prompt.strip())]
    return prompts.parts_for(wish.subject) if wish.subject else []


def _prompt(model: KieModel, parts: list[prompts.Part]) -> str:
    prompt = prompts.join(parts)
    if not prompt:
        raise OrderRefused(
            "prompt_missing", _("There is no description to make a picture from."), field="prompt"
        )
    longest = model.prompt_max_length or LONGEST_PROMPT
    if len(prompt) > longest:
        raise OrderRefused(
            "prompt_too_long",
            _("The prompt has %(length)d characters; %(model)s takes %(longest)d.")
            % {"length": len(prompt), "model": model, "longest": longest},
            field="prompt",
        )
    if not prompts.is_text(prompt):
        raise OrderRefused(
            "prompt_characters", _("The prompt has characters that are no text."), field="prompt"
        )
    return prompt
