"""What can go wrong at KIE, switched on from outside: by probability, or for the next call.

Nothing here is on unless it was asked for, and nothing in a request can switch it on. The words
are those that were seen from the real KIE where any were.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

# createTask answers with this (code, msg) and makes no task.
CREATE_ANSWERS = {
    "create_401": (401, "Unauthorized – Authentication failed. Please check your API key."),
    "create_402": (402, "Credits insufficient. Please top up to continue."),
    "create_402_as_500": (500, "Credits insufficient. Please top up to continue."),
    "create_422": (422, "Inappropriate content, please try another prompt."),
    "create_429": (429, "Your call frequency is too high. Please try again later."),
    "create_433": (433, "The current API key has exceeded the daily limit of credits."),
    "create_455": (455, "The service is under maintenance. Please try again later."),
    "create_500": (500, "Server exception, please try again later or contact customer service"),
}
# The task fails at its end with this failMsg.
FAILURES = {
    "moderation": "Content moderation check failed: the prompt may violate our content policy.",
    "inappropriate": "Inappropriate content, please try another prompt.",
    "internal_error": "Internal server error",
    "try_again": "internal error, please try again later.",
    "image_fetch": "Image fetch failed",
    "file_type": "File type not supported",
}
# recordInfo answers with this body code instead of a record; the task's own failMsg comes along.
RECORD_FAILURES = {"record_501": 501, "record_408": 408}

CREATE = {
    **dict.fromkeys(CREATE_ANSWERS, "refused by createTask with this code"),
    "create_502": "createTask answers an HTML page with HTTP 502; no task is made",
    "create_lost": "the task is made, the connection closes without an answer",
    "create_502_made": "the task is made, the answer is an HTML page with HTTP 502",
    "create_slow": "the task is made, the answer comes after `slow_seconds`",
}
TASK = {
    **FAILURES,
    "record_501": "ends in body code 501 on recordInfo",
    "record_408": "ends in body code 408 on recordInfo",
    "never_ends": "stays `waiting` for ever",
    "empty": "succeeds with no picture",
    "hidden": "422 `recordInfo is null` for the first `hidden_seconds`",
    "result_404": "the picture's address answers 404",
    "result_403": "the picture's address answers 403",
    "result_expired": "the picture's address has expired; download-url makes a fresh one",
    "result_503_once": "the first fetch of the picture answers 503",
    "result_cut": "the connection closes in the middle of the picture",
    "result_cut_once": "the connection closes in the middle of the picture's first fetch",
    "result_html": "an HTML page with HTTP 200 instead of the picture",
    "result_junk": "bytes that are no picture, sent as one",
    "result_mislabelled": "a JPEG named and sent as PNG",
    "result_redirect": "the picture's address redirects to a private address",
    "result_endless": "the picture never ends",
    "result_slow": "the picture comes in drops, over `slow_seconds`",
    "callback_lost": "never called back",
    "callback_twice": "called back twice",
    "callback_early": "called back before createTask answers, while the task still runs",
    "callback_late": "called back `slow_seconds` after the end",
    "callback_unsigned": "called back without a signature",
    "callback_badly_signed": "called back with a wrong signature",
}
RECORD = {
    "record_401": "recordInfo answers body code 401",
    "record_429": "recordInfo answers body code 429",
    "record_500": "recordInfo answers body code 500",
    "record_502": "recordInfo answers an HTML page with HTTP 502",
    "record_lost": "the connection closes without an answer",
}
UPLOAD = {
    "upload_500": "an upload answers body code 500",
    "upload_502": "an upload answers an HTML page with HTTP 502",
}
PLACES = {"create": CREATE | TASK, "record": RECORD, "upload": UPLOAD}
EVERY = {name for names in PLACES.values() for name in names}


class UnknownFaultError(ValueError):
    """A name that is not in the tables above."""


class Faults:
    """Which faults the next call meets. Thread-safe; the same seed gives the same sequence."""

    def __init__(self, probabilities: Mapping[str, float] | None = None, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rng = random.Random(seed)  # noqa: S311
        self._queues: dict[str, deque[frozenset[str]]] = {place: deque() for place in PLACES}
        self._probabilities: dict[str, float] = {}
        self.change({"probabilities": dict(probabilities or {})})

    def change(self, wish: Mapping[str, Any]) -> None:
        """`probabilities` ({name: 0..1}) replaces what was set; `next` ([name, [name, name] for
        several at once, or null for none]) is queued for the coming calls.

        Faults of createTask, of the task and its callback wait for the next create, those of
        recordInfo for the next recordInfo, those of uploads for the next upload.
        """
        probabilities = dict(wish.get("probabilities", {}))
        entries = [_entry(e) for e in wish.get("next", [])]
        unknown = (set(probabilities) | {n for names in entries for n in names}) - EVERY
        if unknown:
            raise UnknownFaultError(", ".join(sorted(unknown)))
        places = [_place(names) for names in entries]
        with self._lock:
            if "probabilities" in wish:
                self._probabilities = {n: float(p) for n, p in probabilities.items()}
            for place, names in zip(places, entries, strict=True):
                self._queues[place].append(names)

    def clear(self) -> None:
        with self._lock:
            self._probabilities.clear()
            for queue in self._queues.values():
                queue.clear()

    def take(self, place: str) -> frozenset[str]:
        """The faults of one call of "create", "record" or "upload"."""
        with self._lock:
            if self._queues[place]:
                return self._queues[place].popleft()
            likely = [(n, p) for n, p in self._probabilities.items() if n in PLACES[place]]
            return frozenset(name for name, p in likely if self._rng.random() < p)

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                "probabilities": dict(self._probabilities),
                "next": {p: [sorted(names) for names in q] for p, q in self._queues.items()},
                "known": PLACES,
            }


def _entry(entry: str | Iterable[str] | None) -> frozenset[str]:
    if entry is None:
        return frozenset()
    return frozenset([entry] if isinstance(entry, str) else entry)


def _place(names: frozenset[str]) -> str:
    places = [place for place, known in PLACES.items() if names <= known.keys()]
    if not places:
        raise UnknownFaultError(f"{', '.join(sorted(names))} do not belong to one call")
    return places[0]
