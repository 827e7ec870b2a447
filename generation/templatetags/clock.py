"""Times as a card shows them. `static/js/elapsed.js` counts on in the same words."""

from django import template

register = template.Library()


@register.filter
def duration(seconds: int) -> str:
    """18 → "18 s", 125 → "2 min 5 s", 7500 → "2 h 5 min"; the same in every language."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minute} min {second} s" if minute else f"{second} s"
