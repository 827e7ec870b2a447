"""Fetches what KIE made, and keeps it.

KIE's links come from outside, so they are followed with care: https to public addresses only,
little time, a limit of bytes, and nothing of ours (key, cookies, proxies) goes along.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from time import monotonic
from types import TracebackType
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import certifi
from django.conf import settings

from projects import pictures
from projects.pictures import Picture, Stored

CONNECT_SECONDS = 3
READ_SECONDS = 10
HEADERS_SECONDS = 12
BODY_SECONDS = 120
KEEP_ALIVE_SECONDS = 3
MAX_REDIRECTS = 3
MAX_ADDRESSES = 3
PIECE_BYTES = 65_536
REDIRECTS = (301, 302, 303, 307, 308)

# The headers of every request; KIE's file host refuses requests without a User-Agent.
HEADERS = {
    "User-Agent": "imagegen/1.0",
    "Accept": "image/png, image/jpeg, image/webp",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
# What may stand in a request line as it is; everything else is percent-encoded.
URL_CHARACTERS = "%/?:@!$&'()*+,;=~[]"

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Python 3.11 takes these for public. At 192.0.0.192 and 168.63.129.16 two clouds (Oracle's and
# Azure's) tell their machines what nobody else may know.
NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"),
    )
)


class ResultError(Exception):
    """The picture was not brought; the class says what is to be done, the text why, for staff.

    The text may quote a server; it has no signs that a log or a database could not take.
    """

    def __init__(self, words: str) -> None:
        super().__init__("".join(c if c.isprintable() else " " for c in words[:500]))


class TryLater(ResultError):
    """Nothing is wrong with the link or the picture as far as we know."""


class DecoderDied(TryLater):
    """The decoder ended without a verdict on the picture: perhaps because of it, perhaps not."""


class LinkExpired(ResultError):
    """The file host does not give this file out (any more): 403, 404, 410."""


class BadResult(ResultError):
    """This link will never bring a picture that we can keep.

    `code`: wrong_scheme, bad_link, private_address, too_many_redirects, bad_status,
    too_many_bytes, or any other code of projects.pictures.FAULTS.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code


def bring(url: str, name: str, keep_alive: Callable[[], None]) -> Stored:
    """Fetches the picture at `url`, checks it and keeps it under `name`. Raises ResultError.

    `keep_alive` renews the caller's lease, and stops the work by raising. It is called between the
    stages and every 3 seconds while bytes flow; the longest silence is 15 s (a server that does not
    answer, a picture that takes its time to decode) unless a name server or the storage hangs.
    """
    data = _fetch(url, keep_alive)
    keep_alive()
    picture = _check(data)
    keep_alive()
    try:
        return pictures.store(picture, name)
    except pictures.StorageDown as error:
        raise TryLater(f"storage: {error}") from error


def is_public(address: str) -> bool:
    """Is this IP address one of the open Internet, and no way around to one that is not?"""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))
        if ip not in GLOBAL_UNICAST or ip.sixtofour is not None:
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in NOT_PUBLIC)
    return ip.is_global and not is_special


def _check(data: bytes) -> Picture:
    try:
        return pictures.check(data)
    except pictures.BadPicture as error:
        raise BadResult(error.code) from error
    except pictures.DecoderSlow as error:
        raise TryLater(f"decoder: {error}") from error
    except pictures.DecoderDown as error:
        raise DecoderDied(f"decoder: {error}") from error


def _fetch(url: str, keep_alive: Callable[[], None]) -> bytes:
    # Not a list of the pieces: a server can make millions of them.
    body, renewed = bytearray(), monotonic()
    with closing(_pieces(url)) as arriving:
        for piece in arriving:
            body += piece
            if len(body) > pictures.MAX_BYTES:
                raise BadResult("too_many_bytes")
            if monotonic() - renewed >= KEEP_ALIVE_SECONDS:
                keep_alive()
                renewed = monotonic()
    return bytes(body)


def _pieces(url: str) -> Generator[bytes]:
    """The body behind `url` and its redirects, as it arrives; an empty piece for each redirect."""
    with Deadline() as deadline:
        try:
            for _hop in range(MAX_REDIRECTS + 1):
                deadline.allow(HEADERS_SECONDS)
                with _answer(url, deadline) as answer:
                    if answer.status not in REDIRECTS:
                        _judge_status(answer.status)
                        deadline.allow(BODY_SECONDS)
                        yield from _body(answer)
                        break
                    url = _redirected(url, answer.headers.get("Location", ""))
                yield b""
            else:
                raise BadResult("too_many_redirects")
        except http.client.InvalidURL as error:  # signs in the host that no name has
            raise BadResult("bad_link", str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            why = deadline.words or f"{type(error).__name__}: {error}"
            raise TryLater(why) from error
        if deadline.words:  # a body that announced no length ends like this
            raise TryLater(deadline.words)


def _judge_status(status: int) -> None:
    if status == 200:
        return
    if status in (403, 404, 410):
        raise LinkExpired(f"HTTP {status}")
    if status in (408, 425, 429) or status >= 500:
        raise TryLater(f"HTTP {status}")
    raise BadResult("bad_status", f"HTTP {status}")


@contextmanager
def _answer(url: str, deadline: Deadline) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET of `url`, its body not read yet."""
    link = _link(url)
    secure = link.scheme == "https"
    port = link.port or (443 if secure else 80)
    host = link.hostname or ""
    with closing(http.client.HTTPConnection(host, port)) as connection:
        connection.default_port = 443 if secure else 80  # for the Host header
        connection.sock = _connected(host, port, deadline, anywhere=_is_sandbox(link))
        if secure:
            # A connection that is cut must not look like a body that has ended.
            connection.sock = _trust().wrap_socket(
                connection.sock, server_hostname=host, suppress_ragged_eofs=False
            )
        connection.sock.settimeout(READ_SECONDS)
        path = quote(link.path or "/", safe=URL_CHARACTERS)
        query = quote(link.query, safe=URL_CHARACTERS)
        connection.request("GET", f"{path}?{query}" if query else path, headers=HEADERS)
        with connection.getresponse() as answer:
            yield answer


def _body(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body in pieces as they arrive. Raises IncompleteRead if it is shorter than announced."""
    left = answer.length  # None: chunked, or until the connection ends
    if left is not None and left > pictures.MAX_BYTES:
        raise BadResult("too_many_bytes")
    while piece := answer.read1(PIECE_BYTES):
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise http.client.IncompleteRead(b"", left)


def _link(url: str) -> SplitResult:
    """The parts of a link that may be followed."""
    try:
        link = urlsplit(url)
        link.port  # noqa: B018 - reading it is what checks it
        (link.hostname or "").encode("idna")
    except ValueError as error:
        raise BadResult("bad_link", str(error)) from error
    if link.scheme != "https" and not _is_sandbox(link):
        raise BadResult("wrong_scheme", link.scheme)
    if not link.hostname:
        raise BadResult("bad_link", "no host")
    return link


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise BadResult("bad_link", str(error)) from error


def _is_sandbox(link: SplitResult) -> bool:
    """Does the link lead to the very server that plays KIE, on this machine or in this network?"""
    sandbox = urlsplit(settings.KIE_API_URL)
    return _is_local(sandbox.hostname or "") and (
        (link.scheme, link.hostname, link.port) == (sandbox.scheme, sandbox.hostname, sandbox.port)
    )


def _is_local(host: str) -> bool:
    """An address that is not public, or a name without a domain (localhost, a container)."""
    try:
        return not is_public(host)
    except ValueError:
        return "." not in host


def _connected(host: str, port: int, deadline: Deadline, *, anywhere: bool) -> socket.socket:
    """A connection to `host`, which is looked up once and judged before anything is sent.

    A name that leads elsewhere when it is asked again (DNS rebinding) is not asked again.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not anywhere and not is_public(str(address[0])):
            raise BadResult("private_address", f"{host} is {address[0]}")
    trouble: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found[:MAX_ADDRESSES]:
        connection = socket.socket(family, kind, protocol)
        deadline.watch(connection)
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            trouble = error
        else:
            return connection
    raise trouble


@cache
def _trust() -> ssl.SSLContext:
    """The certificates of the system and those that come with requests."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    # Early Pythons 3.11 (Debian 12 has one) take a connection that broke for the body's end.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


class Deadline:
    """Cuts the watched connection when the allowed time is over, whatever it is doing then.

    The time-out of a socket is for one read: a server that sends a byte now and then, in the
    handshake, the headers or the body, would never meet it.
    """

    def __init__(self) -> None:
        self.words = ""  # why the connection was cut
        self._twin: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Deadline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._forget()

    def allow(self, seconds: float) -> None:
        """So much time from now on, instead of what was left."""
        self._stop()
        self._timer = threading.Timer(seconds, self._cut, [f"slower than {seconds:g} s"])
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Watches this connection from now on, and no other. TLS may be put on it later."""
        self._forget()
        self._twin = connection.dup()  # shutting the twin down shuts the connection down
        if self.words:
            raise TimeoutError

    def _cut(self, words: str) -> None:
        self.words = words
        twin = self._twin
        if twin is not None:
            with suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _forget(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None
