"""Who works on a project besides its owner: invited, accepted, changed, gone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction

from projects.access import digest_of
from projects.models import Invitation, Member, Project, in_two_weeks

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class NotAccepted(Exception):
    """The invitation was used or taken back meanwhile, or the person is in the project already."""


def invite(project: Project, email: str, role: int, allowance: int | None) -> str:
    """Opens a place in the project, and returns the token of its link: shown once, never stored.

    The same address again is the same invitation with a new link; the one before is void. Whether
    the address belongs to an account is not looked up.
    """
    token = secrets.token_urlsafe(32)
    Invitation.objects.update_or_create(
        project=project,
        email=email,
        accepted_by=None,
        defaults={
            "role": role,
            "allowance": allowance,
            "digest": digest_of(token),
            "expires_at": in_two_weeks(),
        },
    )
    return token


def accept(invitation: Invitation, user: User) -> Member:
    """Raises NotAccepted."""
    if invitation.project.owner_id == user.pk:
        raise NotAccepted
    try:
        with transaction.atomic():
            still_open = Invitation.objects.open().filter(pk=invitation.pk)
            if not still_open.update(accepted_by=user):
                raise NotAccepted
            return Member.objects.create(
                project=invitation.project,
                user=user,
                role=invitation.role,
                allowance=invitation.allowance,
            )
    except IntegrityError as error:
        raise NotAccepted from error
