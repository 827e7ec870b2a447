"""The network as a lane sees it: names lead where the corpus says, and nothing leaves this machine.

Only the socket is faked: `getaddrinfo` and `connect`. What the product tries to connect to is
written down; an address that is neither the host's nor a public one of the corpus is a violation.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from tests.proofs.hostile.corpus import NOWHERE
from tests.proofs.hostile.host import Place

Names = Mapping[str, Sequence[Sequence[str]]]


class Network:
    def __init__(self, place: Place, names: Names) -> None:
        self.forbidden: list[str] = []
        self._names = {**names, "localhost": [["127.0.0.1"]], "localhost.": [["127.0.0.1"]]}
        self._asked: Counter[str] = Counter()
        host = urlsplit(place.url)
        self._ways = {(host.hostname, host.port): (host.hostname, host.port)}
        self._ways |= {(a, 443): ("127.0.0.1", port) for a, port in place.ports.items()}
        self._connect = socket.socket.connect
        self._getaddrinfo = socket.getaddrinfo

    def install(self) -> None:
        network = self

        def connect(connection: socket.socket, address: Any) -> None:
            network._connect(connection, network._way(connection, address))

        socket.socket.connect = connect  # type: ignore[method-assign,assignment]
        socket.getaddrinfo = self._find  # type: ignore[assignment]

    def forget(self) -> None:
        """A new try: names begin with their first answer again."""
        self._asked.clear()

    def _way(self, connection: socket.socket, address: Any) -> Any:
        if connection.family == socket.AF_UNIX:
            return address
        if address[0] == NOWHERE:
            raise ConnectionRefusedError("nobody there")
        way = self._ways.get(address[:2])
        if way is None:
            self.forbidden.append(f"{address[0]} port {address[1]}")
            raise ConnectionRefusedError("forbidden")
        return way

    def _find(self, host: str, port: Any, *_: Any, **__: Any) -> list[Any]:
        """Numbers as the system reads them ("0x7f.1"); names as the corpus says."""
        answers = self._names.get(host.lower())
        if answers is None:
            return self._getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        answer = answers[min(self._asked[host], len(answers) - 1)]
        self._asked[host] += 1
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found(address, port) for address in answer]


def found(address: str, port: int) -> tuple[Any, ...]:
    if ip_address(address).version == 4:
        return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
    return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
