"""The worker of every queue: RQ's SimpleWorker, which does not fork, at home in Django."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import close_old_connections
from rq import SimpleWorker

if TYPE_CHECKING:
    from rq.executions import Execution
    from rq.job import Job
    from rq.queue import Queue


class Worker(SimpleWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `rqworker` hands over RQ's default whatever the queue is written in.
        if self.queues:
            self.serializer = self.queues[0].serializer

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        # As Django does around a request: without it, a worker whose database was restarted
        # would fail every job from then on.
        close_old_connections()
        try:
            return super().perform_job(job, queue, execution)
        finally:
            close_old_connections()
