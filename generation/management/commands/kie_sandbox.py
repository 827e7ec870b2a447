"""manage.py kie_sandbox: KIE on this machine, for trying the program without key and cost."""

from __future__ import annotations

import signal
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from generation.kie.sandbox import Options, Sandbox
from generation.kie.sandbox.faults import EVERY, UnknownFaultError


def _fault(text: str) -> tuple[str, float]:
    name, equals, probability = text.partition("=")
    try:
        return name, float(probability) if equals else 1.0
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not NAME=PROBABILITY") from error


class Command(BaseCommand):
    help = "Serves a sandbox that speaks KIE.ai's API and draws sample pictures."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        usual = Options()
        add = parser.add_argument
        add("--host", default=usual.host)
        add("--port", type=int, default=8010, help="0: any free one")
        add("--public-url", default="", help="how others reach it, e.g. http://sandbox:8010")
        add("--state", type=Path, help="SQLite file that keeps the tasks; without it none are kept")
        add("--journal", type=Path, help="file that gets a line of JSON for all that happens")
        add("--seconds", type=float, default=usual.seconds, help="how long a picture takes")
        add("--spread", type=float, default=usual.spread, help="0.5: half as long to 1.5 times")
        add("--queuing", action="store_true", help="tasks are also `queuing` for a while")
        add("--key", default="", help="the only key that is accepted; without it any is")
        add("--credits", type=float, help="what is on the account (a new one has 10000)")
        add("--rate", type=int, default=usual.rate, help="creates in 10 s for a key; 0: no limit")
        add("--real-statuses", action="store_true", help="HTTP status as the body's code")
        add("--webhook-key", default="", help="signs callbacks with this key")
        add(
            "--largest-edge",
            type=int,
            default=usual.largest_edge,
            metavar="PIXELS",
            help="pictures are drawn no larger, which is quicker",
        )
        add("--draw-ahead", action="store_true", help="pictures are there when their task ends")
        add("--seed", type=int, default=0, help="of the faults that come by chance")
        add(
            "--fault",
            action="append",
            default=[],
            type=_fault,
            metavar="NAME=PROBABILITY",
            help=f"may be repeated; names: {', '.join(sorted(EVERY))}",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        ends = {signal.SIGTERM, signal.SIGINT}
        # Kept back and waited for, because an Event that two signals set at once locks up.
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        kie = self._sandbox(options)
        self._say(f"KIE sandbox at {kie.url}")
        with kie:
            signal.sigwait(ends)

    def _sandbox(self, given: dict[str, Any]) -> Sandbox:
        names = Options.__dataclass_fields__.keys() & given.keys()
        options = Options(
            **{n: given[n] for n in names}, faults=dict(given["fault"]), log=self._say
        )
        try:
            return Sandbox(options)
        except UnknownFaultError as error:
            raise CommandError(f"unknown fault: {error}") from error
        except OSError as error:
            raise CommandError(f"{options.host}:{options.port}: {error.strerror}") from error

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
