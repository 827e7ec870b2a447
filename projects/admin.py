"""What staff see of projects. Scenes, characters and pictures are looked at here, not changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from projects import files
from projects.models import ApiToken, Character, Project, Scene, Take
from projects.words import differ

NO_PICTURE = "–"


class ReadOnly:
    """A ModelAdmin in which nothing can be added, changed or deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def picture_of(take_id: str | None) -> str:
    """The small picture as a link to the large one; for staff who may view takes."""
    if not take_id:
        return NO_PICTURE
    return format_html(
        '<a class="take" href="{}"><img src="{}" alt="{}" loading="lazy"></a>',
        reverse("admin:projects_take_picture", args=[take_id]),
        reverse("admin:projects_take_thumbnail", args=[take_id]),
        take_id,
    )


def _counted(rows: type[Scene] | type[Take]) -> Coalesce:
    """How many rows of this kind a project has."""
    of_project = rows._default_manager.filter(project=OuterRef("pk")).order_by().values("project")
    return Coalesce(Subquery(of_project.annotate(n=Count("pk")).values("n")), 0)


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["name", "owner", "scene_count", "take_count", "updated_at", "id"]
    list_select_related = ["owner"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["name", "=id", "owner__username", "owner__email"]
    search_help_text = _("Name or id of the project, name or e-mail address of its owner")
    autocomplete_fields = ["owner"]
    fields = ["name", "owner", "style", "id", "created_at", "updated_at"]
    readonly_fields = ["id", "created_at", "updated_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        counts = {"scene_count": _counted(Scene), "take_count": _counted(Take)}
        rows: QuerySet[Project] = super().get_queryset(request)
        return rows.annotate(**counts)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The owner is chosen; users are made and deleted elsewhere."""
        help_texts = {"owner": _("Pays for what is ordered in this project from now on.")}
        form = super().get_form(request, *args, **{"help_texts": help_texts, **kwargs})
        if "owner" in form.base_fields:
            widget = form.base_fields["owner"].widget
            widget.can_add_related = widget.can_change_related = widget.can_delete_related = False
        return form

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        if change and differ(form.initial.get("style", ""), obj.style):
            obj.style_changed_at = timezone.now()
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        """Orders, charges and pictures refer to it; its owner may delete an empty one."""
        return False

    @admin.display(description=_("scenes"), ordering="scene_count")
    def scene_count(self, project: Project) -> int:
        return int(project.scene_count)  # type: ignore[attr-defined]

    @admin.display(description=_("takes"), ordering="take_count")
    def take_count(self, project: Project) -> int:
        return int(project.take_count)  # type: ignore[attr-defined]


class PicturedAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_select_related = ["project"]
    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model._default_manager.with_picture()
        return rows

    @admin.display(description=_("picture"))
    def picture(self, subject: Any) -> str:
        return picture_of(subject.picture_id)

    @admin.display(description=_("takes"))
    def take_count(self, subject: Any) -> int:
        return int(subject.take_count)


@admin.register(Scene)
class SceneAdmin(PicturedAdmin):
    list_display = ["number", "picture", "title", "project", "take_count", "updated_at"]
    list_display_links = ["number", "title"]
    ordering = ["-updated_at", "pk"]
    search_fields = ["=number", "title", "=id", "project__name", "=project__id"]
    search_help_text = _("Number, title or id; name or id of the project")
    fields = [
        "project",
        "number",
        "title",
        "description",
        "cast",
        "picture",
        "take_count",
        "created_at",
        "updated_at",
    ]


@admin.register(Character)
class CharacterAdmin(PicturedAdmin):
    list_display = ["name", "picture", "project", "take_count", "updated_at"]
    ordering = ["-updated_at", "pk"]
    search_fields = ["name", "=id", "project__name", "=project__id"]
    search_help_text = _("Name or id; name or id of the project")
    fields = [
        "project",
        "name",
        "description",
        "picture",
        "take_count",
        "created_at",
        "updated_at",
    ]


@admin.register(Take)
class TakeAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Takes, with pictures that staff may see here without being members of their projects."""

    list_display = ["id", "picture", "project", "scene", "character", "made_by", "created_at"]
    list_select_related = ["project", "scene", "character", "made_by"]
    list_filter = ["content_type", "created_at"]
    list_per_page = 50
    show_full_result_count = False
    ordering = ["-created_at", "-pk"]
    search_fields = ["=id", "=sha256", "project__name", "=project__id", "=made_by__username"]
    search_help_text = _("Id or SHA-256; name or id of the project; user name")
    fields = [
        "picture",
        "project",
        "scene",
        "character",
        "made_by",
        "created_at",
        "content_type",
        "width",
        "height",
        "size",
        "sha256",
        "source_url",
    ]

    @admin.display(description=_("picture"))
    def picture(self, take: Take) -> str:
        return picture_of(take.pk) if take.is_stored else NO_PICTURE

    def get_urls(self) -> list[URLPattern]:
        def view(serve: Any) -> Any:
            return self.admin_site.admin_view(serve, cacheable=True)

        return [
            path("<str:take_id>/picture", view(self.picture_view), name="projects_take_picture"),
            path(
                "<str:take_id>/thumbnail", view(self.thumbnail_view), name="projects_take_thumbnail"
            ),
            *super().get_urls(),
        ]

    def picture_view(self, request: HttpRequest, take_id: str) -> HttpResponseBase:
        return files.picture_of(request, self._take(request, take_id))

    def thumbnail_view(self, request: HttpRequest, take_id: str) -> HttpResponseBase:
        return files.thumbnail_of(request, self._take(request, take_id))

    def _take(self, request: HttpRequest, take_id: str) -> Take:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(
            Take.objects.select_related("project", "scene", "character"), pk=take_id
        )


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tokens are made by the people themselves, who alone see the secret; staff may revoke."""

    list_display = ["name", "user", "created_at", "last_used_at"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "user__email"]
    fields = ["user", "name", "created_at", "last_used_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False
