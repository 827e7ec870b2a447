"""The worker of every queue: RQ's SimpleWorker, which does not fork, at home in Django.

A pool loads this module and then forks its workers. So what their jobs need is loaded here, and one
that takes the place of a dead one begins at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.files.storage import default_storage
from django.db import close_old_connections
from rq import SimpleWorker

import generation.jobs  # noqa: F401
from imagegen import memory

if TYPE_CHECKING:
    from rq.executions import Execution
    from rq.job import Job
    from rq.queue import Queue

getattr(default_storage, "bucket", None)  # boto3 takes long to get ready; it does not connect yet

memory.settle()

TTL_SECONDS = 30  # an idle worker is heard of twice in this time; RQ's own default is seven minutes


class Worker(SimpleWorker):
    # While Redis is away, RQ looks for it in steps that grow from a second to this (by itself to a
    # minute). At its return, what has piled up is to be done soon.
    max_connection_wait_time = 1.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"worker_ttl": TTL_SECONDS, **kwargs})

    def work(self, *args: Any, **kwargs: Any) -> bool:
        # A pool asks for RQ's scheduler, one more process for jobs at a later time: we have none.
        # And it gives a worker that it starts again another level of logging than the first ones.
        return super().work(
            *args, **{**kwargs, "with_scheduler": False, "logging_level": "WARNING"}
        )

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        # As Django does around a request: without it, a worker whose database was restarted
        # would fail every job from then on.
        close_old_connections()
        try:
            return super().perform_job(job, queue, execution)
        finally:
            close_old_connections()
