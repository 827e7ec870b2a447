"""Who may make an account, and how people sign in (django-allauth asks)."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from credits import ledger


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    @transaction.atomic
    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """A new account has a ledger, with the site's welcome credits booked like any grant."""
        user = super().save_user(request, user, form, commit)
        book = ledger.ledger_of(user)  # staff look for newcomers in the list of ledgers
        if settings.WELCOME_CREDITS:
            ledger.grant(
                book,
                settings.WELCOME_CREDITS * 100,
                reference=f"welcome:{user.pk}",
                about=ledger.About(type="grant", description="Welcome"),
            )
        return user


class NameOrEmailForm(LoginForm):  # type: ignore[misc]
    """allauth calls the field "Login", whatever may be written there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("Name or e-mail address")
        self.fields["login"].widget.attrs.pop("placeholder", None)
