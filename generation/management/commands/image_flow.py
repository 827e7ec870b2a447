"""The flow page as Markdown, under the titles of the user's document."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.loader import render_to_string

from generation import summary
from generation.flow import flow
from generation.management.arguments import project_named, user_named


class Command(BaseCommand):
    help = "Prints what happens when somebody clicks “Generate image” in a project, as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="id or exact name")
        parser.add_argument("--user", help="who would click (default: the project's owner)")
        parser.add_argument(
            "--no-checks", action="store_true", help="ask neither KIE, storage nor workers"
        )

    def handle(
        self, *args: Any, project: str, user: str | None, no_checks: bool, **options: Any
    ) -> None:
        found = flow(project_named(project), user_named(user) if user else None)
        checks = found.checks
        if not no_checks:
            checks += summary.outside_checks(found.order)
        self.stdout.write(
            render_to_string("generation/flow.md", {"flow": found, "checks": checks}), ending=""
        )
        wrong = [check.label for check in checks if check.ok is False]
        if wrong:
            raise CommandError(f"Not right: {', '.join(wrong)}.")
