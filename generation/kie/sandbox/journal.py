"""All that happened here, for whoever must know it to the last line: one JSON object a line.

The lists under /sandbox/ keep the newest only; this file keeps everything, outlives the process,
and costs no memory.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """Lines of `what`: create (answered so), record (a fault struck), fetch, end, callback."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8") if path else None

    def note(self, what: str, **facts: Any) -> None:
        """On the file before this returns, so before what it tells of can be answered."""
        if self._file is None:
            return
        line = json.dumps({"what": what, "at": time.time(), **facts}, ensure_ascii=False)
        with self._lock:
            if not self._file.closed:
                self._file.write(f"{line}\n")
                self._file.flush()

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
