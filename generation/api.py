"""`POST /api/image` with the fields of the user's document, and the address to ask afterwards.

Answers: 200 `{imageUrl, cost, storage}` when the picture is there; 202 while it is under way, with
the address to ask in `statusUrl`; anything else is `{"error": {code, message, field?}}`.
An `Idempotency-Key` header makes a repeated POST the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from generation import orders, prompts
from generation.models import Generation, Operation, Reason, State
from generation.wishes import OrderRefused, Wish
from projects import access
from projects.models import Character, Project, Role, Scene, Take

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEXTS = (
    "prompt",
    "aspectRatio",
    "resolution",
    "provider",
    "model",
    "projectId",
    "sceneId",
    "characterId",
    "operation",
    "sourceImage",
    "maskImage",
)
FIELDS = {*TEXTS, "referenceImages", "count", "skipCreditCheck", "ownerId"}
LONGEST_KEY = 90


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **({"field": field} if field else {})}


View = Callable[..., HttpResponse]


def json_api(*methods: str) -> Callable[[View], View]:
    """A view for programs: its own methods, a session or a token, and every error as JSON."""

    def wrap(view: View) -> View:
        @csrf_exempt
        @never_cache
        @wraps(view)
        def run(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
            try:
                _check_caller(request, methods)
                return view(request, *args, **kwargs)
            except ApiError as error:
                allow = {"Allow": ", ".join(methods)} if error.status == 405 else None
                return JsonResponse({"error": error.body}, status=error.status, headers=allow)
            except OrderRefused as error:
                refused = ApiError(error.status, error.code, error.words, error.field)
                return JsonResponse({"error": refused.body}, status=refused.status)
            except Http404:
                return _error(404, "not_found", _("There is no such thing here."))
            except PermissionDenied:
                return _error(403, "forbidden", _("You may look at this, but not change it."))

        return run

    return wrap


@json_api("POST")
def image(request: HttpRequest) -> HttpResponse:
    """Orders a picture."""
    user: User = request.user  # type: ignore[assignment]
    data = _body(request)
    wish = _wish(user, data)
    key = _key(request)
    if before := orders.placed(wish, user, key):
        return _answer(request, before)
    owner_id = "none" if data.get("ownerId") is None else str(data["ownerId"])
    if not user.is_staff:
        _refuse_fields_of_staff(data, orders.prepare(wish), owner_id)
    elif owner_id != "none":
        wish = replace(wish, payer_named=_user_named(owner_id))
    order = orders.prepare(replace(wish, free=bool(data.get("skipCreditCheck"))))
    return _answer(request, orders.place(order, orders.Terms(user, key, owner_id=owner_id)))


@json_api("GET", "HEAD")
def image_status(request: HttpRequest, generation_id: str) -> HttpResponse:
    """How an order is doing, for whoever may see its project."""
    return _answer(request, generation_for(request.user, generation_id))  # type: ignore[arg-type]


def generation_for(user: User, generation_id: str) -> Generation:
    """An order of a project that `user` may see, or one without a project that they placed."""
    generation = Generation.objects.filter(pk=generation_id).select_related("project").first()
    if generation is None or (generation.project is None and generation.ordered_by != user):
        raise Http404
    if generation.project is not None:
        access.require(user, generation.project)
    return generation


def _answer(request: HttpRequest, generation: Generation) -> HttpResponse:
    if generation.is_open:
        url = reverse("generation:api_image_status", args=[generation.pk])
        body = {"status": generation.state, "statusUrl": request.build_absolute_uri(url)}
        return JsonResponse(body, status=202, headers={"Location": url, "Retry-After": "2"})
    if generation.state == State.DONE:
        take = generation.outputs.filter(take__isnull=False)[0].take
        assert take is not None
        url = reverse("projects:picture", args=[take.pk])
        return JsonResponse(
            {
                "imageUrl": request.build_absolute_uri(url),
                "cost": generation.cost / 1_000_000,
                "storage": "s3" if settings.BUCKET else "local",
            }
        )
    return _error(
        STATUS_OF.get(Reason(generation.reason), 502),
        generation.reason,
        str(generation.get_reason_display()),
    )


# What the request itself caused is 422; what the provider did is 502.
STATUS_OF = {
    Reason.UNSAFE: 422,
    Reason.PROMPT: 422,
    Reason.MODEL: 422,
    Reason.INPUT: 422,
    Reason.CANCELLED: 410,
}


def _check_caller(request: HttpRequest, methods: tuple[str, ...]) -> None:
    if request.method not in methods:
        raise ApiError(405, "method", _("This address takes %s.") % ", ".join(methods))
    if not request.user.is_authenticated:
        raise ApiError(401, "sign_in", _("Sign in, or send an API token."))
    if not access.came_by_token(request) and request.method == "POST" and not _csrf_holds(request):
        raise ApiError(403, "csrf", _("The X-CSRFToken header is missing or wrong."))


def _csrf_holds(request: HttpRequest) -> bool:
    check = CsrfViewMiddleware(lambda _request: HttpResponse())
    check.process_request(request)
    return check.process_view(request, None, (), {}) is None  # type: ignore[arg-type]


def _key(request: HttpRequest) -> str:
    key = request.headers.get("Idempotency-Key", "").strip() or uuid4().hex
    if len(key) > LONGEST_KEY:
        raise ApiError(422, "key", _("An Idempotency-Key has at most %d characters.") % LONGEST_KEY)
    return f"api:{key}"


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        data = json.loads(
            request.body, parse_constant=_no_constant, object_pairs_hook=_without_twins
        )
    except RequestDataTooBig as error:
        raise ApiError(413, "too_large", _("The request is too large.")) from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "json", _("The request is not JSON.")) from error
    if not isinstance(data, dict):
        raise ApiError(400, "json", _("The request is not a JSON object."))
    for name in data.keys() - FIELDS:  # a misspelt field must not be billed at its default
        raise ApiError(422, "unknown_field", _("There is no field of this name."), name[:40])
    for name in TEXTS:
        value = data.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise ApiError(422, "type", _("This field is a text."), name)
        if not prompts.is_text(value):
            raise ApiError(
                422, "characters", _("This field has characters that are no text."), name
            )
    _check_types(data)
    return data


def _check_types(data: dict[str, Any]) -> None:
    """Of the fields that are no texts."""
    references, count = data.get("referenceImages"), data.get("count")
    if references is not None and not (
        isinstance(references, list) and all(isinstance(name, str) for name in references)
    ):
        raise ApiError(422, "type", _("This field is a list of texts."), "referenceImages")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ApiError(422, "type", _("This field is a whole number from 1 on."), "count")
    if not isinstance(data.get("skipCreditCheck"), bool | None):
        raise ApiError(422, "type", _("This field is true or false."), "skipCreditCheck")
    owner = data.get("ownerId")
    if owner is not None and (
        isinstance(owner, bool)
        or not isinstance(owner, str | int)
        or not prompts.is_text(str(owner))
    ):
        raise ApiError(422, "type", _("This field is a text."), "ownerId")
    if data.get("operation") not in (None, "", *Operation.values):
        raise ApiError(
            422, "operation", _("It is one of: %s.") % ", ".join(Operation.values), "operation"
        )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A field that stands there twice means two things."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field stands there twice")
    return found


def _wish(user: User, data: dict[str, Any]) -> Wish:
    subject, project = _place(user, data)
    source = _take(user, data.get("sourceImage"), project, "sourceImage")
    if source and subject is None and project is None:
        subject, project = source.scene or source.character, source.project
    named = data.get("referenceImages")
    references = [_take(user, name, project, "referenceImages") for name in named or ()]
    return Wish(
        project=project,
        subject=subject,
        prompt=None if subject and data.get("prompt") is None else data.get("prompt") or "",
        provider=data.get("provider") or "",
        model=data.get("model") or "",
        aspect_ratio=data.get("aspectRatio") or "",
        resolution=data.get("resolution") or "",
        count=data.get("count") or 1,
        operation=Operation(data.get("operation") or Operation.GENERATE),
        source=source,
        references=None if named is None else tuple(filter(None, references)),
        mask=_take(user, data.get("maskImage"), project, "maskImage"),
        payer_named=None if project else user,
    )


def _place(user: User, data: dict[str, Any]) -> tuple[Scene | Character | None, Project | None]:
    """The scene or character that is to be pictured, and the project."""
    scene_id, character_id = data.get("sceneId"), data.get("characterId")
    if scene_id and character_id:
        raise ApiError(422, "subject", _("A scene or a character, not both."), "characterId")
    subject: Scene | Character | None = None
    if scene_id:
        subject = access.scene_for(user, scene_id, Role.EDITOR)
    elif character_id:
        subject = access.character_for(user, character_id, Role.EDITOR)
    project = subject.project if subject else None
    if project_id := data.get("projectId"):
        project = access.project_for(user, project_id, Role.EDITOR)
        if subject and subject.project != project:
            raise ApiError(422, "subject", _("It belongs to another project."), "projectId")
    return subject, project


def _take(user: User, name: str | None, project: Project | None, field: str) -> Take | None:
    """The take that a text means: its id, or the address (imageUrl) at which we show it."""
    if not name:
        return None
    found = re.search(r"(?:\A|/takes/)([0-9a-z]{1,32})(?:/picture)?\Z", name)
    try:
        take = access.take_for(user, found[1] if found else "", Role.EDITOR)
    except Http404 as error:
        raise ApiError(422, "take", _("There is no such picture here."), field) from error
    if project and take.project != project:
        raise ApiError(422, "take", _("It belongs to another project."), field)
    return take


def _refuse_fields_of_staff(data: dict[str, Any], order: orders.Order, owner_id: str) -> None:
    """Only staff may skip the check or name who pays; the log tells who tried."""
    skip = bool(data.get("skipCreditCheck"))
    if not skip and owner_id == "none":
        return
    orders.log_wish(
        order.provider,
        order.model.model_id,
        order.references,
        skip,
        owner_id,
        refused=" (refused: not staff)",
    )
    field = "skipCreditCheck" if skip else "ownerId"
    raise ApiError(403, "staff_only", _("Only staff may send this field."), field)


def _user_named(user_id: str) -> User:
    users = get_user_model().objects
    found = set(users.filter(username=user_id))
    if user_id.isascii() and user_id.isdigit() and len(user_id) < 19:
        found |= set(users.filter(pk=int(user_id)))
    if len(found) > 1:  # somebody's name is somebody else's id
        raise ApiError(422, "owner", _("This may mean two users."), "ownerId")
    if not found:
        raise ApiError(422, "owner", _("There is no such user."), "ownerId")
    return found.pop()


def _error(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": ApiError(status, code, message).body}, status=status)
