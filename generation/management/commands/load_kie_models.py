"""Loads the catalogue of models; run it after every deployment, twice changes nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from generation.catalogue import loading, reading
from generation.catalogue.loading import Outcome


class Command(BaseCommand):
    help = (
        "Load the catalogue of KIE models: adds what is missing, updates what the file changed, "
        "and keeps what staff changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show it, write nothing")
        parser.add_argument("--file", type=Path, default=reading.FILE, help="another catalogue")

    def handle(self, *args: Any, dry_run: bool, file: Path, **options: Any) -> None:
        try:
            catalogue = reading.read(file)
        except (reading.BadCatalogue, OSError) as error:
            raise CommandError(str(error)) from error
        outcomes = loading.load(catalogue, dry_run=dry_run)
        for outcome in outcomes:
            for line in _lines(outcome):
                self.stdout.write(line)
        for model_id in loading.left_behind(catalogue):
            self.stdout.write(
                f"left       {model_id}: no longer in the file; staff may deactivate it"
            )
        self.stdout.write(_summary(outcomes, catalogue, dry_run))


def _lines(outcome: Outcome) -> list[str]:
    lines = [f"{_word(outcome):<10} {outcome.model_id}"]
    for column, values in outcome.updated.items():
        lines.append(f"           {column}: {values.row!r} -> {values.file!r}")
    for resolution, price in outcome.new_prices.items():
        was = f"{price.row} -> " if price.row else ""
        lines.append(f"           {_price(resolution)}: {was}{price.file}")
    for column, values in outcome.kept.items():
        lines.append(f"           kept {column}: {values.row!r} (the file has {values.file!r})")
    for resolution, price in outcome.kept_prices.items():
        lines.append(
            f"           kept {_price(resolution)}: {price.row} (the file has {price.file})"
        )
    return lines


def _word(outcome: Outcome) -> str:
    if outcome.created:
        return "created"
    return "updated" if outcome.changed else "unchanged"


def _price(resolution: str) -> str:
    return f"price of {resolution}" if resolution else "price"


def _summary(outcomes: list[Outcome], catalogue: reading.Catalogue, dry_run: bool) -> str:
    words = [_word(outcome) for outcome in outcomes]
    counts = ", ".join(f"{words.count(w)} {w}" for w in ("created", "updated", "unchanged"))
    kept = sum(len(o.kept) + len(o.kept_prices) for o in outcomes)
    end = " Dry run: nothing was written." if dry_run else ""
    return f"Catalogue as of {catalogue.as_of}: {counts}; {kept} kept as staff have it.{end}"
