"""Connections on which the whole answer has to arrive in time, not only its next byte.

The time-out of a socket is for one read: a server that sends a byte now and then, in the headers or
in the body, would never meet it. Here the time-out that urllib3 sets when it begins to read (what
is left of the call's total, at most) is for everything that is read of one answer.
"""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from time import monotonic
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Arriving(io.RawIOBase):
    """The bytes of an answer, until the connection's time-out from now is over. TimeoutError."""

    def __init__(self, connection: socket.socket, arriving: io.RawIOBase) -> None:
        seconds = connection.gettimeout()
        assert seconds is not None, "a call without a time-out"
        self._connection, self._arriving = connection, arriving
        self._until = monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        return self._arriving.readinto(buffer)

    def close(self) -> None:
        self._arriving.close()
        super().close()


class _InTime(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Arriving(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _InTime


class _SecureConnection(HTTPSConnection):
    response_class = _InTime


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class InTimeAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
