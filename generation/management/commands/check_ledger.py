"""Asks everything that must be true of the books and the orders; exits 1 if anything is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from credits import invariants
from credits.models import CreditLedger, LedgerEntry
from generation import audit
from generation.models import Generation, Output

COUNTED = {
    "ledgers": CreditLedger,
    "entries": LedgerEntry,
    "orders": Generation,
    "pictures": Output,
}


class Command(BaseCommand):
    help = "Checks the ledgers, and orders and takes against them. Writes nothing."
    requires_migrations_checks = True

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        wrong = [*invariants.violations(), *audit.violations()]
        for line in wrong:
            self.stderr.write(line)
        if wrong:
            raise CommandError(f"{len(wrong)} rows are wrong.")
        asked = [*invariants.INVARIANTS, *audit.QUESTIONS]
        if verbosity > 1:
            for question in asked:
                self.stdout.write(f"holds: {question.__name__}")
        self.stdout.write(f"All {len(asked)} rules hold, for {', '.join(_counts())}.")


def _counts() -> Iterator[str]:
    for name, model in COUNTED.items():
        yield f"{model._default_manager.count():,} {name}"
