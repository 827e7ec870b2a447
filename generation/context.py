"""What every page shows: credits, open orders, asks to answer, what holds orders up, and whether
pictures are samples."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from credits.models import CreditLedger
from generation import account, asks, breaker
from generation.models import Generation, Pause
from generation.versions import digest

THEMES = ("light", "dark")


def site(request: HttpRequest) -> dict[str, Any]:
    # A request that is refused before anybody knows whose it is has no user.
    user = getattr(request, "user", None)
    theme = request.COOKIES.get("theme", "")
    context: dict[str, Any] = {
        "frame_version": "",
        "is_sandbox": settings.KIE_IS_SANDBOX,
        "theme": theme if theme in THEMES else "",
        "credits": None,
        "open_orders": 0,
        "open_asks": 0,
        "pauses": (),
        "tripped": (),
        "low_account": None,
    }
    if user is not None and user.is_authenticated:
        # Lazy: a fragment that shows none of this costs no query.
        context["credits"] = SimpleLazyObject(
            lambda: CreditLedger.objects.filter(owner=user).first() or CreditLedger(owner=user)
        )
        context["open_orders"] = SimpleLazyObject(
            lambda: Generation.objects.awaited().filter(ordered_by=user).count()
        )
        context["open_asks"] = SimpleLazyObject(lambda: asks.asked_of(user).count())
        context["pauses"] = SimpleLazyObject(lambda: list(Pause.objects.all()))
        context["tripped"] = SimpleLazyObject(
            lambda: list(breaker.tripped().select_related("model"))
        )
        context["low_account"] = SimpleLazyObject(account.low)
        context["frame_version"] = SimpleLazyObject(
            lambda: _version(context, is_staff=user.is_staff)
        )
    return context


def _version(context: dict[str, Any], *, is_staff: bool) -> str:
    """Of all that; of what only staff see, too, if it is them."""
    own, low = context["credits"], context["low_account"] if is_staff else None
    stopped = [*context["pauses"], *(context["tripped"] if is_staff else ())]
    return digest(
        [str(own.balance), str(own.held), str(context["open_orders"]), str(context["open_asks"])],
        [(type(row).__name__, row.pk) for row in stopped],
        low.credits if low else None,
    )
