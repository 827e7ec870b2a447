"""A model that was switched off, and the one that takes its place in the projects that use it.

Nothing changes by itself: the people of a project are told, and one of them decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from generation import defaults
from generation.forms import ImageSettingsForm
from generation.models import ImageSettings, KieModel
from generation.pricing import Quote
from projects.models import Project

HAS_NOT_CHOSEN = Q(image_settings__isnull=True) | Q(image_settings__model="")


@dataclass(frozen=True)
class Replacement:
    """`old` is the project's and switched off; `new` may take its place, at `price` a picture.

    `form` is bound to what the project's settings would be, and valid; `gives_way` are those of
    them that `new` does not have. There is no `new` where staff named none that can be ordered.
    """

    old: KieModel
    new: KieModel | None = None
    price: Quote | None = None
    form: ImageSettingsForm | None = None
    gives_way: tuple[str, ...] = ()


def replacement_for(project: Project) -> Replacement | None:
    """None while the project's model is not switched off."""
    named = defaults.settings_of(project).model.value
    old = KieModel.objects.named(named)
    if old is None or old.is_active:
        return None
    new = in_its_place(old)
    return (new and _offered(old, new, project)) or Replacement(old)


def projects_on(model: KieModel) -> QuerySet[Project]:
    """Those whose pictures it makes, whether they chose it or never chose."""
    own = Q(image_settings__model__in=_ids(model))
    if defaults.MODEL in _ids(model):
        own |= HAS_NOT_CHOSEN
    return Project.objects.filter(own)


def uses_of(models: Iterable[KieModel]) -> dict[int, int]:
    """How many projects each of them makes the pictures of, by its pk."""
    named = ImageSettings.objects.exclude(model="").values_list("model")
    uses = Counter(dict(named.annotate(Count("pk"))))
    uses[defaults.MODEL] += Project.objects.filter(HAS_NOT_CHOSEN).count()
    return {model.pk: sum(uses[name] for name in _ids(model)) for model in models}


def _ids(model: KieModel) -> list[str]:
    return [model.model_id, *model.aliases]


def in_its_place(old: KieModel) -> KieModel | None:
    """The next in the chain of replacements that is not switched off itself."""
    seen = {old.pk}
    new = old.replacement
    while new and not new.is_active and new.pk not in seen:
        seen.add(new.pk)
        new = new.replacement
    return new if new and new.is_active else None


def _offered(old: KieModel, new: KieModel, project: Project) -> Replacement | None:
    """The project's settings with the new model: what it does not have gives way, and where a ratio
    does not go with the resolution, that gives way, too. None where nothing can be ordered so."""
    own = ImageSettings.objects.filter(project=project).first() or ImageSettings(project=project)
    offered = ImageSettingsForm(instance=own, initial={"model": new.model_id})
    values = {name: offered[name].value() or "" for name in offered.fields}
    for tried in (values, values | {"scene_resolution": ""}):
        form = ImageSettingsForm(tried, instance=own)
        if form.is_valid():
            return Replacement(old, new, form.price, form, tuple(offered.replaced))
    return None
