"""May this person see it, change it? The only way from a request to a project.

Whatever a person may not see answers 404, as if it were not there; what they may see but not
change answers 403. Programs come with an API token instead of a session.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from projects.ids import ID
from projects.models import ApiToken, Character, Invitation, Project, Role, Scene, Take

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def role_in(user: User, project: Project) -> Role | None:
    """What `user` may do in `project`; None for a stranger. Staff have no way in but the admin."""
    if not user.is_authenticated:
        return None
    if project.owner_id == user.pk:
        return Role.OWNER
    member = project.members.filter(user=user).first()
    return Role(member.role) if member else None


def require(user: User, project: Project, role: Role = Role.VIEWER) -> Role:
    """The person's role, at least `role`. Http404 for strangers, PermissionDenied below it."""
    has = role_in(user, project)
    if has is None:
        raise Http404
    if has < role:
        raise PermissionDenied
    return has


def project_for(user: User, project_id: str, role: Role = Role.VIEWER) -> Project:
    project = Project.objects.select_related("owner").filter(pk=project_id).first()
    if project is None:
        raise Http404
    require(user, project, role)
    return project


def scene_for(user: User, scene_id: str, role: Role = Role.VIEWER) -> Scene:
    scene = Scene.objects.select_related("project__owner").filter(pk=scene_id).first()
    if scene is None:
        raise Http404
    require(user, scene.project, role)
    return scene


def scenes_in(project: Project, ids: Sequence[str]) -> QuerySet[Scene]:
    """Those of these ids that are scenes of a project, which has been asked for before."""
    return Scene.objects.filter(project=project, pk__in=[pk for pk in ids if ID.fullmatch(pk)])


def character_for(user: User, character_id: str, role: Role = Role.VIEWER) -> Character:
    character = Character.objects.select_related("project__owner").filter(pk=character_id).first()
    if character is None:
        raise Http404
    require(user, character.project, role)
    return character


def take_for(user: User, take_id: str, role: Role = Role.VIEWER) -> Take:
    """A take of a project that `user` may see, or one without a project that they made."""
    take = Take.objects.select_related("project__owner").filter(pk=take_id).first()
    if take is None or (take.project is None and take.made_by_id != user.pk):
        raise Http404
    if take.project is not None:
        require(user, take.project, role)
    return take


def invitations_to(user: User) -> QuerySet[Invitation]:
    """The open ones to an address of theirs. Anybody can write down any address, so only one that
    was confirmed by a link in a mail counts."""
    own = EmailAddress.objects.filter(user=user, verified=True).values("email")
    return Invitation.objects.open().filter(email__in=own).select_related("project__owner")


def invitation_for(user: User, key: str) -> Invitation:
    """By its token; or by its id for somebody whose address it is. Http404 unless it is open, or
    led this person into the project."""
    if key.isascii() and key.isdigit():
        found = invitations_to(user).filter(pk=int(key[:18])).first()
    else:
        found = _by_token(key).first()
    if found is None or not (found.is_open or role_in(user, found.project)):
        raise Http404
    return found


def invitation_by_token(token: str) -> Invitation | None:
    """The open one whose link this token is from. Holding it is the permission: nobody guesses 256
    bits, and of the token only a digest is stored."""
    found = _by_token(token).first()
    return found if found is not None and found.is_open else None


def _by_token(token: str) -> QuerySet[Invitation]:
    by_token = Invitation.objects.filter(digest=digest_of(token))
    return by_token.select_related("project__owner")


def issue_token(user: User, name: str) -> str:
    """Makes an API token and returns its secret, which is shown once and never stored."""
    secret = secrets.token_urlsafe(32)
    ApiToken.objects.create(user=user, name=name, digest=digest_of(secret))
    return secret


def user_of_token(secret: str) -> User | None:
    """The active user whose token this is."""
    token = ApiToken.objects.select_related("user").filter(digest=digest_of(secret)).first()
    if token is None or not token.user.is_active:
        return None
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now())
    return token.user


TOKEN_PATHS = ("/api/", "/takes/")
PROGRAM = "imagegen.program"  # no header can have this name in META


def token_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """`Authorization: Bearer …` makes a request its token's user's, at the API and for pictures.

    A browser never sends this header by itself, so such a request needs no protection against
    forgery (`came_by_token`).
    """

    def answer(request: HttpRequest) -> HttpResponse:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and request.path.startswith(TOKEN_PATHS):
            user = user_of_token(secret.strip())
            if user is None:
                return JsonResponse(
                    {"error": {"code": "token", "message": "This API token is not valid."}},
                    status=401,
                )
            request.user = user
            request.META[PROGRAM] = True
        return get_response(request)

    return answer


def came_by_token(request: HttpRequest) -> bool:
    return PROGRAM in request.META


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
