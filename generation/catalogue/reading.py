"""Reads the catalogue's file, and refuses one that would load a model wrongly.

The file is for people: prices are whole credits and dollars as KIE lists them, and what a model
does not have is left out. Here they become the columns of KieModel and the integers of Price.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ValidationError

from generation.models import KieModel, Price

FILE = Path(__file__).with_name("models.json")
ANY = "any"  # in `prices`: the price of every resolution

Kind = TypeVar("Kind")


class BadCatalogue(Exception):
    """The file cannot be loaded; says which model, which field and what is wrong with it."""

    def __init__(self, where: str, field: str, why: str) -> None:
        super().__init__(f"{where}: {field}: {why}")


@dataclass(frozen=True)
class Amount:
    """What one order costs: hundredths of a KIE credit, and micro-dollars."""

    credits: int
    cost: int

    def __str__(self) -> str:
        return f"{self.credits / 100:g} credits (${self.cost / 1_000_000:g})"


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
    prompt_max_length: int | None
    ratio_field: str
    ratios: dict[str, Any]
    resolution_field: str
    resolutions: dict[str, Any]
    default_resolution: str
    impossible: list[list[str]]
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
    ratio_field = block.take("ratio_field", str, "")
    ratios = _ratios(block, ratio_field)
    resolution_field = block.take("resolution_field", str, "")
    resolutions = _resolutions(block, resolution_field)
    entry = Entry(
        model_id=block.take("model_id", str),
        name=block.take("name", str),
        vendor=block.take("vendor", str),
        modality=block.strings("modality"),
        aliases=block.strings("aliases", []),
        active=block.take("active", bool, True),
        prompt_max_length=block.take("prompt_max_length", int)
        if "prompt_max_length" in raw
        else None,
        ratio_field=ratio_field,
        ratios=ratios,
        resolution_field=resolution_field,
        resolutions=resolutions,
        default_resolution=next(iter(resolutions), ""),
        impossible=_impossible(block, ratios, resolutions),
        constants=_constants(block, {"prompt", ratio_field, resolution_field}),
        quirks=block.strings("quirks", []),
        source=block.take("source", str),
        as_of=block.date("as_of"),
        prices=_prices(block, list(resolutions) or [""]),
    )
    block.finish()
    _check_columns(entry, block)
    return entry


def _ratios(block: _Block, field: str) -> dict[str, Any]:
    ratios = dict(block.take("ratios", dict, {}))
    if bool(ratios) != bool(field):
        raise block.bad("ratios", "needs a ratio_field" if ratios else "is missing")
    for ratio, sent in ratios.items():
        if not re.fullmatch(r"\d{1,2}:\d{1,2}", ratio):
            raise block.bad("ratios", f"{ratio!r} is not a ratio such as '16:9'")
        if not isinstance(sent, str) or not sent:
            raise block.bad("ratios", f"{sent!r} cannot be sent for {ratio}")
    return ratios


def _resolutions(block: _Block, field: str) -> dict[str, Any]:
    """A model that makes just one may name it without a field: nothing is sent for it then."""
    resolutions = dict(block.take("resolutions", dict, {}))
    if field and not resolutions:
        raise block.bad("resolutions", "is missing")
    if len(resolutions) > 1 and not field:
        raise block.bad("resolutions", "needs a resolution_field")
    longest = Price._meta.get_field("resolution").max_length or 0
    for resolution, sent in resolutions.items():
        if not 0 < len(resolution) <= longest or resolution == ANY:
            raise block.bad(
                "resolutions", f"{resolution!r} is not a name of 1 to {longest} letters"
            )
        if not isinstance(sent, str | bool | int) or sent == "":
            raise block.bad("resolutions", f"{sent!r} cannot be sent for {resolution}")
    if len({resolution.lower() for resolution in resolutions}) < len(resolutions):
        raise block.bad("resolutions", "two names differ only by case")
    return resolutions


def _impossible(
    block: _Block, ratios: dict[str, Any], resolutions: dict[str, Any]
) -> list[list[str]]:
    pairs = block.take("impossible", list, [])
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise block.bad("impossible", f"{pair!r} is not a pair of ratio and resolution")
        if pair[0] not in ratios:
            raise block.bad("impossible", f"{pair[0]!r} is not in ratios")
        if pair[1] not in resolutions:
            raise block.bad("impossible", f"{pair[1]!r} is not in resolutions")
    return pairs


def _constants(block: _Block, taken: set[str]) -> dict[str, Any]:
    constants = dict(block.take("constants", dict, {}))
    for name in constants:
        if name in taken:
            raise block.bad("constants", f"{name!r} is written by the order itself")
    return constants


def _prices(block: _Block, resolutions: list[str]) -> dict[str, Amount]:
    raw = block.take("prices", dict)
    amounts = {name: _amount(block, name, price) for name, price in raw.items()}
    if set(amounts) == {ANY}:
        return dict.fromkeys(resolutions, amounts[ANY])
    for name in resolutions:
        if name not in amounts:
            raise block.bad("prices", f"no price for {name!r}" if name else "no price")
    for name in amounts:
        if name not in resolutions:
            raise block.bad("prices", f"{name!r} is not in resolutions")
    return amounts


def _amount(block: _Block, name: str, raw: Any) -> Amount:
    field = f"prices: {name}"
    if not isinstance(raw, _Object) or set(raw) != {"credits", "usd"} or raw.twice:
        raise block.bad(field, "must have credits and usd, and nothing else")
    credits = _units(block, field, raw["credits"], 100)
    return Amount(credits, _units(block, field, raw["usd"], 1_000_000))


def _units(block: _Block, field: str, value: Any, per_one: int) -> int:
    """An amount as an integer of units of which `per_one` make 1; never rounded."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise block.bad(field, f"{value!r} is not a number")
    units = Decimal(repr(value)) * per_one
    if not units.is_finite() or units <= 0 or units != int(units):
        raise block.bad(field, f"{value!r} must be above 0 and a multiple of 1/{per_one}")
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
