"""The final prompt and the final request, exactly as they will be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generation.models import KieModel
from generation.references import Sent
from projects.cast import CastMember
from projects.models import Character, Scene


@dataclass(frozen=True)
class Part:
    """A piece of a prompt, and where it comes from: scene, shot, character, cast, style, prompt."""

    kind: str
    text: str


NEARLY = 0.9  # of what a model takes: from here on, whoever writes is told


@dataclass(frozen=True)
class Length:
    """Of a prompt, in characters, against what the model takes."""

    used: int
    most: int

    @property
    def is_beyond(self) -> bool:
        return self.used > self.most

    @property
    def is_near(self) -> bool:
        return not self.is_beyond and self.used >= NEARLY * self.most


def parts_for(
    subject: Scene | Character, cast: Sequence[CastMember] = (), sent: Sequence[Sent] = ()
) -> list[Part]:
    """What the prompt of a scene or character is made of, in order; empty pieces are left out.

    The cast whose pictures are sent is told by the number of its picture.
    """
    if isinstance(subject, Scene):
        numbers = {one.character.pk: i for i, one in enumerate(sent, 1) if one.character}
        lines = filter(None, (_line(m.character, numbers.get(m.character.pk)) for m in cast))
        shot = f"{subject.shot[:1].upper()}{subject.shot[1:]}." if subject.shot else ""
        parts = [
            Part("scene", subject.description.strip()),
            Part("shot", shot),
            Part("cast", "\n".join(lines)),
        ]
    else:
        parts = [Part("character", subject.description.strip())]
    if not parts[0].text:
        return []  # a cast or a style alone is no picture
    parts.append(Part("style", subject.project.style.strip()))
    return [p for p in parts if p.text]


def _line(character: Character, number: int | None) -> str:
    description = character.description.strip()
    if number:
        name = f"{character.name} (image {number})"
        return f"{name}: {description}" if description else f"{name}."
    return f"{character.name}: {description}" if description else ""


def join(parts: list[Part]) -> str:
    return "\n\n".join(p.text for p in parts)


def request_for(
    model: KieModel,
    prompt: str,
    aspect_ratio: str,
    resolution: str,
    count: int = 1,
    pictures: Sequence[Sent] = (),
) -> dict[str, Any]:
    """createTask's `model` and `input`, written from the model's row.

    The ratio, the resolution, the count and the pictures must fit the model (`orders.prepare` sees
    to it).
    """
    fields: dict[str, Any] = {"prompt": prompt} if prompt else {}
    if aspect_ratio:
        fields[model.ratio_field] = model.ratios[aspect_ratio]
    if model.resolution_field:
        fields[model.resolution_field] = model.resolutions[resolution]
    if model.count_field:
        fields[model.count_field] = model.counts[str(count)]
    for slot, field in model.takes.items():
        if values := [one.value for one in pictures if one.slot == slot]:
            fields[field.field] = values if field.is_list else values[0]
    return {"model": model.sent_id, "input": {**fields, **model.constants}}


def with_addresses(request: dict[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """The request as KIE gets it: each value that stands for a take (its key) is its address."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(item) for item in value]
        return addresses.get(value, value) if isinstance(value, str) else value

    fields = {name: v if name == "prompt" else put(v) for name, v in request["input"].items()}
    return {**request, "input": fields}


def is_text(value: str) -> bool:
    """Can every database and KIE take it? NUL and half characters are no text."""
    return "\x00" not in value and not any(0xD800 <= ord(c) <= 0xDFFF for c in value)
