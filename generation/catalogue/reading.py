"""Reads the catalogue's file, and refuses one that would load a model wrongly.

The file is for people: prices are whole credits and dollars as KIE lists them, and what a model
does not have is left out. Here they become the columns of KieModel and the integers of Price.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ValidationError

from generation.catalogue import rules
from generation.models import KieModel, PromptUse

FILE = Path(__file__).with_name("models.json")
ANY = "any"  # in `prices`: the price of every resolution

Kind = TypeVar("Kind")


class BadCatalogue(Exception):
    """The file cannot be loaded; says which model, which field and what is wrong with it."""

    def __init__(self, where: str, field: str, why: str) -> None:
        super().__init__(f"{where}: {field}: {why}")


@dataclass(frozen=True)
class Amount:
    """What one picture costs: hundredths of a KIE credit, and micro-dollars; and each picture that
    goes along, once so many are free. The fields are Price's."""

    credits: int
    cost: int
    reference_credits: int = 0
    reference_cost: int = 0
    free_references: int = 0

    def __str__(self) -> str:
        words = f"{self.credits / 100:g} credits (${self.cost / 1_000_000:g})"
        if not self.reference_credits:
            return words
        extra = f"{self.reference_credits / 100:g} credits (${self.reference_cost / 1_000_000:g})"
        return f"{words} + {extra} per reference beyond {self.free_references}"


@dataclass(frozen=True)
class Entry:
    """One model of the file. But for `active` and `prices`, the fields are KieModel's columns.

    `active` counts only when the model is first loaded. `prices` has an amount for each resolution
    by name; a model without resolutions has one, under "".
    """

    model_id: str
    name: str
    vendor: str
    modality: list[str]
    aliases: list[str]
    active: bool
    prompt_use: str
    prompt_min_length: int
    prompt_max_length: int | None
    ratio_field: str
    ratios: dict[str, Any]
    resolution_field: str
    resolutions: dict[str, Any]
    default_resolution: str
    impossible: list[list[str]]
    count_field: str
    counts: dict[str, Any]
    picture_fields: list[dict[str, Any]]
    price_edges: dict[str, int]
    constants: dict[str, Any]
    quirks: list[str]
    source: str
    as_of: date
    prices: dict[str, Amount]

    @property
    def columns(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k not in ("active", "prices")}


@dataclass(frozen=True)
class Catalogue:
    as_of: date
    entries: list[Entry]


def read(path: Path = FILE) -> Catalogue:
    """The file's models. Raises BadCatalogue; OSError if there is no such file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Object)
    except ValueError as error:
        raise BadCatalogue(path.name, "JSON", str(error)) from error
    if not isinstance(raw, _Object):
        raise BadCatalogue(path.name, "JSON", "not an object")
    block = _Block(raw, path.name)
    block.take("title", str)
    block.take("notes", list, [])
    as_of = block.date("as_of")
    models = block.take("models", list)
    block.finish()
    entries = [_entry(model, number) for number, model in enumerate(models, start=1)]
    _check_ids(entries)
    return Catalogue(as_of, entries)


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys that stand in it twice; json itself drops them."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.twice = [key for key in self if keys.count(key) > 1]


class _Block:
    """One object of the file: hands out its fields by type, and knows which nobody asked for."""

    def __init__(self, raw: _Object, where: str) -> None:
        self.raw = raw
        self.where = where
        self.asked: set[str] = set()
        if raw.twice:
            raise self.bad(raw.twice[0], "stands twice")

    def bad(self, field: str, why: str) -> BadCatalogue:
        return BadCatalogue(self.where, field, why)

    def take(self, field: str, kind: type[Kind], default: Kind | None = None) -> Kind:
        self.asked.add(field)
        value = self.raw.get(field, default)
        if value is None:
            raise self.bad(field, "is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.bad(field, f"{value!r} is not a {kind.__name__}")
        if isinstance(value, _Object) and value.twice:
            raise self.bad(field, f"{value.twice[0]!r} stands twice")
        return value

    def strings(self, field: str, default: list[str] | None = None) -> list[str]:
        values = self.take(field, list, default)
        for value in values:
            if not isinstance(value, str) or not value:
                raise self.bad(field, f"{value!r} is not a text")
        return values

    def date(self, field: str) -> date:
        text = self.take(field, str)
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise self.bad(field, f"{text!r} is not a date (YYYY-MM-DD)") from error

    def finish(self) -> None:
        for key in self.raw:
            if key not in self.asked:
                raise self.bad(key, "is not a field of the catalogue")


def _entry(raw: Any, number: int) -> Entry:
    if not isinstance(raw, _Object):
        raise BadCatalogue(f"model {number}", "block", "not an object")
    block = _Block(raw, str(raw.get("model_id") or f"model {number}"))
    resolutions = dict(block.take("resolutions", dict, {}))
    price_edges = dict(block.take("price_edges", dict, {}))
    entry = Entry(
        model_id=block.take("model_id", str),
        name=block.take("name", str),
        vendor=block.take("vendor", str),
        modality=block.strings("modality"),
        aliases=block.strings("aliases", []),
        active=block.take("active", bool, True),
        prompt_use=block.take("prompt_use", str, PromptUse.REQUIRED.value),
        prompt_min_length=block.take("prompt_min_length", int, 1),
        prompt_max_length=block.take("prompt_max_length", int)
        if "prompt_max_length" in raw
        else None,
        ratio_field=block.take("ratio_field", str, ""),
        ratios=dict(block.take("ratios", dict, {})),
        resolution_field=block.take("resolution_field", str, ""),
        resolutions=resolutions,
        default_resolution=next(iter(resolutions), ""),
        impossible=block.take("impossible", list, []),
        count_field=block.take("count_field", str, ""),
        counts=dict(block.take("counts", dict, {})),
        picture_fields=[_plain(field) for field in block.take("picture_fields", list, [])],
        price_edges=price_edges,
        constants=dict(block.take("constants", dict, {})),
        quirks=block.strings("quirks", []),
        source=block.take("source", str),
        as_of=block.date("as_of"),
        prices=_prices(block, list(price_edges or resolutions or [""])),
    )
    block.finish()
    for field, fault in rules.faults(entry.columns):
        raise block.bad(field, fault)
    _check_columns(entry, block)
    return entry


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, _Object) else value


def _prices(block: _Block, names: list[str]) -> dict[str, Amount]:
    raw = block.take("prices", dict)
    amounts = {name: _amount(block, name, price) for name, price in raw.items()}
    if set(amounts) == {ANY}:
        return dict.fromkeys(names, amounts[ANY])
    for name in names:
        if name not in amounts:
            raise block.bad("prices", f"no price for {name!r}" if name else "no price")
    for name in amounts:
        if name not in names:
            raise block.bad("prices", f"{name!r} is not in {' '.join(names) or 'resolutions'}")
    return amounts


def _amount(block: _Block, name: str, raw: Any) -> Amount:
    field = f"prices: {name}"
    wanted = {"credits", "usd"}
    if not isinstance(raw, _Object) or set(raw) - {"reference"} != wanted or raw.twice:
        raise block.bad(field, "must have credits and usd, and nothing else but a reference's")
    credits, cost = _both(block, field, raw)
    extra = raw.get("reference")
    if extra is None:
        return Amount(credits, cost)
    if not isinstance(extra, _Object) or set(extra) != {*wanted, "free"} or extra.twice:
        raise block.bad(field, "reference must have credits, usd and free")
    free = extra["free"]
    if not isinstance(free, int) or isinstance(free, bool) or free < 0:
        raise block.bad(field, f"{free!r} references cannot be free")
    return Amount(credits, cost, *_both(block, field, extra), free)


def _both(block: _Block, field: str, raw: _Object) -> tuple[int, int]:
    """Credits and dollars as integers: both above 0, or both 0 for what is free at KIE."""
    credits = _units(block, field, raw["credits"], 100)
    cost = _units(block, field, raw["usd"], 1_000_000)
    if bool(credits) != bool(cost):
        nothing = raw["credits"] if cost else raw["usd"]
        raise block.bad(field, f"{nothing!r} must be above 0, or both must be 0")
    return credits, cost


def _units(block: _Block, field: str, value: Any, per_one: int) -> int:
    """An amount as an integer of units of which `per_one` make 1; never rounded."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise block.bad(field, f"{value!r} is not a number")
    units = Decimal(repr(value)) * per_one
    if not units.is_finite() or units < 0 or units != int(units):
        raise block.bad(field, f"{value!r} must be a multiple of 1/{per_one}")
    return int(units)


def _check_columns(entry: Entry, block: _Block) -> None:
    """Lengths and blanks, as the columns have them: SQLite would not notice a text too long."""
    try:
        KieModel(**entry.columns).clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise block.bad(field, " ".join(messages)) from error


def _check_ids(entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        for field, name in chain(
            [("model_id", entry.model_id)], (("aliases", alias) for alias in entry.aliases)
        ):
            if name in seen:
                raise BadCatalogue(entry.model_id, field, f"{name!r} stands twice in the file")
            seen.add(name)
