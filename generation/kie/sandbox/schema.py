"""What KIE's models take, give and cost, read from `generation/kie/facts.json`.

Written against the facts alone, never against the code that writes our requests: a request that
the real KIE would refuse is refused here too, with the words that were seen. Where the words of
a refusal are not known, that stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

FACTS = Path(__file__).parent.parent / "facts.json"
LARGEST_EDGE = 8192  # pixels; nothing larger is drawn
SMALLEST_EDGE = 64

WORKS = ("upscale", "reframe", "background-removal", "layer-decomposition", "edit")

Fields = Mapping[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True)
class Refusal:
    """The body's `code` and `msg` of a createTask that is not accepted."""

    code: int
    msg: str


UNKNOWN_MODEL = Refusal(
    422,
    "The model name you specified is not supported. Please verify that you are using the "
    "correct model name.",
)


def model_named(name: object) -> Model | None:
    return _models().get(name) if isinstance(name, str) else None


def model_names() -> list[str]:
    return list(_models())


@dataclass(frozen=True)
class Field:
    """One field of a model's `input`. Only its own limits are checked, never what fits it."""

    name: str
    type: str
    required: bool
    default: Any = None
    enum: tuple[Any, ...] = ()
    limits: Fields = field(default_factory=dict)  # min, max, min_length, …, as in the facts

    def refusal(self, value: Any) -> Refusal | None:
        """Of a value that is there. KIE's words for a wrong type or length are not known."""
        if not any(_is_a(value, kind.strip()) for kind in self.type.split("|")):
            return Refusal(422, f"{self.name} must be of type {self.type}")
        if self.enum and not any(value == e and type(value) is type(e) for e in self.enum):
            return self._out_of_range()
        if isinstance(value, str):
            return self._length_refusal(value)
        size = len(value) if isinstance(value, list) else value
        suffix = "_items" if isinstance(value, list) else ""
        low, high = self.limits.get(f"min{suffix}"), self.limits.get(f"max{suffix}")
        too_low = low is not None and size < low
        return self._out_of_range() if too_low or (high is not None and size > high) else None

    def _length_refusal(self, value: str) -> Refusal | None:
        most = self.limits.get("max_length")
        if most is not None and len(value) > most:
            return Refusal(422, f"The {self.name} must not exceed {most} characters")
        least = self.limits.get("min_length", 0)
        if len(value) < least:
            return Refusal(422, f"The {self.name} must have at least {least} characters")
        return None

    def _out_of_range(self) -> Refusal:
        return Refusal(500, f"{self.name} is not within the range of allowed options")


def _is_a(value: Any, kind: str) -> bool:
    if kind.startswith("array<"):
        inside = kind.removeprefix("array<").removesuffix(">")
        return isinstance(value, list) and all(_is_a(v, inside) for v in value)
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types = {"string": str, "number": (int, float), "object": dict}
    return isinstance(value, types.get(kind, ()))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Model:
    """One model; `facts` is its entry of facts.json."""

    id: str
    fields: tuple[Field, ...]
    facts: Fields

    def refusal(self, given: Fields) -> Refusal | None:
        """Why this `input` is not accepted, or None. Fields that the model does not have are
        ignored, as KIE does."""
        for f in self.fields:
            if f.required and _is_empty(given.get(f.name)):
                return Refusal(500, f"{f.name} is required")
        one_of = self.facts.get("one_of")
        if one_of and sum(all(not _is_empty(given.get(n)) for n in names) for names in one_of) != 1:
            return Refusal(500, "This field is required")
        for f in self.fields:
            if given.get(f.name) is not None and (refusal := f.refusal(given[f.name])):
                return refusal
        return self._combination_refusal(given)

    def _combination_refusal(self, given: Fields) -> Refusal | None:
        """Of values that are fine alone but not together; KIE's words for it are not known."""
        settings = self.settings(given)
        for combination in self.facts.get("refuses", []):
            if _holds(combination, settings):
                names = " with ".join(combination)
                return Refusal(500, f"{names} is not within the range of allowed options")
        return None

    def settings(self, given: Fields) -> dict[str, Any]:
        """The model's own fields with their defaults: what the picture is made and billed by."""
        values = {f.name: given.get(f.name) for f in self.fields}
        return {
            f.name: f.default if values[f.name] is None else values[f.name] for f in self.fields
        }

    def pictures(self, given: Fields) -> int:
        """How many pictures one task brings; 0 for a model that answers with an object."""
        outputs: Fields = self.facts.get("outputs", {})
        settings = self.settings(given)
        for case in outputs.get("cases", []):
            if _holds(case["when"], settings):
                outputs = {**outputs, **case}
        if "fixed" in outputs:
            return int(outputs["fixed"])
        count = given.get(outputs.get("count_field", ""))
        return int(count if count is not None else outputs.get("default", 1))

    def credits(self, given: Fields, source: Size | None = None) -> float:
        """KIE credits for the whole task; `source` as for `size`."""
        price = self.facts["price"]
        settings = self.settings(given)
        width, height = self.size(given, source)
        edge = max(width, height)
        each = next(
            tier["credits"]
            for tier in price["tiers"]
            if _holds(tier["when"], settings) and edge <= tier.get("up_to_edge", edge)
        )
        megapixels = width * height / 1_000_000
        units = {"image": 1, "megapixel": megapixels, "task": 1 / max(1, self.pictures(given))}
        total = each * units[price["unit"]] * max(1, self.pictures(given))
        if extra := price.get("per_input"):
            inputs = len(given.get(extra["field"]) or [])
            total += extra["credits"] * max(0, inputs - extra["free"])
        return round(float(total), 2)

    def size(self, given: Fields, source: Size | None = None) -> Size:
        """Pixels: the longest edge is the tier's, the other follows from the ratio. Where nothing
        is said of either, it is as with `source`, the size of the picture that is worked on."""
        across, down = self._ratio(given) or source or (1, 1)
        usual = max(source) if source and not self.facts.get("resolution") else 1024
        edge = _facts()["long_edges"].get(self._tier(given), usual)
        if source and "upscale_factor" in given:
            edge = max(source) * int(given["upscale_factor"])
        width = edge if across >= down else edge * across / down
        height = edge if down >= across else edge * down / across
        return max(SMALLEST_EDGE, round(width)), max(SMALLEST_EDGE, round(height))

    def _ratio(self, given: Fields) -> tuple[float, float] | None:
        """Of the field that shapes this model; None for "auto" and for models without one."""
        names = ("aspect_ratio", "image_size") if self.facts.get("aspect") else ()
        field_name = self.facts["aspect"]["field"] if names else ""
        sent = next((given[n] for n in (field_name, *names) if given.get(n)), None)
        wanted = sent or (self.facts["aspect"]["default"] if names else None) or "auto"
        across, colon, down = _facts()["named_sizes"].get(wanted, wanted).partition(":")
        return (float(across), float(down)) if colon else None

    def _tier(self, given: Fields) -> str:
        resolution = self.facts.get("resolution") or {}
        value = self.settings(given).get(resolution.get("field", "")) or resolution.get("default")
        return str(resolution.get("meaning", {}).get(value, value))

    def file_format(self, given: Fields) -> str:
        """ "png", "jpeg" or "webp"; png where nothing is known."""
        known = self.facts.get("output_format") or {}
        wanted = self.settings(given).get(known.get("field") or "") or known.get("default", "png")
        return "jpeg" if wanted == "jpg" else str(wanted)

    @property
    def work(self) -> str:
        """What it does with the picture that it gets: one of WORKS; "" if it makes new ones."""
        modality = self.facts["modality"]
        return "" if "text-to-image" in modality else next((w for w in WORKS if w in modality), "")

    @property
    def pending_state(self) -> str:
        """The only state before the end that was seen of this model; "" if it was not watched."""
        return str(self.facts.get("observed_state_while_running", ""))


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def _holds(when: Fields, settings: Fields) -> bool:
    return all(settings.get(name) in values for name, values in when.items())


@cache
def _facts() -> Fields:
    facts: Fields = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


@cache
def _models() -> dict[str, Model]:
    return {m["id"]: Model(m["id"], _fields(m["input_schema"]), m) for m in _facts()["models"]}


def _fields(described: list[dict[str, Any]]) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=d["name"],
            type=d["type"],
            required=d["required"],
            default=d.get("default", d.get("effective_default")),
            enum=tuple(d.get("enum", ())),
            limits={k: v for k, v in d.items() if k.startswith(("min", "max"))},
        )
        for d in described
    )
