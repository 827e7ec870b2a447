"""What is known of a model, in the words of its page and of the list: prices, how it does, what is
staff's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext as _

from credits.templatetags.money import credits, dollars
from generation import records
from generation.catalogue import loading
from generation.models import Generation, KieModel
from generation.pricing import NoPrice, quote
from generation.records import Record
from generation.replacement import uses_of

WEEK = timedelta(days=7)
NOTHING = "–"


def know(models: Any) -> None:
    """Puts beside each model what the site's orders and projects say of it."""
    known, weeks, uses = records.all_records(), _weeks(), uses_of(models)
    for model in models:
        model.record = known.get(model.pk, records.NOTHING)
        model.week = weeks.get(model.pk, 0)
        model.used = uses[model.pk]


def _weeks() -> dict[int, int]:
    """How many orders each model got in the last seven days."""
    recent = Generation.objects.filter(created_at__gte=timezone.now() - WEEK).order_by()
    return dict(recent.values_list("model").annotate(Count("pk")))


def record_of(model: KieModel) -> Record:
    record: Record = getattr(model, "record", records.NOTHING)  # the page to add one has none
    return record


def prices(model: KieModel, *, with_dollars: bool) -> str:
    """ "1K / 2K: 6, 4K: 12": those that are the same stand together."""
    if model.pk is None:
        return NOTHING
    same: dict[str, list[str]] = {}
    for name in model.price_names:
        same.setdefault(_price_words(model, name, with_dollars), []).append(name)
    if len(same) == 1:
        return next(iter(same))
    return ", ".join(f"{' / '.join(names)}: {words}" for words, names in same.items())


def _price_words(model: KieModel, name: str, with_dollars: bool) -> str:
    try:
        price = quote(model, name)
    except NoPrice:
        return _("no price: it cannot be ordered")
    words = credits(price.credits)
    return f"{words} ({dollars(price.cost)})" if with_dollars else words


def per_kept(model: KieModel) -> int | None:
    """Hundredths of a credit, at the model's own resolution."""
    try:
        usual = quote(model, model.default_resolution or model.price_names[0])
    except NoPrice:
        return None
    return record_of(model).per_kept(usual.credits)


def share(part: int, whole: int, percent: int | None) -> str:
    """ "4 / 40 (10 %)"; without the percent where too little is known."""
    if not whole:
        return NOTHING
    return f"{part} / {whole}" if percent is None else f"{part} / {whole} ({percent} %)"


def in_file(model: KieModel) -> Iterator[tuple[str, str]]:
    """What is staff's own, by its name, and what the catalogue's file has there."""
    for name, change in loading.own_changes(model).items():
        column, _space, price = name.partition(" ")
        if column == "prices":
            yield f"{_('price')} {price}".strip(), str(change.file)
        else:
            label = str(label_for_field(column, KieModel))
            yield label, json.dumps(change.file, ensure_ascii=False)
