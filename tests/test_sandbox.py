"""The KIE sandbox over real HTTP, held against what is known of the real API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image, ImageChops

from generation.kie.sandbox import Options, Sandbox, account
from generation.kie.sandbox.drawing import FONT, draw
from generation.kie.sandbox.faults import CREATE_ANSWERS, FAILURES, Faults
from generation.kie.sandbox.records import file_names
from generation.kie.sandbox.schema import model_named
from generation.kie.sandbox.tasks import Task
from imagegen.processes import GRACE

ROOT = Path(__file__).parent.parent
KEY = {"Authorization": "Bearer a-key", "User-Agent": "imagegen-tests"}
DOCUMENT = {  # the request of the user's document
    "model": "seedream-3.0/2k",
    "input": {"prompt": "A beautiful landscape...", "aspect_ratio": "16:9"},
}


class Web(requests.Session):
    """requests with a timeout."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        return super().request(*args, **{"timeout": 10, **kwargs})


HTTP = Web()


class Client:
    """A plain HTTP client of one sandbox."""

    def __init__(self, sandbox: Sandbox | Process) -> None:
        self.url = sandbox.url

    def create(self, request: Any = DOCUMENT, **kwargs: Any) -> Any:
        kwargs.setdefault("headers", KEY)
        return self.post("/api/v1/jobs/createTask", json=request, **kwargs).json()

    def order(self, request: Any = DOCUMENT) -> str:
        answer = self.create(request)
        assert answer["code"] == 200, answer
        task_id: str = answer["data"]["taskId"]
        return task_id

    def info(self, task_id: str) -> Any:
        return self.get(f"/api/v1/jobs/recordInfo?taskId={task_id}").json()

    def end(self, task_id: str) -> Any:
        """The record of a task once it has ended."""
        return wait_for(lambda: (r := self.info(task_id)["data"])["completeTime"] and r)

    def urls(self, task_id: str) -> list[str]:
        found: list[str] = json.loads(self.end(task_id)["resultJson"])["resultUrls"]
        return found

    def credit(self) -> Any:
        return self.get("/api/v1/chat/credit").json()["data"]

    def faults(self, *names: Any, **more: Any) -> None:
        answer = HTTP.post(f"{self.url}/sandbox/faults", json={"next": names, **more})
        answer.raise_for_status()

    def settings(self, **values: Any) -> None:
        HTTP.post(f"{self.url}/sandbox/settings", json=values).raise_for_status()

    def sandbox(self, what: str) -> Any:
        return HTTP.get(f"{self.url}/sandbox/{what}").json()

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("headers", KEY)
        return HTTP.get(self.url + path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("headers", KEY)
        return HTTP.post(self.url + path, **kwargs)


def wait_for(probe: Callable[[], Any], seconds: float = 5.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
    return found


def picture(url: str) -> Image.Image:
    answer = HTTP.get(url)
    assert answer.status_code == 200
    return Image.open(io.BytesIO(answer.content))


@pytest.fixture
def kie() -> Iterator[Client]:
    """Quick tasks, no limit of creates."""
    with Sandbox(Options(seconds=0.03, rate=0)) as sandbox:
        yield Client(sandbox)


class Listener:
    """Somebody who is called back; answers with `statuses` in turn, then 200."""

    def __init__(self, statuses: list[int] | None = None) -> None:
        self.calls: list[tuple[Any, Any]] = []  # headers, body
        self.statuses = statuses or []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                listener.calls.append((self.headers, body))
                self.send_response(listener.statuses.pop(0) if listener.statuses else 200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/kie/callback/7/tag"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.calls]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()


# createTask


def test_create_answers_as_recorded(kie: Client) -> None:
    answer = kie.post("/api/v1/jobs/createTask", json=DOCUMENT)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    body = answer.json()
    assert list(body) == ["code", "msg", "data"]
    assert (body["code"], body["msg"]) == (200, "success")
    assert re.fullmatch("[0-9a-f]{32}", body["data"]["taskId"])
    assert body["data"] == {k: body["data"]["taskId"] for k in ("taskId", "recordId")}


def test_the_received_body_can_be_looked_at(kie: Client) -> None:
    kie.create({"model": "nope"})
    task_id = kie.order(DOCUMENT | {"callBackUrl": "http://127.0.0.1:9/x"})
    first, second = kie.sandbox("requests")
    assert (first["code"], first["body"], first["taskId"]) == (422, {"model": "nope"}, None)
    assert second["body"] == DOCUMENT | {"callBackUrl": "http://127.0.0.1:9/x"}
    assert (second["code"], second["taskId"]) == (200, task_id)
    assert [t["taskId"] for t in kie.sandbox("tasks")] == [task_id]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": None},
        {"Authorization": "Bearer "},
        {"Authorization": "a-key"},
        {"Content-Type": "text/plain"},
    ],
)
def test_no_key_or_another_content_type_is_401(kie: Client, headers: Any) -> None:
    answer = kie.create(headers=KEY | headers)
    assert (answer["code"], answer["data"]) == (401, None)
    assert answer["msg"].startswith("Unauthorized – Authentication failed.")


def test_only_the_one_key_where_one_is_set() -> None:
    with Sandbox(Options(key="right")) as sandbox:
        kie = Client(sandbox)
        assert kie.create()["code"] == 401
        assert kie.info("0" * 32)["code"] == 401
        assert kie.create(headers=KEY | {"Authorization": "Bearer right"})["code"] == 200


@pytest.mark.parametrize("agent", [None, "", "Python-urllib/3.11"])
def test_a_user_agent_is_needed(kie: Client, agent: str | None) -> None:
    url = kie.urls(kie.order())[0]
    for path in ("/api/v1/jobs/recordInfo?taskId=1", urlsplit(url).path):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        connection.request("GET", path, headers={} if agent is None else {"User-Agent": agent})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (403, b"error code: 1010")
        connection.close()


def test_malformed_json_is_400(kie: Client) -> None:
    headers = KEY | {"Content-Type": "application/json"}
    answer = kie.post("/api/v1/jobs/createTask", data="{", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (200, 400)


@pytest.mark.parametrize(
    "model", ["", None, "nope", "nano-banana", "google/nano-banana-pro", "qwen3-pro/text-to-image"]
)
def test_an_unknown_model_is_422(kie: Client, model: str | None) -> None:
    answer = kie.create({"model": model, "input": {"prompt": "x"}})
    assert (answer["code"], answer["data"]) == (422, None)
    assert answer["msg"].startswith("The model name you specified is not supported.")


LITE = {"prompt": "a hill", "aspect_ratio": "16:9", "quality": "basic"}


@pytest.mark.parametrize(
    ("model", "given", "code", "msg"),
    [
        ("seedream-3.0/2k", {"aspect_ratio": "16:9"}, 500, "prompt is required"),
        ("seedream-3.0/2k", {"prompt": ""}, 500, "prompt is required"),
        # its documented default is not filled in
        (
            "seedream/5-lite-text-to-image",
            {"prompt": "a hill", "quality": "basic"},
            500,
            "aspect_ratio is required",
        ),
        (
            "seedream/5-lite-text-to-image",
            LITE | {"aspect_ratio": "5:4"},
            500,
            "aspect_ratio is not within the range of allowed options",
        ),
        # the case counts
        (
            "nano-banana-2",
            {"prompt": "x", "resolution": "2k"},
            500,
            "resolution is not within the range of allowed options",
        ),
        (
            "wan/2-7-image",
            {"prompt": "x", "n": 0},
            500,
            "n is not within the range of allowed options",
        ),
        # "1".."4" are strings there
        (
            "ideogram/v3-remix",
            {"prompt": "x", "image_url": "https://a.test/b.png", "num_images": 2},
            422,
            "num_images must be of type string",
        ),
        ("z-image", {"prompt": "é" * 1001, "aspect_ratio": "1:1"}, 422, "1000"),
        (
            "gpt-image-2-text-to-image",
            {"prompt": "x", "aspect_ratio": "1:1", "resolution": "4K"},
            500,
            "is not within the range of allowed options",
        ),
        # no ratio is "auto", which that model has at 1K only
        ("gpt-image-2-text-to-image", {"prompt": "x", "resolution": "2K"}, 500, "aspect_ratio"),
        ("seedream/4.5-edit", LITE | {"image_urls": []}, 500, "image_urls is required"),
        (
            "nano-banana-pro",
            {"prompt": "x", "image_input": ["https://a.test/b.png"] * 9},
            500,
            "image_input is not within the range of allowed options",
        ),
        ("nano-banana-pro", {"prompt": "x", "image_input": "https://a.test"}, 422, "image_input"),
        ("grok-imagine-image-2-0/segment-map", {}, 500, "This field is required"),
    ],
)
def test_wrong_input_is_refused(
    kie: Client, model: str, given: dict[str, Any], code: int, msg: str
) -> None:
    answer = kie.create({"model": model, "input": given})
    assert (answer["code"], answer["data"]) == (code, None)
    assert msg in answer["msg"]
    assert kie.credit() == 10000
    assert kie.sandbox("tasks") == []


def test_a_prompt_as_long_as_allowed_is_taken(kie: Client) -> None:
    kie.order({"model": "z-image", "input": {"prompt": "é" * 1000, "aspect_ratio": "1:1"}})


def test_every_model_takes_its_least_request_and_misses_each_required_field(kie: Client) -> None:
    facts = json.loads((ROOT / "generation/kie/facts.json").read_text())
    assert len(facts["models"]) == 67
    for model in facts["models"]:
        least = {f["name"]: _some_value(f) for f in model["input_schema"] if f["required"]}
        if "one_of" in model:
            least |= {model["one_of"][0][0]: "x"}
        assert kie.create({"model": model["id"], "input": least})["code"] == 200, model["id"]
        for name in least:
            without = {k: v for k, v in least.items() if k != name}
            assert kie.create({"model": model["id"], "input": without})["code"] == 500, name


def _some_value(field: dict[str, Any]) -> Any:
    if "enum" in field:
        return field["enum"][0]
    return ["https://a.test/b.png"] if field["type"].startswith("array") else "a hill"


def test_unknown_fields_are_ignored_and_billed_as_absent(kie: Client) -> None:
    given = {"prompt": "x", "resolutoin": "4K"}
    task_id = kie.order({"model": "nano-banana-pro", "input": given})
    record = kie.info(task_id)["data"]
    assert record["creditsConsumed"] == 18.0  # 4K would be 24
    assert json.loads(json.loads(record["param"])["input"]) == given


def test_the_order_of_the_checks(kie: Client) -> None:
    kie.settings(credits=5)
    wrong_all = {"model": "nope", "input": {}}
    assert kie.create(wrong_all, headers=KEY | {"Authorization": "x"})["code"] == 401
    assert kie.create(wrong_all)["code"] == 422
    assert kie.create(DOCUMENT | {"input": {}})["msg"] == "prompt is required"
    answer = kie.create()
    assert (answer["code"], answer["data"]) == (402, None)
    assert answer["msg"].startswith("Credits insufficient")
    assert kie.create({"model": "z-image", "input": LITE})["code"] == 200  # 0.8 credits


def test_twenty_creates_in_ten_seconds_for_each_key() -> None:
    with Sandbox(Options()) as sandbox:
        kie = Client(sandbox)
        assert [kie.create()["code"] for _ in range(20)] == [200] * 20
        answer = kie.post("/api/v1/jobs/createTask", json=DOCUMENT)
        assert answer.status_code == 200
        assert "Retry-After" not in answer.headers
        assert answer.json() == {
            "code": 429,
            "msg": "Your call frequency is too high. Please try again later.",
            "data": None,
        }
        assert len(kie.sandbox("tasks")) == 20  # not queued
        assert kie.create(headers=KEY | {"Authorization": "Bearer other"})["code"] == 200


def test_the_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.kie.sandbox.account.WINDOW", 0.8)
    with Sandbox(Options(rate=2)) as sandbox:
        kie = Client(sandbox)
        assert kie.create()["code"] == 200
        time.sleep(0.5)
        assert [kie.create()["code"] for _ in range(2)] == [200, 429]
        time.sleep(0.4)  # the first has left the window, the second has not
        assert [kie.create()["code"] for _ in range(2)] == [200, 429]


def test_real_statuses() -> None:
    with Sandbox(Options(real_statuses=True, rate=1)) as sandbox:
        kie = Client(sandbox)
        path = "/api/v1/jobs/createTask"
        assert kie.post(path, json=DOCUMENT).status_code == 200
        assert kie.post(path, json=DOCUMENT).status_code == 429
        assert kie.get("/api/v1/jobs/recordInfo?taskId=x").status_code == 422
        assert kie.get("/api/v1/chat/credit", headers={"User-Agent": "x"}).status_code == 401


def test_an_unknown_path_is_404_and_a_wrong_method_405(kie: Client) -> None:
    assert kie.get("/api/v1/nothing").status_code == 404
    assert kie.get("/api/v1/jobs/createTask").status_code == 405


def test_a_connection_is_kept_alive(kie: Client) -> None:
    connection = http.client.HTTPConnection(urlsplit(kie.url).netloc, timeout=5)
    connection.connect()
    own = connection.sock
    for _ in range(3):
        connection.request("GET", "/api/v1/chat/credit", headers=KEY)
        assert connection.getresponse().read()
        assert connection.sock is own
    connection.close()


def test_who_dies_in_the_middle_of_a_request_has_asked_nothing(kie: Client) -> None:
    connection = http.client.HTTPConnection(urlsplit(kie.url).netloc, timeout=5)
    connection.putrequest("POST", "/api/v1/jobs/createTask")
    for name, value in (KEY | {"Content-Type": "application/json", "Content-Length": "50"}).items():
        connection.putheader(name, value)
    connection.endheaders(b'{"model": ')
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_WR)
    assert connection.sock.recv(100) == b"", "it is not answered"
    connection.close()
    assert kie.sandbox("requests") == []


# recordInfo


def test_a_task_goes_from_waiting_over_generating_to_success() -> None:
    with Sandbox(Options(seconds=0.6)) as sandbox:
        kie = Client(sandbox)
        task_id = kie.order()
        seen: list[str] = []
        while not seen or seen[-1] != "success":
            state = kie.info(task_id)["data"]["state"]
            seen += [state] if state not in seen else []
    assert seen == ["waiting", "generating", "success"]


def test_a_pending_record_as_recorded() -> None:
    with Sandbox(Options(seconds=60)) as sandbox:
        kie = Client(sandbox)
        before = time.time() * 1000
        task_id = kie.order()
        answer = kie.info(task_id)
    assert (answer["code"], answer["msg"]) == (200, "success")
    created = answer["data"].pop("createTime")
    assert before - 1 <= created <= time.time() * 1000
    param = answer["data"].pop("param")
    assert json.loads(json.loads(param).pop("input")) == DOCUMENT["input"]
    assert set(json.loads(param)) == {"input", "model"}
    assert answer["data"] == {
        "taskId": task_id,
        "model": "seedream-3.0/2k",
        "state": "waiting",
        "resultJson": "",
        "failCode": None,
        "failMsg": None,
        "costTime": None,
        "completeTime": None,
        "creditsConsumed": 6.0,
    }


def test_a_record_of_success_as_recorded(kie: Client) -> None:
    kie.settings(seconds=1.2)
    task_id = kie.order(DOCUMENT | {"callBackUrl": "http://127.0.0.1:9/x"})
    record = kie.end(task_id)
    assert list(record)[:10] == [
        *("taskId", "model", "state", "param", "resultJson", "failCode", "failMsg"),
        *("costTime", "completeTime", "createTime"),
    ]
    assert json.loads(record["param"])["callBackUrl"] == "http://127.0.0.1:9/x"
    assert record["state"] == "success"
    assert record["costTime"] == 1  # seconds
    assert abs(record["completeTime"] - record["createTime"] - 1200) <= 1
    assert (record["failCode"], record["failMsg"]) == (None, None)
    (url,) = json.loads(record["resultJson"])["resultUrls"]
    second = record["completeTime"] // 1000
    assert re.fullmatch(rf"{kie.url}/r/{task_id}_{second}_[0-9a-z]{{8}}\.jpg", url)


@pytest.mark.parametrize(
    ("model", "states"),
    [
        ("wan/2-7-image", {"waiting"}),
        ("gpt-image-2-text-to-image", {"generating"}),
        ("z-image", {"waiting", "generating"}),
    ],
)
def test_some_models_show_one_pending_state_only(model: str, states: set[str]) -> None:
    with Sandbox(Options(seconds=1000)) as sandbox:
        kie = Client(sandbox)
        request = {"model": model, "input": {"prompt": "x", "aspect_ratio": "1:1"}}
        task = sandbox.account.tasks.get(kie.order(request))
    assert task
    assert {task.state(task.created + s) for s in range(0, 1000, 50)} == states


def test_pictures_can_be_there_before_anybody_fetches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = threading.Event()
    monkeypatch.setattr(account, "draw", lambda *_: drawn.set() or b"a picture")
    with Sandbox(Options(seconds=0.03, draw_ahead=True)) as sandbox:
        Client(sandbox).order()
        assert drawn.wait(30)


def test_queuing_is_a_wish() -> None:
    with Sandbox(Options(seconds=1000, queuing=True)) as sandbox:
        task = sandbox.account.tasks.get(Client(sandbox).order())
    assert task
    seen = [task.state(task.created + s) for s in (0, 300, 500, 1000)]
    assert seen == ["waiting", "queuing", "generating", "success"]


def test_unknown_tasks(kie: Client) -> None:
    assert kie.info("f" * 32) == {"code": 422, "msg": "recordInfo is null", "data": None}
    assert kie.get("/api/v1/jobs/recordInfo").json()["code"] == 400


# Credits


def test_the_balance_falls_with_each_task_and_rises_when_one_fails(kie: Client) -> None:
    kie.settings(seconds=0.6)
    kie.faults("moderation", None)
    failing, fine = kie.order(), kie.order({"model": "z-image", "input": LITE})
    assert kie.credit() == 9993.2
    assert kie.info(failing)["data"]["creditsConsumed"] == 6.0
    assert kie.end(failing)["creditsConsumed"] == 0.0
    assert kie.end(fine)["creditsConsumed"] == 0.8
    assert kie.credit() == 9999.2


@pytest.mark.parametrize(
    ("model", "given", "credits", "pictures"),
    [
        ("seedream-3.0/2k", {}, 6.0, 1),
        ("flux-2/pro-text-to-image", {"resolution": "2K"}, 7.0, 1),
        ("wan/2-7-image", {}, 19.2, 4),
        ("wan/2-7-image", {"n": 2}, 9.6, 2),
        ("grok-imagine/text-to-image", {}, 4.0, 6),
        ("grok-imagine/text-to-image", {"enable_pro": True}, 5.0, 4),
        ("bytedance/seedream-v4-text-to-image", {"max_images": 3}, 15.0, 3),
        ("seedream/5-pro-image-to-image", {"quality": "high", "image_urls": ["u"] * 3}, 15.0, 1),
    ],
)
def test_what_a_task_costs_and_brings(
    kie: Client, model: str, given: dict[str, Any], credits: float, pictures: int
) -> None:
    plain = {"prompt": "a hill", "aspect_ratio": "16:9"}
    task_id = kie.order({"model": model, "input": plain | given})
    record = kie.end(task_id)
    assert record["creditsConsumed"] == credits
    assert kie.credit() == 10000 - credits
    urls = json.loads(record["resultJson"])["resultUrls"]
    assert len(set(urls)) == len(urls) == pictures


# Pictures


@pytest.mark.parametrize(
    ("model", "given", "size", "file_format"),
    [
        ("seedream-3.0/2k", {"aspect_ratio": "16:9"}, (2048, 1152), "JPEG"),
        ("z-image", {"aspect_ratio": "9:16"}, (576, 1024), "PNG"),
        ("nano-banana-pro", {"resolution": "2K", "aspect_ratio": "21:9"}, (2048, 878), "PNG"),
        ("nano-banana-2", {"aspect_ratio": "3:2"}, (1024, 683), "JPEG"),
        ("qwen2-1/text-to-image", {"output_format": "webp"}, (1024, 1024), "WEBP"),
    ],
)
def test_a_picture_has_the_size_and_format_that_were_ordered(
    kie: Client, model: str, given: dict[str, Any], size: tuple[int, int], file_format: str
) -> None:
    plain = {"prompt": "a hill", "quality": "basic"}
    image = picture(kie.urls(kie.order({"model": model, "input": plain | given}))[0])
    image.load()
    assert (image.size, image.format) == (size, file_format)


def test_the_one_size_that_is_documented() -> None:
    model = model_named("bytedance/seedream-v4-text-to-image")
    assert model
    shape = {"image_size": "landscape_4_3", "image_resolution": "4K"}
    assert model.size(shape) == (4096, 3072)


def test_pictures_differ_but_one_stays_the_same(kie: Client) -> None:
    small = {"prompt": "hory", "aspect_ratio": "16:9", "n": 2, "resolution": "1K"}
    request = {"model": "wan/2-7-image", "input": small}
    urls = kie.urls(kie.order(request)) + kie.urls(kie.order(request))
    contents = {HTTP.get(url).content for url in urls}
    assert len(contents) == 4
    assert HTTP.get(urls[0]).content in contents


def test_a_picture_is_there_once_the_task_succeeded_and_takes_no_key() -> None:
    with Sandbox(Options(seconds=0.6)) as sandbox:
        kie = Client(sandbox)
        task = sandbox.account.tasks.get(kie.order())
        assert task
        url = f"{kie.url}/r/{file_names(task)[0]}"
        assert HTTP.get(url).status_code == 404
        assert kie.urls(task.id) == [url]
        assert HTTP.get(url.replace(".jpg", ".png")).status_code == 404
        assert HTTP.get(url, headers=KEY).status_code == 400
        answer = HTTP.get(url)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        head = HTTP.head(url)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(answer.content)))


def test_the_prompt_is_written_at_the_bottom_and_sample_at_the_top() -> None:
    def drawn(prompt: str, label: str = "label") -> Image.Image:
        return Image.open(io.BytesIO(draw("seed", prompt, label, (640, 360), "png")))

    one, other = drawn("hory: Ľúbezná žatva"), drawn("hory: ŠŤĽČŽÝ áíé")
    left, top, right, bottom = ImageChops.difference(one, other).getbbox() or (0, 0, 0, 0)
    assert (right - left > 60, bottom - top > 6) == (True, True)
    assert top > 300
    white = [one.getpixel((x, 24)) for x in range(280, 360)]
    assert {(246, 244, 238), (20, 18, 22)} <= set(white)  # dark letters on a light plate


def test_slovak_letters_are_in_the_font() -> None:
    from PIL import ImageFont

    font = ImageFont.truetype(FONT, 40)
    missing = bytes(font.getmask("\uffff"))
    letters = "áäčďéíĺľňóôŕšťúýžÁÄČĎÉÍĹĽŇÓÔŔŠŤÚÝŽ„“–…"
    assert [c for c in letters if bytes(font.getmask(c)) == missing] == []


# Uploads and links


def test_a_file_is_uploaded_in_three_ways(kie: Client) -> None:
    data = b"\x89PNG\r\n\x1a\n--x\r\n\r\n\x00\xff\r\n"
    path = {"uploadPath": "refs/žofia", "fileName": "a b.png"}
    stream = kie.post(
        "/api/file-stream-upload", files={"file": ("own.png", data, "image/png")}, data=path
    ).json()
    assert (stream["success"], stream["code"]) == (True, 200)
    assert stream["msg"] == "File uploaded successfully"
    assert set(stream["data"]) == {
        *("success", "fileName", "filePath", "downloadUrl", "fileSize", "mimeType", "uploadedAt")
    }
    assert stream["data"]["fileSize"] == len(data)
    assert re.fullmatch(r"kieai/\d+/refs/žofia/a b\.png", stream["data"]["filePath"])
    text = base64.b64encode(data).decode()
    for encoded in (text, f"data:image/png;base64,{text}"):
        answer = kie.post(
            "/api/file-base64-upload",
            json={"base64Data": encoded, "uploadPath": "refs", "fileName": "c.png"},
        ).json()
        url = answer["data"]["downloadUrl"]
        assert (HTTP.get(url).content, answer["data"]["mimeType"]) == (data, "image/png")
    copied = kie.post(
        "/api/file-url-upload",
        json={"fileUrl": stream["data"]["downloadUrl"], "uploadPath": "copies"},
    ).json()
    assert HTTP.get(copied["data"]["downloadUrl"]).content == data
    foreign = {"fileUrl": "https://a.test/b.png", "uploadPath": "refs"}
    assert kie.post("/api/file-url-upload", json=foreign).json()["code"] == 500
    assert len(kie.sandbox("uploads")) == 3


def test_uploads_that_are_refused(kie: Client) -> None:
    files = {"file": ("a.png", b"x", "image/png")}
    answer = kie.post("/api/file-stream-upload", files=files).json()
    assert (answer["code"], answer["msg"]) == (400, "Missing required parameter: uploadPath")
    answer = kie.post("/api/file-stream-upload", headers={"User-Agent": "x"}, files=files).json()
    assert (answer["code"], answer["msg"]) == (401, "Authentication failed: Invalid API Key")


def test_the_same_name_overwrites(kie: Client) -> None:
    for data in (b"first", b"second"):
        files = {"file": ("a.png", data, "image/png")}
        answer = kie.post("/api/file-stream-upload", files=files, data={"uploadPath": "x"}).json()
    assert HTTP.get(answer["data"]["downloadUrl"]).content == b"second"


def test_a_reference_that_was_never_uploaded_fails_the_task(kie: Client) -> None:
    files = {"file": ("a.png", b"x", "image/png")}
    answer = kie.post("/api/file-stream-upload", files=files, data={"uploadPath": "x"}).json()
    url = answer["data"]["downloadUrl"]
    for reference, state in ((url, "success"), (url.replace("a.png", "b.png"), "fail")):
        given = {"prompt": "x", "image_input": [reference]}
        record = kie.end(kie.order({"model": "nano-banana-pro", "input": given}))
        assert record["state"] == state
    assert record["failMsg"] == "Image fetch failed"


def test_a_fresh_link_to_an_own_picture_only(kie: Client) -> None:
    kie.faults("result_expired")
    (url,) = kie.urls(kie.order())
    assert HTTP.get(url).status_code == 403
    fresh = kie.post("/api/v1/common/download-url", json={"url": url}).json()
    assert fresh["code"] == 200
    assert picture(fresh["data"]).size == (2048, 1152)
    past = re.sub(r"expires=\d+", f"expires={int(time.time()) - 1}", fresh["data"])
    assert HTTP.get(past).status_code == 403
    for wrong in ("https://a.test/r/x.png", f"{kie.url}/r/{'0' * 32}_1_x.png"):
        answer = kie.post("/api/v1/common/download-url", json={"url": wrong}).json()
        assert (answer["code"], answer["msg"]) == (422, "url is wrong")


# Callbacks


def test_a_callback_tells_the_record(kie: Client, listener: Listener) -> None:
    task_id = kie.order(DOCUMENT | {"callBackUrl": listener.url})
    (body,) = wait_for(lambda: listener.bodies)
    assert (body["code"], body["msg"]) == (200, "Playground task completed successfully.")
    record = kie.info(task_id)["data"]
    assert body["data"] == record | {"updateTime": record["completeTime"]}
    headers = listener.calls[0][0]
    assert headers["Content-Type"] == "application/json"
    assert "X-Webhook-Signature" not in headers
    assert wait_for(lambda: kie.sandbox("callbacks"))[0]["status"] == 200


def test_a_callback_of_failure(kie: Client, listener: Listener) -> None:
    kie.faults("inappropriate")
    kie.order(DOCUMENT | {"callBackUrl": listener.url})
    (body,) = wait_for(lambda: listener.bodies)
    assert (body["code"], body["msg"]) == (501, "Playground task failed.")
    assert body["data"]["state"] == "fail"
    assert (body["data"]["resultJson"], body["data"]["failCode"]) == (None, "500")
    assert body["data"]["failMsg"] == "Inappropriate content, please try another prompt."


def test_callbacks_are_signed(listener: Listener) -> None:
    with Sandbox(Options(seconds=0.05, webhook_key="geheim")) as sandbox:
        kie = Client(sandbox)
        kie.faults(None, "callback_badly_signed", "callback_unsigned")
        for number in range(3):
            kie.order(DOCUMENT | {"callBackUrl": listener.url})
            wait_for(partial(lambda n: len(listener.calls) > n, number))
    (good, body), (bad, _), (none, _) = listener.calls
    timestamp = good["X-Webhook-Timestamp"]
    assert abs(int(timestamp) - time.time()) < 10
    message = f"{body['data']['taskId']}.{timestamp}".encode()
    expected = base64.b64encode(hmac.digest(b"geheim", message, hashlib.sha256)).decode()
    assert good["X-Webhook-Signature"] == expected
    assert len(bad["X-Webhook-Signature"]) == len(expected)
    assert bad["X-Webhook-Signature"] != expected
    assert "X-Webhook-Signature" not in none


@pytest.mark.parametrize(("statuses", "calls"), [([500], 2), ([500] * 9, 4)])
def test_a_callback_is_tried_four_times_at_most(statuses: list[int], calls: int) -> None:
    listener = Listener(list(statuses))
    with Sandbox(Options(seconds=0.05, retry_seconds=(0.05, 0.05, 0.05))) as sandbox:
        Client(sandbox).order(DOCUMENT | {"callBackUrl": listener.url})
        wait_for(lambda: len(listener.calls) == calls)
        time.sleep(0.3)
    listener.server.shutdown()
    listener.server.server_close()
    assert len(listener.calls) == calls


def test_callbacks_twice_early_and_never(kie: Client, listener: Listener) -> None:
    kie.settings(seconds=0.5)
    request = DOCUMENT | {"callBackUrl": listener.url}
    kie.faults("callback_early", "callback_twice", "callback_lost", None)
    early = kie.order(request)
    assert [b["data"]["taskId"] for b in listener.bodies] == [early]
    assert kie.info(early)["data"]["state"] != "success"
    twice, lost, last = kie.order(request), kie.order(request), kie.order(request)
    wait_for(lambda: len(listener.calls) >= 4)
    time.sleep(0.1)
    called = [b["data"]["taskId"] for b in listener.bodies]
    assert sorted(called) == sorted([early, twice, twice, last])
    assert lost not in called


# Faults


@pytest.mark.parametrize("name", sorted(CREATE_ANSWERS))
def test_creates_that_are_refused(kie: Client, name: str) -> None:
    kie.faults(name)
    answer = kie.create()
    code, msg = CREATE_ANSWERS[name]
    assert answer == {"code": code, "msg": msg, "data": None}
    assert kie.sandbox("tasks") == []
    assert kie.create()["code"] == 200  # the next one is as ever


def test_an_accepted_create_whose_answer_is_lost(kie: Client) -> None:
    kie.faults("create_lost")
    with pytest.raises(requests.ConnectionError):
        kie.create()
    (task,) = kie.sandbox("tasks")
    assert task["input"] == DOCUMENT["input"]
    assert kie.credit() == 9994


@pytest.mark.parametrize(("name", "made"), [("create_502", 0), ("create_502_made", 1)])
def test_creates_that_answer_html(kie: Client, name: str, made: int) -> None:
    kie.faults(name)
    answer = kie.post("/api/v1/jobs/createTask", json=DOCUMENT)
    assert (answer.status_code, answer.text[:6]) == (502, "<html>")
    assert len(kie.sandbox("tasks")) == made


def test_a_slow_create(kie: Client) -> None:
    kie.settings(slow_seconds=0.4)
    kie.faults("create_slow")
    before = time.monotonic()
    kie.order()
    assert time.monotonic() - before >= 0.4


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_tasks_that_fail(kie: Client, name: str) -> None:
    kie.faults(name)
    record = kie.end(kie.order())
    assert (record["state"], record["failCode"]) == ("fail", "500")
    assert record["failMsg"] == FAILURES[name]
    assert record["resultJson"] == ""


@pytest.mark.parametrize(("name", "code"), [("record_501", 501), ("record_408", 408)])
def test_tasks_that_end_in_a_body_code(kie: Client, name: str, code: int) -> None:
    kie.faults(name)
    task_id = kie.order()
    answer = wait_for(lambda: (a := kie.info(task_id))["code"] != 200 and a)
    assert (answer["code"], answer["data"]) == (code, None)


def test_tasks_without_an_end_without_a_picture_and_hidden_ones(kie: Client) -> None:
    kie.settings(hidden_seconds=0.5)
    kie.faults("never_ends", "empty", "hidden")
    endless, empty, hidden = kie.order(), kie.order(), kie.order()
    assert kie.info(hidden)["msg"] == "recordInfo is null"
    assert kie.urls(empty) == []
    wait_for(lambda: kie.info(hidden)["code"] == 200)
    assert kie.info(endless)["data"]["state"] == "waiting"


@pytest.mark.parametrize(("name", "status"), [("result_404", 404), ("result_403", 403)])
def test_results_that_are_gone(kie: Client, name: str, status: int) -> None:
    kie.faults(name)
    assert HTTP.get(kie.urls(kie.order())[0]).status_code == status


def test_results_that_are_not_what_they_say(kie: Client) -> None:
    kie.settings(slow_seconds=0.4)
    names = ["html", "junk", "mislabelled", "redirect", "503_once", "cut", "slow", "endless"]
    kie.faults(*(f"result_{name}" for name in names))
    tasks = [kie.order() for _ in names]
    html, junk, mislabelled, redirect, once, cut, slow, endless = (kie.urls(t)[0] for t in tasks)

    answer = HTTP.get(html)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    answer = HTTP.get(junk)
    assert answer.headers["Content-Type"] == "image/png"
    assert not answer.content.startswith(b"\x89PNG")
    answer = HTTP.get(mislabelled)
    assert (mislabelled[-4:], answer.headers["Content-Type"]) == (".png", "image/png")
    assert answer.content.startswith(b"\xff\xd8")
    assert HTTP.get(redirect, allow_redirects=False).status_code == 302
    assert [HTTP.get(once).status_code for _ in range(2)] == [503, 200]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        HTTP.get(cut)
    before = time.monotonic()
    assert picture(slow).size == (2048, 1152)
    assert time.monotonic() - before >= 0.4
    with HTTP.get(endless, stream=True) as answer:
        assert (
            sum(len(c) for c, _ in zip(answer.iter_content(65536), range(40), strict=False)) > 2e6
        )


def test_a_first_fetch_that_breaks_off_is_followed_by_a_whole_one(kie: Client) -> None:
    kie.faults("result_cut_once")
    (url,) = kie.urls(kie.order())
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        HTTP.get(url)
    assert picture(url).size == (2048, 1152)


def test_faults_of_recordinfo_and_uploads_wait_for_their_own_calls(kie: Client) -> None:
    kie.faults("record_429", "record_502", "record_lost", "upload_500")
    task_id = kie.order()
    assert kie.info(task_id)["code"] == 429
    assert kie.get(f"/api/v1/jobs/recordInfo?taskId={task_id}").status_code == 502
    with pytest.raises(requests.ConnectionError):
        kie.info(task_id)
    assert kie.info(task_id)["code"] == 200
    files = {"file": ("a.png", b"x", "image/png")}
    answers = [
        kie.post("/api/file-stream-upload", files=files, data={"uploadPath": "x"}).json()["code"]
        for _ in range(2)
    ]
    assert answers == [500, 200]


def test_faults_by_probability_until_they_are_cleared(kie: Client) -> None:
    kie.faults(None, probabilities={"create_500": 1.0})
    assert [kie.create()["code"] for _ in range(3)] == [200, 500, 500]
    HTTP.delete(f"{kie.url}/sandbox/faults")
    assert kie.create()["code"] == 200


def test_several_faults_at_once(kie: Client) -> None:
    kie.settings(hidden_seconds=0.1)
    kie.faults(["create_lost", "moderation", "hidden"])
    with pytest.raises(requests.ConnectionError):
        kie.create()
    assert kie.sandbox("tasks")[0]["faults"] == ["create_lost", "hidden", "moderation"]


@pytest.mark.parametrize(
    "wish",
    [{"next": ["nope"]}, {"probabilities": {"nope": 1}}, {"next": [["empty", "record_429"]]}, []],
)
def test_unknown_faults_are_refused(kie: Client, wish: Any) -> None:
    assert HTTP.post(f"{kie.url}/sandbox/faults", json=wish).status_code == 400
    assert kie.create()["code"] == 200


def test_the_same_seed_gives_the_same_faults() -> None:
    def sequence(seed: int) -> list[frozenset[str]]:
        faults = Faults({"moderation": 0.4, "create_500": 0.3}, seed)
        return [faults.take("create") for _ in range(60)]

    assert sequence(1) == sequence(1)
    assert sequence(1) != sequence(2)
    assert 10 < sum("moderation" in f for f in sequence(1)) < 38


def test_nothing_in_a_prompt_switches_a_fault(kie: Client) -> None:
    for words in ("moderation", "fail", "create_500", "never_ends", "error 500"):
        given = {"prompt": words, "aspect_ratio": "16:9"}
        assert kie.end(kie.order(DOCUMENT | {"input": given}))["state"] == "success"


# The process


def test_the_journal_tells_all_that_happened(tmp_path: Path, listener: Listener) -> None:
    """What was answered, which faults struck, how it ended, what was fetched, who was told."""
    path = tmp_path / "journal.jsonl"
    with Sandbox(Options(seconds=0.03, rate=0, journal=path)) as sandbox:
        kie = Client(sandbox)
        kie.faults("create_429", "create_lost", "callback_twice", "record_502")
        kie.create()
        request = DOCUMENT | {"callBackUrl": listener.url}
        with pytest.raises(requests.ConnectionError):
            kie.create(DOCUMENT)
        task_id = kie.order(request)
        kie.get(f"/api/v1/jobs/recordInfo?taskId={task_id}")
        (url,) = kie.urls(task_id)
        HTTP.get(url)
        wait_for(lambda: HTTP.get(f"{kie.url}/sandbox").json()["unreported"] == 0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    creates = [line for line in lines if line["what"] == "create"]
    assert [(c["code"], c["faults"]) for c in creates] == [
        (429, []),
        (200, ["create_lost"]),
        (200, ["callback_twice"]),
    ]
    assert creates[1]["taskId"] not in (None, task_id)
    assert (creates[2]["taskId"], creates[2]["body"]) == (task_id, request)
    told = [line for line in lines if line["what"] == "callback"]
    assert [(c["taskId"], c["to"], c["status"]) for c in told] == [(task_id, listener.url, 200)] * 2
    assert [line["taskId"] for line in lines if line["what"] == "fetch"] == [task_id]
    ends = {line["taskId"]: line["outcome"] for line in lines if line["what"] == "end"}
    assert ends == {creates[1]["taskId"]: "success", task_id: "success"}
    assert [line["faults"] for line in lines if line["what"] == "record"] == [["record_502"]]


def test_small_pictures_are_a_wish() -> None:
    with Sandbox(Options(seconds=0.03, largest_edge=256)) as sandbox:
        kie = Client(sandbox)
        assert picture(kie.urls(kie.order())[0]).size == (256, 144)


def test_a_late_callback_is_as_late_as_was_said(listener: Listener) -> None:
    with Sandbox(Options(seconds=0.03, slow_seconds=0.3)) as sandbox:
        kie = Client(sandbox)
        kie.faults("callback_late")
        began = time.monotonic()
        kie.order(DOCUMENT | {"callBackUrl": listener.url})
        wait_for(lambda: listener.calls)
        assert 0.3 < time.monotonic() - began < 3


def test_a_restart_loses_nothing(tmp_path: Path, listener: Listener) -> None:
    def sandbox(seconds: float) -> Sandbox:
        return Sandbox(Options(seconds=seconds, state=tmp_path / "state.db"))

    with sandbox(0.05) as first:
        kie = Client(first)
        done = kie.order()
        (url,) = kie.urls(done)
        content = HTTP.get(url).content
        kie.settings(seconds=1)
        running = kie.order(DOCUMENT | {"callBackUrl": listener.url})
    assert not listener.calls
    with sandbox(60) as second:
        kie = Client(second)
        (url,) = kie.urls(done)
        assert HTTP.get(url).content == content
        assert kie.end(running)["state"] == "success"
        wait_for(lambda: HTTP.get(f"{kie.url}/sandbox").json()["unreported"] == 0)
        assert kie.credit() == 9988
    with sandbox(60):
        time.sleep(0.3)
    assert len(listener.calls) == 1  # what was reported stays reported


class Process:
    """`manage.py kie_sandbox` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "manage.py", "kie_sandbox", "--port", "0", *arguments],
            env=os.environ | {"SECRET_KEY": "x"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().split()[-1]

    def end(self, number: int) -> tuple[int, str]:
        """The exit code and what was written since the first line."""
        self.process.send_signal(number)
        written, _ = self.process.communicate(timeout=10)
        return self.process.returncode, written

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()


def test_the_command_survives_a_kill_and_ends_on_a_word(tmp_path: Path) -> None:
    arguments = ("--state", str(tmp_path / "s.db"), "--seconds", "0.2", "--fault", "empty=1")
    with Process(*arguments, "--credits", "50") as first:
        task_id = Client(first).order()
        first.end(signal.SIGKILL)
    with Process(*arguments) as second:
        kie = Client(second)
        assert kie.urls(task_id) == []
        assert kie.credit() == 44
        wrong = kie.create({"model": "nope"})
        before = time.monotonic()
        code, written = second.end(signal.SIGTERM)
    assert (code, time.monotonic() - before < GRACE) == (0, True)  # then `make run` would kill it
    assert f"createTask refused 422 {wrong['msg']}" in written


def test_the_sandbox_knows_nothing_of_the_program() -> None:
    code = "import sys, generation.kie.sandbox; print(*sys.modules)"
    run = [sys.executable, "-c", code]
    modules = subprocess.run(
        run, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {
        m for m in modules if m.split(".")[0] in ("projects", "credits", "imagegen", "generation")
    }
    assert {m for m in ours if not m.startswith("generation.kie.sandbox")} == {
        *("generation", "generation.kie")
    }
    assert "django" not in modules


def test_a_task_is_a_pure_function_of_time() -> None:
    task = Task("a" * 32, "z-image", {}, None, 100.0, 10.0, "both", 1.0, 1, frozenset())
    seen = [task.state(now) for now in (100.0, 103.9, 104.0, 109.9, 110.0, 1e9)]
    assert seen == ["waiting", "waiting", "generating", "generating", "success", "success"]
    assert task.state(101.0) == "waiting"  # asking later changed nothing
