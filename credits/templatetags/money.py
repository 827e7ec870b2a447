"""Amounts in words: hundredths of a credit, and micro-dollars of real cost. No floats."""

from django import template
from django.utils.formats import get_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

register = template.Library()

MINUS = "−"


@register.filter
def credits(hundredths: int) -> str:
    """600 → "6", 650 → "6.5", 324 → "3.24", -123456 → "−1,234.56" (in the page's language)."""
    return _decimal(hundredths, 2)


@register.filter
def in_credits(hundredths: int) -> str:
    """The amount with its word: "6 credits", "1 credit", "6.5 credits"."""
    amount = credits(hundredths)
    if hundredths % 100:
        # Translators: never a whole number ("6.5 credits"); some languages decline it on its own.
        return pgettext("fraction", "%(amount)s credits") % {"amount": amount}
    return ngettext("%(amount)s credit", "%(amount)s credits", abs(hundredths) // 100) % {
        "amount": amount
    }


@register.filter
def credit_change(hundredths: int) -> str:
    """With its sign: "+250", "−6"; 0 is "0"."""
    return f"+{credits(hundredths)}" if hundredths > 0 else credits(hundredths)


@register.filter
def dollars(micro_dollars: int) -> str:
    """30000 → "$0.03", 32400 → "$0.0324", -1500000 → "−$1.50"."""
    amount = _decimal(abs(micro_dollars), 6, shown=2)
    sign = MINUS if micro_dollars < 0 else ""
    return sign + _("$%(amount)s") % {"amount": amount}


def _decimal(number: int, places: int, shown: int = 0) -> str:
    """`number` / 10^`places` with at least `shown` of its places, exactly."""
    whole, rest = divmod(abs(number), 10**places)
    digits = f"{rest:0{places}d}".rstrip("0").ljust(shown, "0")
    text = str(number_format(whole, use_l10n=True, force_grouping=True))
    if digits:
        text += f"{get_format('DECIMAL_SEPARATOR')}{digits}"
    return f"{MINUS}{text}" if number < 0 else text
