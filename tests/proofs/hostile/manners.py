"""How a file host may answer, once it has read a request. It ends by returning, or with the caller.

An answer is a function of the connection; the host closes it afterwards.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterable
from functools import cache

from tests.proofs.hostile.files import Make

Answer = Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FOR_EVER = 600.0  # seconds; longer than anybody waits


class Body:
    """A file with its length, or with another one."""

    def __init__(
        self, make: Make, kind: str = "image/png", *, length: int | None = None, also: str = ""
    ) -> None:
        self.make = cache(make)
        self._head = f"Content-Type: {kind}\r\n{also}"
        self._length = length

    def __call__(self, connection: socket.socket) -> None:
        data = self.make()
        length = len(data) if self._length is None else self._length
        connection.sendall(OK + f"{self._head}Content-Length: {length}\r\n\r\n".encode() + data)


def raw(*data: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        for piece in data:
            connection.sendall(piece)

    return answer


def made(start: bytes, make: Make) -> Answer:
    """These bytes, and then a file."""
    return lambda connection: connection.sendall(start + make())


def status(code: int, *headers: str) -> Answer:
    head = "".join(f"{header}\r\n" for header in (f"HTTP/1.1 {code} X", *headers))
    return raw(head.encode("latin-1") + b"Content-Length: 0\r\n\r\n")


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, f"Location: {to}")


def endless(start: bytes, piece: bytes) -> Answer:
    return flood(start, itertools.repeat(piece))


def flood(start: bytes, pieces: Iterable[bytes]) -> Answer:
    """As fast as it is taken."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for piece in pieces:
            connection.sendall(piece)

    return answer


def silent(start: bytes = b"") -> Answer:
    """Says something, and never anything more."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        connection.settimeout(FOR_EVER)
        connection.recv(1)

    return answer


def drip(start: bytes, piece: bytes, end: bytes = b"", *, times: int = 1000) -> Answer:
    """A piece every quarter of a second: every read succeeds, the whole never would."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(times):
            connection.sendall(piece)
            time.sleep(0.25)
        connection.sendall(end)

    return answer


def reset(start: bytes) -> Answer:
    """Breaks the connection off, so that the other side is told so."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def cut(start: bytes) -> Answer:
    """Ends the connection under TLS, not TLS itself."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        connection.shutdown(socket.SHUT_RDWR)

    return answer
