"""Whose picture goes along with the order of a scene, and why the others' do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from generation.models import KieModel, Slot
from generation.references import Sent
from projects.cast import CastMember
from projects.models import Character, Take


@dataclass(frozen=True)
class Seat:
    """Somebody in the cast. `number` is that of their picture ("image 2") if it goes along."""

    character: Character
    picture: Take | None
    number: int | None


@dataclass(frozen=True)
class Casting:
    """The cast, and in `note` why not all of its pictures go along; "" where there is nothing to
    say. `takes_none`: the model takes no picture of anybody. `faceless` have no picture yet."""

    seats: tuple[Seat, ...]
    note: str
    takes_none: bool

    @property
    def sent(self) -> int:
        return sum(seat.number is not None for seat in self.seats)

    @property
    def faceless(self) -> list[Character]:
        return [seat.character for seat in self.seats if seat.picture is None]


def casting_of(
    cast: Sequence[CastMember], model: KieModel | None, resolution: str, sent: Sequence[Sent]
) -> Casting:
    """`sent` is what goes along with the order (Order.pictures); empty for one that is refused."""
    numbers = {one.character.pk: i for i, one in enumerate(sent, 1) if one.character}
    seats = tuple(Seat(m.character, _stored(m), numbers.get(m.character.pk)) for m in cast)
    field = model.takes.get(Slot.REFERENCE) if model else None
    takes_none = field is None or resolution in field.not_at
    return Casting(seats, _note(seats, model, resolution) if model and seats else "", takes_none)


def _stored(member: CastMember) -> Take | None:
    picture = member.picture
    return picture if picture and picture.is_stored else None


def _note(seats: Sequence[Seat], model: KieModel, resolution: str) -> str:
    field = model.takes.get(Slot.REFERENCE)
    have = sum(seat.picture is not None for seat in seats)
    if field is None:
        return _("%(model)s takes no pictures: the cast goes along in words alone.") % {
            "model": model
        }
    if resolution in field.not_at:
        return _(
            "%(model)s takes no pictures at %(resolution)s: the cast goes along in words alone."
        ) % {"model": model, "resolution": resolution}
    if have > field.max:
        return ngettext(
            "%(model)s takes %(max)d picture at most, and %(have)d of the cast have one: the "
            "others go along in words alone.",
            "%(model)s takes %(max)d pictures at most, and %(have)d of the cast have one: the "
            "others go along in words alone.",
            field.max,
        ) % {"model": model, "max": field.max, "have": have}
    return ""
