"""The books for staff: to read, to grant and to adjust. Nothing is ever edited or deleted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import RegexValidator
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from credits import ledger as books
from credits.fields import CreditsField
from credits.models import CreditLedger, LedgerEntry
from credits.templatetags.money import credits, dollars, in_credits


class ReadOnly:
    """A ModelAdmin or an inline in which nothing can be added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def new_reference() -> str:
    return f"admin:{uuid4().hex}"


class BookingForm(forms.Form):
    """Credits and a reason. `reference` is made with the form: sent twice, it books once."""

    kind: LedgerEntry.Kind
    amount = CreditsField(label=gettext_lazy("Credits"))
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        help_text=gettext_lazy("Stands on the user's statement. Your name is kept with it."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    reference = forms.CharField(
        widget=forms.HiddenInput,
        initial=new_reference,
        validators=[RegexValidator(r"\Aadmin:[0-9a-f]{32}\Z")],
    )

    def book(self, ledger: CreditLedger, by: str) -> LedgerEntry | None:
        """Writes the entry; None, with the error in the form, when the ledger refuses."""
        try:
            return self._book(ledger, self._about(by))
        except books.InsufficientCredits as error:
            self.add_error(
                "amount",
                _("Available: %(available)s.") % {"available": in_credits(error.available)},
            )
        except books.ReferenceConflict:
            self.add_error(None, _("This form has been used for something else. Open it again."))
        return None

    def _book(self, ledger: CreditLedger, about: books.About) -> LedgerEntry:
        raise NotImplementedError

    def _about(self, by: str) -> books.About:
        return books.About(
            type=self.kind, description=self.cleaned_data["reason"], metadata={"by": by}
        )


class GrantForm(BookingForm):
    kind = LedgerEntry.Kind.GRANT
    title = gettext_lazy("Grant credits")

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount <= 0:
            raise ValidationError(_("A grant is more than 0."))
        return amount

    def _book(self, ledger: CreditLedger, about: books.About) -> LedgerEntry:
        data = self.cleaned_data
        return books.grant(ledger, data["amount"], reference=data["reference"], about=about)


class AdjustForm(BookingForm):
    kind = LedgerEntry.Kind.ADJUST
    title = gettext_lazy("Adjust the balance")

    amount = CreditsField(
        label=gettext_lazy("Credits"),
        signed=True,
        help_text=gettext_lazy("−5 takes five away, 5 adds five. What is held cannot be taken."),
    )

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if not amount:
            raise ValidationError(_("An adjustment is more or less than 0."))
        return amount

    def _book(self, ledger: CreditLedger, about: books.About) -> LedgerEntry:
        data = self.cleaned_data
        return books.adjust(ledger, data["amount"], reference=data["reference"], about=about)


class OwnerForm(forms.Form):
    """Whose ledger: cleans to the user."""

    user = forms.CharField(label=gettext_lazy("User name or e-mail address"), max_length=254)

    def clean_user(self) -> Any:
        name = self.cleaned_data["user"]
        users = get_user_model()._default_manager
        found = list(users.filter(username=name) or users.filter(email__iexact=name))
        if not found:
            raise ValidationError(_("There is no such user."))
        if len(found) > 1:
            raise ValidationError(_("Several users have this e-mail address: take the name."))
        return found[0]


@admin.register(CreditLedger)
class CreditLedgerAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["owner", "balance_shown", "held_shown", "available_shown", "created_at"]
    list_select_related = ["owner"]
    search_fields = ["owner__username", "owner__email"]
    search_help_text = gettext_lazy("User name or e-mail address")
    ordering = ["owner__username"]
    fields = ["owner", "balance_shown", "held_shown", "available_shown", "created_at"]

    @admin.display(description=gettext_lazy("balance"), ordering="balance")
    def balance_shown(self, ledger: CreditLedger) -> str:
        return credits(ledger.balance)

    @admin.display(description=gettext_lazy("held"), ordering="held")
    def held_shown(self, ledger: CreditLedger) -> str:
        return credits(ledger.held)

    @admin.display(description=gettext_lazy("available"))
    def available_shown(self, ledger: CreditLedger) -> str:
        return credits(ledger.available)

    def may_book(self, request: HttpRequest) -> bool:
        return request.user.has_perm("credits.change_creditledger")

    def get_urls(self) -> list[URLPattern]:
        def address(route: str, view: Any, name: str) -> Any:
            return path(
                route, self.admin_site.admin_view(view), name=f"credits_creditledger_{name}"
            )

        return [
            address("open/", self.open_view, "open"),
            address("<int:ledger_id>/grant/", self.grant_view, "grant"),
            address("<int:ledger_id>/adjust/", self.adjust_view, "adjust"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        extra = {**(extra_context or {}), "may_book": self.may_book(request)}
        return super().changelist_view(request, extra)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_book": self.may_book(request)}
        return super().change_view(request, object_id, form_url, extra)

    def open_view(self, request: HttpRequest) -> HttpResponse:
        """Asks for a user, and leads to the grant; a user without a ledger gets one."""
        if not self.may_book(request):
            raise PermissionDenied
        form = OwnerForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            ledger = books.ledger_of(form.cleaned_data["user"])
            return redirect("admin:credits_creditledger_grant", ledger.pk)
        return self._form_page(request, form, title=_("Whose credits?"), button=_("Continue"))

    def grant_view(self, request: HttpRequest, ledger_id: int) -> HttpResponse:
        return self._booking(request, ledger_id, GrantForm)

    def adjust_view(self, request: HttpRequest, ledger_id: int) -> HttpResponse:
        return self._booking(request, ledger_id, AdjustForm)

    def _booking(
        self, request: HttpRequest, ledger_id: int, form_class: type[GrantForm | AdjustForm]
    ) -> HttpResponse:
        if not self.may_book(request):
            raise PermissionDenied
        ledger = get_object_or_404(CreditLedger.objects.select_related("owner"), pk=ledger_id)
        form = form_class(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._booked(request, ledger, form):
            return redirect("admin:credits_creditledger_change", ledger.pk)
        lead = _("Credits of %(owner)s: %(available)s available, %(held)s held.") % {
            "owner": ledger.owner,
            "available": credits(ledger.available),
            "held": credits(ledger.held),
        }
        return self._form_page(
            request, form, original=ledger, title=form.title, button=form.title, lead=lead
        )

    @transaction.atomic
    def _booked(self, request: HttpRequest, ledger: CreditLedger, form: BookingForm) -> bool:
        entry = form.book(ledger, request.user.get_username())
        if entry is None:
            return False
        words = _("Credits: %(change)s, now %(balance)s. %(reason)s (%(reference)s)") % {
            "change": credits(entry.balance_change),
            "balance": credits(entry.balance_after),
            "reason": entry.description,
            "reference": entry.reference,
        }
        # The ledger's row is locked by now, so of two that come at once the second sees the first.
        if not _is_logged(ledger, entry.reference):
            self.log_change(request, ledger, words)
        messages.success(request, words)
        return True

    def _form_page(
        self, request: HttpRequest, form: forms.Form, *, title: Any, **context: Any
    ) -> HttpResponse:
        everywhere = self.admin_site.each_context(request)
        return render(
            request,
            "admin/form.html",
            {
                **everywhere,
                "opts": self.opts,
                "form": form,
                "title": title,
                "has_view_permission": True,
                **context,
            },
        )


def _is_logged(ledger: CreditLedger, reference: str) -> bool:
    return LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(CreditLedger),
        object_id=str(ledger.pk),
        change_message__endswith=f"({reference})",
    ).exists()


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = [
        "created_at",
        "ledger",
        "kind",
        "balance_change_shown",
        "held_change_shown",
        "balance_after_shown",
        "description",
        "reference",
    ]
    list_filter = ["kind", "created_at", "provider"]
    list_select_related = ["ledger__owner"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["reference", "=project", "=ledger__owner__username", "description"]
    search_help_text = gettext_lazy("Reference, project's id, user name or description")
    fieldsets = [
        (None, {"fields": ["ledger", "kind", "created_at", "reference", "hold", "resolved_by"]}),
        (
            gettext_lazy("Credits"),
            {
                "fields": [
                    "balance_change_shown",
                    "held_change_shown",
                    "balance_after_shown",
                    "held_after_shown",
                ]
            },
        ),
        (
            gettext_lazy("What it is about"),
            {
                "fields": [
                    "type",
                    "description",
                    "project",
                    "provider",
                    "metadata",
                    "real_cost_shown",
                ]
            },
        ),
    ]

    @admin.display(description=gettext_lazy("balance change"), ordering="balance_change")
    def balance_change_shown(self, entry: LedgerEntry) -> str:
        return credits(entry.balance_change)

    @admin.display(description=gettext_lazy("held change"), ordering="held_change")
    def held_change_shown(self, entry: LedgerEntry) -> str:
        return credits(entry.held_change)

    @admin.display(description=gettext_lazy("balance after"))
    def balance_after_shown(self, entry: LedgerEntry) -> str:
        return credits(entry.balance_after)

    @admin.display(description=gettext_lazy("held after"))
    def held_after_shown(self, entry: LedgerEntry) -> str:
        return credits(entry.held_after)

    @admin.display(description=gettext_lazy("real cost"))
    def real_cost_shown(self, entry: LedgerEntry) -> str:
        return dollars(entry.real_cost)

    @admin.display(description=gettext_lazy("resolved by"))
    def resolved_by(self, entry: LedgerEntry) -> str:
        return str(LedgerEntry.objects.filter(hold=entry).first() or "–")
