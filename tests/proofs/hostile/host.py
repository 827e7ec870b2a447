"""KIE and its file host in one, in a process of its own: it answers as the cases say.

KIE's API and the files have one address, as at the sandbox, because links to it are the only ones
to this machine that are followed. Public addresses lead here too, over TLS (network.py).
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.proofs.hostile import certificates, manners
from tests.proofs.hostile.corpus import DRIPPING, PLAIN, PUBLIC, SILENT, Case, corpus

LONGEST_HEAD = 70_000
HANDSHAKE = b"\x16\x03\x03\x40\x00"  # the start of a record that drips


@dataclass(frozen=True)
class Place:
    """Where the host is to be found. `ports` are those that the public addresses lead to."""

    url: str
    ports: Mapping[str, int]
    authority: Path  # whose certificates are to be trusted

    def fill(self, link: str, case: Case) -> str:
        port = self.url.rpartition(":")[2]
        words = {"{host_over_tls}": f"https://127.0.0.1:{port}", "{name}": case.name}
        words |= {"{host}": self.url, "{other}": "http://127.0.0.1:6379"}
        for word, text in words.items():
            link = link.replace(word, text)
        return link


class Host:
    """Listens when it is made; answers once `serve` is called, in whichever process that is."""

    def __init__(self, served: list[Case], folder: Path) -> None:
        self.served = served
        self.cases = {case.name: case for case in corpus()}  # some lead to others
        self._listening = {name: listen() for name in ("", PUBLIC, SILENT, DRIPPING, PLAIN)}
        self._folder = folder
        ports = {name: s.getsockname()[1] for name, s in self._listening.items()}
        self.place = Place(f"http://127.0.0.1:{ports.pop('')}", ports, folder / "authority.pem")
        self._leaks = folder / "leaks"

    def leaks(self) -> list[str]:
        """Requests for files that had something of ours with them."""
        return self._leaks.read_text().splitlines() if self._leaks.exists() else []

    def close(self) -> None:
        for listening in self._listening.values():
            listening.close()

    def serve(self, ready: Connection) -> None:
        hosts = [name for case in self.cases.values() for name in case.names]
        tls = certificates.contexts(self._folder, hosts)
        for case in self.served:
            if isinstance(case.answer, manners.Body):
                case.answer.make()  # before anybody waits for it
        answers: dict[str, Callable[[socket.socket], None]] = {
            "": self._answer,
            PUBLIC: lambda connection: self._over_tls(connection, tls),
            SILENT: manners.silent(),
            DRIPPING: manners.drip(HANDSHAKE, b"\2"),
            PLAIN: manners.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        }
        for name, listening in self._listening.items():
            threading.Thread(target=accept, args=(listening, answers[name]), daemon=True).start()
        ready.send(True)
        threading.Event().wait()

    def _over_tls(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        with closing(tls.wrap_socket(connection, server_side=True)) as secure:
            self._answer(secure)
            with suppress(OSError, ValueError):
                secure.unwrap()

    def _answer(self, connection: socket.socket) -> None:
        head, body = read_request(connection)
        lines = head.decode("latin-1").split("\r\n")
        target = urlsplit(lines[0].split(" ")[1])
        if not target.path.startswith("/f/"):
            connection.sendall(self._as_kie(target.path, parse_qs(target.query), body))
            return
        if ours := [x for x in lines if x.lower().startswith(("authorization:", "cookie:"))]:
            with self._leaks.open("a") as leaks:
                leaks.write(f"{target.path}: {ours}\n")
        self.cases[target.path.removeprefix("/f/").strip("/")].answer(connection)

    def _as_kie(self, path: str, query: dict[str, list[str]], body: bytes) -> bytes:
        match path.rpartition("/")[2]:
            case "createTask":
                name = json.loads(body)["input"]["prompt"]
                return envelope({"taskId": f"task-{name}"})
            case "recordInfo":
                return self._record(query["taskId"][0])
            case "download-url":
                url = json.loads(body)["url"]
                case = self.cases[url.rpartition("/")[2]]
                return envelope(self.place.fill(case.fresh, case)) if case.fresh else envelope(None)
        return envelope(None)

    def _record(self, task: str) -> bytes:
        case = self.cases[task.removeprefix("task-")]
        if case.record:
            return as_json(case.record.replace(b"{host}", self.place.url.encode()))
        urls = [self.place.fill(link, case) for link in case.links]
        result = json.dumps({"resultUrls": urls})
        return envelope({"taskId": task, "state": "success", "resultJson": result})


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=256)


def accept(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=meet, args=(connection, answer), daemon=True).start()


def meet(connection: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Whoever hangs up in the middle is what many cases are about."""
    with closing(connection), suppress(OSError, ConnectionError):
        answer(connection)
        linger(connection)


def linger(connection: socket.socket) -> None:
    """What has been said shall arrive: closing while something is unread would take it back."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1)
    until = time.monotonic() + 1
    while time.monotonic() < until and connection.recv(65_536):
        pass


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece or len(data) > LONGEST_HEAD:
            raise ConnectionError("no request")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65_536) or os.abort()
    return head, body


def envelope(data: Any) -> bytes:
    """KIE's answer; None is what it says to a request that it does not take."""
    code, words = (422, "not a link of ours") if data is None else (200, "success")
    return as_json(json.dumps({"code": code, "msg": words, "data": data}).encode())


def as_json(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
