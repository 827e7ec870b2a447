"""What makes a model's row right: without it a request would be written wrongly.

For the catalogue's file and for what staff write in the admin alike. A rule is asked when all the
columns that it looks at are there and of the right type (a form may have refused one of them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from django.utils.translation import gettext as _

from generation.models import AUTO, MODALITIES, KieModel, PictureField, Price, Slot

Row = Mapping[str, Any]  # columns of KieModel
Faults = Iterator[str]

RATIO = re.compile(r"[1-9]\d?:[1-9]\d?")
LONGEST_NAME = Price._meta.get_field("resolution").max_length or 0
KINDS: dict[str, tuple[type, ...]] = {
    "field": (str,),
    "slot": (str,),
    "min": (int,),
    "max": (int,),
    "is_list": (bool,),
    "max_mb": (int, type(None)),
    "task_of": (str,),
    "beside": (int, type(None)),
    "not_at": (list,),
    "pixels": (list,),
    "edges": (list,),
}
NEEDED = {f.name for f in fields(PictureField) if f.default is MISSING}


def faults(row: Row) -> Iterator[tuple[str, str]]:
    """(column, what is wrong with it) for each fault."""
    for column, needs, find in RULES:
        if {column, *needs} <= row.keys():
            for fault in find(row):
                yield column, fault


def _modality(row: Row) -> Faults:
    for word in row["modality"]:
        if word not in MODALITIES:
            yield _("“%(word)s” is none of: %(all)s.") % {
                "word": word,
                "all": ", ".join(MODALITIES),
            }


def _prompt_max_length(row: Row) -> Faults:
    if row["prompt_max_length"] is not None and row["prompt_max_length"] < row["prompt_min_length"]:
        yield _("The longest prompt is shorter than the shortest.")


def _ratios(row: Row) -> Faults:
    field = row["ratio_field"]
    if row["ratios"] and not field:
        yield _("There is no aspect ratio field to send them in.")
    if field and not row["ratios"]:
        yield _("Name the ratios that “%(field)s” may have.") % {"field": field}
    for ratio, sent in row["ratios"].items():
        if ratio != AUTO and not RATIO.fullmatch(ratio):
            yield _("“%(ratio)s” is not a ratio such as 16:9.") % {"ratio": ratio}
        if not isinstance(sent, str) or not sent:
            yield _("What is sent for %(ratio)s must be a text.") % {"ratio": ratio}


def _resolutions(row: Row) -> Faults:
    """A model that makes just one may name it without a field: nothing is sent for it then."""
    field, resolutions = row["resolution_field"], row["resolutions"]
    if field and not resolutions:
        yield _("Name the resolutions that “%(field)s” may have.") % {"field": field}
    if len(resolutions) > 1 and not field:
        yield _("There is no resolution field to send them in.")
    if len({name.lower() for name in resolutions}) < len(resolutions):
        yield _("Two resolutions differ only by upper and lower case.")
    for name, sent in resolutions.items():
        if not 0 < len(name) <= LONGEST_NAME:
            yield _("“%(name)s” is not a name of 1 to %(longest)d letters.") % {
                "name": name,
                "longest": LONGEST_NAME,
            }
        if not isinstance(sent, str | bool | int) or sent == "":
            yield _must_be_sendable(name)


def _must_be_sendable(name: str) -> str:
    return _("What is sent for %(name)s must be a text, a number or true or false.") % {
        "name": name
    }


def _default_resolution(row: Row) -> Faults:
    resolutions = row["resolutions"]
    if row["default_resolution"] not in (resolutions or [""]):
        yield (
            _("Choose one of: %(all)s.") % {"all": ", ".join(resolutions)}
            if resolutions
            else _("This model has no resolutions: leave it empty.")
        )


def _impossible(row: Row) -> Faults:
    for pair in row["impossible"]:
        if not isinstance(pair, list) or len(pair) != 2:
            yield _("%(pair)s is not a pair of ratio and resolution.") % {"pair": pair}
        elif pair[0] not in list(row["ratios"]):
            yield _("%(name)s is not one of the ratios.") % {"name": pair[0]}
        elif pair[1] not in list(row["resolutions"]):
            yield _("%(name)s is not one of the resolutions.") % {"name": pair[1]}


def _counts(row: Row) -> Faults:
    field, counts = row["count_field"], row["counts"]
    if counts and not field:
        yield _("There is no count field to send them in.")
    if field and "1" not in counts:
        yield _("Say what “%(field)s” is for 1 picture.") % {"field": field}
    for count, sent in counts.items():
        if not re.fullmatch(r"[1-9]\d?", count):
            yield _("“%(count)s” is not a number of pictures.") % {"count": count}
        if isinstance(sent, bool) or not isinstance(sent, str | int) or sent == "":
            yield _must_be_sendable(count)


def _picture_fields(row: Row) -> Faults:
    slots = []
    for described in row["picture_fields"]:
        wrong = list(_picture_field(described, row["resolutions"]))
        yield from wrong
        if not wrong:
            slots.append(described["slot"])
    for slot in {slot for slot in slots if slots.count(slot) > 1}:
        yield _("Two fields are for the same: %(slot)s.") % {"slot": slot}


def _picture_field(described: Any, resolutions: Any) -> Faults:
    if not isinstance(described, dict):
        yield _("%(value)s is not an object.") % {"value": described}
        return
    for name in described.keys() - KINDS.keys():
        yield _("There is no “%(name)s” in a picture field.") % {"name": name}
    for name in sorted(NEEDED - described.keys()):
        yield _("A picture field needs “%(name)s”.") % {"name": name}
    for name, value in described.items():
        if name in KINDS and not _is_one_of(value, KINDS[name]):
            yield _("“%(name)s” cannot be %(value)s.") % {"name": name, "value": value}
            return
    if described.keys() < NEEDED or not described.get("field"):
        return
    if described["slot"] not in Slot.values:
        yield _("“slot” is one of: %(all)s.") % {"all": ", ".join(Slot.values)}
    least, most = described["min"], described["max"]
    if least < 0 or most < max(1, least) or (most > 1 and not described["is_list"]):
        yield _("From %(min)s to %(max)s pictures cannot be.") % {"min": least, "max": most}
    for name in ("pixels", "edges"):
        limits = described.get(name, [1, 1])
        if len(limits) != 2 or not all(_is_one_of(n, (int,)) for n in limits):
            yield _("“%(name)s” is the least and the most, two whole numbers.") % {"name": name}
    for name in described.get("not_at", ()):
        if name not in list(resolutions):
            yield _("%(name)s is not one of the resolutions.") % {"name": name}


def _is_one_of(value: Any, kinds: tuple[type, ...]) -> bool:
    """For Python, true is an integer."""
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _price_edges(row: Row) -> Faults:
    if not row["price_edges"]:
        return
    for name, edge in row["price_edges"].items():
        if not 0 < len(name) <= LONGEST_NAME or not _is_one_of(edge, (int,)) or edge < 1:
            yield _("“%(name)s” needs a number of pixels.") % {"name": name}
    for sent in row["resolutions"].values():
        if not re.fullmatch(r"[1-9]\d?", str(sent)):
            yield _("The resolutions must be factors such as 2, not %(value)s.") % {"value": sent}


def _constants(row: Row) -> Faults:
    pictures = [d.get("field") for d in row["picture_fields"] if isinstance(d, dict)]
    own = ("prompt", row["ratio_field"], row["resolution_field"], row["count_field"], *pictures)
    for name in own:
        if name and name in row["constants"]:
            yield _("“%(name)s” is written by the order itself.") % {"name": name}


RULES: tuple[tuple[str, tuple[str, ...], Callable[[Row], Faults]], ...] = (
    ("modality", (), _modality),
    ("prompt_max_length", ("prompt_min_length",), _prompt_max_length),
    ("ratios", ("ratio_field",), _ratios),
    ("resolutions", ("resolution_field",), _resolutions),
    ("default_resolution", ("resolutions",), _default_resolution),
    ("impossible", ("ratios", "resolutions"), _impossible),
    ("counts", ("count_field",), _counts),
    ("picture_fields", ("resolutions",), _picture_fields),
    ("price_edges", ("resolutions",), _price_edges),
    ("constants", ("ratio_field", "resolution_field", "count_field", "picture_fields"), _constants),
)


def price_names(row: Row) -> list[str]:
    """By what the model's prices differ (KieModel.price_names)."""
    return KieModel(price_edges=row["price_edges"], resolutions=row["resolutions"]).price_names
