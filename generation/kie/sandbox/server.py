"""The HTTP server of the sandbox, to be run in a process or a thread of its own.

The standard library's threading server is enough: a reply costs well under a millisecond, and
polling clients keep few connections open. Every reply is written in one piece.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from generation.kie.sandbox import api, control, files
from generation.kie.sandbox.account import Account, Options
from generation.kie.sandbox.answers import Reply, Request, as_json, envelope

MOST_BYTES = 110_000_000  # of a request; uploads may have 100 MB
Endpoint = Callable[[Account, Request], Reply]

ENDPOINTS: dict[str, dict[str, Endpoint]] = {
    "/api/v1/jobs/createTask": {"POST": api.create_task},
    "/api/v1/jobs/recordInfo": {"GET": api.record_info},
    "/api/v1/chat/credit": {"GET": api.credit},
    "/api/v1/common/download-url": {"POST": api.download_url},
    "/api/file-stream-upload": {"POST": files.upload_stream},
    "/api/file-base64-upload": {"POST": files.upload_base64},
    "/api/file-url-upload": {"POST": files.upload_url},
    "/sandbox": {"GET": control.overview},
    "/sandbox/faults": {
        "GET": control.faults,
        "POST": control.change_faults,
        "DELETE": control.clear_faults,
    },
    "/sandbox/settings": {"POST": control.change_settings},
    "/sandbox/requests": {"GET": control.received, "DELETE": control.forget_received},
    "/sandbox/tasks": {"GET": control.tasks},
    "/sandbox/callbacks": {"GET": control.callbacks},
    "/sandbox/uploads": {"GET": control.uploads},
}
FOLDERS = {
    "/r/": {"GET": files.picture},
    f"/kieai/{files.USER}/": {"GET": files.uploaded},
}


class Sandbox:
    """KIE on this machine. `with Sandbox(Options(seconds=1)) as kie:` serves at `kie.url` from a
    thread until the block ends; `start` and `stop` do the same by hand."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._folder = None if self.options.state else tempfile.TemporaryDirectory(prefix="kie-")
        state = self.options.state or Path(self._folder.name if self._folder else "") / "state.db"
        state.parent.mkdir(parents=True, exist_ok=True)
        self.account = Account(self.options, state)
        self._server = _Server((self.options.host, self.options.port), self.account)
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self.url = self.account.url = self.account.callbacks.base = self._address()

    def _address(self) -> str:
        host, port = self._server.server_address[:2]
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
        return self.options.public_url.rstrip("/") or f"http://{host!s}:{port}"

    def start(self) -> Sandbox:
        self.account.callbacks.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes every connection. Tasks stay in the state file, if one was given."""
        self._server.end()
        self._thread.join()
        self._server.server_close()
        self.account.callbacks.stop()
        self.account.tasks.close()
        self.account.journal.close()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    is_ending = False

    def __init__(self, address: tuple[str, int], account: Account) -> None:
        self.account = account
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the machine's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def serve(self) -> None:
        # Not serve_forever, which looks twice a second whether it shall end.
        while not self.is_ending:
            self.handle_request()

    def end(self) -> None:
        """Takes no more requests, and closes what is open."""
        self.is_ending = True
        with contextlib.suppress(OSError):
            host, port = self.server_address[:2]
            socket.create_connection((str(host), port), timeout=1).close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "kie-sandbox"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    timeout = 120  # seconds that a connection may be idle
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass  # createTask and the ends of tasks are logged, nothing else

    def _answer(self) -> None:
        body = self._read()
        if body is None:
            self._write(envelope(413, "The file is too large", real_statuses=True))
            return
        parts = urlsplit(self.path)
        request = Request(
            method="GET" if self.command == "HEAD" else self.command,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query)),
            headers=self.headers,
            body=body,
        )
        self._write(self._reply(request))

    def _read(self) -> bytes | None:
        """The body; None if it is too large or of unknown length."""
        length = self.headers.get("Content-Length", "0")
        too_large = not length.isdigit() or int(length) > MOST_BYTES
        if too_large or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("whoever sent this is gone in the middle of it")
        return body

    def _reply(self, request: Request) -> Reply:
        if not request.path.startswith("/sandbox") and self._is_refused_client():
            return Reply(b"error code: 1010", 403, "text/plain; charset=UTF-8")
        methods = ENDPOINTS.get(request.path) or next(
            (m for folder, m in FOLDERS.items() if request.path.startswith(folder)), None
        )
        if methods is None:
            return envelope(404, "Not Found", real_statuses=True)
        if request.method not in methods:
            return envelope(405, "Method Not Allowed", real_statuses=True)
        try:
            return methods[request.method](self.server.account, request)
        except Exception:
            if self.server.is_ending:
                return Reply(hang_up=True)
            traceback.print_exc()
            return as_json({"code": 500, "msg": "the sandbox itself failed", "data": None}, 500)

    def _is_refused_client(self) -> bool:
        """What Cloudflare does before KIE sees anything."""
        agent = self.headers.get("User-Agent", "")
        return not agent or agent.startswith("Python-urllib")

    def _write(self, reply: Reply) -> None:
        if reply.delay:
            time.sleep(reply.delay)
        if reply.hang_up:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.stream is None:
            self.send_header("Content-Length", str(len(reply.body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(reply.body if reply.stream is None else b"")
        for piece in reply.stream or ():
            self.wfile.write(piece)
            self.wfile.flush()
