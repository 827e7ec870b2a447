"""python -m tests.proofs.bucket: a real S3 server (moto) that now and then fails to take a file.

The faults are made here, before and behind the server, never in the product. One is drawn for each
call that a client makes, and meets every attempt of that call: S3's own client tries three times,
so a fault of a single attempt would never be seen by whoever asked it.

`POST /proof/faults {"probability": 0.09}` changes how often; `GET` says how often each happened.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

FAULTS = {  # how often each is drawn, compared with the others
    "error": 35,  # 500 InternalError; nothing is kept
    "cut before": 25,  # the connection is cut; nothing is kept
    "cut after": 25,  # the file is kept, the connection is cut before the answer
    "slow": 13,  # kept and answered, after SLOW_SECONDS
    "hanging": 2,  # kept, and answered when nobody listens any more
}
SLOW_SECONDS, HANGING_SECONDS = 1.5, 12.0  # imagegen waits 10 s for an answer
CALLS_REMEMBERED = 1000
INTERNAL_ERROR = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>InternalError</Code>"
    b"<Message>We encountered an internal error. Please try again.</Message></Error>"
)

Environ = dict[str, Any]
Start = Callable[..., Any]
App = Callable[[Environ, Start], Iterable[bytes]]


class Faulty:
    """WSGI: puts faults between a client and the S3 server inside."""

    def __init__(self, inside: App, probability: float, seed: int) -> None:
        self.probability = probability
        self.happened: Counter[str] = Counter()
        self._inside = inside
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._drawn: OrderedDict[str, str] = OrderedDict()  # call: its fault

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/proof/faults":
            return self._control(environ, start)
        if environ["REQUEST_METHOD"] != "PUT":
            return self._inside(environ, start)
        fault = self._draw(environ.get("HTTP_AMZ_SDK_INVOCATION_ID", ""))
        return self._meet(fault, environ, start)

    def _control(self, environ: Environ, start: Start) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST":
            wish = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self.probability = float(wish["probability"])
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.happened).encode()]

    def _draw(self, call: str) -> str:
        """The fault of a call of S3's client, the same for each of its attempts; "" for none."""
        with self._lock:
            if call and call in self._drawn:
                return self._drawn[call]
            fault = ""
            if self._rng.random() < self.probability:
                fault = self._rng.choices(list(FAULTS), list(FAULTS.values()))[0]
            self.happened[fault or "none"] += 1
            self._drawn[call] = fault
            if len(self._drawn) > CALLS_REMEMBERED:
                self._drawn.popitem(last=False)
            return fault

    def _meet(self, fault: str, environ: Environ, start: Start) -> Iterable[bytes]:
        if fault == "cut before":
            return _cut(environ)
        if fault == "error":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [INTERNAL_ERROR]
        answer = self._inside(environ, start)
        if fault == "cut after":
            return _cut(environ)
        time.sleep({"slow": SLOW_SECONDS, "hanging": HANGING_SECONDS}.get(fault, 0))
        return answer


def _cut(environ: Environ) -> Iterable[bytes]:
    connection: socket.socket = environ["werkzeug.socket"]
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError  # werkzeug takes it for a client that went away: no more is written


class Quiet(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Faulty(DomainDispatcherApplication(create_backend_app), options.faults, options.seed)
    server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    client(url).create_bucket(Bucket=options.bucket)
    print(f"Bucket {options.bucket} at {url}", flush=True)
    threading.Event().wait()
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.bucket", description=__doc__)
    parser.add_argument("bucket")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.0, metavar="PROBABILITY")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def client(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )


if __name__ == "__main__":
    sys.exit(main())
