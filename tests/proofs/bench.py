"""python -m tests.proofs.bench: how soon the site knows of pictures that KIE has, and keeps them.

Many orders are in flight at once on two worker processes, one of each queue: without callbacks (the
poll lag is the time from KIE having a picture to the site knowing it), then with them. Then a few
are placed at once, and the same again with the obvious design, one blocking job per picture, on the
same two workers. Exit status 1 if the site is too late.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from tests.proofs.stand import Options, Stand
from tests.proofs.verdict import read_journal

TWO_WORKERS = {"ORDER_WORKERS": "1", "PICTURE_WORKERS": "1", "LOG_LEVEL": "WARNING"}
SPREAD = 0.9  # tasks take from a tenth of --seconds to 1.9 times as long
BATCH_SECONDS = 5.0  # that KIE takes for each picture of the comparison
KNOWN_WITHIN = 3.0  # seconds, of 95 in 100, without callbacks
STORED_WITHIN = 1.0  # seconds, of every second one, with callbacks
PATIENCE = 900.0
Result = TypeVar("Result")
KNOWN = """
SELECT g.task_id, extract(epoch FROM min(e.at)), extract(epoch FROM g.finished_at)
FROM generation_generation g JOIN generation_event e ON e.generation_id = g.id
WHERE e.state = 'storing' AND g.state = 'done' GROUP BY g.id
"""
COUNT = "SELECT count(*) FROM generation_generation WHERE state = ANY(%s)"


@dataclass(frozen=True)
class Lags:
    """Seconds from KIE having a picture, in order: until the site knew, until it was stored."""

    known: Sequence[float]
    stored: Sequence[float]
    in_flight: int  # at most
    cpu: str


def main() -> int:
    options = arguments()
    wrong = []
    print(f"bench: {options.orders} orders on two worker processes, {os.cpu_count()} cores")
    for callbacks in (False, True):
        lags = apart(in_flight, options.orders, options.seconds, callbacks)
        print(
            f"  {'with' if callbacks else 'without'} callbacks, at most {lags.in_flight} in flight:"
            f" known after {quantiles(lags.known)}; stored after {quantiles(lags.stored)}\n"
            f"    CPU seconds: {lags.cpu}"
        )
        if not options.busy:
            wrong += late(lags, callbacks)
    ours, obvious = apart(at_once, options.batch)
    print(
        f"  {options.batch} pictures of {BATCH_SECONDS:g} s placed at once: {ours:.1f} s;"
        f" with one blocking job for each: {obvious:.1f} s, {obvious / ours:.1f} times as long"
    )
    for words in wrong:
        print(f"WRONG {words}")
    return 1 if wrong else 0


def late(lags: Lags, callbacks: bool) -> list[str]:
    if callbacks:
        stored = percentile(lags.stored, 50)
        return [f"stored after {stored:.2f} s"] if stored > STORED_WITHIN else []
    known = percentile(lags.known, 95)
    return [f"known after {known:.2f} s"] if known > KNOWN_WITHIN else []


def apart(measure: Callable[..., Result], *arguments: object) -> Result:
    """In a process of its own: a stand sets up Django, which can be done only once in each."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def in_flight(count: int, seconds: float, callbacks: bool) -> Lags:
    with stand(seconds, callbacks) as site:
        return measured(site, count)


def at_once(count: int) -> tuple[float, float]:
    """Seconds until so many pictures are there: with this design, and with the obvious one."""
    with stand(BATCH_SECONDS, callbacks=False, spread=0) as site:
        return seconds_for(site, count), seconds_of_blocking_jobs(count)


def stand(seconds: float, callbacks: bool, spread: float = SPREAD) -> Stand:
    return Stand(
        Options(
            creates=5000,
            seconds=seconds,
            callbacks=callbacks,
            sandbox=(f"--spread {spread}", "--largest-edge 1024", "--draw-ahead"),
            environment=TWO_WORKERS,
        )
    )


def measured(site: Stand, count: int) -> Lags:
    from tests.proofs import film

    before = site.cpu()
    film.order(count)
    most = wait_for(site, count)
    used = {name: cpu - before.get(name, 0) for name, cpu in site.cpu().items()}
    ended = {row["taskId"]: row["at"] for row in read_journal(site.journal) if row["what"] == "end"}
    with site.database() as database:
        rows = database.execute(KNOWN).fetchall()
    assert len(rows) == count, f"only {len(rows)} of {count} are done"
    return Lags(
        sorted(float(known) - ended[task] for task, known, _ in rows),
        sorted(float(stored) - ended[task] for task, _, stored in rows),
        most,
        ", ".join(f"{name} {cpu:.0f}" for name, cpu in sorted(used.items()) if cpu >= 1),
    )


def wait_for(site: Stand, count: int) -> int:
    """Until so many orders are done; how many were at KIE at the same time."""
    deadline = time.monotonic() + PATIENCE
    most = 0
    with site.database() as database:

        def number(*states: str) -> int:
            row = database.execute(COUNT, [list(states)]).fetchone()
            return int(row[0]) if row else 0

        while number("done") < count:
            if time.monotonic() > deadline:
                sys.exit(f"only {number('done')} of {count} are done after {PATIENCE:g} s")
            most = max(most, number("running"))
            site.cpu()
            time.sleep(0.5)
    return most


def seconds_for(site: Stand, count: int) -> float:
    from tests.proofs import film

    began = time.monotonic()
    film.order(count)
    wait_for(site, count)
    return time.monotonic() - began


def seconds_of_blocking_jobs(count: int) -> float:
    """The two workers take turns with them."""
    import django_rq

    began = time.monotonic()
    jobs = [
        django_rq.get_queue(("orders", "pictures")[n % 2]).enqueue(
            "tests.proofs.blocking.make_picture", f"blocking-{n}"
        )
        for n in range(count)
    ]
    while not all(job.get_status() == "finished" for job in jobs):
        assert not any(job.get_status() == "failed" for job in jobs)
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.2)
    return time.monotonic() - began


def quantiles(seconds: Sequence[float]) -> str:
    return f"p50 {percentile(seconds, 50):.2f} s, p95 {percentile(seconds, 95):.2f} s"


def percentile(seconds: Sequence[float], of_100: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[of_100 - 1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.bench", description=__doc__)
    add = parser.add_argument
    add("--orders", type=int, default=500, metavar="N", help="in flight at once")
    # So that 500 end at the rate at which KIE takes orders, 1.8 a second: faster they cannot come.
    add("--seconds", type=float, default=155, metavar="S", help="that KIE takes, on average")
    add("--batch", type=int, default=30, metavar="N", help="of the comparison")
    add("--busy", action="store_true", help="others use this machine: seconds are only printed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
