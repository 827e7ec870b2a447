"""`{% icon "name" %}`: one icon of the sprite static/icons.svg, beside words that say the same."""

from functools import cache

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
@cache  # a board has hundreds
def icon(name: str) -> SafeString:
    """Hidden from screen readers: a control that shows only an icon needs an aria-label."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("icons.svg"),
        name,
    )
