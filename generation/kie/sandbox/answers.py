"""Requests and replies, and the forms that KIE's replies have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # percent-decoded
    query: Mapping[str, str]
    headers: Message
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get_content_type() if "Content-Type" in self.headers else ""

    def json(self) -> Any:
        """The body's JSON; raises ValueError."""
        return json.loads(self.body or b"null")


@dataclass
class Reply:
    """`stream` replaces `body` piece by piece and closes the connection at its end; its promised
    length, if any, stands in `headers`. `hang_up` closes without a word."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json;charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    hang_up: bool = False
    delay: float = 0.0  # seconds before the first byte


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value, ensure_ascii=False).encode(), status)


def envelope(code: int, msg: str, data: Any = None, real_statuses: bool = False) -> Reply:
    """KIE's envelope. It comes with HTTP 200 whatever the code, unless `real_statuses`."""
    status = code if real_statuses and code >= 400 else 200
    return as_json({"code": code, "msg": msg, "data": data}, status)


def bad_gateway() -> Reply:
    page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body>"
    return Reply(page.encode(), 502, "text/html")


def storage_error(status: int, code: str, words: str) -> Reply:
    """What a file host says."""
    page = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{words}</Message></Error>"
    return Reply(page.encode(), status, "application/xml")
