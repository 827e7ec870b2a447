"""python -m tests.proofs.recovery: how soon orders go on after a SIGKILL, and after Redis was away.

First every worker of a queue is killed while it holds an order: at KIE with createTask, and in the
middle of a picture. Then Redis is stopped while people go on ordering over HTTP, and comes back.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from tests.proofs.customers import Customer, Customers
from tests.proofs.stand import Options, Stand
from tests.proofs.verdict import read_journal

MOVES_WITHIN = 25.0  # seconds from SIGKILL
CATCHES_UP_WITHIN = 10.0  # seconds from Redis' return
EVERY = 2.0  # seconds between two orders while Redis is away
SLOW = 14  # seconds that the sandbox takes for an answer, or a picture, that is slow
MODEL = "z-image"

KILLS = {  # the fault that keeps a worker busy, the state it is busy in, its queue
    "createTask": ("create_slow", "submitting", "orders"),  # no callback comes to its rescue
    "the picture": ("result_slow", "storing", "pictures"),
}
HELD = """
SELECT count(*) FROM generation_generation
WHERE state = %s AND lease_until IS NOT NULL AND id = ANY(%s)
"""
STILL_HELD = "SELECT count(*) FROM generation_generation WHERE lease_token = ANY(%s)"
TOKENS = "SELECT lease_token FROM generation_generation WHERE lease_token <> '' AND id = ANY(%s)"
OVERDUE = """
SELECT count(*) FROM generation_generation
WHERE next_at < now() - interval '1 s' AND lease_until IS NULL
  AND state IN ('queued', 'running', 'storing')
"""
OPEN = """
SELECT count(*) FROM generation_generation
WHERE state IN ('queued', 'submitting', 'running', 'storing')
"""


def main() -> int:
    options = arguments()
    environment = {"LOG_LEVEL": "WARNING"}
    sandbox = ("--largest-edge 256",)
    wrong = []
    with Stand(Options(creates=1000, environment=environment, sandbox=sandbox)) as stand:
        stand.sandbox("settings", {"slow_seconds": SLOW})
        for place in KILLS:
            seconds = seconds_after_a_kill(stand, place)
            print(f"recovery: SIGKILL at {place}: the row moves again after {seconds:.1f} s")
            if seconds > MOVES_WITHIN and not options.busy:
                wrong.append(f"{seconds:.1f} s after a SIGKILL at {place}")
        wrong += outage(stand, options)
        ledger = stand.manage("check_ledger")
        if ledger.returncode:
            wrong.append(f"check_ledger: {ledger.stdout}")
    for words in wrong:
        print(f"WRONG {words}")
    return 1 if wrong else 0


def seconds_after_a_kill(stand: Stand, place: str) -> float:
    """From the SIGKILL of all workers of a queue, all of them at work, to the last of their rows
    being free or in another's hands."""
    from tests.proofs import film

    fault, state, queue = KILLS[place]
    workers = [worker for worker in stand.workers() if worker.name == queue]
    stand.sandbox("faults", {"next": [[fault, "callback_lost"]] * len(workers)})
    ids = film.order(len(workers), name=f"{queue}-")
    with stand.database() as database:

        def one(query: str, *values: object) -> int:
            row = database.execute(query, values).fetchone()
            return int(row[0]) if row else 0

        wait_until(lambda: one(HELD, state, ids) == len(workers), 30)
        tokens = [token for (token,) in database.execute(TOKENS, [ids]).fetchall()]
        time.sleep(2)  # the lease is renewed while bytes flow
        for worker in workers:
            stand.kill(worker)
        killed = time.monotonic()
        wait_until(lambda: one(STILL_HELD, tokens) == 0, 60)
        return time.monotonic() - killed


def outage(stand: Stand, options: argparse.Namespace) -> list[str]:
    """Redis is away for so long; what was not as it must be."""
    seconds = options.outage
    wanted = max(3, int(seconds / EVERY))
    wait_until(lambda: not open_orders(stand), 120)  # those of the kills, which take their time
    token = stand.token("customer", credits=1_000_000)
    began = time.monotonic()
    customers = Customers(
        stand.site_url,
        [Customer("customer", token, 1)],
        (MODEL,),
        wanted,
        lambda: time.monotonic() - began > customers.placed * EVERY,
        random.Random(0),
    )
    stand.stop_redis()
    customers.start()
    time.sleep(max(0, began + seconds - time.monotonic()))
    placed = customers.placed
    stand.start_redis()
    back, back_at = time.monotonic(), time.time()
    with stand.database() as database:

        def one(query: str) -> int:
            row = database.execute(query).fetchone()
            return int(row[0]) if row else 0

        wait_until(lambda: one(OVERDUE) == 0, 120)
        caught_up = time.monotonic() - back
        wait_until(lambda: customers.are_done and not open_orders(stand), 180)
    sent = [row["at"] - back_at for row in read_journal(stand.journal) if row["what"] == "create"]
    sent = sorted(at for at in sent if at > 0)
    troubles = sum(customers.troubles.values())
    print(
        f"  Redis away for {seconds:.0f} s: {placed} of {wanted} orders accepted meanwhile,"
        f" {troubles} times told to come again; after its return they were sent within"
        f" {sent[0]:.1f} to {sent[-1]:.1f} s, nothing was overdue after {caught_up:.1f} s"
    )
    states = customers_states(stand)
    print(f"  orders in the end: {states}; restarts {dict(stand.restarts) or 'none'}")
    wrong = []
    if placed < wanted - 1 or troubles:
        wrong.append(f"{placed} of {wanted} orders accepted, {troubles} refused, without Redis")
    if caught_up > CATCHES_UP_WITHIN and not options.busy:
        wrong.append(f"{caught_up:.1f} s to catch up")
    if states.get("done") != wanted:
        wrong.append(f"{wanted} orders were placed while Redis was away: {states}")
    return wrong


def open_orders(stand: Stand) -> int:
    with stand.database() as database:
        row = database.execute(OPEN).fetchone()
    return int(row[0]) if row else 0


def customers_states(stand: Stand) -> dict[str, int]:
    with stand.database() as database:
        found = database.execute(
            "SELECT state, count(*) FROM generation_generation g"
            " JOIN auth_user u ON u.id = g.ordered_by_id WHERE u.username = 'customer' GROUP BY 1"
        ).fetchall()
    return dict(found)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"WRONG not so after {seconds:g} s")
        time.sleep(0.05)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.recovery", description=__doc__)
    parser.add_argument("--outage", type=float, default=120, metavar="SECONDS")
    parser.add_argument(
        "--busy", action="store_true", help="others use this machine: seconds are only printed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
