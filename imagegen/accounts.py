"""Who may make an account, and how people sign in (django-allauth asks).

Where the site is not open to strangers, an invitation to a project lets its holder in: the token of
its link is the permission, its address becomes the account's, and the account takes the place in
the project that it was opened for, so that the link makes one account and no second.
"""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm, SignupForm
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits import ledger
from projects.access import invitation_by_token
from projects.members import NotAccepted, accept
from projects.models import Invitation


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP_OPEN or invitation_of(request) is not None

    @transaction.atomic
    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """A new account has a ledger, with the site's welcome credits booked like any grant.

        Who was invited to a closed site gets none: people could invite themselves for them.
        """
        user = super().save_user(request, user, form, commit)
        book = ledger.ledger_of(user)  # staff look for newcomers in the list of ledgers
        if not settings.SIGNUP_OPEN:
            _take_the_place(request, user)
        elif settings.WELCOME_CREDITS:
            ledger.grant(
                book,
                settings.WELCOME_CREDITS * 100,
                reference=f"welcome:{user.pk}",
                about=ledger.About(type="grant", description="Welcome"),
            )
        return user


def invitation_of(request: HttpRequest) -> Invitation | None:
    """The open invitation whose link led here: its page is where the way goes on from the form."""
    way_on = request.POST.get("next") or request.GET.get("next", "")
    try:
        page = resolve(way_on)
    except Resolver404:
        return None
    is_link = page.view_name == "projects:invitation"
    return invitation_by_token(page.kwargs["key"]) if is_link else None


def _take_the_place(request: HttpRequest, user: User) -> None:
    """Of two that come with one link at the same time, the second gets no account: in the
    transaction of `save_user`, which this leaves."""
    invitation = invitation_of(request)
    try:
        if invitation is None:
            raise NotAccepted
        accept(invitation, user)
    except NotAccepted as error:
        raise ImmediateHttpResponse(redirect("account_signup")) from error
    messages.success(request, _("Welcome to “%(project)s”.") % {"project": invitation.project})


class InvitedForm(SignupForm):  # type: ignore[misc]
    """Begins with the address of the invitation. Where only invited people get in, it stays."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation_of(context.request)
        if self.invitation:
            self.initial["email"] = self.invitation.email
            self.fields["email"].disabled = not settings.SIGNUP_OPEN


class NameOrEmailForm(LoginForm):  # type: ignore[misc]
    """allauth calls the field "Login", whatever may be written there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation_of(context.request)
        self.fields["login"].label = gettext_lazy("Name or e-mail address")
        self.fields["login"].widget.attrs.pop("placeholder", None)
