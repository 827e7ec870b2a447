"""The site as an ASGI application: Django in threads, as a WSGI application, and the streams of
open pages (imagegen/streams.py) in the event loop, where a thousand of them cost next to nothing.

Django's own ASGI handler costs two or three times as much for each request. An answer of Django's
with the header LISTEN is no answer but the permission to hear those audiences.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.urls import get_resolver

from imagegen import memory
from imagegen.streams import Streams
from imagegen.wsgi import application as site

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

THREADS = int(os.environ.get("WEB_THREADS") or 4)
PIECE = 65_536  # bytes of an answer that are sent at once
LISTEN = "listen"  # in lower case
EVENT_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait for more
]

get_resolver().url_patterns  # noqa: B018  loads every view, or the first visitor would wait for it
memory.settle()
pool = ThreadPoolExecutor(THREADS, "django")
streams = Streams(settings.REDIS_URL)
# Every stream is an open file.
with contextlib.suppress(ValueError, OSError):
    _soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def application(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live_and_end(receive, send)
    elif scope["type"] == "http":
        loop = asyncio.get_running_loop()
        exchange = Exchange(scope, receive, send, loop)
        rest = await loop.run_in_executor(pool, exchange.answer)
        if exchange.audiences and scope["method"] == "GET":
            await _stream(exchange.audiences, scope, receive, send)
        else:
            await exchange.finish(rest)


async def _live_and_end(receive: Receive, send: Send) -> None:
    """Streams end at once when the server is told to: it says so to us only after them."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server's own handler is the loop's, which hears of the signal in another way.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(streams.end_all))
    while (message := await receive())["type"] != "lifespan.shutdown":
        streams.start()
        await send({"type": f"{message['type']}.complete"})
    pool.shutdown(wait=False)
    await send({"type": "lifespan.shutdown.complete"})


async def _stream(audiences: list[str], scope: Message, receive: Receive, send: Send) -> None:
    listener = await streams.open(audiences)
    if listener is None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return

    async def write(event: bytes) -> None:
        await send({"type": "http.response.body", "body": event, "more_body": True})

    async def hang_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        listener.end()

    gone = asyncio.create_task(hang_up())
    try:
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        await streams.keep(listener, _since(scope), write)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


def _since(scope: Message) -> float:
    """The moment of which the page is, in seconds; 0 if it does not say."""
    told = parse_qs(scope["query_string"].decode("latin-1")).get("since", [""])[0]
    return int(told) / 1000 if told.isascii() and told.isdigit() and len(told) < 20 else 0


class Exchange:
    """One request and its answer, between a thread of Django's and the event loop.

    `audiences`: there is no answer, but a stream of what these are told.
    """

    def __init__(
        self, scope: Message, receive: Receive, send: Send, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._scope, self._receive, self._send, self._loop = scope, receive, send, loop
        self._has_begun = False
        self.start: Message = {}
        self.audiences: list[str] = []

    def answer(self) -> bytes:
        """To be called in a thread. The answer's body, or the rest of it: what is long is sent
        piece by piece from here, the next one when the last is on its way."""
        result = site(self._environ(), self._start)
        try:
            rest = bytearray()
            for piece in result:
                rest += piece
                if len(rest) >= PIECE:
                    self._in_loop(self._send_more, bytes(rest))
                    rest.clear()
            return bytes(rest)
        finally:
            if hasattr(result, "close"):
                result.close()

    async def finish(self, rest: bytes) -> None:
        if not self._has_begun:
            await self._send(self.start)
        await self._send({"type": "http.response.body", "body": rest})

    async def _send_more(self, piece: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._send(self.start)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def _start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.start = {"type": "http.response.start", "status": int(status[:3]), "headers": raw}
        for name, value in headers:
            if name.lower() == LISTEN:
                self.audiences = value.split()

    def _in_loop(self, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        async def do() -> Any:
            return await work(*arguments)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result()

    def _environ(self) -> dict[str, Any]:
        scope = self._scope
        host, port = scope.get("server") or ("localhost", 80)
        environ = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": scope["path"].encode().decode("latin-1"),
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scope["scheme"],
            "wsgi.input": io.BufferedReader(Body(self)),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for raw_name, raw_value in scope["headers"]:
            if b"_" in raw_name:
                continue  # X_Forwarded_Proto is not the X-Forwarded-Proto of our proxy
            name = raw_name.decode("latin-1").upper().replace("-", "_")
            key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
            value = raw_value.decode("latin-1")
            joint = "; " if name == "COOKIE" else ","
            environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
        return environ

    def more(self) -> tuple[bytes, bool]:
        """The next piece of the request's body, and whether it is the last."""
        message = self._in_loop(self._receive)
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("The browser has hung up")
        return message.get("body", b""), not message.get("more_body")


class Body(io.RawIOBase):
    """A request's body as a file; whoever sends it slowly keeps its reader waiting."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest = b""
        self._is_last = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._is_last:
            self._rest, self._is_last = self._exchange.more()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
