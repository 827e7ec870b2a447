"""Compares what KIE says it took with what was booked; exits 1 while a difference is open."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date

from credits.templatetags.money import in_credits
from generation import reconcile
from generation.kie.client import KieError
from generation.models import Difference


class Command(BaseCommand):
    help = (
        "Compares the credits that KIE says it took, and what is left on the account, with what "
        "was booked. What does not agree is a row for staff, until it agrees or they settle it."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=_day,
            metavar="DATE",
            help="orders placed and balances noted since then (default: as long as KIE keeps its "
            "records, 60 days)",
        )

    def handle(self, *args: Any, since: datetime | None, **options: Any) -> None:
        try:
            report = reconcile.run(since or timezone.now() - reconcile.KEPT)
        except KieError as error:
            raise CommandError(
                f"KIE does not say what is left, so nothing was compared: {error.words}"
            ) from error
        for difference in _open_ones():
            self.stdout.write(f"{_of(difference)}: {reconcile.in_words(difference)}")
        self.stdout.write(_summary(report))
        if count := _open_ones().count():
            raise CommandError(
                f"{count} {'difference is' if count == 1 else 'differences are'} open."
            )


def _open_ones() -> Any:
    return Difference.objects.open().select_related("generation", "since", "until")


def _of(difference: Difference) -> str:
    if difference.generation:
        return f"order {difference.generation.pk}, task {difference.generation.task_id}"
    between = [sample.at for sample in (difference.since, difference.until) if sample]
    return "account, " + " to ".join(f"{timezone.localtime(at):%Y-%m-%d %H:%M}" for at in between)


def _summary(report: reconcile.Report) -> str:
    parts = [f"Compared {report.orders:,} orders"]
    if report.asked:
        parts.append(f"asked again after {report.asked:,}")
    if report.silent:
        parts.append(f"KIE does not say what it took for {report.silent:,}")
    if report.postponed:
        parts.append("the balance waits for the answer to orders under way")
    if report.sample:
        parts.append(f"left at KIE: {in_credits(report.sample.credits)}")
    else:
        parts.append("no balance noted: orders were moving all the time")
    return f"{'; '.join(parts)}."


def _day(text: str) -> datetime:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise ArgumentTypeError(f"{text!r} is not a date like 2026-11-30")
    return timezone.make_aware(datetime(day.year, day.month, day.day))
