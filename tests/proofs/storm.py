"""python -m tests.proofs.storm: the ledger under processes that are killed in the middle of it.

Several processes ask for random things (the same things at the same time, too) and one of them is
killed every 0.2 s and replaced; PostgreSQL is also stopped in the middle of everything. A process
writes down what it is about to ask and what it was answered; its replacement asks again for what
was not answered, as the site would. At the end every answer must be in the ledger once and as it
was asked for, nothing else may be there, and all invariants must hold. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.servers import clean_environment
from tests.with_postgres import postgres

if TYPE_CHECKING:
    from tests.proofs.accounts import Account
    from tests.proofs.wishes import Numbered

ENGINES = ("sqlite", "postgres")
KILL_EVERY = 0.2  # seconds, on average
SHOWN = 20  # violations that are printed

Crash = Callable[[], None]

fork = multiprocessing.get_context("fork")


def main() -> int:
    options = arguments()
    engines = ENGINES if options.engine == "both" else (options.engine,)
    statuses = []
    for engine in engines:
        # One process for each, because Django's settings are read once.
        process = fork.Process(target=storm, args=(engine, options))
        process.start()
        process.join()
        statuses.append(process.exitcode)
    return int(any(statuses))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.proofs.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long, for each engine")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--ledgers", type=int, default=6)
    parser.add_argument(
        "--seed", type=int, default=1, help="of what is asked for and who is killed"
    )
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both")
    parser.add_argument("--crashes", type=int, default=1, help="of PostgreSQL, while it works")
    parser.add_argument(
        "--at-least", type=int, default=0, help="operations a second on PostgreSQL, else it failed"
    )
    return parser.parse_args()


def storm(engine: str, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="imagegen-storm-") as name:
        folder = Path(name)
        with database(engine, folder) as (url, crash):
            options.crashes *= crash is not None
            numbered = prepare(url, folder, options)
            kills, seconds = weather(numbered, folder, options, crash)

            from tests.proofs.accounts import Account

            account = Account(sorted(folder.glob("*.journal")), options.crashes)
    operations = (account.answered + account.refused.total()) / seconds
    if engine == "postgres" and operations < options.at_least:
        account.wrong.append(f"only {operations:.0f} operations a second")
    if kills < options.seconds:
        account.wrong.append(f"too tame: only {kills} processes were killed")
    report(engine, account, kills, seconds, options)
    sys.exit(bool(account.wrong))


@contextmanager
def database(engine: str, folder: Path) -> Iterator[tuple[str, Crash | None]]:
    """An empty one, as safe as the product's: its address, and what stops and starts it."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/storm.sqlite3", None
        return
    with (
        tempfile.TemporaryDirectory(prefix="imagegen-pg-") as its_own,
        postgres(Path(its_own), durable=True) as server,
    ):

        def crash() -> None:
            server.crash()
            server.start()

        yield server.url, crash


def prepare(url: str, folder: Path, options: argparse.Namespace) -> Numbered:
    """Everything that the processes then need not load: they are forks of this one."""
    environment = clean_environment()
    os.environ.clear()
    os.environ |= environment | {
        "SECRET_KEY": "only-for-the-storm",
        "DATABASE_URL": url,
        "VAR_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "imagegen.settings",
    }
    import django

    django.setup()

    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections

    from credits import ledger
    from imagegen import memory
    from tests.proofs.wishes import Numbered

    call_command("migrate", verbosity=0)
    users = [User.objects.create(username=f"ledger {n}") for n in range(options.ledgers)]
    books = [ledger.ledger_of(user).pk for user in users]
    connections.close_all()
    memory.settle()  # or every fork would copy what it looks through for garbage
    return Numbered(options.seed, books)


def weather(
    numbered: Numbered, folder: Path, options: argparse.Namespace, crash: Crash | None
) -> tuple[int, float]:
    """Starts the processes, kills and replaces them; the kills, and the seconds it took."""
    from tests.proofs.wishes import is_over, live

    numbers = fork.RawArray("q", options.processes)
    dice = Random(options.seed)
    began = time.monotonic()
    until = began + options.seconds
    parts = options.crashes + 1
    crash_at = [began + options.seconds * part / parts for part in range(1, parts)]

    def start(slot: int) -> ForkProcess:
        work = (slot, numbered, numbers, folder, until, dice.random())
        process = fork.Process(target=live, args=work, daemon=True)
        process.start()
        return process

    def end(worker: ForkProcess) -> None:
        worker.join()
        assert worker.exitcode in (0, -signal.SIGKILL), "A process of the storm ended by itself."

    kills = 0
    workers = [start(slot) for slot in range(options.processes)]
    while not is_over(until, numbers):
        time.sleep(dice.uniform(0, 2 * KILL_EVERY))
        if crash and crash_at and time.monotonic() > crash_at[0]:
            crash_at.pop(0)
            crash()
        slot = dice.randrange(options.processes)
        workers[slot].kill()
        end(workers[slot])
        workers[slot] = start(slot)
        kills += 1
    for worker in workers:
        end(worker)
    return kills, time.monotonic() - began


def report(
    engine: str, account: Account, kills: int, seconds: float, options: argparse.Namespace
) -> None:
    operations = account.answered + account.refused.total()
    refused = ", ".join(f"{number} {kind}" for kind, number in account.refused.most_common())
    lines = [
        f"Ledger storm on {engine}: {seconds:.1f} s, {options.processes} processes, "
        f"{options.ledgers} ledgers, seed {options.seed}",
        f"  operations   {operations:8}   {operations / seconds:.0f} a second",
        f"  answered     {account.answered:8}   {account.answered / seconds:.0f} a second",
        f"  new entries  {len(account.written):8}   {len(account.written) / seconds:.0f} a second",
        f"  refused      {account.refused.total():8}   {refused}",
        f"  killed       {kills:8}   and the database {account.crashes} times",
        f"  repeated     {account.repeated:8}   {account.found} had been written before",
        f"  violations   {len(account.wrong):8}",
        *(f"    {line}" for line in account.wrong[:SHOWN]),
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
