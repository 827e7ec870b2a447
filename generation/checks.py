"""What can only be judged with all settings in view. Everything here is a warning: the site runs.

W002, W004 and W005 are for `manage.py check --deploy` alone: on somebody's own machine they are as
they should be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.http.request import validate_host

# Names that lead nowhere from KIE's side (RFC 6761, 6762, 8375 and the reserved .internal).
PRIVATE_NAMES = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")


@register(Tags.compatibility)
def site_settings(**kwargs: Any) -> list[CheckMessage]:
    return [*_sandbox_in_production(), *_address_out_of_reach(), *_host_not_allowed()]


@register(Tags.security, deploy=True)
def deployed_settings(**kwargs: Any) -> list[CheckMessage]:
    return [*_no_address(), *_credits_for_strangers(), *_unsigned_callbacks()]


def _sandbox_in_production() -> Iterator[CheckMessage]:
    if not settings.KIE_IS_SANDBOX or not settings.PUBLIC_URL or settings.DEBUG:
        return
    if not _is_private(urlsplit(settings.PUBLIC_URL).hostname or ""):
        yield Warning(
            "A public site orders sample pictures from the sandbox, and charges credits for them.",
            hint="Set KIE_API_KEY.",
            id="imagegen.W001",
        )


def _no_address() -> Iterator[CheckMessage]:
    if settings.KIE_API_KEY and not settings.PUBLIC_URL:
        yield Warning(
            "KIE cannot report here, so every task is polled, and an order whose answer gets lost "
            "stays lost although KIE may bill it.",
            hint="Set PUBLIC_URL to the https address under which the outside reaches this site.",
            id="imagegen.W002",
        )


def _address_out_of_reach() -> Iterator[CheckMessage]:
    if not (settings.KIE_API_KEY and settings.PUBLIC_URL):
        return
    if _is_private(urlsplit(settings.PUBLIC_URL).hostname or ""):
        fault = "which it cannot reach"
    elif not settings.PUBLIC_IS_HTTPS:
        fault = "over plain http, where anybody on the way can listen"
    else:
        return
    yield Warning(
        f"KIE is told to report to {settings.PUBLIC_URL}, {fault}.",
        hint="Set PUBLIC_URL to the site's public https address, or leave it empty.",
        id="imagegen.W003",
    )


def _credits_for_strangers() -> Iterator[CheckMessage]:
    if settings.KIE_API_KEY and settings.SIGNUP_OPEN and settings.WELCOME_CREDITS > 0:
        yield Warning(
            f"Anybody may sign up, as often as they like, and spend {settings.WELCOME_CREDITS} "
            "credits of yours at KIE each time.",
            hint="Set WELCOME_CREDITS=0 or SIGNUP_OPEN=off, and grant credits in the admin.",
            id="imagegen.W004",
        )


def _unsigned_callbacks() -> Iterator[CheckMessage]:
    if settings.KIE_API_KEY and settings.PUBLIC_URL and not settings.KIE_WEBHOOK_KEY:
        yield Warning(
            "KIE's callbacks are taken without their signature being checked.",
            hint="Set KIE_WEBHOOK_KEY to the webhook HMAC key of your KIE account.",
            id="imagegen.W005",
        )


def _host_not_allowed() -> Iterator[CheckMessage]:
    host = urlsplit(settings.PUBLIC_URL).hostname or ""
    if host and not validate_host(host, settings.ALLOWED_HOSTS):
        yield Warning(
            f"ALLOWED_HOSTS does not have {host}, the host of PUBLIC_URL: whoever comes there, "
            "KIE's callbacks too, is answered 400.",
            hint=f"Add {host} to ALLOWED_HOSTS.",
            id="imagegen.W006",
        )


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host.endswith(PRIVATE_NAMES) or "." not in host
