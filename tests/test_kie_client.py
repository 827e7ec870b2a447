"""The client against a server that says, byte for byte, what KIE has been seen to say."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from generation.kie import client
from generation.kie.client import (
    AccountBlocked,
    Kie,
    KieError,
    Refused,
    TaskUnknown,
    Throttled,
    TryLater,
    Unclear,
)

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers every request with `answer`; keeps what it got, and counts the connections."""

    answer: Answer
    got: list[tuple[str, str, dict[str, str], bytes]]
    connections = 0
    request_queue_size = 64

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"  # connections are kept

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.got.append(
            (self.command, self.path, dict(self.headers), self.rfile.read(length))
        )
        self.server.answer(self)

    do_GET = do_POST

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.got = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def kie(server: Server) -> Kie:
    url = f"http://127.0.0.1:{server.server_port}"
    return Kie(url, url, "the-key")


def says(body: Any, status: int = 200) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


REQUEST = {"model": "z-image", "input": {"prompt": "Púšť", "aspect_ratio": "16:9"}}


def test_a_task_is_created_with_exactly_this_body(server: Server, kie: Kie) -> None:
    server.answer = says(
        {"code": 200, "msg": "success", "data": {"taskId": "f40", "recordId": "f40"}}
    )
    assert kie.create_task(REQUEST) == "f40"
    method, path, headers, body = server.got[0]
    assert (method, path) == ("POST", "/api/v1/jobs/createTask")
    assert json.loads(body) == REQUEST
    assert headers["Authorization"] == "Bearer the-key"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("imagegen/")


def test_the_callback_address_goes_along(server: Server, kie: Kie) -> None:
    server.answer = says({"code": 200, "data": {"taskId": "f40"}})
    kie.create_task(REQUEST, "https://studio.example/kie/callback/a/b")
    assert json.loads(server.got[0][3]) == {
        **REQUEST,
        "callBackUrl": "https://studio.example/kie/callback/a/b",
    }


@pytest.mark.parametrize(
    ("body", "status", "error", "why"),
    [
        ({"code": 401, "msg": "Unauthorized – Authentication failed."}, 200, AccountBlocked, None),
        ({"code": 402, "msg": "Credits insufficient"}, 200, AccountBlocked, None),
        ({"code": 500, "msg": "Credits insufficient, please top up"}, 200, AccountBlocked, None),
        ({"code": 433, "msg": "Key has exceeded the daily limit"}, 200, AccountBlocked, None),
        ({"code": 402, "msg": "Credits insufficient"}, 402, AccountBlocked, None),
        ({"code": 429, "msg": "Your call frequency is too high."}, 200, Throttled, None),
        ({"code": 429, "msg": "Your call frequency is too high."}, 429, Throttled, None),
        (b"slow down", 429, Throttled, None),
        ({"code": 455, "msg": "maintenance"}, 200, TryLater, None),
        ({"code": 550, "msg": "queue full"}, 200, TryLater, None),
        (
            {"code": 422, "msg": "The model name you specified is not supported."},
            200,
            Refused,
            "model",
        ),
        ({"code": 500, "msg": "This field is required"}, 200, Refused, "input"),
        ({"code": 500, "msg": "prompt is required"}, 200, Refused, "prompt"),
        ({"code": 422, "msg": "The prompt exceeds the maximum length"}, 200, Refused, "prompt"),
        (
            {"code": 500, "msg": "aspect_ratio is not within the range of allowed options"},
            200,
            Refused,
            "input",
        ),
        ({"code": 400, "message": "Content policy violation"}, 200, Refused, "unsafe"),
        ({"code": 505, "msg": "switched off"}, 200, Refused, "input"),
        ({"code": 500, "msg": "Internal server error"}, 200, Unclear, None),
        ({"code": 501, "msg": "generation failed"}, 200, Unclear, None),
        ({"code": 418, "msg": "never seen"}, 200, Unclear, None),
        ({"code": "200", "data": {"taskId": "a"}}, 200, Unclear, None),
        ({"code": 200, "data": None}, 200, Unclear, None),
        ({"code": 200, "data": {"taskId": 7}}, 200, Unclear, None),
        ({"code": 200, "data": {"taskId": ""}}, 200, Unclear, None),
        ([1], 200, Unclear, None),
        (b"", 200, Unclear, None),
        (b"<html>502 Bad Gateway</html>", 502, Unclear, None),
        (b"error code: 1010", 403, Unclear, None),
        (b"[" * 200_000, 200, Unclear, None),
        (b"x" * 1_100_000, 200, Unclear, None),
    ],
)
def test_every_answer_to_create_carries_its_decision(
    server: Server, kie: Kie, body: Any, status: int, error: type[KieError], why: str | None
) -> None:
    server.answer = says(body, status)
    with pytest.raises(KieError) as caught:
        kie.create_task(REQUEST)
    assert type(caught.value) is error
    assert getattr(caught.value, "why", None) == why
    assert len(server.got) == 1, "createTask is never repeated by itself"


def test_nobody_listening_is_a_clear_no() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryLater):
        Kie(f"http://127.0.0.1:{port}", "", "k").create_task(REQUEST)


def test_a_name_that_does_not_exist_is_a_clear_no() -> None:
    with pytest.raises(TryLater):
        Kie("http://nowhere.invalid", "", "k").create_task(REQUEST)


def test_a_connection_that_breaks_after_the_request_is_no_verdict(server: Server, kie: Kie) -> None:
    server.answer = hangs_up
    with pytest.raises(Unclear):
        kie.create_task(REQUEST)
    assert len(server.got) == 1


def test_silence_is_no_verdict(server: Server, kie: Kie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    done = threading.Event()
    server.answer = lambda handler: done.wait(3) and None
    with pytest.raises(Unclear):
        kie.create_task(REQUEST)
    done.set()
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    ],
    ids=["status", "headers", "1xx", "body", "chunks", "chunk"],
)
@pytest.mark.parametrize("limit", ["ANSWER_SECONDS", "DEADLINE_SECONDS"])
def test_an_answer_that_drips_ends_in_time(
    server: Server,
    kie: Kie,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    start: bytes,
    piece: bytes,
) -> None:
    """Every read succeeds in time, the whole never would; createTask may have been heard."""
    monkeypatch.setattr(client, limit, 0.2)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(start)
            for _ in range(100):
                handler.wfile.write(piece)
                time.sleep(0.05)

    server.answer = drip
    for call in (lambda: kie.create_task(REQUEST), lambda: kie.record_info("f40")):
        began = time.monotonic()
        with pytest.raises(Unclear):
            call()
        assert 0.15 < time.monotonic() - began < 2
    assert len(server.got) == 2


def test_redirects_are_not_followed(server: Server, kie: Kie) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answer = elsewhere
    with pytest.raises(Unclear):
        kie.create_task(REQUEST)
    assert len(server.got) == 1


# Connections

WAITING = {"code": 200, "data": {"taskId": "f40", "state": "waiting"}}


def test_questions_share_a_connection_and_orders_have_their_own(server: Server, kie: Kie) -> None:
    server.answer = says(WAITING)
    for _ in range(5):
        kie.record_info("f40")
    assert server.connections == 1
    for _ in range(2):
        kie.create_task(REQUEST)
    assert server.connections == 3
    assert [h.get("Connection") for _, _, h, _ in server.got] == [None] * 5 + ["close"] * 2


def test_64_threads_ask_over_64_connections(server: Server, kie: Kie) -> None:
    together = threading.Barrier(64)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait(10)
        says(WAITING)(handler)

    server.answer = answer
    with ThreadPoolExecutor(64) as threads:
        for _ in range(3):
            assert {t.word for t in threads.map(kie.record_info, ["f40"] * 64)} == {"waiting"}
    assert server.connections == 64


def test_a_kept_connection_that_kie_has_closed_is_no_news(server: Server, kie: Kie) -> None:
    """Not when it closed it before the question, and not when it does at that very moment."""
    server.answer = says(WAITING)
    kie.record_info("f40")

    def once_broken(handler: BaseHTTPRequestHandler) -> None:
        server.answer = says(WAITING)
        hangs_up(handler)

    server.answer = once_broken
    assert kie.record_info("f40").word == "waiting"
    server.answer = hangs_up
    with pytest.raises(Unclear):
        kie.record_info("f40")
    assert len(server.got) == 5, "asked once more, not for ever"


def test_a_question_that_took_its_time_is_not_asked_again(
    server: Server, kie: Kie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two whole calls would outlast the lease."""
    monkeypatch.setattr(client, "STALE_SECONDS", 0.1)

    def late(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.2)
        hangs_up(handler)

    server.answer = late
    with pytest.raises(Unclear):
        kie.record_info("f40")
    assert len(server.got) == 1


def test_nothing_is_kept_but_the_connection(
    server: Server, kie: Kie, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No cookie goes back, no proxy is asked, and no .netrc takes the key's place."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login us password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Set-Cookie", "spy=1; Path=/")
        handler.send_header("Content-Length", "29")
        handler.end_headers()
        handler.wfile.write(b'{"code": 200, "data": 59.5  }')

    server.answer = answer
    assert [kie.credit(), kie.credit()] == [5950, 5950]
    assert server.connections == 1
    for _, _, headers, _ in server.got:
        assert headers["Authorization"] == "Bearer the-key"
        assert "Cookie" not in headers


def test_an_answer_to_another_question_is_no_answer(server: Server, kie: Kie) -> None:
    server.answer = says({"code": 200, "data": {"taskId": "f41", "state": "fail"}})
    with pytest.raises(Unclear, match="another task"):
        kie.record_info("f40")


def record(**data: Any) -> dict[str, Any]:
    """recordInfo as recorded, input doubly encoded."""
    param = {"input": json.dumps({"prompt": "x"}), "model": "z-image"}
    if "callback" in data:
        param["callBackUrl"] = data.pop("callback")
    return {
        "code": 200,
        "msg": "success",
        "data": {
            "taskId": "f40",
            "model": "z-image",
            "state": "waiting",
            "param": json.dumps(param),
            "resultJson": "",
            "failCode": None,
            "failMsg": None,
            "costTime": None,
            **data,
        },
    }


@pytest.mark.parametrize("word", ["waiting", "queuing", "generating", "dreaming"])
def test_a_task_under_way(server: Server, kie: Kie, word: str) -> None:
    server.answer = says(record(state=word, callback="https://a/b", creditsConsumed=3.24))
    task = kie.record_info("f40")
    assert (task.word, task.outcome, task.used) == (word, "running", 324)
    assert task.callback_url == "https://a/b"
    assert server.got[0][1] == "/api/v1/jobs/recordInfo?taskId=f40"


@pytest.mark.parametrize(
    "result",
    [
        {"resultJson": json.dumps({"resultUrls": ["https://x/1.png", "https://x/2.png"]})},
        {"resultJson": {"resultUrls": ["https://x/1.png", "https://x/2.png"]}},
        {"resultJson": "", "response": {"resultUrls": ["https://x/1.png", "https://x/2.png"]}},
        {"resultJson": {"resultUrls": ["https://x/1.png", None, 7, "", "https://x/2.png"]}},
    ],
)
def test_a_task_that_succeeded(server: Server, kie: Kie, result: dict[str, Any]) -> None:
    server.answer = says(record(state="success", **result))
    task = kie.record_info("f40")
    assert (task.outcome, task.urls) == ("success", ("https://x/1.png", "https://x/2.png"))


@pytest.mark.parametrize("result", ["", None, "{}", "not json", {"resultUrls": []}, [1], 5])
def test_success_without_a_picture_is_a_failure(server: Server, kie: Kie, result: Any) -> None:
    server.answer = says(record(state="success", resultJson=result))
    task = kie.record_info("f40")
    assert (task.outcome, task.why) == ("fail", "empty")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("Internal server error", "render"),
        ("Content moderation check failed: blood", "unsafe"),
        ("Inappropriate content, please try another prompt.", "unsafe"),
        ("Image fetch failed", "input"),
        (None, "render"),
    ],
)
def test_a_task_that_failed(server: Server, kie: Kie, words: str | None, why: str) -> None:
    server.answer = says(record(state="fail", failCode="500", failMsg=words, resultJson=None))
    task = kie.record_info("f40")
    assert (task.outcome, task.why) == ("fail", why)


@pytest.mark.parametrize("code", [501, 408])
def test_final_codes_of_record_info(server: Server, kie: Kie, code: int) -> None:
    server.answer = says({"code": code, "msg": "generation failed", "data": None})
    assert kie.record_info("f40").outcome == "fail"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"code": 422, "msg": "recordInfo is null", "data": None}, TaskUnknown),
        ({"code": 200, "msg": "success", "data": None}, TaskUnknown),
        ({"code": 404, "msg": "task not found"}, TaskUnknown),
        ({"code": 429, "msg": "too fast"}, Throttled),
        ({"code": 401, "msg": "Unauthorized"}, AccountBlocked),
        ({"code": 500, "msg": "This field is required"}, Unclear),
        ({"code": 200, "data": "text"}, Unclear),
        (b"<html>", Unclear),
    ],
)
def test_record_info_without_a_task(
    server: Server, kie: Kie, body: Any, error: type[KieError]
) -> None:
    server.answer = says(body)
    with pytest.raises(KieError) as caught:
        kie.record_info("f40")
    assert type(caught.value) is error


def test_credit_is_a_decimal(server: Server, kie: Kie) -> None:
    server.answer = says({"code": 200, "msg": "success", "data": 5916.25})
    assert kie.credit() == 591_625


@pytest.mark.parametrize("data", [None, "lots", True, -1, {"a": 1}])
def test_credit_that_is_no_number(server: Server, kie: Kie, data: Any) -> None:
    server.answer = says({"code": 200, "msg": "success", "data": data})
    with pytest.raises(Unclear):
        kie.credit()


def test_an_upload_answers_with_its_address(server: Server, kie: Kie) -> None:
    server.answer = says(
        {
            "success": True,
            "code": 200,
            "msg": "File uploaded successfully",
            "data": {"downloadUrl": "https://t/a.png"},
        }
    )
    assert kie.upload(b"\x89PNG", "a.png", "image/png") == "https://t/a.png"
    _method, path, headers, body = server.got[0]
    assert path == "/api/file-stream-upload"
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert b'name="uploadPath"' in body and b"\x89PNG" in body


def test_a_fresh_link(server: Server, kie: Kie) -> None:
    server.answer = says({"code": 200, "msg": "success", "data": "https://t/fresh"})
    assert kie.fresh_link("https://t/old") == "https://t/fresh"
    server.answer = says({"code": 422, "msg": "url is wrong", "data": None})
    with pytest.raises(Refused):
        kie.fresh_link("https://elsewhere/x")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"code": 200, "data": {"state": "fail", "failMsg": "a\\u0000b \\ud800 c\\nd"}}',
        b'{"code": 200, "data": {"state": "fail", "extra": [NaN, 1e999, "\\u0000"]}}',
    ],
)
def test_what_no_database_can_keep_is_cleaned(server: Server, kie: Kie, raw: bytes) -> None:
    server.answer = says(raw)
    task = kie.record_info("f40")
    assert task.outcome == "fail"
    kept = json.dumps(task.answer, allow_nan=False, ensure_ascii=False) + task.words
    assert kept.encode() and "\x00" not in kept and "\\u0000" not in kept and "\n" not in kept


@pytest.mark.parametrize("used", ["1e30", '"9e999999"', "-1", "NaN", '"x"'])
def test_credits_used_that_make_no_sense_are_not_kept(server: Server, kie: Kie, used: str) -> None:
    raw = f'{{"code": 200, "data": {{"state": "waiting", "creditsConsumed": {used}}}}}'
    server.answer = says(raw.encode())
    assert kie.record_info("f40").used is None


def test_a_link_with_a_nul_is_none(server: Server, kie: Kie) -> None:
    result = json.dumps({"resultUrls": ["https://x/a\x00.png"]})
    server.answer = says(record(state="success", resultJson=result))
    assert kie.record_info("f40").why == "empty"
