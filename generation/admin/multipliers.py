"""How many of our credits a KIE credit costs, on the site and for single payers: append-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation.admin.prices import BeginningForm
from generation.models import Multiplier


class MultiplierForm(BeginningForm):
    class Meta:
        model = Multiplier
        fields = ["payer", "percent", "since"]

    def clean(self) -> dict[str, Any]:
        """The site's own is a number; that of a payer may end."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("payer") is None and data.get("percent", 1) is None:
            self.add_error("percent", ValidationError(_("The site needs a number.")))
        return data


@admin.register(Multiplier)
class MultiplierAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A change is a new row: what was ordered keeps the price that it was shown."""

    form = MultiplierForm
    list_display = ["since", "for_whom", "percent_shown", "holds"]
    list_select_related = ["payer"]
    list_per_page = 50
    search_fields = ["=payer__username", "=payer__email"]
    search_help_text = gettext_lazy("User name or e-mail address")
    autocomplete_fields = ["payer"]
    actions = None

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Who pays is chosen here, not made or changed."""
        form = super().get_form(request, *args, **kwargs)
        if "payer" in form.base_fields:
            widget = form.base_fields["payer"].widget
            widget.can_add_related = widget.can_change_related = widget.can_view_related = False
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the pk of the row that holds now for the same payer, or for the site."""
        rows: QuerySet[Any] = super().get_queryset(request)
        whose = Coalesce("payer_id", 0)
        begun = Multiplier.objects.filter(since__lte=timezone.now()).annotate(whose=whose)
        holding = begun.filter(whose=OuterRef("whose")).values("pk")[:1]  # newest first
        known: QuerySet[Any] = rows.annotate(whose=whose).annotate(holding=Subquery(holding))
        return known

    @admin.display(description=gettext_lazy("for"), ordering="payer__username")
    def for_whom(self, row: Multiplier) -> str:
        return str(row.payer or _("the whole site"))

    @admin.display(description=gettext_lazy("percent"), ordering="percent")
    def percent_shown(self, row: Multiplier) -> str:
        return _("the site's") if row.percent is None else f"{row.percent} %"

    @admin.display(description=gettext_lazy("holds"), boolean=True)
    def holds(self, row: Any) -> bool:
        return bool(row.holding == row.pk)
