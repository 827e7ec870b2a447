"""The final prompt and the final request, exactly as they will be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from generation.models import KieModel
from projects.models import Character, Scene


@dataclass(frozen=True)
class Part:
    """A piece of a prompt and where it comes from: "scene", "character", "cast" or "style"."""

    kind: str
    text: str


def parts_for(subject: Scene | Character) -> list[Part]:
    """What the prompt of a scene or character is made of, in order; empty pieces are left out."""
    if isinstance(subject, Scene):
        described = [c for c in subject.cast.all() if c.description.strip()]
        cast = "\n".join(f"{c.name}: {c.description.strip()}" for c in described)
        parts = [Part("scene", subject.description.strip()), Part("cast", cast)]
    else:
        parts = [Part("character", subject.description.strip())]
    if not parts[0].text:
        return []  # a cast or a style alone is no picture
    parts.append(Part("style", subject.project.style.strip()))
    return [p for p in parts if p.text]


def join(parts: list[Part]) -> str:
    return "\n\n".join(p.text for p in parts)


def request_for(model: KieModel, prompt: str, aspect_ratio: str, resolution: str) -> dict[str, Any]:
    """createTask's `model` and `input`, written from the model's row.

    The ratio and the resolution must be the model's own (`orders.prepare` sees to it).
    """
    fields: dict[str, Any] = {"prompt": prompt}
    if model.ratio_field:
        fields[model.ratio_field] = model.ratios[aspect_ratio]
    if model.resolution_field:
        fields[model.resolution_field] = model.resolutions[resolution]
    return {"model": model.sent_id, "input": {**fields, **model.constants}}


def is_text(value: str) -> bool:
    """Can every database and KIE take it? NUL and half characters are no text."""
    return "\x00" not in value and not any(0xD800 <= ord(c) <= 0xDFFF for c in value)
