"""The processes that decode pictures (projects/decoder.py). They stay: starting one costs more than
most pictures do.

A decoder forks for each picture, so each is decoded in a process that has seen no other, and no
picture can take more with it. Whoever decodes takes an idle one, or starts one; with this process
they all end.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

DECODER = Path(__file__).with_name("decoder.py")
WALL_SECONDS = 15  # for one picture
MOST_IDLE = 2  # of those that a process keeps; a worker needs one, the site more at times


class Slow(Exception):
    """It took longer than WALL_SECONDS."""


def decode(words: str, file: IO[bytes], answer: IO[bytes]) -> int:
    """Has one picture decoded: the exit code of the process that did, or -N for signal N.

    `words` are its arguments, `file` the picture, which is read from its beginning; both files are
    real ones. Raises Slow, and OSError where no process can be started or it is suddenly gone.
    """
    try:
        decoder = idle.pop()
    except IndexError:
        decoder = Decoder()
    else:
        if decoder.is_gone:
            decoder.end()
            decoder = Decoder()
    try:
        code = decoder.ask(words, file, answer)
    except BaseException:  # RQ's time-out, too
        decoder.end()
        raise
    # What crashed its process may try again, but not in one with the same addresses.
    if code >= 0 and len(idle) < MOST_IDLE:
        idle.append(decoder)
    else:
        decoder.end()
    return code


def rest() -> None:
    """Ends those that are idle."""
    while idle:
        idle.pop().end()


class Decoder:
    """It gets no environment: no key of ours is its business."""

    def __init__(self) -> None:
        self.line, its = socket.socketpair()
        with its:
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", str(DECODER)],
                    stdin=its.fileno(),
                    env={},
                    process_group=0,  # Ctrl-C is for whoever started it
                )
            except BaseException:
                self.line.close()
                raise

    @property
    def is_gone(self) -> bool:
        return self.process.poll() is not None

    def ask(self, words: str, file: IO[bytes], answer: IO[bytes]) -> int:
        self.line.settimeout(WALL_SECONDS)
        socket.send_fds(self.line, [words.encode()], [file.fileno(), answer.fileno()])
        try:
            code = self.line.recv(8)
        except TimeoutError as error:
            raise Slow(f"slower than {WALL_SECONDS} s") from error
        if not code:
            raise ConnectionError("the decoder is gone")
        return int(code)

    def end(self) -> None:
        """With the child that is at work."""
        self.line.close()
        if self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # macOS says so of a dead one
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


idle: list[Decoder] = []


def _forget() -> None:
    """A fork of this process: they are its parent's."""
    for decoder in idle:
        decoder.line.close()
        decoder.process.returncode = 0  # it is no child of ours that is to be waited for
    idle.clear()


atexit.register(rest)
os.register_at_fork(after_in_child=_forget)
