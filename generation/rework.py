"""What can be done with a picture that is there: by which models, at what price, and with what; and
what can be made by its recipe, from words.

Every model is judged by `orders.prepare` itself, so that what is offered is what can be ordered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from generation import defaults, orders, records
from generation.models import AUTO, Generation, KieModel, Operation, PromptUse, Slot
from generation.orders import Basis
from generation.parents import numbers_of
from generation.pricing import Quote, percent_for
from generation.receipt import went_along
from generation.records import Record
from generation.references import fits
from generation.wishes import OrderRefused, Wish
from projects.cast import members, pictures_of
from projects.models import Character, Scene, Take

# What is offered on a take. A map of its parts (SEGMENT) is data, not a picture.
WORKS = (
    Operation.EDIT,
    Operation.REFRAME,
    Operation.UPSCALE,
    Operation.CUT_OUT,
    Operation.LAYERS,
)
# And what there is a page for: a picture from words has the recipe of one that is there.
PAGES = (Operation.GENERATE, *WORKS)
SOME_WORDS = "Make it night"  # long enough for every model
TITLES = {
    Operation.GENERATE: gettext_lazy("The recipe of take %(number)d"),
    Operation.EDIT: gettext_lazy("Edit take %(number)d"),
    Operation.REFRAME: gettext_lazy("Reframe take %(number)d"),
    Operation.UPSCALE: gettext_lazy("Upscale take %(number)d"),
    Operation.CUT_OUT: gettext_lazy("Cut out take %(number)d"),
    Operation.LAYERS: gettext_lazy("Split take %(number)d into layers"),
}
LEADS = {
    Operation.GENERATE: gettext_lazy(
        "The same order once more, or a changed one: words that you try here change nothing else."
    ),
    Operation.EDIT: gettext_lazy("Say what is to change; what you do not name stays."),
    Operation.REFRAME: gettext_lazy(
        "The picture gets another shape: what is missing around it is added, nothing is cut off."
    ),
    Operation.UPSCALE: gettext_lazy("The same picture with more pixels."),
    Operation.CUT_OUT: gettext_lazy("What stands in front is kept, what is behind it goes."),
    Operation.LAYERS: gettext_lazy("The picture comes back in layers that can be moved alone."),
}
OTHER_TAKES = 24  # so many of a scene's or character's newest takes are offered to go along


def works_offered() -> list[Operation]:
    """What at least one active model can do."""
    active = KieModel.objects.filter(is_active=True)
    facts = active.only("modality", "picture_fields", "prompt_use")
    able = {operation for model in facts for operation in model.operations}
    return [operation for operation in WORKS if operation in able]


@dataclass(frozen=True)
class Companion:
    """A picture that can go along with the one that is worked on: of "Miro", or "Take 3"."""

    take: Take
    name: str


@dataclass(frozen=True)
class Choice:
    """A model for the work. `quotes` has the price of one picture at each resolution ("" for a
    model without any) at which it can be ordered, `refused` why not at the others. `record` is how
    the model has done here, whatever it was to do."""

    model: KieModel
    quotes: dict[str, Quote]
    refused: dict[str, OrderRefused]
    has_source: bool  # there is a picture that is worked on
    longest_edge: int  # of the picture
    sends_copy: bool  # the picture is larger than the model takes, so a smaller copy is sent
    record: Record

    @property
    def is_able(self) -> bool:
        return bool(self.quotes)

    @property
    def why_not(self) -> str:
        return next(iter(self.refused.values())).words

    @property
    def resolution(self) -> str:
        """The model's own, where it can be had, else the cheapest; but one that leaves the picture
        as large as it is, where that costs no more."""
        quotes = self.quotes
        usual = self.model.default_resolution
        if usual not in quotes:
            usual = min(quotes, key=lambda name: quotes[name].credits)
        at_its_price = [name for name in quotes if quotes[name].credits <= quotes[usual].credits]
        sizes = {name: edge for name in at_its_price if (edge := _edge_of(name))}
        if usual not in sizes:
            return usual
        enough = [name for name, edge in sizes.items() if edge >= self.longest_edge]
        return min(enough, key=sizes.__getitem__) if enough else max(sizes, key=sizes.__getitem__)

    @property
    def quote(self) -> Quote:
        return self.quotes[self.resolution]

    @property
    def resolutions(self) -> list[str]:
        """From the cheapest, then the smallest, and last those that cannot be had: PostgreSQL's
        jsonb has no order of its own to show. [""] for a model without any."""

        def place(name: str) -> tuple[float, int, str]:
            quote = self.quotes.get(name)
            return quote.credits if quote else inf, _edge_of(name), name

        return sorted(self.model.resolutions or [""], key=place)

    @property
    def prices(self) -> list[tuple[str, Quote]]:
        """(resolution, price) from the cheapest, or one ("", price) where all cost the same."""
        found = [(name, self.quotes[name]) for name in self.resolutions if name in self.quotes]
        return found if found[0][1].credits != found[-1][1].credits else [("", self.quote)]

    @property
    def per_kept(self) -> int | None:
        """What a picture that is kept comes to, in hundredths."""
        return self.record.per_kept(self.quote.credits)

    @property
    def at(self) -> str:
        """The resolution that `per_kept` is about, where there are several prices."""
        return self.resolution if len(self.prices) > 1 else ""

    @property
    def takes_words(self) -> bool:
        return self.model.prompt_use != PromptUse.NONE

    @property
    def takes_mask(self) -> bool:
        return Slot.MASK in self.model.takes

    @property
    def needs_mask(self) -> bool:
        return self.takes_mask and self.model.takes[Slot.MASK].min > 0

    @property
    def about_mask(self) -> list[str]:
        """What is known of its mask: which colour is changed, for example."""
        return [quirk for quirk in self.model.quirks if "mask" in quirk.lower()]

    @property
    def room(self) -> int:
        """How many further pictures may go along."""
        field = self.model.takes.get(Slot.REFERENCE)
        if field is None:
            return 0
        return field.max - 1 if self.takes_source_as_reference else field.max

    @property
    def needs_company(self) -> bool:
        """It cannot do without a further picture."""
        field = self.model.takes.get(Slot.REFERENCE)
        return field is not None and field.min > 0 and not self.takes_source_as_reference

    @property
    def takes_source_as_reference(self) -> bool:
        """The picture that is worked on is the first of those that go along."""
        return self.has_source and Slot.SOURCE not in self.model.takes


@dataclass(frozen=True)
class Bench:
    """A take, what is to be done with it, and by which models. `number` is the take's own;
    `percent` is its payer's multiplier; `records` has how the models have done, by their pk.
    `recipe` is the order that brought the take, where that is to be had once more."""

    take: Take
    subject: Scene | Character
    operation: Operation
    recipe: Generation | None
    number: int
    company: tuple[Companion, ...]
    models: tuple[KieModel, ...]
    percent: int
    records: dict[int, Record]

    @property
    def source(self) -> Take | None:
        """What is worked on; None for a picture from words."""
        return None if self.operation == Operation.GENERATE else self.take

    @property
    def title(self) -> str:
        return TITLES[self.operation] % {"number": self.number}

    @property
    def lead(self) -> str:
        return str(LEADS[self.operation])

    @cached_property
    def choices(self) -> list[Choice]:
        """Those that can take this picture, then the others."""
        choices = [self._judged(model) for model in self.models]
        return sorted(choices, key=lambda choice: not choice.is_able)

    @property
    def has_few(self) -> bool:
        """So few models that all can be seen at once."""
        return len(self.models) < 4

    def choice_of(self, model_id: str) -> Choice | None:
        able = (choice for choice in self.choices if choice.is_able)
        return next((choice for choice in able if choice.model.model_id == model_id), None)

    @cached_property
    def usual(self) -> Choice | None:
        """What this project used last for this work, else the cheapest that needs nothing more."""
        orders_of = Generation.objects.filter(
            project=self.subject.project, operation=self.operation
        )
        last = orders_of.newest_first().values_list("model__model_id", flat=True).first()
        able = [choice for choice in self.choices if choice.is_able]
        plain_first = sorted(able, key=lambda c: (c.needs_mask or c.needs_company, c.quote.credits))
        return self.choice_of(last or "") or next(iter(plain_first), None)

    def basis_of(self, choice: Choice) -> Basis:
        return Basis(choice.model, self.percent)

    def ratios_of(self, model: KieModel, resolution: str) -> list[str]:
        """What can be asked for, from the widest."""
        ratios: list[str] = [ratio for ratio in model.ratios if ratio != AUTO]
        possible = [ratio for ratio in ratios if [ratio, resolution] not in model.impossible]
        return sorted(possible, key=orders.shape_of, reverse=True)

    def usual_ratio(self, model: KieModel, resolution: str) -> str:
        """For a picture from words: the project's, where the model has it."""
        ratios = self.ratios_of(model, resolution)
        usual = defaults.settings_of(self.subject.project).ratio_for(self.subject)
        return usual if usual in ratios else next(iter(ratios), "")

    def new_ratio(self, model: KieModel, resolution: str) -> str:
        """For a picture that is to get another shape: the project's, unless it has it already."""
        ratios = self.ratios_of(model, resolution)
        own = orders.own_ratio(model, self.take, resolution)
        usual = defaults.settings_of(self.subject.project).ratio_for(self.subject)
        return next((r for r in (usual, *ratios) if r in ratios and r != own), "")

    def _judged(self, model: KieModel) -> Choice:
        quotes: dict[str, Quote] = {}
        refused: dict[str, OrderRefused] = {}
        field = model.source_field
        choice = Choice(
            model,
            quotes,
            refused,
            has_source=self.source is not None,
            longest_edge=max(self.take.width, self.take.height),
            sends_copy=self.source is not None
            and field is not None
            and not field.task_of
            and not fits(field, self.source),
            record=self.records.get(model.pk, records.NOTHING),
        )
        for resolution in choice.resolutions:
            try:
                wish = self._plain_wish(choice, resolution)
                quotes[resolution] = orders.prepare(wish, self.basis_of(choice)).quote
            except OrderRefused as error:
                refused[resolution] = error
        return choice

    def _plain_wish(self, choice: Choice, resolution: str) -> Wish:
        """With no more than the model needs; what a person has yet to bring is taken as brought."""
        model = choice.model
        ratios = {Operation.REFRAME: self.new_ratio, Operation.GENERATE: self.usual_ratio}
        ratio = ratios.get(self.operation)
        return Wish(
            project=self.subject.project,
            subject=self.subject,
            prompt=SOME_WORDS if choice.takes_words else None,
            model=model.model_id,
            aspect_ratio=ratio(model, resolution) if ratio else "",
            resolution=resolution,
            operation=self.operation,
            source=self.source,
            references=tuple(c.take for c in self.company[: int(choice.needs_company)]),
            mask=self.take if choice.needs_mask else None,
            cast=(),
        )


def from_words(take: Take) -> Generation | None:
    """The order that brought it, if that made it from words."""
    made = Generation.objects.filter(outputs__take=take, operation=Operation.GENERATE)
    return made.select_related("model").first()


def bench_for(
    take: Take, subject: Scene | Character, operation: Operation, recipe: Generation | None = None
) -> Bench:
    """The number of queries does not grow with models, takes or characters."""
    active = KieModel.objects.filter(is_active=True).prefetch_related("prices")
    numbers = numbers_of(subject)
    went_before = _went_along(recipe, numbers) if recipe else []
    return Bench(
        take=take,
        subject=subject,
        operation=operation,
        recipe=recipe,
        number=numbers[take.pk],
        company=(*went_before, *_company(take, subject, numbers, went_before)),
        models=tuple(model for model in active if model.can(operation)),
        percent=percent_for(subject.project.owner),
        records=records.all_records(),
    )


def _edge_of(resolution: str) -> int:
    """ "2K" → 2048; 0 for another kind of name ("turbo", "4×")."""
    number = resolution.removesuffix("K")
    is_size = number != resolution and number.replace(".", "", 1).isdecimal()
    return round(float(number) * 1024) if is_size else 0


def _went_along(recipe: Generation, numbers: dict[str, int]) -> list[Companion]:
    """In the order in which they were sent, even what is shown nowhere any more."""
    return [Companion(one.take, one.name) for one in went_along(recipe, numbers)]


def _company(
    take: Take, subject: Scene | Character, numbers: dict[str, int], known: Sequence[Companion]
) -> Iterator[Companion]:
    """The characters' pictures, those of the cast first, then the newest other takes; without those
    that are known already."""
    shown = {take.pk, *(companion.take.pk for companion in known)}
    for member in members(people := _people(subject), pictures_of(people)):
        if member.picture and member.picture.is_stored and member.picture.pk not in shown:
            shown.add(member.picture.pk)
            yield Companion(member.picture, member.character.name)
    for other in subject.takes.kept().exclude(image="").newest_first()[:OTHER_TAKES]:
        if other.pk not in shown:
            yield Companion(other, _("Take %(number)s") % {"number": numbers[other.pk]})


def _people(subject: Scene | Character) -> list[Character]:
    people = list(subject.project.characters.with_picture())
    cast = set(subject.cast.values_list("pk", flat=True)) if isinstance(subject, Scene) else set()
    return sorted(people, key=lambda person: person.pk not in cast)
