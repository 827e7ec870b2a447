"""Orders the pictures that are missing; or copies those of which only the provider's link is known.

May be stopped at any moment and run again: an order that was placed is not placed twice, a picture
that was copied is not copied twice.
"""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q, QuerySet
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from credits import ledger
from credits.amounts import hundredths
from credits.templatetags.money import in_credits
from generation import jobs, missing, orders, results
from generation.kie.client import KieError
from generation.management.arguments import project_named, user_named
from generation.missing import Ready, Skipped
from generation.models import Generation, State
from generation.wishes import OrderRefused
from projects.models import Character, Project, Scene, Take
from projects.pictures import Stored

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Key = TypeVar("Key", bound=Hashable)

FOLLOW_SECONDS = 1
BATCH = 500  # ids in one question to the database


class Command(BaseCommand):
    help = (
        "Orders pictures for scenes and characters that have none and no order under way, "
        "after printing the bill. With --rehost: copies pictures that are known only by the "
        "provider's link into the storage, free of charge."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--project", action="append", default=[], help="id or exact name; may be repeated")
        add("--scenes", action="store_true", help="scenes only (default: characters and scenes)")
        add("--characters", action="store_true", help="characters only")
        add("--limit", type=_number, metavar="N", help="at most so many pictures")
        add("--max-credits", type=_amount, metavar="X", help="at most so many credits in all")
        add("--user", help="who orders (default: each project's owner, who pays in any case)")
        add("--dry-run", action="store_true", help="say what it would do, and do nothing")
        add("--wait", action="store_true", help="follow the orders to their end")
        add("--rehost", action="store_true", help="copy instead of ordering")

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        projects = _projects(options["project"])
        try:
            with logging_redirect_tqdm():
                wrong = self._copy_all(projects) if options["rehost"] else self._order(projects)
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run it again to go on.", returncode=130) from None
        if wrong:
            raise CommandError(wrong)

    def _kinds(self) -> list[type[Character] | type[Scene]]:
        asked: dict[type[Character] | type[Scene], bool] = {
            Character: self.options["characters"],
            Scene: self.options["scenes"],
        }
        return [kind for kind, yes in asked.items() if yes] or list(asked)

    # Ordering. What went wrong comes back in words, "" if nothing did

    def _order(self, projects: QuerySet[Project] | None) -> str:
        orderer = user_named(self.options["user"]) if self.options["user"] else None
        found = list(missing.survey(projects, self._kinds(), orderer))
        ready = [item for item in found if isinstance(item, Ready)]
        chosen = ready[: self._how_many(ready)]
        self._print_bill([item for item in found if isinstance(item, Skipped)], ready, chosen)
        if self.options["dry_run"] or not chosen:
            return ""
        placed, wrong = self._place(chosen)
        if self.options["wait"]:
            wrong = f"{wrong} {self._follow(placed)}".strip()
        return wrong

    def _how_many(self, ready: Sequence[Ready]) -> int:
        """So many of the first ones keep to --limit and --max-credits."""
        limit: int | None = self.options["limit"]
        most: int | None = self.options["max_credits"]
        sums = accumulate(item.order.quote.credits for item in ready)
        affordable = sum(most is None or total <= most for total in sums)
        return affordable if limit is None else min(limit, affordable)

    def _print_bill(
        self, skipped: Sequence[Skipped], ready: Sequence[Ready], chosen: Sequence[Ready]
    ) -> None:
        for item in skipped:
            self.stdout.write(f"skip   {item.subject.project}, {item.subject}: {item.why}")
        for project, items in _grouped(chosen, lambda item: item.subject.project):
            self.stdout.write(f"order  {project} ({project.pk}): {_sum(items)}")
        for payer, items in _grouped(chosen, lambda item: item.order.wish.payer):
            has = ledger.ledger_of(payer).available if payer else 0
            enough = "enough" if has >= _price(items) else "NOT enough for all"
            self.stdout.write(f"pay    {payer}: has {in_credits(has)}, {enough}")
        if left_out := ready[len(chosen) :]:
            self.stdout.write(f"leave  {_sum(left_out)}, over --limit or --max-credits")
        end = " Dry run: nothing was ordered." if self.options["dry_run"] else ""
        self.stdout.write(f"Bill: {_sum(chosen)}. Skipped: {len(skipped)}.{end}")

    def _place(self, chosen: Sequence[Ready]) -> tuple[list[Generation], str]:
        refused: Counter[str] = Counter()
        without_credits: set[User | None] = set()
        try:
            for item in tqdm(chosen, unit="order", disable=None):
                if item.order.wish.payer in without_credits:
                    refused["left when the credits were used up"] += 1
                elif not missing.is_served(item.subject):
                    try:
                        orders.place(item.order, item.terms)
                    except OrderRefused as error:
                        refused[f"{item.order.wish.payer}: {error.words}"] += 1
                        if error.code == "credits":
                            without_credits.add(item.order.wish.payer)
        finally:
            placed = _placed(chosen)  # asked of the database: it knows, wherever we were stopped
            held = in_credits(sum(generation.price for generation in placed))
            self.stdout.write(f"Ordered: {_count(len(placed), 'picture')}, {held} held.")
        return placed, " ".join(f"{count} not ordered: {why}" for why, count in refused.items())

    def _follow(self, placed: Sequence[Generation]) -> str:
        under_way = [generation.pk for generation in placed]
        with tqdm(total=len(placed), unit="picture", disable=None) as bar:
            while under_way:
                still = _states(under_way, Q(pk__in=Generation.objects.open().values("pk")))
                bar.update(len(under_way) - len(still))
                under_way = list(still)
                if under_way:
                    time.sleep(FOLLOW_SECONDS)
        ends = Counter(_states([generation.pk for generation in placed]).values())
        self.stdout.write(f"Ended: {', '.join(f'{n} {state}' for state, n in ends.items())}.")
        without = len(placed) - ends[State.DONE]
        return f"{_count(without, 'order')} ended without a picture." if without else ""

    # Copying

    def _copy_all(self, projects: QuerySet[Project] | None) -> str:
        takes = _linked_takes(projects, self._kinds())[: self.options["limit"]]
        if self.options["dry_run"]:
            self.stdout.write(f"{_count(len(takes), 'picture')} to copy. Dry run: none was copied.")
            return ""
        ends: Counter[str] = Counter()
        try:
            for take in tqdm(takes, unit="picture", disable=None):
                ends[self._copy(take)] += 1
        finally:
            told = ", ".join(f"{count} {end}" for end, count in ends.items()) or "nothing to copy"
            self.stdout.write(f"Copied into the storage: {told}.")
        left = ends.total() - ends["copied"]
        return f"{_count(left, 'picture')} not copied." if left else ""

    def _copy(self, take: Take) -> str:
        """Brings the picture of a take, and says in a word how that ended."""
        try:
            stored = _bring(take)
        except results.ResultError as error:
            self.stderr.write(f"{take.pk} {take.source_url}: {error}")
            return next(word for kind, word in END_OF.items() if isinstance(error, kind))
        Take.objects.filter(pk=take.pk, image="").update(**asdict(stored))
        return "copied"


END_OF: dict[type[results.ResultError], str] = {
    results.TryLater: "to be tried again",
    results.LinkExpired: "expired",
    results.BadResult: "failed",
}


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a number of pictures")
    return int(text)


def _amount(text: str) -> int:
    try:
        return hundredths(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _projects(names: Sequence[str]) -> QuerySet[Project] | None:
    """The projects with these ids or names; None, all of them, without any."""
    return Project.objects.filter(pk__in=[project_named(n).pk for n in names]) if names else None


def _placed(chosen: Sequence[Ready]) -> list[Generation]:
    """The orders that there are on these terms."""
    users = {item.terms.user for item in chosen}
    placed: list[Generation] = []
    for start in range(0, len(chosen), BATCH):
        keys = [item.terms.key for item in chosen[start : start + BATCH]]
        placed += Generation.objects.filter(ordered_by__in=users, order_key__in=keys)
    return placed


def _states(ids: Sequence[str], only: Q | None = None) -> dict[str, str]:
    """Where these orders are."""
    states: dict[str, str] = {}
    for start in range(0, len(ids), BATCH):
        found = Generation.objects.filter(only or Q(), pk__in=ids[start : start + BATCH])
        states.update(found.values_list("pk", "state"))
    return states


def _linked_takes(
    projects: QuerySet[Project] | None, kinds: Sequence[type[Character] | type[Scene]]
) -> QuerySet[Take]:
    """Takes without a file, of which the provider's link is known."""
    takes = Take.objects.filter(image="").exclude(source_url="")
    if projects is not None:
        takes = takes.filter(project__in=projects)
    if kinds == [Scene]:
        takes = takes.filter(scene__isnull=False)
    if kinds == [Character]:
        takes = takes.filter(character__isnull=False)
    return takes.order_by("created_at", "pk")


def _bring(take: Take) -> Stored:
    """The picture into storage; where its link has expired, by a fresh one if KIE gives any."""

    def bring(url: str) -> Stored:
        return results.bring(url, take.pk, keep_alive=lambda: None)

    try:
        return bring(take.source_url)
    except results.LinkExpired:
        try:
            fresh = jobs.kie().fresh_link(take.source_url)
        except KieError:
            fresh = ""
        if not fresh:
            raise
        return bring(fresh)


def _grouped(items: Sequence[Ready], key: Callable[[Ready], Key]) -> Iterator[tuple[Key, Any]]:
    groups: dict[Key, list[Ready]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return iter(groups.items())


def _price(items: Sequence[Ready]) -> int:
    return sum(item.order.quote.credits for item in items)


def _sum(items: Sequence[Ready]) -> str:
    return f"{_count(len(items), 'picture')}, {in_credits(_price(items))}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
