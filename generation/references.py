"""Which pictures go along with an order, and into which of the model's fields.

The picture that is worked on comes first, then the cast in its order (or the pictures that were
named instead), then the mask: "image 2" in a prompt is the second of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext as _

from generation.models import Generation, KieModel, Operation, PictureField, Slot
from generation.wishes import OrderRefused, Wish
from projects.cast import CastMember, cast_of
from projects.models import Character, Scene, Take

MEGABYTE = 1_000_000
STANDS_FOR = "take:"  # in a request: KIE's address of the take with this id, once it has it

# The fields of the API for what goes into a slot, and what it is called there.
API_FIELDS = {
    Slot.SOURCE: "sourceImage",
    Slot.REFERENCE: "referenceImages",
    Slot.MASK: "maskImage",
}


@dataclass(frozen=True)
class Sent:
    """A picture that goes along. `value` is what the request has for it: `take:<id>`, or the KIE
    task that made it."""

    slot: Slot
    take: Take
    value: str
    character: Character | None = None

    @property
    def is_uploaded(self) -> bool:
        return self.value.startswith(STANDS_FOR)


def pictures_for(wish: Wish, model: KieModel, resolution: str) -> tuple[Sent, ...]:
    """The pictures of an order, in the order in which they are sent. Raises OrderRefused."""
    _check_operation(wish, model)
    chosen = [
        *_source(wish, model),
        *(_of_cast(wish, model, resolution) if wish.references is None else _named(wish, model)),
        *_mask(wish, model),
    ]
    for slot, field in model.takes.items():
        _check_number(model, slot, field, sum(sent.slot == slot for sent in chosen))
    for sent in chosen:
        _check_others(model, sent, len(chosen) - 1)
        _check_file(model, sent)
        _check_resolution(model, sent, resolution)
    _check_mask(wish)
    return tuple(chosen)


def people_in(wish: Wish) -> tuple[CastMember, ...]:
    """The cast of the scene that is asked for."""
    if wish.cast is not None:
        return wish.cast
    return cast_of(wish.subject) if isinstance(wish.subject, Scene) else ()


def _check_operation(wish: Wish, model: KieModel) -> None:
    if not model.can(wish.operation):
        raise OrderRefused(
            "operation",
            _("%(model)s cannot do this: %(operation)s.")
            % {"model": model, "operation": Operation(wish.operation).label},
            field="model",
        )
    if (wish.operation == Operation.GENERATE) != (wish.source is None):
        words = (
            _("This needs a picture to work on.")
            if wish.source is None
            else _("Say what is to be done with the picture.")
        )
        field = "sourceImage" if wish.source is None else "operation"
        raise OrderRefused("source", words, field=field)


def _source(wish: Wish, model: KieModel) -> Iterator[Sent]:
    field = model.source_field
    if wish.source is None or field is None:
        return
    if field.task_of:
        yield Sent(field.slot, wish.source, _task(wish.source, model, field))
    else:
        yield _sent(field.slot, wish.source)


def _task(take: Take, model: KieModel, field: PictureField) -> str:
    """The KIE task that made it, for models that work only on what their family has made."""
    order = Generation.objects.filter(outputs__take=take).select_related("model").first()
    if order and order.task_id and order.model.model_id.startswith(field.task_of):
        return order.task_id
    raise OrderRefused(
        "source",
        _("%(model)s works only on pictures that were made by %(family)s.")
        % {"model": model, "family": field.task_of.rstrip("/")},
        field="sourceImage",
    )


def _named(wish: Wish, model: KieModel) -> Iterator[Sent]:
    if wish.references and Slot.REFERENCE not in model.takes:
        raise OrderRefused(
            "references",
            _("%(model)s takes no reference images.") % {"model": model},
            field="referenceImages",
        )
    for take in wish.references or ():
        yield _sent(Slot.REFERENCE, take)


def _of_cast(wish: Wish, model: KieModel, resolution: str) -> Iterator[Sent]:
    """As many as the model takes. Whoever works on a picture names further ones, but for a model
    that cannot do without."""
    field = model.takes.get(Slot.REFERENCE)
    if field is None or resolution in field.not_at:
        return
    works_alone = wish.prompt is not None or wish.operation != Operation.GENERATE
    if works_alone and not (Slot.SOURCE in model.takes and field.min):
        return
    known = [member for member in people_in(wish) if member.picture and member.picture.is_stored]
    for member in known[: field.max]:
        assert member.picture is not None
        yield _sent(Slot.REFERENCE, member.picture, member.character)


def _mask(wish: Wish, model: KieModel) -> Iterator[Sent]:
    if wish.mask is None:
        return
    if Slot.MASK not in model.takes:
        raise OrderRefused(
            "mask", _("%(model)s takes no mask.") % {"model": model}, field="maskImage"
        )
    yield _sent(Slot.MASK, wish.mask)


def _sent(slot: Slot, take: Take, character: Character | None = None) -> Sent:
    return Sent(slot, take, f"{STANDS_FOR}{take.pk}", character)


def _check_number(model: KieModel, slot: Slot, field: PictureField, number: int) -> None:
    if field.min <= number <= field.max:
        return
    told = {"model": model, "min": field.min, "max": field.max, "number": number}
    if number > field.max:
        words = _("%(model)s takes at most %(max)d pictures here, not %(number)d.")
    elif slot == Slot.MASK:
        words = _("%(model)s needs a mask that says where to change the picture.")
    elif slot == Slot.SOURCE:
        words = _("%(model)s needs a picture to work on.")
    else:
        words = _(
            "%(model)s needs a reference picture: of somebody in the scene's cast, for example."
        )
    raise OrderRefused("references", words % told, field=API_FIELDS[slot])


def _check_resolution(model: KieModel, sent: Sent, resolution: str) -> None:
    if resolution in model.takes[sent.slot].not_at:
        raise OrderRefused(
            "combination",
            _("%(model)s takes no pictures at %(resolution)s.")
            % {"model": model, "resolution": resolution},
            field="resolution",
        )


def _check_mask(wish: Wish) -> None:
    source, mask = wish.source, wish.mask
    if source and mask and (source.width, source.height) != (mask.width, mask.height):
        raise OrderRefused(
            "mask",
            _("The mask has to be as large as the picture: %(width)d × %(height)d pixels.")
            % {"width": source.width, "height": source.height},
            field="maskImage",
        )


def _check_others(model: KieModel, sent: Sent, others: int) -> None:
    beside = model.takes[sent.slot].beside
    if beside is not None and others != beside:
        raise OrderRefused(
            "references",
            _("With a mask, %(model)s takes no other picture than the one it works on.")
            % {"model": model},
            field=API_FIELDS[sent.slot],
        )


def fits(field: PictureField, take: Take) -> bool:
    """Does the model take the file as it is? What is too large can be sent as a smaller copy."""
    pixels, edge = take.width * take.height, max(take.width, take.height)
    return (
        take.size <= (field.max_mb or take.size) * MEGABYTE
        and pixels <= (field.pixels[1] if field.pixels else pixels)
        and edge <= (field.edges[1] if field.edges else edge)
    )


def _check_file(model: KieModel, sent: Sent) -> None:
    """A mask has to fit its picture to the pixel, so there is no smaller copy of it."""
    field, take = model.takes[sent.slot], sent.take
    least_pixels, least_edge = (field.pixels or (0,))[0], (field.edges or (0,))[0]
    if not take.is_stored:
        words = _("The picture has not been fetched yet.")
    elif not sent.is_uploaded:
        return
    elif sent.slot == Slot.MASK and not fits(field, take):
        words = _("The mask is larger than %(model)s takes.")
    elif take.width * take.height < least_pixels or min(take.width, take.height) < least_edge:
        words = _("%(model)s takes no picture as small as %(width)d × %(height)d pixels.")
    else:
        return
    told = {"model": model, "width": take.width, "height": take.height}
    raise OrderRefused("references", words % told, field=API_FIELDS[sent.slot])
