"""An order before it is placed: every wish checked, the request written, the price known.

Whatever is wrong is said here, before anything is held or sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError
from django.utils.translation import gettext as _

from credits import ledger
from credits.templatetags.money import in_credits
from generation import defaults, lifecycle, prompts
from generation.allowance import AllowanceExceeded
from generation.models import (
    AUTO,
    Batch,
    Generation,
    KieModel,
    Operation,
    PromptUse,
    Reference,
    Slot,
)
from generation.pricing import NoPrice, Quote, percent_for, quote
from generation.references import Sent, people_in, pictures_for
from generation.wishes import OrderRefused, Wish
from projects.cast import CastMember
from projects.models import Character, Scene, Take
from projects.pictures import MAX_PIXELS

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

NO_ID = re.compile(r"[^\w@.+-]")  # what no user's name or id has
LONGEST_PROMPT = 20_000  # characters, where the model itself names no limit


@dataclass(frozen=True)
class Order:
    """A wish that can be placed: what will be sent, and what it costs.

    `cast` is who appears in it, `pictures` what goes along.
    """

    wish: Wish
    provider: str
    model: KieModel
    parts: list[prompts.Part]
    prompt: str
    aspect_ratio: str
    resolution: str
    cast: tuple[CastMember, ...]
    pictures: tuple[Sent, ...]
    request: dict[str, Any]
    quote: Quote

    @property
    def references(self) -> int:
        """How many pictures KIE bills, where it does: the mask is none of them."""
        return sum(sent.slot != Slot.MASK for sent in self.pictures)


@dataclass(frozen=True)
class Terms:
    """Who orders, and how.

    `key` makes one click one order; `shown_price` is what stood on the button, in hundredths.
    `owner_id` is whom staff named to pay instead of the project's owner, for the log. A `batch`
    goes after the single clicks of everybody; `in_batch` is the click that placed it with others.
    `approved`: the payer agrees to what is beyond the user's allowance.
    """

    user: User
    key: str
    shown_price: int | None = None
    owner_id: str = "none"
    batch: bool = False
    in_batch: Batch | None = None
    approved: bool = False


@dataclass(frozen=True)
class Basis:
    """What all orders of one model and one payer share, read once for many of them."""

    model: KieModel
    percent: int  # the payer's multiplier


def basis_for(wish: Wish, model: KieModel | None = None) -> Basis:
    """`model` None: the one that is asked for, else the project's own. Raises OrderRefused."""
    own = defaults.settings_of(wish.project)
    return Basis(model or model_named(wish.model or own.model.value), percent_for(wish.payer))


def prepare(wish: Wish, basis: Basis | None = None) -> Order:
    """Checks a wish against the project's settings and the catalogue. Raises OrderRefused."""
    _check_lock(wish)
    own = defaults.settings_of(wish.project)
    provider = wish.provider or own.provider.value
    if provider != "kie":
        raise OrderRefused(
            "provider",
            _("The provider “%(name)s” is not available here.") % {"name": provider[:40]},
            field="provider",
        )
    basis = basis or basis_for(wish)
    model = basis.model
    # The project's resolution goes with the project's model, not with another one.
    usual = own.scene_resolution.value if wish.model in ("", own.model.value) else ""
    wanted = wish.resolution or usual
    ratio = _ratio(model, wish, own.ratio_for(wish.subject), wanted)
    resolution = _resolution(model, wanted)
    if [ratio, resolution] in model.impossible:
        raise OrderRefused(
            "combination",
            _("%(model)s cannot do %(ratio)s at %(resolution)s.")
            % {"model": model, "ratio": ratio, "resolution": resolution},
            field="resolution",
        )
    _check_count(model, wish.count)
    cast = people_in(wish)
    pictures = pictures_for(replace(wish, cast=cast), model, resolution)
    price = _quote(basis, wish, resolution, pictures)
    parts = _parts(wish, cast, pictures)
    prompt = _prompt(model, parts, wish.operation)
    return Order(
        wish=wish,
        provider=provider,
        model=model,
        parts=parts,
        prompt=prompt,
        aspect_ratio=ratio,
        resolution=resolution,
        cast=cast,
        pictures=pictures,
        request=prompts.request_for(model, prompt, ratio, resolution, wish.count, pictures),
        quote=price,
    )


def place(order: Order, terms: Terms) -> Generation:
    """Holds the credits and puts the order in line, in one transaction.

    The same key again answers with the order of the first time, whatever became of it. Raises
    OrderRefused.
    """
    return placed(order.wish, terms.user, terms.key) or place_all([(order, terms)])[0]


def place_all(placings: Sequence[tuple[Order, Terms]]) -> list[Generation]:
    """`place` for several orders of one person, for one payer: all of them, or none.

    Where the first one's key has been used meanwhile, that one alone is the answer.
    """
    generations, references = [], list[Reference]()
    for order, terms in placings:
        if terms.shown_price is not None:
            check_price(order, terms.shown_price)
        generation = drawn_up(order, terms)
        generations.append(generation)
        references += _references_of(generation, order)
        _log_placing(order, terms)
    (order, terms), *_others = placings
    wish = order.wish
    try:
        lifecycle.place(generations, references, approved=terms.approved)
    except AllowanceExceeded as error:
        raise OrderRefused("allowance", _no_allowance(error, wish), status=402) from error
    except ledger.InsufficientCredits as error:
        raise OrderRefused(
            "credits", _no_credits(error, pays_self=wish.payer == terms.user), status=402
        ) from error
    except IntegrityError as error:
        if before := placed(wish, terms.user, terms.key):
            return [before]
        raise OrderRefused(
            "gone", _("What was to be pictured is not there any more."), status=404
        ) from error
    return generations


def check_price(order: Order, shown: int) -> None:
    """Raises OrderRefused where another price stood on the button."""
    if shown != order.quote.credits:
        raise OrderRefused(
            "price_changed",
            _("The price has changed: it is %(price)s now. Nothing was ordered.")
            % {"price": in_credits(order.quote.credits)},
            status=409,
        )


def drawn_up(order: Order, terms: Terms) -> Generation:
    """The order's row as `place` writes it; not saved."""
    wish = order.wish
    return Generation(
        project=wish.project,
        scene=wish.subject if isinstance(wish.subject, Scene) else None,
        character=wish.subject if isinstance(wish.subject, Character) else None,
        ordered_by=terms.user,
        payer=wish.payer,
        order_key=terms.key,
        batch=terms.batch,
        in_batch=terms.in_batch,
        operation=wish.operation,
        source=wish.source,
        count=wish.count,
        provider=order.provider,
        model=order.model,
        prompt=order.prompt,
        aspect_ratio=order.aspect_ratio,
        resolution=order.resolution,
        request=order.request,
        price=order.quote.credits if wish.payer else 0,
        kie_credits=order.quote.kie_credits,
        cost=order.quote.cost,
    )


def _references_of(generation: Generation, order: Order) -> list[Reference]:
    """The rows of what goes along; not saved."""
    return [
        Reference(generation=generation, take=sent.take, slot=sent.slot, position=position)
        for position, sent in enumerate(order.pictures)
        if sent.is_uploaded
    ]


def placed(wish: Wish, user: User, key: str) -> Generation | None:
    """The order that this key placed before, whatever has changed since.

    To be asked before anything about the wish is checked: an order that stands must not be
    answered with a refusal. Raises OrderRefused if the key was used for another wish.
    """
    before = (
        Generation.objects.filter(ordered_by=user, order_key=key)
        .select_related("project", "scene", "character", "model", "source")
        .first()
    )
    return _same(before, wish) if before else None


def _log_placing(order: Order, terms: Terms) -> None:
    free = order.wish.payer is None
    log_wish(order.provider, order.model.model_id, order.references, free, terms.owner_id)


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
    logger.info(
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
        and (generation.operation, generation.source) == (wish.operation, wish.source)
        and generation.count == wish.count
        and (wish.references is None or _same_pictures(generation, wish))
        and (wish.mask is None or _has_mask(generation, wish.mask))
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


def _same_pictures(generation: Generation, wish: Wish) -> bool:
    named = [wish.source, *(wish.references or ()), wish.mask]
    sent = [reference.take_id for reference in generation.references.all()]
    return sent == [take.pk for take in named if take and (take != wish.source or take.pk in sent)]


def _has_mask(generation: Generation, mask: Take) -> bool:
    return generation.references.filter(slot=Slot.MASK, take=mask).exists()


def _no_credits(error: ledger.InsufficientCredits, *, pays_self: bool) -> str:
    """How much somebody has is their own business."""
    told = {"price": in_credits(error.needed), "left": in_credits(error.available)}
    if pays_self:
        return _("Not enough credits: this costs %(price)s; you have %(left)s available.") % told
    return _("This costs %(price)s, more than its payer has.") % told


def _no_allowance(error: AllowanceExceeded, wish: Wish) -> str:
    return _("This costs %(price)s, and your allowance has %(left)s left. Ask %(payer)s.") % {
        "price": in_credits(error.needed),
        "left": in_credits(error.left),
        "payer": wish.payer,
    }


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


def longest_prompt(model: KieModel) -> int:
    """In characters."""
    return model.prompt_max_length or LONGEST_PROMPT


def own_ratio(model: KieModel, source: Take, resolution: str) -> str:
    """The shape of a picture that is worked on, as nearly as the model has it at a resolution."""
    named = model.resolution_named(resolution) or model.default_resolution
    ratios: list[str] = [r for r in model.ratios if [r, named] not in model.impossible]
    if AUTO in ratios or not ratios:
        return AUTO if ratios else ""
    shape = source.width / source.height if source.height else 1
    return min(ratios, key=lambda ratio: abs(log(shape_of(ratio) / shape)))


def shape_of(ratio: str) -> float:
    """ "16:9" → 1.78."""
    width, _colon, height = ratio.partition(":")
    return int(width) / int(height)


def _ratio(model: KieModel, wish: Wish, usual: str, resolution: str) -> str:
    """The ratio that was asked for, else the project's; a picture that is worked on keeps its own,
    but where it is to get another. "" for a model without a choice."""
    ratio = wish.aspect_ratio
    if not ratio and wish.source and wish.operation != Operation.REFRAME:
        ratio = own_ratio(model, wish.source, resolution)
    elif not ratio and model.ratio_field:
        ratio = usual
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


def _check_lock(wish: Wish) -> None:
    scene = wish.subject
    if isinstance(scene, Scene) and scene.is_locked:
        raise OrderRefused(
            "locked",
            _("Scene %(number)s is locked: nothing is ordered for it until it is unlocked.")
            % {"number": scene.number},
            field="sceneId",
            status=409,
        )


def _check_count(model: KieModel, count: int) -> None:
    if count == 1 or str(count) in model.counts:
        return
    raise OrderRefused(
        "count",
        _("%(model)s makes %(all)s at once, not %(count)d.")
        % {"model": model, "all": ", ".join(sorted(model.counts, key=int)) or "1", "count": count},
        field="count",
    )


def _quote(basis: Basis, wish: Wish, resolution: str, pictures: Sequence[Sent]) -> Quote:
    """Raises OrderRefused where the catalogue has no price."""
    model = basis.model
    name = resolution
    if model.price_edges and wish.source:
        name = _price_by_size(model, resolution, wish.source)
    billed = sum(sent.slot != Slot.MASK for sent in pictures)
    try:
        return quote(model, name, percent=basis.percent, count=wish.count, references=billed)
    except NoPrice as error:
        raise OrderRefused(
            "price",
            _("%(model)s has no price yet, so it cannot be ordered.") % {"model": model},
            field="model",
        ) from error


def _price_by_size(model: KieModel, resolution: str, source: Take) -> str:
    """The name of the price for what comes out when this picture is enlarged."""
    factor = int(model.resolutions[resolution])
    width, height = source.width * factor, source.height * factor
    edges: dict[str, int] = model.price_edges
    fitting = [name for name, edge in edges.items() if max(width, height) <= edge]
    if not fitting or width * height > MAX_PIXELS:
        raise OrderRefused(
            "too_large",
            _("The result would have %(width)d × %(height)d pixels, which is too large.")
            % {"width": width, "height": height},
            field="resolution",
        )
    return min(fitting, key=edges.__getitem__)


def _parts(wish: Wish, cast: Sequence[CastMember], pictures: Sequence[Sent]) -> list[prompts.Part]:
    if wish.prompt is not None:
        return [prompts.Part("prompt", wish.prompt.strip())]
    if wish.operation != Operation.GENERATE or wish.subject is None:
        return []
    return prompts.parts_for(wish.subject, cast, pictures)


def _prompt(model: KieModel, parts: list[prompts.Part], operation: Operation) -> str:
    prompt = prompts.join(parts)
    if prompt and model.prompt_use == PromptUse.NONE:
        raise OrderRefused(
            "prompt_unwanted", _("%(model)s takes no words.") % {"model": model}, field="prompt"
        )
    if not prompt and model.prompt_use != PromptUse.REQUIRED:
        return ""
    if not prompt:
        words = (
            _("There is no description to make a picture from.")
            if operation == Operation.GENERATE
            else _("Say what is to change.")
        )
        raise OrderRefused("prompt_missing", words, field="prompt")
    if len(prompt) < model.prompt_min_length:
        raise OrderRefused(
            "prompt_too_short",
            _("%(model)s needs at least %(shortest)d characters.")
            % {"model": model, "shortest": model.prompt_min_length},
            field="prompt",
        )
    longest = longest_prompt(model)
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
