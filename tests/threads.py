"""Calls in threads of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connection

Result = TypeVar("Result")


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """What each of them returned or raised, in no order. Each has a connection of its own, so that
    PostgreSQL lets them run at the same time."""
    barrier = threading.Barrier(len(calls))
    results: list[Result | Exception] = []

    def run(call: Callable[[], Result]) -> None:
        barrier.wait()
        try:
            results.append(call())
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def in_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """In an event loop of its own: this thread has one that runs already after a browser's test."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
