"""Who works on a project besides its owner, who is invited, and what they ask for."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from credits.amounts import credits_text
from credits.fields import CreditsField
from credits.templatetags.money import in_credits
from generation.models import Ask
from projects.models import Invitation, Member, Seat


class MemberForm(forms.ModelForm):  # type: ignore[type-arg]
    allowance = CreditsField(
        label=gettext_lazy("allowance in credits"),
        required=False,
        help_text=gettext_lazy("Empty: without limit; 0: asks for every picture."),
    )

    class Meta:
        model = Member
        fields = ["user", "role", "allowance"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.allowance is not None:
            self.initial["allowance"] = credits_text(self.instance.allowance)


class MemberInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Member
    form = MemberForm
    extra = 0
    autocomplete_fields = ["user"]
    readonly_fields = ["may_spend"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The form knows credits; what is only looked at has to be told."""
        may_change = self.has_change_permission(request, obj)
        return ["user", "role", "allowance" if may_change else "may_spend"]

    @admin.display(description=gettext_lazy("allowance"))
    def may_spend(self, member: Member) -> str:
        return allowance_words(member)


def allowance_words(seat: Seat) -> str:
    if seat.allowance is None:
        return _("without limit")
    return in_credits(seat.allowance) if seat.allowance else _("asks for every picture")


class Revocable(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows that people make; staff look, and take back what is still open by deleting it."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Also for each row of a selection: Django asks again with the row."""
        return super().has_delete_permission(request, obj) and (obj is None or self.is_open(obj))

    def get_actions(self, request: HttpRequest) -> Any:
        actions: dict[str, Any] = super().get_actions(request)
        if "delete_selected" in actions:
            _all_of_them, name, words = actions["delete_selected"]
            actions["delete_selected"] = (Revocable.delete_open, name, words)
        return actions

    def delete_open(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        """What is closed stays, and does not keep the others back."""
        still_open = [row.pk for row in rows if self.is_open(row)]
        if closed := len(rows) - len(still_open):
            words = ngettext(
                "%(count)d of them has been answered and stays.",
                "%(count)d of them have been answered and stay.",
                closed,
            )
            self.message_user(request, words % {"count": closed}, messages.WARNING)
        if not still_open:
            return None
        return delete_selected(self, request, rows.filter(pk__in=still_open))

    def is_open(self, row: Any) -> bool:
        raise NotImplementedError


class AnswerFilter(admin.SimpleListFilter):
    title = gettext_lazy("answer")
    parameter_name = "answer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("none", gettext_lazy("waiting")), *Ask.Answer.choices]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        wanted = self.value()
        return rows.filter(answer="" if wanted == "none" else wanted) if wanted else None


class AcceptedFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("open", gettext_lazy("open")),
            ("accepted", gettext_lazy("accepted")),
            ("old", gettext_lazy("too old")),
        ]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        waiting = rows.filter(accepted_by=None)
        if self.value() == "accepted":
            return rows.filter(accepted_by__isnull=False)
        if self.value() == "old":
            return waiting.filter(expires_at__lte=timezone.now())
        return waiting.filter(expires_at__gt=timezone.now()) if self.value() == "open" else None


@admin.register(Invitation)
class InvitationAdmin(Revocable):
    """The link's token is not here, nor anywhere else."""

    list_display = ["email", "project", "role", "may_spend", "state", "expires_at"]
    list_select_related = ["project", "accepted_by"]
    list_filter = [AcceptedFilter]
    ordering = ["-expires_at", "-pk"]
    search_fields = ["email", "project__name", "=project__id", "=project__owner__username"]
    search_help_text = gettext_lazy("E-mail address; name or id of the project; its owner's name")
    fields = ["email", "project", "role", "may_spend", "state", "expires_at", "accepted_by"]

    def is_open(self, row: Invitation) -> bool:
        """What was accepted led somebody in: they are taken out of the project instead."""
        return row.accepted_by_id is None

    @admin.display(description=gettext_lazy("allowance"), ordering="allowance")
    def may_spend(self, invitation: Invitation) -> str:
        return allowance_words(invitation)

    @admin.display(description=gettext_lazy("state"))
    def state(self, invitation: Invitation) -> str:
        if invitation.accepted_by:
            return _("accepted by %(name)s") % {"name": invitation.accepted_by}
        return _("open") if invitation.is_open else _("too old")


@admin.register(Ask)
class AskAdmin(Revocable):
    list_display = ["asked_at", "about", "project", "who", "price_shown", "answer_shown"]
    list_select_related = ["member__project__owner", "member__user", "scene", "character", "order"]
    list_filter = [AnswerFilter, "asked_at"]
    ordering = ["-asked_at", "-pk"]
    search_fields = [
        "=id",
        "member__project__name",
        "=member__project__id",
        "=member__user__username",
        "=member__project__owner__username",
    ]
    search_help_text = gettext_lazy("Id; name or id of the project; name of who asks or pays")
    fields = [
        "project",
        "about",
        "wish",
        "who",
        "price_shown",
        "asked_at",
        "answer_shown",
        "answered_at",
        "word",
        "order",
    ]

    def is_open(self, row: Ask) -> bool:
        return not row.answer

    @admin.display(description=gettext_lazy("picture"))
    def about(self, ask: Ask) -> str:
        return " · ".join(filter(None, [str(ask.subject or "–"), ask.work]))

    @admin.display(description=gettext_lazy("project"), ordering="member__project__name")
    def project(self, ask: Ask) -> str:
        project = ask.member.project
        page = reverse("admin:projects_project_change", args=[project.pk])
        return format_html('<a href="{}">{}</a>', page, project)

    @admin.display(description=gettext_lazy("asked by"), ordering="member__user__username")
    def who(self, ask: Ask) -> str:
        words = _("%(name)s, of %(payer)s")
        return words % {"name": ask.member.user, "payer": ask.member.project.owner}

    @admin.display(description=gettext_lazy("price"), ordering="price")
    def price_shown(self, ask: Ask) -> str:
        return in_credits(ask.price)

    @admin.display(description=gettext_lazy("answer"), ordering="answer")
    def answer_shown(self, ask: Ask) -> str:
        return str(ask.get_answer_display()) if ask.answer else _("waiting")
