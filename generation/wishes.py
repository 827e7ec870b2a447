"""What somebody asks for, before anything of it is checked, and the refusal of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generation.models import Operation
from projects.cast import CastMember
from projects.models import Character, Project, Scene, Take

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class OrderRefused(Exception):
    """The order was not placed; nothing changed. `words` are for the person who asked.

    `status` is the HTTP status that fits, `field` the wish that is wrong (as in the API), `code`
    a short word for programs.
    """

    def __init__(self, code: str, words: str, *, field: str = "", status: int = 422) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.field = field
        self.status = status


@dataclass(frozen=True)
class Wish:
    """What somebody asks for. Empty: whatever the project's settings say.

    `prompt` is None for the scene's or character's own, `references` for the pictures of its cast.
    `source` is the take to work on. `cast` spares looking up who is in the scene. `payer_named`
    pays instead of the project's owner; with `free` nobody does, which only staff may ask for.
    """

    project: Project | None = None
    subject: Scene | Character | None = None
    prompt: str | None = None
    provider: str = ""
    model: str = ""
    aspect_ratio: str = ""
    resolution: str = ""
    count: int = 1
    operation: Operation = Operation.GENERATE
    source: Take | None = None
    references: tuple[Take, ...] | None = None
    mask: Take | None = None
    cast: tuple[CastMember, ...] | None = None
    payer_named: User | None = None
    free: bool = False

    @property
    def payer(self) -> User | None:
        """Who pays. ValueError where nobody was named and there is no project to have an owner."""
        if self.free:
            return None
        payer = self.payer_named or (self.project.owner if self.project else None)
        if payer is None:
            raise ValueError("an order that nobody pays has to say so")
        return payer
