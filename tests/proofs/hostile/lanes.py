"""The workers: the product's own, each a process that lives through many hostile orders.

A lane writes down for each job how much memory it and its decoder had, what it tried to reach, and
whether it met something that nobody had foreseen.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django_rq
from rq.serializers import JSONSerializer

from generation import lifecycle
from generation.models import Generation
from imagegen.worker import Worker
from projects.decoders import rest
from tests.proofs.hostile.network import Network

if TYPE_CHECKING:
    from rq.executions import Execution
    from rq.job import Job
    from rq.queue import Queue

OWN = Path("/proc/self")
JOBS_OF_A_DECODER = 4


class Lane(Worker):
    """The worker of the queue `pictures`, watched."""

    network: Network
    notes: Path

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        watch = Watch(self.network)
        ended = super().perform_job(job, queue, execution)
        with self.notes.open("a") as notes:
            notes.write(json.dumps(watch.note()) + "\n")
        return ended


def work(network: Network, notes: Path) -> None:
    """The life of a lane."""
    network.install()
    decoders.install()
    orders.install()
    logging.getLogger().addHandler(unforeseen)
    queue = django_rq.get_queue("pictures")
    lane = Lane([queue], connection=queue.connection, serializer=JSONSerializer)
    lane.network, lane.notes = network, notes
    lane.work()


class Watch:
    """From the beginning of a job to its end."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.began = time.monotonic()
        for heard in (network.forbidden, unforeseen.records, decoders.peaks, orders.taken):
            heard.clear()
        network.forget()
        with suppress(OSError):  # the kernel counts anew; where it may not, it counts on
            (OWN / "clear_refs").write_text("5")

    def note(self) -> dict[str, Any]:
        decoders.bury()
        return {
            "orders": orders.taken,
            "seconds": time.monotonic() - self.began,
            "worker": own_peak(),
            "decoder": max(decoders.peaks, default=0),
            "forbidden": self.network.forbidden,
            "unforeseen": unforeseen.records,
        }


def own_peak() -> int:
    """The most memory that this process had at once, in kilobytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", (OWN / "status").read_text())
    assert found
    return int(found[1])


class Decoders:
    """The kernel's count of the memory of each decoder and of those who decoded for it, at its
    burial. It is never less than this process had when it began, as a copy of it."""

    def __init__(self) -> None:
        self.peaks: list[int] = []
        self.jobs = 0

    def bury(self) -> None:
        """Now and then, so that most orders meet one that others have used."""
        self.jobs += 1
        if self.jobs % JOBS_OF_A_DECODER == 0:
            rest()

    def install(self) -> None:
        def waitpid(pid: int, options: int, /) -> tuple[int, int]:
            ended, status, usage = os.wait4(pid, options)
            self.peaks += [usage.ru_maxrss] * bool(ended)
            return ended, status

        os.waitpid = waitpid


class Orders:
    """Which orders the job took from the line."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def install(self) -> None:
        claim = lifecycle.claim_next_to_store

        def remembered() -> Generation | None:
            claimed = claim()
            self.taken += [claimed.pk] if claimed else []
            return claimed

        lifecycle.claim_next_to_store = remembered


class Unforeseen(logging.Handler):
    """Exceptions that the product could only write into its log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.name.startswith("rq"):
            error = record.exc_info[1] if record.exc_info else ""
            self.records.append(f"{record.getMessage()} {error!r}"[:500])


decoders = Decoders()
orders = Orders()
unforeseen = Unforeseen()
