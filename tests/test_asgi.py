"""Between the web server's event loop and Django's threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from imagegen import asgi
from tests.threads import in_a_loop

Site = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Server:
    """One request, as a server hands it over; what was sent for it."""

    def __init__(self, method: str = "GET", body: Iterable[bytes] = (), **headers: str) -> None:
        names = {name.replace("__", "-"): value for name, value in headers.items()}
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/é/",
            "query_string": b"a=%C3%A9",
            "server": ("studio.example", 80),
            "client": ("192.0.2.1", 5000),
            "headers": [(n.encode(), v.encode()) for n, v in names.items()],
        }
        pieces = list(body)
        self.body = [(piece, n + 1 < len(pieces)) for n, piece in enumerate(pieces)]
        self.sent: list[Any] = []
        self.hang_up = asyncio.Event()

    async def receive(self) -> Any:
        if self.body:
            piece, more = self.body.pop(0)
            return {"type": "http.request", "body": piece, "more_body": more}
        await self.hang_up.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def pieces(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server, Site], Server]:
    def do(server: Server, site: Site) -> Server:
        monkeypatch.setattr(asgi, "site", site)
        in_a_loop(asgi.application(server.scope, server.receive, server.send))  # type: ignore[arg-type]
        return server

    return do


def plain(*body: bytes, **headers: str) -> Site:
    def site(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [*headers.items()])
        return list(body)

    return site


def test_a_request_is_what_django_expects(answers: Any) -> None:
    found: dict[str, Any] = {}

    def site(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        found.update(environ)
        found["body"] = environ["wsgi.input"].read()
        return plain(b"ok")(environ, start)

    request = Server(
        "POST",
        [b"one ", b"", b"two"],
        host="studio.example",
        content__type="text/plain",
        x__forwarded__proto="https",
        x_forwarded_proto="http",
    )
    sent = answers(request, site).sent
    assert found["body"] == b"one two"
    assert found["PATH_INFO"] == "/é/".encode().decode("latin-1")
    assert (found["QUERY_STRING"], found["CONTENT_TYPE"]) == ("a=%C3%A9", "text/plain")
    assert found["REMOTE_ADDR"] == "192.0.2.1"
    assert found["HTTP_X_FORWARDED_PROTO"] == "https", "nobody else can say so"
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"ok"


def test_a_long_answer_goes_out_in_pieces_and_is_closed(answers: Any) -> None:
    closed = []

    class Body:
        def __iter__(self) -> Any:
            return iter([b"x" * 4096] * 40)

        def close(self) -> None:
            closed.append(True)

    def site(environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [])
        return Body()

    server = answers(Server(), site)
    assert [len(piece) for piece in server.pieces] == [65_536, 65_536, 40 * 4096 - 2 * 65_536]
    assert [message["more_body"] for message in server.sent[1:-1]] == [True, True]
    assert not server.sent[-1].get("more_body")
    assert closed == [True]


def test_a_browser_that_hangs_up_in_the_middle(answers: Any) -> None:
    def site(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with pytest.raises(ConnectionResetError):
            environ["wsgi.input"].read(10)
        return plain(b"gone")(environ, start)

    server = Server("POST")
    server.hang_up.set()
    answers(server, site)


def test_only_a_get_with_permission_becomes_a_stream(
    answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_heard(_audiences: list[str]) -> None:
        return None

    monkeypatch.setattr(asgi.streams, "open", nothing_heard)
    permitted = plain(Listen="everybody user-1")
    assert answers(Server(), permitted).sent[0]["status"] == 503, "Redis is away"
    assert answers(Server("HEAD"), permitted).sent[0]["status"] == 200
    assert answers(Server(), plain()).sent[0]["status"] == 200


def test_a_stream_lasts_until_the_browser_hangs_up(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    class Browser(Server):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "http.response.body":
                self.hang_up.set()

    async def live() -> Server:
        streams, server = asgi.Streams(settings.REDIS_URL), Browser()
        streams.start()
        monkeypatch.setattr(asgi, "streams", streams)
        monkeypatch.setattr(asgi, "site", plain(Listen="everybody user-1"))
        await asgi.application(server.scope, server.receive, server.send)
        return server

    server = in_a_loop(live())
    assert dict(server.sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert server.pieces[0].endswith(b"\ndata: *\n\n"), "it does not say of when its page is"
    assert server.pieces[-1] == b""
