"""The seven steps of an order, told of one that is prepared and not placed.

The titles are those of the user's document. What stands in the blocks of code was made by the
functions of an order; what they cannot know yet (ids, keys, KIE's task) stands there in capitals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from credits.amounts import HUNDREDTHS, MICRO, credits_text, dollars_text
from credits.templatetags.money import dollars, in_credits
from generation import callbacks, defaults, lifecycle
from generation.kie import limiter
from generation.kie.client import USER_AGENT
from generation.models import Generation
from generation.orders import Order
from projects.ids import new_id
from projects.models import Scene

ORDER_ID, SCENE_ID, TAKE_ID, BUTTON_KEY = "ORDER_ID", "SCENE_ID", "TAKE_ID", "BUTTON_KEY"
KIE_KEY, API_TOKEN, TAG = "YOUR_KIE_API_KEY", "YOUR_API_TOKEN", "TAG"
TASK_ID = "task_abc123..."
RESULT_URL = "https://.../image.jpg"
STATES = ("waiting", "generating", "success")


@dataclass(frozen=True)
class Code:
    """A block of code; `language` is "http", "json" or "text"."""

    caption: str
    language: str
    text: str


@dataclass(frozen=True)
class Step:
    title: str
    words: tuple[str, ...]
    codes: tuple[Code, ...]


def steps_of(order: Order, row: Generation) -> tuple[Step, ...]:
    """`row` is the order drawn up (`orders.drawn_up`), not saved."""
    return (
        _click(order),
        _route(order, row),
        _call(order),
        _exchange(order, row),
        _polling(),
        _charge(row),
        _stored(order),
    )


def log_of(order: Order) -> str:
    """The lines of the site's log, from the click to KIE's last word."""
    states = [f"[KIE] Task {TASK_ID} state: {state}" for state in STATES]
    return "\n".join([_wish_line(order), _model_line(order), _task_line(), *states])


# 1


def _click(order: Order) -> Step:
    return Step(
        _("UI → Client Hook"),
        (
            _(
                "The button of the card posts a small form: which button it was, and the price "
                "that stood on it. Everything else is read on the server, where nobody can "
                "change it on the way."
            ),
        ),
        (
            Code(_("What is asked for"), "text", _wishes(order)),
            Code(_("What the click sends"), "http", _form(order)),
            Code(_("The same order from a program"), "http", _api_call(order)),
        ),
    )


def _wishes(order: Order) -> str:
    own = defaults.settings_of(order.wish.project)
    is_scene = not order.wish.subject or isinstance(order.wish.subject, Scene)
    ratio = own.scene_aspect_ratio if is_scene else own.character_aspect_ratio
    parts = " + ".join(part.kind for part in order.parts)
    wishes = (
        ("prompt", _shortened(order.prompt), parts),
        ("aspectRatio", order.aspect_ratio, ratio.source),
        ("resolution", _asked_resolution(order), own.scene_resolution.source),
        ("provider", order.provider, own.provider.source),
        ("model", order.model.model_id, own.model.source),
    )
    return "\n".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}  // {source}"
        for name, value, source in wishes
        if value
    )


def _asked_resolution(order: Order) -> str:
    """As the project spells it; the order has the model's own spelling."""
    own = defaults.settings_of(order.wish.project)
    return own.scene_resolution.value or order.resolution


def _form(order: Order) -> str:
    subject = order.wish.subject or Scene()  # a new one has an id that nobody knows yet
    path = reverse("generation:generate", args=[subject._meta.model_name, subject.pk])
    if not order.wish.subject:
        path = path.replace(subject.pk, SCENE_ID)
    return (
        f"POST {path}\n"
        "Content-Type: application/x-www-form-urlencoded\n\n"
        f"key={BUTTON_KEY}&price={order.quote.credits}"
    )


def _api_call(order: Order) -> str:
    return (
        f"POST {settings.PUBLIC_URL}{reverse('generation:api_image')}\n"
        f"Authorization: Bearer {API_TOKEN}\n"
        "Content-Type: application/json\n\n"
        f"{_json(api_body(order))}"
    )


def api_body(order: Order) -> dict[str, Any]:
    """What a program posts to /api/image for the same order."""
    project, subject = order.wish.project, order.wish.subject
    kind = subject._meta.model_name if subject else ""
    body: dict[str, Any] = {
        "prompt": order.prompt,
        "aspectRatio": order.aspect_ratio,
        "resolution": _asked_resolution(order),
        "provider": order.provider,
        "model": order.model.model_id,
        "projectId": project.pk if project else "",
        f"{kind}Id": subject.pk if subject else "",
        "referenceImages": [sent.take.pk for sent in order.pictures],
    }
    return {name: value for name, value in body.items() if value}


# 2


def _route(order: Order, row: Generation) -> Step:
    own = defaults.settings_of(None)
    return Step(
        _("API Route Processing"),
        (
            _(
                "Only an editor of the project may order; a stranger is told that there is no "
                "such project. skipCreditCheck and ownerId are taken from staff only."
            ),
            _(
                "A provider or model in the request goes before the project's own; where neither "
                "says anything, it is %(provider)s and %(model)s. If the price on the button is "
                "not the price now, nothing is ordered."
            )
            % {"provider": own.provider.value, "model": own.model.value},
            _(
                "In one transaction the order is written and %(price)s held for it from what "
                "%(payer)s has. The answer does not wait for KIE; a worker takes over. The same "
                "button pressed twice is one order."
            )
            % {"price": in_credits(row.price), "payer": row.payer},
        ),
        (
            Code(_("Written and held"), "json", _json(_held(row))),
            Code(_("Output"), "text", _wish_line(order)),
        ),
    )


def _held(row: Generation) -> dict[str, Any]:
    return {
        "state": row.state,
        "hold": row.hold_reference.replace(row.pk, ORDER_ID),
        "credits": _number(row.price),
        "payer": str(row.payer),
    }


def _wish_line(order: Order) -> str:
    return (
        f"[Image] Using provider: {order.provider}, model: {order.model.model_id}, "
        f"reference images: {order.references}, skipCreditCheck: false, ownerId: none"
    )


# 3


def _call(order: Order) -> Step:
    handed_over = _(
        "Before that, the pictures that go along are uploaded to KIE, and their addresses take the "
        "places of “take:…” in the request: %s."
    )
    return Step(
        _("KIE.ai API Call"),
        (
            _(
                "The worker reads the model from the database and writes the request from that "
                "row alone. At most %(calls)d orders leave in %(seconds)d seconds, those of all "
                "users together, because KIE takes no more."
            )
            % {"calls": settings.KIE_CREATES, "seconds": limiter.WINDOW_MS // 1000},
            _(
                "The line is fair: single clicks go before batches, then it is the turn of whoever "
                "has the fewest pictures under way."
            ),
            _(
                "The order is saved as “submitting” before KIE is called. If the answer is lost, "
                "it is never sent a second time: KIE could charge both."
            ),
            *([handed_over % _pictured(order)] if order.pictures else []),
        ),
        (
            Code(_("Model config from the database"), "json", _json(_model_config(order))),
            Code(_("Where each field comes from"), "text", _fields(order)),
            Code(_("Output"), "text", _model_line(order)),
        ),
    )


def _model_config(order: Order) -> dict[str, Any]:
    return {
        "modelId": order.model.model_id,
        "name": order.model.name,
        "provider": order.model.vendor,
        "credits": _number(order.quote.kie_credits),
        "cost": order.quote.cost / MICRO,
        "modality": order.model.modality,
    }


def _fields(order: Order) -> str:
    """Each field of the request's input, and what it is made from."""
    model = order.model
    sources = {name: _("fixed for this model") for name in model.constants}
    sources |= {
        "prompt": " + ".join(part.kind for part in order.parts),
        model.ratio_field: f"aspectRatio {order.aspect_ratio}",
        model.resolution_field: f"resolution {order.resolution}",
        model.count_field: f"count {order.wish.count}",
    }
    sources |= {
        field.field: _("pictures of the cast: %s") % _pictured(order)
        for field in model.takes.values()
    }
    lines = [f"{name}  // {sources[name]}" for name in order.request["input"]]
    if order.resolution and not model.resolution_field:
        lines.append(
            "// " + _("no field for the resolution: this model makes %s only") % order.resolution
        )
    return "\n".join(lines)


def _pictured(order: Order) -> str:
    """ "image 1: Miro, image 2: Zuzana"."""
    return ", ".join(
        _("image %(number)d: %(name)s") % {"number": number, "name": sent.character}
        for number, sent in enumerate(order.pictures, 1)
    )


def _model_line(order: Order) -> str:
    credits, cost = credits_text(order.quote.kie_credits), dollars_text(order.quote.cost)
    return f"[KIE] Using model: {order.model.name} - {credits} credits (${cost})"


# 4


def _exchange(order: Order, row: Generation) -> Step:
    words = [
        _(
            "A clear no costs nothing: the order fails with KIE's reason in words, and the "
            "credits are given back. If KIE is busy, the order goes back in line; if the account "
            "there is empty or the key refused, all ordering pauses and staff are told."
        ),
        _(
            "If its answer is lost, KIE's report brings the task back. Without a word for "
            "%(minutes)d minutes the credits are given back; a picture that is found later is free."
        )
        % {"minutes": lifecycle.WORD_AFTER.total_seconds() // 60},
    ]
    if settings.KIE_IS_SANDBOX:
        words.append(
            _("No KIE key is set here, so a sandbox stands in for https://api.kie.ai at %s.")
            % settings.KIE_API_URL
        )
    accepted = {"code": 200, "msg": "success", "data": {"taskId": TASK_ID}}
    return Step(
        _("KIE.ai Processes Request"),
        tuple(words),
        (
            Code(_("Request"), "http", _create_call(order, row)),
            Code(_("Response"), "json", _json(accepted)),
            Code(_("Output"), "text", _task_line()),
        ),
    )


def _create_call(order: Order, row: Generation) -> str:
    return (
        f"POST {settings.KIE_API_URL}/api/v1/jobs/createTask\n"
        f"Authorization: Bearer {KIE_KEY}\n"
        f"User-Agent: {USER_AGENT}\n"
        "Content-Type: application/json\n\n"
        f"{_json(create_body(order, row))}"
    )


def create_body(order: Order, row: Generation) -> dict[str, Any]:
    """createTask's body; KIE's way back to the order is in it where the site can be reached."""
    url = callbacks.url_for(row)
    if not url:
        return order.request
    hidden = url.replace(callbacks.tag_for(row.pk), TAG).replace(row.pk, ORDER_ID)
    return {**order.request, "callBackUrl": hidden}


def _task_line() -> str:
    return f"[KIE] Task created: {TASK_ID}, polling for completion..."


# 5


def _polling() -> Step:
    words = [
        _("KIE is asked %(how_often)s, for %(hours)d hours: nobody sits and waits for it.")
        % {"how_often": _rhythm(), "hours": lifecycle.PATIENCE.total_seconds() // 3600},
        _(
            "If the task fails, the order fails with the reason in words and the credits are "
            "given back."
        ),
        _(
            "KIE cannot be stopped, but the credits can be taken back meanwhile: a picture that "
            "still comes is then kept free of charge, or thrown away."
        ),
    ]
    if settings.PUBLIC_URL:
        words.append(_("KIE also reports by itself when it has ended, and is asked at once then."))
    url = f"{settings.KIE_API_URL}/api/v1/jobs/recordInfo?taskId={TASK_ID}"
    success = {"state": "success", "resultJson": json.dumps({"resultUrls": [RESULT_URL]})}
    return Step(
        _("Polling for Completion"),
        tuple(words),
        (
            Code(_("Request"), "http", f"GET {url}\nAuthorization: Bearer {KIE_KEY}"),
            Code(_("Status"), "text", " → ".join(STATES)),
            Code(_("When success"), "json", _json({"code": 200, "data": success})),
        ),
    )


def _rhythm() -> str:
    """ "every 2.5 s up to 10 min, every 30 s up to 60 min, …"."""
    pieces = [
        _("every %(seconds)s s up to %(minutes)d min")
        % {
            "seconds": number_format(f"{seconds:g}"),
            "minutes": age.total_seconds() // 60,
        }
        for age, seconds in lifecycle.poll_steps()
    ]
    return ", ".join([*pieces, _("every %d s after that") % lifecycle.POLL_SLOWEST])


# 6


def _charge(row: Generation) -> Step:
    about = lifecycle.about(row, real_cost=row.cost)
    entry = {
        "kind": "capture",
        "user": str(row.payer),
        "credits": _number(row.price),
        "type": about.type,
        "description": about.description,
        "project": about.project,
        "provider": about.provider,
        "metadata": about.metadata,
        "realCost": about.real_cost / MICRO,
    }
    return Step(
        _("Credit Deduction"),
        (
            _(
                "The held credits are charged in the same transaction that records the stored "
                "picture: there is no charge without a picture and no picture without its "
                "charge. Whatever ends without a picture gives them back."
            ),
            _("User charged: %(credits)s (%(cost)s)")
            % {"credits": in_credits(row.price), "cost": dollars(row.cost)},
        ),
        (Code(_("The entry in the ledger"), "json", _json(entry)),),
    )


# 7


def _stored(order: Order) -> Step:
    file = f"takes/{ORDER_ID}-0"
    take_id = new_id()
    path = reverse("projects:picture", args=[take_id]).replace(take_id, TAKE_ID)
    saved = {"image": f"{file}.png", "thumbnail": f"{file}.thumb.webp", "source": RESULT_URL}
    answer = {
        "imageUrl": f"{settings.PUBLIC_URL}{path}",
        "cost": order.quote.cost / MICRO,
        "storage": "s3" if settings.BUCKET else "local",
    }
    return Step(
        _("Result Stored"),
        (
            _(
                "KIE's link works for days only, so the picture is fetched at once, opened to "
                "see that it is one, and kept in %s with a small one beside it."
            )
            % storage_name(),
            _(
                "It becomes a new take. Earlier takes stay; the newest is shown until somebody "
                "chooses one."
            ),
        ),
        (
            Code(_("Saved to the project"), "json", _json(saved)),
            Code(_("What /api/image answers when it is there"), "json", _json(answer)),
        ),
    )


def storage_name() -> str:
    """Where pictures are kept, in words."""
    if settings.BUCKET:
        return _("the bucket %s") % str(settings.BUCKET)
    folder = Path(settings.MEDIA_ROOT)
    return _("the local folder %s") % f"{folder.parent.name}/{folder.name}"


def _number(hundredths: int) -> int | float:
    """600 → 6, 324 → 3.24."""
    return hundredths / HUNDREDTHS if hundredths % HUNDREDTHS else hundredths // HUNDREDTHS


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57].rstrip()}..."


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
