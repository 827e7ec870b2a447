"""Loads the catalogue into rows, and leaves alone what staff changed in them.

`KieModel.loaded` is the row as the file last had it. A column that differs from it was changed by
staff, and so was a price that differs from it: both are kept, and said to be. `is_active` and
`api_model_id` are staff's from the beginning.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, field, fields
from datetime import date
from typing import Any, NamedTuple

from django.db import transaction

from generation.catalogue.reading import Amount, Catalogue, Entry
from generation.models import KieModel
from generation.pricing import NoPrice, in_force


class Difference(NamedTuple):
    """What a row has, and what the file has."""

    row: Any
    file: Any


@dataclass
class Outcome:
    """What loading does to one model, by column, and by resolution for prices."""

    model_id: str
    created: bool = False
    updated: dict[str, Difference] = field(default_factory=dict)
    kept: dict[str, Difference] = field(default_factory=dict)
    new_prices: dict[str, Difference] = field(default_factory=dict)
    kept_prices: dict[str, Difference] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return self.created or bool(self.updated or self.new_prices)


def load(catalogue: Catalogue, *, dry_run: bool = False) -> list[Outcome]:
    """Makes the rows say what the file says, where they are not staff's; all of it or nothing."""
    with transaction.atomic():
        locked = KieModel.objects.select_for_update().prefetch_related("prices")
        rows = {row.model_id: row for row in locked}
        return [_load(entry, rows.get(entry.model_id), dry_run) for entry in catalogue.entries]


def left_behind(catalogue: Catalogue) -> list[str]:
    """Models that an earlier file loaded and this one does not have."""
    ids = [entry.model_id for entry in catalogue.entries]
    loaded = KieModel.objects.exclude(loaded={}).exclude(model_id__in=ids)
    return list(loaded.values_list("model_id", flat=True))


def _load(entry: Entry, row: KieModel | None, dry_run: bool) -> Outcome:
    outcome = _compare(entry, row)
    if dry_run:
        return outcome
    if row is None:
        row = KieModel(**entry.columns, is_active=entry.active, loaded=_as_loaded(entry))
        row.save()
    elif outcome.updated or row.loaded != _as_loaded(entry):
        _update(row, entry, list(outcome.updated))
    for resolution, price in outcome.new_prices.items():
        amount: Amount = price.file
        row.prices.create(resolution=resolution, **asdict(amount))
    return outcome


def _update(row: KieModel, entry: Entry, columns: list[str]) -> None:
    for column in columns:
        setattr(row, column, entry.columns[column])
    row.loaded = _as_loaded(entry)
    row.save(update_fields=[*columns, "loaded", "updated_at"])


def _as_loaded(entry: Entry) -> dict[str, Any]:
    """The entry as JSON; each price as the list of an Amount's fields."""
    columns = {column: _plain(value) for column, value in entry.columns.items()}
    prices = {name: list(astuple(amount)) for name, amount in entry.prices.items()}
    return {**columns, "prices": prices}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _compare(entry: Entry, row: KieModel | None) -> Outcome:
    outcome = Outcome(entry.model_id, created=row is None)
    if row is not None:
        _compare_columns(outcome, entry, row)
    _compare_prices(outcome, entry, row)
    return outcome


def _compare_columns(outcome: Outcome, entry: Entry, row: KieModel) -> None:
    empty = KieModel()  # what a column last had that the file did not have yet
    for column, file in entry.columns.items():
        here = getattr(row, column)
        if here == file:
            continue
        is_staffs = _plain(here) != row.loaded.get(column, getattr(empty, column))
        (outcome.kept if is_staffs else outcome.updated)[column] = Difference(here, file)


def _compare_prices(outcome: Outcome, entry: Entry, row: KieModel | None) -> None:
    last_loaded = row.loaded.get("prices", {}) if row else {}
    for resolution, file in entry.prices.items():
        here = _price_in_force(row, resolution)
        if here == file:
            continue
        is_staffs = here is not None and list(astuple(here)) != last_loaded.get(resolution)
        kind = outcome.kept_prices if is_staffs else outcome.new_prices
        kind[resolution] = Difference(here, file)


def _price_in_force(row: KieModel | None, resolution: str) -> Amount | None:
    if row is None:
        return None
    try:
        price = in_force(row, resolution)
    except NoPrice:
        return None
    return Amount(**{field.name: getattr(price, field.name) for field in fields(Amount)})
