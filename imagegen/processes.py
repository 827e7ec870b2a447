"""Child processes that end together: what `make run` starts, nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue

# Seconds that a process may take for what it is doing before it is killed.
GRACE = 5
# A process that ends sooner after its start than this will not do better next time.
SOON = 5
# With setpriv (util-linux) the kernel ends a child when the program that started it is gone,
# even if that was killed and could not do it.
TIED = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []


class Processes:
    """Starts commands, shows their lines under their names, stops them.

    Each is the head of a process group of its own, so that Ctrl-C in the terminal reaches only the
    program that started them, and so that stopping one also stops what it started itself.
    """

    def __init__(self) -> None:
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: SimpleQueue[str] = SimpleQueue()
        self._starts: dict[str, tuple[float, Callable[[], None]]] = {}

    def start(self, name: str, command: Sequence[str | Path], cwd: Path | None = None) -> None:
        self._starts[name] = (time.monotonic(), partial(self.start, name, command, cwd))
        child = subprocess.Popen(
            [*TIED, *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.children[name] = child
        for work in (self._relay, self._await):
            threading.Thread(target=work, args=(name, child), daemon=True).start()

    def _relay(self, name: str, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            say(f"{name:8} | {line.decode(errors='replace').rstrip()}")

    def _await(self, name: str, child: subprocess.Popen[bytes]) -> None:
        # Its lines say nothing about its end: what it has forked may go on writing.
        child.wait()
        self.ended.put(name)

    def start_again(self, name: str) -> bool:
        """Starts a process that has ended; False if it did so at once, as it would again."""
        started, start = self._starts[name]
        if time.monotonic() - started < SOON:
            return False
        send(self.children[name], signal.SIGKILL)  # what its group left behind
        start()
        return True

    def stop(self, names: Collection[str] | None = None) -> None:
        """Ends these processes, or all: asks, waits `GRACE` seconds altogether, then kills."""
        children = [c for name, c in self.children.items() if names is None or name in names]
        for child in children:
            send(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0, deadline - time.monotonic()))
            # Also after it has ended: what its group left behind.
            send(child, signal.SIGKILL)
            child.wait()


def say(text: str) -> None:
    """Prints in one write, so that lines of two threads never run into each other.

    Where nobody reads any more (the terminal was closed), silence: the processes still have to end.
    """
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def send(child: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signum)
