"""Fetching what KIE made, from real servers that behave well, badly and worse."""

from __future__ import annotations

import datetime
import io
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.files.storage import default_storage
from PIL import Image
from pytest_django import Settings

from generation import results
from generation.results import BadResult, DecoderDied, LinkExpired, TryLater, bring, is_public
from projects import decoders
from projects.pictures import MAX_BYTES

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Answers a path as `answers` says; remembers the requests and how many connections came."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections += 1
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError):
            if self.tls:
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.answers[self.path](self)

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving(Server())


@pytest.fixture
def other_server() -> Iterator[Server]:
    yield from serving(Server())


def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def place(settings: Settings, tmp_path: Path, server: Server) -> None:
    """`server` is the sandbox, and pictures go to a folder of the test."""
    settings.KIE_API_URL = server.url
    settings.MEDIA_ROOT = tmp_path
    backend = {"BACKEND": "projects.storage.WholeFileStorage"}
    settings.STORAGES = {**settings.STORAGES, "default": backend}


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 40)) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).save(out, kind)
    return out.getvalue()


PNG = picture()


def body(data: bytes, content_type: str = "image/png", length: int | None = None) -> Answer:
    announced = len(data) if length is None else length

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(announced))
        handler.end_headers()
        handler.raw(data)

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def nothing() -> None:
    """A lease that needs no renewing."""


def fetch(server: Server, path: str = "/r/a.png", name: str = "order-0") -> Any:
    return bring(server.url + path, name, nothing)


def kept() -> list[str]:
    return sorted(default_storage.listdir("takes")[1]) if default_storage.exists("takes") else []


# What goes well


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_picture_is_brought(server: Server, kind: str, extension: str) -> None:
    data = picture(kind)
    server.answers["/r/a.png"] = body(data)
    stored = fetch(server)
    assert stored.image == f"takes/order-0.{extension}"
    assert default_storage.open(stored.image).read() == data
    assert kept() == sorted([f"order-0.{extension}", "order-0.thumb.webp"])


def test_bringing_it_again_changes_nothing(server: Server) -> None:
    server.answers["/r/a.png"] = body(PNG)
    assert fetch(server) == fetch(server)
    assert kept() == ["order-0.png", "order-0.thumb.webp"]


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", "image/gif", ""])
def test_the_type_that_the_server_names_does_not_matter(server: Server, content_type: str) -> None:
    server.answers["/r/a.html"] = body(PNG, content_type)
    assert fetch(server, "/r/a.html").content_type == "image/png"


def test_nothing_of_ours_goes_along(
    server: Server, other_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No key, cookie, netrc password or proxy; not even after the server has set a cookie."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, other_server.url)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login us password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.answers["/a"] = status(302, **{"Location": "/b?c=d%20e", "Set-Cookie": "spy=1; Path=/"})
    server.answers["/b?c=d%20e"] = body(PNG)
    bring(server.url.replace("//", "//user:word@") + "/a", "order-0", nothing)
    for _, headers in server.requests:
        assert headers == {
            "Host": server.url.removeprefix("http://"),
            "User-Agent": "imagegen/1.0",
            "Accept": "image/png, image/jpeg, image/webp",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
    assert [path for path, _ in server.requests] == ["/a", "/b?c=d%20e"]
    assert other_server.connections == 0


def test_odd_signs_in_a_link_arrive_as_they_should(server: Server) -> None:
    server.answers["/obr%C3%A1zok%20(1)/a%2Fb.png?s=1%2B2&t=~x"] = body(PNG)
    assert fetch(server, "/obrázok (1)/a%2Fb.png?s=1%2B2&t=~x#part").width == 60


@pytest.mark.parametrize("pieces", [[PNG], [PNG[:100], PNG[100:101], PNG[101:]]])
def test_a_chunked_body(server: Server, pieces: list[bytes]) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in [*pieces, b""]:
            handler.raw(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    server.answers["/r/a.png"] = answer
    assert fetch(server).size == len(PNG)


def test_a_body_without_a_length(server: Server) -> None:
    server.answers["/r/a.png"] = lambda handler: handler.raw(b"HTTP/1.0 200 OK\r\n\r\n" + PNG)
    assert fetch(server).size == len(PNG)


def test_three_redirects_are_followed(server: Server) -> None:
    for at, code in enumerate((301, 302, 307)):
        server.answers[f"/{at}"] = status(code, Location=f"/{at + 1}")
    server.answers["/3"] = body(PNG)
    assert fetch(server, "/0").width == 60


# The lease


def test_the_lease_is_renewed_while_bytes_flow(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "KEEP_ALIVE_SECONDS", 0.05)

    def slowly(handler: Handler) -> None:
        handler.raw(b"HTTP/1.0 200 OK\r\n\r\n")
        for at in range(0, len(PNG), len(PNG) // 10):
            handler.raw(PNG[at : at + len(PNG) // 10])
            time.sleep(0.06)

    server.answers["/r/a.png"] = slowly
    renewed: list[float] = []
    bring(server.url + "/r/a.png", "order-0", lambda: renewed.append(time.monotonic()))
    assert 7 <= len(renewed) <= 14


def test_a_quick_picture_renews_the_lease_between_the_stages_only(server: Server) -> None:
    server.answers["/r/a.png"] = body(PNG)
    renewed: list[int] = []
    bring(server.url + "/r/a.png", "order-0", lambda: renewed.append(len(kept())))
    assert renewed == [0, 0]


class LeaseLost(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_losing_the_lease_stops_the_work(
    server: Server, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(results, "KEEP_ALIVE_SECONDS", 0)
    server.answers["/r/a.png"] = body(PNG)
    calls: list[None] = []

    def lose() -> None:
        calls.append(None)
        if len(calls) == after:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        bring(server.url + "/r/a.png", "order-0", lose)
    assert kept() == []


def test_losing_the_lease_hangs_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "KEEP_ALIVE_SECONDS", 0)
    hung_up = threading.Event()

    def endlessly(handler: Handler) -> None:
        handler.raw(b"HTTP/1.0 200 OK\r\n\r\n")
        try:
            while True:
                handler.raw(bytes(1000))
                time.sleep(0.01)
        except OSError:
            hung_up.set()

    def lose() -> None:
        raise LeaseLost

    server.answers["/r/a.png"] = endlessly
    with pytest.raises(LeaseLost):
        bring(server.url + "/r/a.png", "order-0", lose)
    assert hung_up.wait(5)


# What is said by a status


@pytest.mark.parametrize("code", [403, 404, 410])
def test_the_link_has_expired(server: Server, code: int) -> None:
    server.answers["/r/a.png"] = status(code)
    with pytest.raises(LinkExpired, match=str(code)):
        fetch(server)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 520, 599])
def test_the_server_is_in_trouble(server: Server, code: int) -> None:
    server.answers["/r/a.png"] = status(code)
    with pytest.raises(TryLater, match=str(code)):
        fetch(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [201, 204, 206, 300, 304, 400, 401, 405, 418, 451])
def test_any_other_status_is_no_picture(server: Server, code: int) -> None:
    server.answers["/r/a.png"] = status(code)
    assert refusal(server.url + "/r/a.png") == "bad_status"


def refusal(url: str) -> str:
    with pytest.raises(BadResult) as caught:
        bring(url, "order-0", nothing)
    assert caught.value.code in str(caught.value)
    assert str(caught.value).isprintable()
    assert kept() == []
    return caught.value.code


# What is no picture


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_a_picture"),
        (b"<!doctype html><title>Sorry</title>", "not_a_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_a_picture"),
        (b"\x1f\x8b\x08\0" + PNG, "not_a_picture"),
        (PNG[:-20], "broken"),
    ],
)
def test_a_body_that_is_no_picture(server: Server, data: bytes, code: str) -> None:
    server.answers["/r/a.png"] = body(data, "image/png")
    assert refusal(server.url + "/r/a.png") == code


# Too much, too slow, cut off


def test_too_much_is_not_even_begun(server: Server) -> None:
    server.answers["/r/a.png"] = body(b"", length=MAX_BYTES + 1)
    assert refusal(server.url + "/r/a.png") == "too_many_bytes"


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_body(server: Server, chunked: bool) -> None:
    sent: list[int] = []

    def endlessly(handler: Handler) -> None:
        how = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        handler.raw(b"HTTP/1.1 200 OK\r\n" + how + b"\r\n")
        piece = b"f4240\r\n" + bytes(1_000_000) + b"\r\n" if chunked else bytes(1_000_000)
        while True:
            handler.raw(piece)
            sent.append(len(piece))

    server.answers["/r/a.png"] = endlessly
    assert refusal(server.url + "/r/a.png") == "too_many_bytes"
    assert sum(sent) < MAX_BYTES * 1.5


def test_an_endless_redirect_is_not_read(server: Server) -> None:
    def endlessly(handler: Handler) -> None:
        handler.raw(b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n")
        while True:
            handler.raw(bytes(1_000_000))

    server.answers["/a"], server.answers["/b"] = endlessly, body(PNG)
    began = time.monotonic()
    assert fetch(server, "/a").width == 60
    assert time.monotonic() - began < 5


def test_a_body_that_is_cut_off(server: Server) -> None:
    server.answers["/r/a.png"] = body(PNG[:200], length=len(PNG))
    with pytest.raises(TryLater, match="IncompleteRead"):
        fetch(server)


def test_a_chunked_body_that_is_cut_off(server: Server) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"", b"1f", b"ff\r\n" + PNG[:20], b"14\r\n" + PNG[:20] + b"\r\n", b"zz\r\n"):
        server.answers["/r/a.png"] = lambda handler, rest=rest: handler.raw(start + rest)
        with pytest.raises(TryLater, match="IncompleteRead"):
            fetch(server)


def test_a_body_in_a_hundred_thousand_pieces_takes_no_more_memory(server: Server) -> None:
    pieces = b"2\r\nab\r\n" * 100_000

    def answer(handler: Handler) -> None:
        handler.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.raw(pieces + b"0\r\n\r\n")

    server.answers["/r/a.png"] = answer
    tracemalloc.start()
    try:
        assert refusal(server.url + "/r/a.png") == "not_a_picture"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "answer",
    [b"\0\0\0 \x1b[31m\x80\r\n\r\n", b"HTTP/1.1 2\x000 OK\r\n\r\n", b"\x16\x03\x01\0\n" * 99],
)
def test_what_a_server_says_can_be_kept_by_any_database(server: Server, answer: bytes) -> None:
    """PostgreSQL takes no NUL: an order whose reason has one could never be written."""
    server.answers["/r/a.png"] = lambda handler: handler.raw(answer)
    with pytest.raises(TryLater) as caught:
        fetch(server)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000],
    ids=["nothing", "empty", "ssh", "header"],
)
def test_a_server_that_does_not_speak_http(server: Server, answer: bytes) -> None:
    server.answers["/r/a.png"] = lambda handler: handler.raw(answer)
    with pytest.raises(TryLater):
        fetch(server)


def drip(start: bytes, piece: bytes) -> Answer:
    """A byte now and then, for longer than any test waits."""

    def answer(handler: Handler) -> None:
        handler.raw(start)
        with suppress(OSError):
            for _ in range(200):
                handler.raw(piece)
                time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"\x89"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"\x89"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    ],
    ids=["status", "headers", "body", "body with length", "chunks", "chunk"],
)
def test_a_server_that_drips(
    server: Server, monkeypatch: pytest.MonkeyPatch, start: bytes, piece: bytes
) -> None:
    """Every read succeeds in time, the whole never would."""
    monkeypatch.setattr(results, "HEADERS_SECONDS", 0.4)
    monkeypatch.setattr(results, "BODY_SECONDS", 0.5)
    server.answers["/r/a.png"] = drip(start, piece)
    began = time.monotonic()
    with pytest.raises(TryLater, match="slower than"):
        fetch(server)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n\x89PN"])
def test_a_server_that_falls_silent(
    server: Server, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(results, "READ_SECONDS", 0.3)
    release = threading.Event()

    def answer(handler: Handler) -> None:
        handler.raw(start)
        release.wait(10)

    server.answers["/r/a.png"] = answer
    began = time.monotonic()
    with pytest.raises(TryLater, match="TimeoutError"):
        fetch(server)
    assert time.monotonic() - began < 2
    release.set()


def test_a_server_that_is_not_there(server: Server, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        settings.KIE_API_URL = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(TryLater, match="ConnectionRefused"):
        bring(settings.KIE_API_URL + "/r/a.png", "order-0", nothing)


def test_a_storage_that_is_down(server: Server, settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "file"
    settings.MEDIA_ROOT.write_text("no folder")
    server.answers["/r/a.png"] = body(PNG)
    with pytest.raises(TryLater, match="storage"):
        fetch(server)


def test_a_decoder_that_is_down(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders.rest()
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    server.answers["/r/a.png"] = body(PNG)
    with pytest.raises(DecoderDied, match="decoder"):
        fetch(server)


def test_a_decoder_on_a_busy_machine_has_not_died(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Three deaths put a picture aside for staff; a busy hour must not."""
    (tmp_path / "decoder.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(decoders, "DECODER", tmp_path / "decoder.py")
    monkeypatch.setattr(decoders, "WALL_SECONDS", 0.5)
    decoders.rest()
    server.answers["/r/a.png"] = body(PNG)
    with pytest.raises(TryLater, match="slower than") as caught:
        fetch(server)
    assert not isinstance(caught.value, DecoderDied)


def test_no_thread_and_no_connection_is_left_behind(server: Server) -> None:
    server.answers["/r/a.png"], server.answers["/gone"] = body(PNG), status(404)
    fetch(server)  # the decoder stays, with its line
    before = threading.active_count(), open_sockets()
    for _ in range(3):
        fetch(server)
        with pytest.raises(LinkExpired):
            fetch(server, "/gone")
    until = time.monotonic() + 2
    while (threading.active_count(), open_sockets()) != before and time.monotonic() < until:
        time.sleep(0.02)  # the server's own ends
    assert (threading.active_count(), open_sockets()) == before


def open_sockets() -> int:
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(link.readlink()))
    return sum(link.startswith("socket:") for link in links)


# Where a link may lead


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://cdn.example/a.png", "wrong_scheme"),
        ("ftp://cdn.example/a.png", "wrong_scheme"),
        ("file:///etc/passwd", "wrong_scheme"),
        ("data:image/png;base64,iVBORw0KGgo=", "wrong_scheme"),
        ("//cdn.example/a.png", "wrong_scheme"),
        ("/etc/passwd", "wrong_scheme"),
        ("", "wrong_scheme"),
        ("https://", "bad_link"),
        ("https:///a.png", "bad_link"),
        ("https://cdn.example:99999/a.png", "bad_link"),
        ("https://cdn.example:x/a.png", "bad_link"),
        ("https://[::1/a.png", "bad_link"),
        (f"https://{'a' * 64}.example/a.png", "bad_link"),
        ("https://a..example/a.png", "bad_link"),
        ("https://127.0.0.1/a.png", "private_address"),
        ("https://localhost/a.png", "private_address"),
        ("https://2130706433/a.png", "private_address"),
        ("https://0x7f.1/a.png", "private_address"),
        ("https://0/a.png", "private_address"),
        ("https://[::1]/a.png", "private_address"),
        ("https://[::]/a.png", "private_address"),
        ("https://[::ffff:127.0.0.1]/a.png", "private_address"),
        ("https://[::ffff:a00:1]/a.png", "private_address"),
        ("https://[fe80::1]/a.png", "private_address"),
        ("https://[64:ff9b::a00:1]/a.png", "private_address"),
        ("https://10.0.0.1/a.png", "private_address"),
        ("https://169.254.169.254/latest/meta-data", "private_address"),
        ("https://user@169.254.169.254/a.png", "private_address"),
        ("https://cdn.example@169.254.169.254/a.png", "private_address"),
        ("https://169.254.169.254#@cdn.example/a.png", "private_address"),
    ],
)
def test_a_link_that_is_not_followed(url: str, code: str) -> None:
    assert refusal(url) == code


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/a.png",
        "https://[::1]/a.png",
        "http://[::1]/a.png",
        "file:///etc/passwd",
        "//10.0.0.1/a.png",
        "http://[",
        "https://cdn\0.example/a.png",
        "https://cdn.example \x0bx/a.png",
        "https://cdn\xbd.example:x\0/a.png",
        "https://\xbd\0.example/a.png",
    ],
)
def test_a_redirect_to_a_place_that_is_not_followed(server: Server, url: str) -> None:
    server.answers["/r/a.png"] = status(302, Location=url)
    assert refusal(server.url + "/r/a.png") in ("private_address", "wrong_scheme", "bad_link")


def test_a_redirect_to_a_neighbour_of_the_sandbox(server: Server, other_server: Server) -> None:
    """The same machine, another port: perhaps our database."""
    server.answers["/r/a.png"] = status(302, Location=other_server.url + "/a.png")
    assert refusal(server.url + "/r/a.png") == "wrong_scheme"
    assert other_server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_is_sent_to_a_private_address(other_server: Server, host: str) -> None:
    assert refusal(f"https://{host}:{other_server.server_port}/a.png") == "private_address"
    time.sleep(0.05)
    assert other_server.connections == 0


def test_the_sandbox_is_trusted_only_while_it_is_local(server: Server, settings: Settings) -> None:
    server.answers["/r/a.png"] = body(PNG)
    for url in (
        "https://api.kie.ai",
        "http://api.kie.ai",
        server.url.replace("127.0.0.1", "localhost"),
        f"https://127.0.0.1:{server.server_port}",
        "http://127.0.0.1",
    ):
        settings.KIE_API_URL = url
        assert refusal(server.url + "/r/a.png") == "wrong_scheme"
    assert server.connections == 0


def test_four_redirects_are_too_many(server: Server) -> None:
    server.answers["/round"] = status(302, Location="/round")
    assert refusal(server.url + "/round") == "too_many_redirects"
    assert len(server.requests) == 4


def test_a_redirect_to_nowhere(server: Server) -> None:
    server.answers["/r/a.png"] = status(302)
    assert refusal(server.url + "/r/a.png") == "too_many_redirects"


# Names, and what they lead to


class Names:
    """Stands for the name servers: what a name leads to, one answer after the other."""

    def __init__(self, *answers: list[str], port: int | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.port = port  # where the test's server listens instead of at the usual port

    def __call__(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        return [
            (
                socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, self.port or port),
            )
            for address in self.answers.pop(0)
        ]


def test_a_name_is_asked_once_for_each_request(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was judged is what is connected to: a second answer (DNS rebinding) is never asked."""
    settings.KIE_API_URL = f"http://sandbox:{server.server_port}"
    server.answers["/r/a.png"] = body(PNG)
    names = Names(["127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    bring(settings.KIE_API_URL + "/r/a.png", "order-0", nothing)
    assert names.asked == ["sandbox"]


def test_the_name_of_the_real_api_earns_no_trust(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KIE_API_URL = "https://api.kie.ai"
    monkeypatch.setattr(socket, "getaddrinfo", Names(["10.0.0.1"]))
    assert refusal("https://api.kie.ai/a.png") == "private_address"


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["2a00:1450::1", "fd00::1"], ["169.254.169.254"]],
)
def test_a_public_name_with_a_private_address(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Names(answer))
    assert refusal("https://tempfile.example/a.png") == "private_address"


def test_the_second_address_of_a_name_is_tried(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KIE_API_URL = f"http://sandbox:{server.server_port}"
    server.answers["/r/a.png"] = body(PNG)
    monkeypatch.setattr(socket, "getaddrinfo", Names(["127.0.0.9", "127.0.0.1"]))
    assert bring(settings.KIE_API_URL + "/r/a.png", "order-0", nothing).width == 60


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TryLater, match="not known"):
        bring("https://tempfile.example/a.png", "order-0", nothing)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_open_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1"),
        *("192.0.0.192", "168.63.129.16", "192.88.99.1", "3fff::1", "::ffff:168.63.129.16"),
        *("192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
        *("239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1"),
        *("2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "fc00::1", "fd00:ec2::254"),
        *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
    ],
)
def test_addresses_that_are_not(address: str) -> None:
    assert not is_public(address)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and `studio` that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("studio")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure(certificate: tuple[Path, Path], settings: Settings) -> Iterator[Server]:
    """A sandbox behind TLS, with a certificate that nobody knows."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    server = Server(tls)
    settings.KIE_API_URL = server.url
    results._trust.cache_clear()
    yield from serving(server)
    results._trust.cache_clear()


@pytest.fixture
def known(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """… and then somebody does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.mark.usefixtures("known")
def test_a_picture_over_tls(secure: Server) -> None:
    secure.answers["/r/a.png"] = body(PNG)
    assert fetch(secure).width == 60
    assert secure.requests[0][1]["Host"] == secure.url.removeprefix("https://")


@pytest.mark.usefixtures("known")
def test_the_usual_port_is_not_named(
    secure: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some hosts answer 404 to `Host: cdn.example:443`."""
    settings.KIE_API_URL = "https://studio"
    monkeypatch.setattr(socket, "getaddrinfo", Names(["127.0.0.1"], port=secure.server_port))
    secure.answers["/r/a.png"] = body(PNG)
    assert bring("https://studio/r/a.png", "order-0", nothing).width == 60
    assert secure.requests[0][1]["Host"] == "studio"


def test_a_certificate_that_nobody_knows(secure: Server) -> None:
    secure.answers["/r/a.png"] = body(PNG)
    with pytest.raises(TryLater, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(secure)
    assert secure.requests == []


@pytest.mark.usefixtures("known")
def test_a_certificate_of_somebody_else(
    secure: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.KIE_API_URL = f"https://sandbox:{secure.server_port}"
    monkeypatch.setattr(socket, "getaddrinfo", Names(["127.0.0.1"]))
    with pytest.raises(TryLater, match="CERTIFICATE_VERIFY_FAILED"):
        bring(settings.KIE_API_URL + "/r/a.png", "order-0", nothing)
    assert secure.requests == []


@pytest.mark.usefixtures("known")
def test_a_body_without_a_length_that_is_cut_off_under_tls(secure: Server) -> None:
    """The end of TLS itself is missing, so this is no broken picture but a broken connection."""

    def answer(handler: Handler) -> None:
        handler.raw(b"HTTP/1.0 200 OK\r\n\r\n" + PNG[:200])
        handler.connection.shutdown(socket.SHUT_RDWR)

    secure.answers["/r/a.png"] = answer
    with pytest.raises(TryLater, match="EOF"):
        fetch(secure)


@pytest.mark.usefixtures("known")
def test_a_server_that_drips_under_tls(secure: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "BODY_SECONDS", 0.4)
    secure.answers["/r/a.png"] = drip(b"HTTP/1.1 200 OK\r\n\r\n", b"\x89")
    with pytest.raises(TryLater, match="slower than"):
        fetch(secure)


def test_a_server_that_drips_its_handshake(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "HEADERS_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings.KIE_API_URL = f"https://127.0.0.1:{listening.getsockname()[1]}"

        def drips() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x10\x00")
                for _ in range(100):
                    connection.sendall(b"\x02")
                    time.sleep(0.05)

        thread = threading.Thread(target=drips)
        thread.start()
        began = time.monotonic()
        with pytest.raises(TryLater, match="slower than"):
            bring(settings.KIE_API_URL + "/r/a.png", "order-0", nothing)
        assert time.monotonic() - began < 2
        thread.join()
