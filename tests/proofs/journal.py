"""What a process writes down before it asks and after it was answered, so that it may be killed.

One line of JSON for each, written by one write(2) to the end of the process's own file. A kill can
cut a line short; such a line counts as not written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# More than the longest two lines have, in bytes.
TAIL = 8192


class Journal:
    """A line {"ask": …}, then a line that says what became of it, and so on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        if self._tail()[-1:] not in (b"", b"\n"):
            os.write(self._file, b"\n")

    def write(self, **line: Any) -> None:
        """`at` is added: seconds since 1970."""
        os.write(self._file, json.dumps(line | {"at": time.time()}).encode() + b"\n")

    def unanswered(self) -> dict[str, Any] | None:
        """The last ask, if no line says what became of it, or one that its answer was lost."""
        lines = [line for text in self._tail().split(b"\n")[-6:] if (line := parsed(text))]
        if lines and "lost" in lines[-1]:
            lines.pop()
        return lines[-1] if lines and "ask" in lines[-1] else None

    def _tail(self) -> bytes:
        size = os.fstat(self._file).st_size
        return os.pread(self._file, TAIL, max(0, size - TAIL))


def read(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Every ask with what became of it; None where that was never written."""
    ask = None
    with path.open("rb") as lines:
        for text in lines:
            line = parsed(text)
            if line is None:
                continue
            if "ask" not in line:
                assert ask, f"an answer to nothing in {path}: {line}"
                yield ask, line
                ask = None
                continue
            if ask:
                yield ask, None
            ask = line
    if ask:
        yield ask, None


def parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line
