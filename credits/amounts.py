"""Amounts as people read and write them. Inside, they are integers."""

from decimal import Decimal, InvalidOperation

HUNDREDTHS = 100  # of a credit
MICRO = 1_000_000  # of a dollar
MOST = 10**15  # hundredths; the columns hold 9 × 10**18


def credits_text(hundredths: int) -> str:
    """600 → "6", 650 → "6.5", 324 → "3.24"."""
    return f"{Decimal(hundredths) / HUNDREDTHS:.2f}".rstrip("0").rstrip(".")


def dollars_text(micro: int) -> str:
    """30000 → "0.03", 16200 → "0.0162"; at least two decimals."""
    text = f"{Decimal(micro) / MICRO:.6f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"{whole}.{part:0<2}"


def hundredths(text: str) -> int:
    """ "3.24" → 324. Raises ValueError for anything that is not a number of hundredths."""
    try:
        amount = Decimal(text.replace(",", ".")) * HUNDREDTHS
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number of credits") from None
    if not amount.is_finite() or abs(amount) > MOST or amount != amount.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of hundredths")
    return int(amount)
