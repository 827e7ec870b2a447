"""By what staff look for models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from generation import breaker
from generation.catalogue import loading
from generation.models import KieModel, Operation

YES, NO = ("yes", gettext_lazy("Yes")), ("no", gettext_lazy("No"))


def those(models: QuerySet[Any], fits: Callable[[KieModel], bool]) -> QuerySet[Any]:
    """What no database can be asked: there are less than a hundred models."""
    rows = KieModel.objects.prefetch_related("prices")
    return models.filter(pk__in=[model.pk for model in rows if fits(model)])


class OperationFilter(admin.SimpleListFilter):
    title = gettext_lazy("what it can do")
    parameter_name = "can"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Operation.choices)

    def queryset(self, request: HttpRequest, models: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() not in Operation.values:
            return None
        operation = Operation(str(self.value()))
        return those(models, lambda model: model.can(operation))


class TroubleFilter(admin.SimpleListFilter):
    title = gettext_lazy("in trouble")
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [YES, NO]

    def queryset(self, request: HttpRequest, models: QuerySet[Any]) -> QuerySet[Any] | None:
        in_trouble = breaker.tripped().values("pk")
        if self.value() == "yes":
            return models.filter(pk__in=in_trouble)
        return models.exclude(pk__in=in_trouble) if self.value() == "no" else None


class OwnFilter(admin.SimpleListFilter):
    """Where a row is not what the catalogue's file loaded."""

    title = gettext_lazy("changed by staff")
    parameter_name = "own"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [YES, NO]

    def queryset(self, request: HttpRequest, models: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.value() == "yes":
            return those(models, is_staffs)
        return those(models, lambda model: not is_staffs(model)) if self.value() == "no" else None


def is_staffs(model: KieModel) -> bool:
    return not model.loaded or bool(loading.own_changes(model))
