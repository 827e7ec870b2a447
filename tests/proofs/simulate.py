"""python -m tests.proofs.simulate: whole lives of orders, each told by one integer.

The product's own code runs between fakes of KIE, of the storage and of Redis, under a clock of the
simulation's own, in one process for each core and on SQLite in memory. Steps die between any two
statements, answers get lost, people change their minds; at the end of each story all must have come
right. Exit status 1 if not, or if a full run has left a cell of its table empty.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.proofs.simulation.database import Database
    from tests.proofs.simulation.table import Table

FULL = 10_000  # seeds from which on every cell has to be reached
LAST = 20  # one in so many stories of a full run is about what the others have not reached
CHUNK = 20
SHOWN = 10  # wrong stories that are printed
TWICE = 97  # every so many stories one is told twice: is it the same?

DATABASE: Database  # of this process

fork = multiprocessing.get_context("fork")


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="imagegen-simulation-") as folder:
        start_django(folder)
        from tests.proofs.simulation import database

        image = database.template()
        if options.seed is not None:
            return replay(options.seed, image)
        return report(options, image)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.proofs.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=FULL, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--seed", type=int, help="tell this one, line by line")
    parser.add_argument("--stop-at", type=int, default=SHOWN, help="as many wrong stories")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


def start_django(folder: str) -> None:
    from tests.servers import clean_environment

    environment = clean_environment()
    os.environ.clear()
    os.environ |= environment | {
        "SECRET_KEY": "only-for-the-simulation",
        "ENV_FILE": os.devnull,
        "VAR_DIR": folder,
        "DATABASE_URL": "sqlite://:memory:",
        "KIE_API_KEY": "key",
        "KIE_API_URL": "https://kie.test",
        "PUBLIC_URL": "https://studio.test",
        "DJANGO_SETTINGS_MODULE": "imagegen.settings",
    }
    from django.utils import timezone

    from tests.proofs.simulation.world import Clock

    timezone.now = Clock.time  # before any model takes it for a default
    import django
    from django.conf import settings

    settings.STORAGES["default"] = {"BACKEND": "tests.proofs.simulation.files.MemoryStorage"}
    settings.DATABASES["default"]["OPTIONS"]["cached_statements"] = 1000
    settings.LOGGING = {"version": 1, "root": {"level": "ERROR"}}
    django.setup()


def replay(seed: int, image: bytes) -> int:
    import logging

    from tests.proofs.simulation.database import Database
    from tests.proofs.simulation.story import LOG, Story

    logging.getLogger().addHandler(LOG)
    logging.getLogger().setLevel(logging.INFO)
    wrong = Story(seed, Database(image), is_told=True).tell()
    print("\n".join(wrong) or "all is right")
    return bool(wrong)


def report(options: argparse.Namespace, image: bytes) -> int:
    from tests.proofs.simulation.aims import AIMS, Aim, seeds_for
    from tests.proofs.simulation.table import Table

    began, table, wrong = time.monotonic(), Table(), dict[int, list[str]]()
    last = options.seeds // LAST if options.seeds >= FULL else 0
    end = options.first + options.seeds - last
    with fork.Pool(options.processes, get_ready, [image]) as pool:

        def tell_all(seeds: Sequence[int]) -> int:
            stories = 0
            for told, part, bad in pool.imap_unordered(tell, in_chunks(seeds)):
                stories += told
                table.add(part)
                wrong.update(bad)
                if len(wrong) >= options.stop_at:
                    break
            return stories

        stories = tell_all(range(options.first, end))
        left, start = last, end
        while left and len(wrong) < options.stop_at:
            seeds: Sequence[int] = seeds_for((Aim(*cell) for cell in table.unreached()), start)
            seeds = seeds[:left] or range(start, start + left)
            stories += tell_all(seeds)
            left -= len(seeds)
            start += len(AIMS)  # no seed is told again
    seconds = time.monotonic() - began
    unreached = table.unreached()
    print(*table.lines(), sep="\n")
    print(f"{stories} stories in {seconds:.0f} s, {1000 * seconds / stories:.0f} ms each;", end=" ")
    print(f"{table.deaths.total()} deaths; {len(unreached)} cells of the table were never reached")
    for seed, words in sorted(wrong.items())[:SHOWN]:
        print(f"\nseed {seed}:", *words, sep="\n  ")
        print(f"  again: python -m tests.proofs.simulate --seed {seed}")
    contradictions = table.contradictions()
    for place, asked, name in contradictions:
        print(f"this was said to be impossible: {place} × {asked}: {name}")
    if stories < FULL:
        return bool(wrong or contradictions)
    holes = list(holes_in(table))
    for words in holes:
        print(words)
    return bool(wrong or contradictions or holes)


def holes_in(table: Table) -> Iterator[str]:
    """What the table of a full run has to have and has not."""
    yield from (f"no step came by: {effect}" for effect in table.missing())
    for place, asked, name in table.unreached():
        yield f"never reached: {place} × {asked}: {name}"


def in_chunks(seeds: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(seeds), CHUNK):
        yield seeds[first : first + CHUNK]


def get_ready(image: bytes) -> None:
    import logging

    from imagegen import memory
    from tests.proofs.simulation.database import Database
    from tests.proofs.simulation.story import LOG

    global DATABASE
    DATABASE = Database(image)
    memory.settle()
    logging.getLogger().addHandler(LOG)


def tell(seeds: Sequence[int]) -> tuple[int, Table, dict[int, list[str]]]:
    """How many stories these were, what was reached in them, and which were wrong."""
    from tests.proofs.simulation.story import Story
    from tests.proofs.simulation.table import Table

    table, wrong = Table(), {}
    for seed in seeds:
        story = Story(seed, DATABASE)
        if words := story.tell():
            wrong[seed] = words
        elif seed % TWICE == 0:
            again = Story(seed, DATABASE)
            again.tell()
            if again.world.fingerprint != story.world.fingerprint:
                wrong[seed] = ["told twice, it went differently"]
        table.note(story)
    return len(seeds), table, wrong


if __name__ == "__main__":
    sys.exit(main())
