"""Gives credits to a user."""

import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from credits import ledger
from credits.amounts import hundredths
from credits.templatetags.money import in_credits


class Command(BaseCommand):
    help = "Gives credits to a user, through the ledger."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="name or e-mail address")
        parser.add_argument("credits", help="how many, e.g. 250 or 3.24")
        parser.add_argument("--reason", default="Granted by staff", help="stands on the statement")
        parser.add_argument(
            "--reference", help="the same reference again gives nothing twice (default: a new one)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        named = Q(username=options["user"]) | Q(email__iexact=options["user"])
        found = list(get_user_model().objects.filter(named))
        if not found:
            raise CommandError(f"There is no user {options['user']!r}.")
        if len(found) > 1:  # a name may look like somebody else's address
            names = ", ".join(sorted(user.username for user in found))
            raise CommandError(f"{options['user']!r} may mean several users: {names}.")
        (user,) = found
        try:
            amount = hundredths(options["credits"])
            entry = ledger.grant(
                ledger.ledger_of(user),
                amount,
                reference=options["reference"] or f"grant:{uuid.uuid4().hex}",
                about=ledger.About(type="grant", description=options["reason"]),
            )
        except (ValueError, ledger.LedgerError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{user}: {in_credits(entry.balance_change)} granted, "
            f"{in_credits(entry.balance_after)} in all ({entry.reference})"
        )
