"""python -m tests.proofs.hostile: hundreds of hostile pictures and links, each in a paid order.

One process plays KIE and its file host, and answers each order with its own malice. Orders are
placed, sent and asked after as ever; workers of the product fetch what came of it. At the end no
hostile order may have stored or charged anything, each must stand as the corpus says, and no worker
and no decoder may have had 512 MB. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from imagegen.processes import Processes
from imagegen.run import start_valkey
from tests.proofs.hostile.corpus import Case, corpus
from tests.proofs.hostile.host import Host, Place
from tests.servers import clean_environment
from tests.with_postgres import postgres

MOST_MEMORY = 512_000  # kilobytes, of a worker and of its decoder each
LONGEST_RUN = 900  # seconds
ENGINES = ("postgres", "sqlite")
OUTCOMES = ("never", "later", "staff", "clean")
SHOWN = 30  # violations that are printed

fork = multiprocessing.get_context("fork")


@dataclass
class Row:
    """A line of the report: all cases of a kind. Memory in kilobytes."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    worker: int = 0
    decoder: int = 0
    seconds: float = 0.0


def main() -> int:
    options = arguments()
    cases = [case for case in corpus() if options.all or not (case.is_slow or case.is_costly)]
    cases = [case for case in cases if options.only in f"{case.kind} {case.name}"]
    began = time.monotonic()
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-hostile-")))
        server = ends.enter_context(hosting(cases, folder))
        url = ends.enter_context(database(options.engine, folder))
        prepare(folder, server.place, url, ends.enter_context(valkey(folder)))
        placed: dict[str, str] = {}
        for wave in waves(cases):
            placed |= (sent := send(wave))
            with lanes(options.lanes, cases, server.place, folder):
                follow(sent, wave)
        tries = list(read(folder))
        violations = list(judge(cases, placed, tries, server, folder))
        rows = table(cases, placed, tries)
    report(rows, violations, time.monotonic() - began, options)
    return int(bool(violations))


def waves(cases: list[Case]) -> list[list[Case]]:
    """All at once, and then each that keeps a processor busy by itself."""
    together = [case for case in cases if not case.is_costly]
    alone = [[case] for case in cases if case.is_costly]
    return [together, *alone] if together else alone


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.hostile", description=__doc__)
    add = parser.add_argument
    add(
        "--all",
        action="store_true",
        help="also the slow and costly cases, which need a free processor",
    )
    add("--only", default="", help="the cases with this in their kind or name")
    add("--lanes", type=int, default=24, help="workers; most of them wait for a slow server")
    add("--engine", choices=ENGINES, default="postgres")
    return parser.parse_args()


# What runs beside the workers


@contextmanager
def hosting(cases: list[Case], folder: Path) -> Iterator[Host]:
    server = Host(cases, folder)
    here, there = fork.Pipe()
    process = fork.Process(target=server.serve, args=(there,), daemon=True)
    process.start()
    server.close()
    try:
        here.recv()
        yield server
    finally:
        process.kill()
        process.join()


@contextmanager
def database(engine: str, folder: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{folder}/hostile.sqlite3"
        return
    with (
        tempfile.TemporaryDirectory(prefix="imagegen-pg-") as its_own,
        postgres(Path(its_own)) as server,
    ):
        yield server.url


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    processes = Processes()
    try:
        yield start_valkey(processes, folder / "valkey")
    finally:
        processes.stop()


def prepare(folder: Path, place: Place, database_url: str, redis_url: str) -> None:
    """The settings of a site whose KIE is the host. The lanes are forks of this process."""
    (folder / "tmp").mkdir()
    environment = clean_environment()
    os.environ.clear()
    os.environ |= environment | {
        "SECRET_KEY": "only-for-the-corpus",
        "VAR_DIR": str(folder / "var"),
        "TMPDIR": str(folder / "tmp"),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "KIE_SANDBOX_URL": place.url,
        "KIE_CREATES": "100000",
        "KIE_QUERIES": "100000",
        "SSL_CERT_FILE": str(place.authority),
        "LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "imagegen.settings",
    }
    tempfile.tempdir = None  # TMPDIR is another one now

    import django

    django.setup()

    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("load_kie_models", stdout=io.StringIO())


def send(cases: list[Case]) -> dict[str, str]:
    from tests.proofs.hostile import orders

    orders.rest()
    placed = orders.place(cases)
    orders.send(placed, stay=sum(case.expected == "later" for case in cases if case.record))
    return placed


@contextmanager
def lanes(number: int, cases: list[Case], place: Place, folder: Path) -> Iterator[None]:
    from django.db import connections

    from tests.proofs.hostile.lanes import work
    from tests.proofs.hostile.network import Network

    names = {name: answers for case in cases for name, answers in case.names.items()}
    connections.close_all()
    processes: list[ForkProcess] = []
    for lane in range(number):
        notes = folder / f"{lane}.notes"
        process = fork.Process(target=work, args=(Network(place, names), notes), daemon=True)
        process.start()
        processes.append(process)
    try:
        yield
        dead = [process.pid for process in processes if not process.is_alive()]
        assert not dead, f"workers have died: {dead}"
    finally:
        for process in processes:
            process.kill()  # it may be at a later try of an order that has been judged
            process.join()


def follow(placed: dict[str, str], cases: list[Case]) -> None:
    """The tick, until each order has been tried."""
    from generation import clock
    from tests.proofs.hostile import orders

    until = time.monotonic() + LONGEST_RUN
    while not orders.are_settled(placed, cases):
        assert time.monotonic() < until, "not all orders were tried"
        clock.tick()
        time.sleep(0.5)


# What became of it


def read(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.glob("*.notes"):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def judge(
    cases: list[Case],
    placed: dict[str, str],
    tries: list[dict[str, Any]],
    server: Host,
    folder: Path,
) -> Iterator[str]:
    from tests.proofs.hostile import orders

    for case in cases:
        yield from (
            f"{case.kind}, {case.name}: {wrong}" for wrong in orders.wrongs(case, placed[case.name])
        )
    names = {pk: name for name, pk in placed.items()}
    for one in tries:
        who = ", ".join(names[pk] for pk in one["orders"]) or "no order"
        yield from (f"{who}: reached out to {address}" for address in one["forbidden"])
        yield from (f"{who}: nobody foresaw {error}" for error in one["unforeseen"])
        for part in ("worker", "decoder"):
            if one[part] > MOST_MEMORY:
                yield f"{who}: its {part} had {one[part] // 1000} MB"
    yield from (f"went to a file host: {leak}" for leak in server.leaks())
    yield from orders.general()
    yield from (f"left behind: {path}" for path in (folder / "tmp").iterdir())


def table(cases: list[Case], placed: dict[str, str], tries: list[dict[str, Any]]) -> dict[str, Row]:
    from tests.proofs.hostile import orders

    rows: defaultdict[str, Row] = defaultdict(Row)
    kinds = {placed[case.name]: case.kind for case in cases}
    for case in cases:
        found = orders.outcome(placed[case.name])
        rows[case.kind].outcomes[found] = rows[case.kind].outcomes.get(found, 0) + 1
    for one in tries:
        for row in (rows[kinds[pk]] for pk in one["orders"]):
            row.worker = max(row.worker, one["worker"])
            row.decoder = max(row.decoder, one["decoder"])
            row.seconds = max(row.seconds, one["seconds"])
    return rows


def report(
    rows: dict[str, Row], violations: list[str], seconds: float, options: argparse.Namespace
) -> None:
    count = sum(sum(row.outcomes.values()) for row in rows.values())
    left_out = (
        "" if options.all else f" Without {sum(c.is_slow for c in corpus())} slow ones: --all."
    )
    lines = [
        f"{count} hostile orders on {options.engine}, {options.lanes} workers: {seconds:.0f} s."
        f"{left_out}",
        f"{'':22}{''.join(f'{name:>7}' for name in OUTCOMES)}   worker  decoder  longest",
    ]
    for kind, row in rows.items():
        counts = "".join(f"{row.outcomes[name] or '':>7}" for name in OUTCOMES)
        memory = f"{row.worker // 1000:6} MB{row.decoder // 1000:6} MB"
        lines.append(f"{kind:22}{counts}{memory}{row.seconds:7.1f} s")
    lines.append(f"violations: {len(violations)}")
    lines += [f"  {violation}" for violation in violations[:SHOWN]]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
