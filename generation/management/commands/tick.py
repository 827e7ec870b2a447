"""manage.py tick: the clock of all orders."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from generation import clock

log = logging.getLogger(__name__)

SECONDS = 1


class Command(BaseCommand):
    requires_system_checks = []  # one that takes the place of a dead one begins at once
    help = (
        "Every second: frees what dead workers held, and rings for every step that is due. "
        "It needs no queue itself. A second one does no harm."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        while True:
            began = time.monotonic()
            close_old_connections()
            try:
                clock.tick()
            except Exception:  # a database that restarts, say: the clock goes on
                log.exception("[Tick]")
            time.sleep(max(0, began + SECONDS - time.monotonic()))
