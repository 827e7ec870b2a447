"""What the list of projects shows of each: counts, its last change, its newest pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.db.models import Count, DateTimeField, Exists, F, OuterRef, QuerySet, Subquery, Window
from django.db.models.functions import Coalesce, Greatest, RowNumber

from projects.models import Project, Scene, Take

PICTURES = 4
# Enough to find pictures of different scenes behind many takes of the newest one.
CANDIDATES = 12


def with_counts(projects: QuerySet[Project]) -> QuerySet[Project]:
    """Adds `scene_count`, `pictured_count` (scenes with a take), `active_at`; newest first."""
    scenes = Scene.objects.filter(project=OuterRef("pk")).order_by().values("project")
    takes = Take.objects.filter(project=OuterRef("pk")).order_by("-created_at").values("created_at")
    pictured = scenes.filter(Exists(Take.objects.kept().filter(scene=OuterRef("pk"))))
    return projects.annotate(
        scene_count=Coalesce(Subquery(scenes.annotate(n=Count("pk")).values("n")), 0),
        pictured_count=Coalesce(Subquery(pictured.annotate(n=Count("pk")).values("n")), 0),
        # Two arguments of Coalesce: SQLite's greatest of something and NULL is NULL.
        active_at=Greatest(
            "updated_at",
            Coalesce(Subquery(takes[:1], output_field=DateTimeField()), "updated_at"),
        ),
    ).order_by("-active_at", "pk")


def newest_pictures(project_ids: Collection[str]) -> dict[str, list[str]]:
    """Ids of up to four takes of each project, newest first, of different scenes where possible."""
    newest = (
        Take.objects.kept()
        .filter(project__in=project_ids)
        .exclude(thumbnail="")
        .annotate(
            rank=Window(
                RowNumber(),
                partition_by="project",
                order_by=[F("created_at").desc(), F("pk").desc()],
            )
        )
        .filter(rank__lte=CANDIDATES)
        .order_by("project", "rank")
        .values_list("project", "pk", "scene", "character")
    )
    first: defaultdict[str, list[str]] = defaultdict(list)
    again: defaultdict[str, list[str]] = defaultdict(list)
    seen = set()
    for project, take, *subject in newest:
        repeats = (project, *subject) in seen
        seen.add((project, *subject))
        (again if repeats else first)[project].append(take)
    return {key: (first[key] + again[key])[:PICTURES] for key in project_ids}
