"""KIE.ai over HTTP: typed answers, and one family of errors whose members carry the decision.

Facts and their sources: docs/kie.md. The body's `code` decides, not the HTTP status; for code 500
the text of `msg` decides too, because KIE answers it for missing fields and an empty account.
"""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Timeout
from urllib3.exceptions import NewConnectionError, ProtocolError

from generation.kie.connection import InTimeAdapter

USER_AGENT = "imagegen/1.0"  # without one, KIE's front door answers 403
CONNECT_SECONDS = 3.05  # for each address of the name
ANSWER_SECONDS = 10.0  # from the request's last byte to the answer's last
DEADLINE_SECONDS = 15.0  # of a whole call; a worker's lease is longer
# Of an upload, while the worker renews its lease. The socket's time-out for connecting is also the
# one for sending the whole body.
UPLOAD_SECONDS = 90.0
MOST_KEPT = 64  # connections
STALE_SECONDS = 2.0  # a lease is longer than this and another whole call
MOST_BYTES = 1_000_000
MOST_URLS = 32  # a picture and up to 16 layers of it
MOST_CREDITS = 10**15  # hundredths; what the database's columns surely hold


class KieError(Exception):
    """KIE did not do what was asked. `words` are KIE's or the network's, for staff."""

    def __init__(self, words: str, answer: Any = None) -> None:
        super().__init__(words)
        self.words = words[:500]
        self.answer = answer


class Refused(KieError):
    """A clear never: this request will not be taken. `why` is a generation.models.Reason value."""

    def __init__(self, why: str, words: str, answer: Any = None) -> None:
        super().__init__(words, answer)
        self.why = why


class TryLater(KieError):
    """A clear no for now: nothing was taken, the same request may be sent again later."""

    seconds = 10  # KIE's window; it sends no Retry-After


class Throttled(TryLater):
    """Too many calls of this kind: KIE takes no more of them for a while."""


class AccountBlocked(KieError):
    """The account is empty or the key is refused: nothing will be taken until staff act."""


class Unclear(KieError):
    """No verdict: KIE may or may not have done it."""


class TaskUnknown(KieError):
    """KIE knows no such task; normal for a moment right after createTask."""


@dataclass(frozen=True)
class Task:
    """What recordInfo says of a task.

    `word` is KIE's own state ("waiting", "generating", …); `outcome` is what it means to us:
    "running", "success" or "fail". `used` is in hundredths of a KIE credit.
    """

    word: str
    outcome: str
    urls: tuple[str, ...] = ()
    why: str = ""
    words: str = ""
    used: int | None = None
    callback_url: str = ""
    answer: Any = None


class Kie:
    """One KIE account. Thread-safe; keep one for each process, and give none to a fork.

    Questions (GET) go over connections that are kept. Whatever changes something there has a
    connection of its own: one that is kept and that KIE has just closed would make a createTask
    look as if it might have arrived.
    """

    def __init__(self, api_url: str, upload_url: str, key: str) -> None:
        self.api_url = api_url
        self.upload_url = upload_url
        self.key = key
        self._kept = InTimeAdapter(pool_maxsize=MOST_KEPT)

    def create_task(self, request: dict[str, Any], callback_url: str = "") -> str:
        """Orders a picture; `request` holds `model` and `input`. Returns KIE's task id."""
        body = {**request, "callBackUrl": callback_url} if callback_url else request
        answer = self._post(f"{self.api_url}/api/v1/jobs/createTask", json=body)
        _raise_for_code(answer)
        data = answer.get("data")
        task_id = data.get("taskId") if isinstance(data, dict) else None
        if not isinstance(task_id, str) or not 0 < len(task_id) <= 200 or " " in task_id:
            raise Unclear("accepted without a task id", answer)
        return task_id

    def record_info(self, task_id: str) -> Task:
        """Asks how a task is doing. Raises TaskUnknown, TryLater, AccountBlocked or Unclear."""
        answer = self._get(f"{self.api_url}/api/v1/jobs/recordInfo", {"taskId": task_id})
        _raise_for_another(task_id, answer)
        return _task(answer)

    def credit(self) -> int:
        """What is left on the account, in hundredths of a KIE credit."""
        answer = self._get(f"{self.api_url}/api/v1/chat/credit")
        _raise_for_code(answer)
        left = _hundredths(answer.get("data"))
        if left is None:
            raise Unclear("credit without a number", answer)
        return left

    def fresh_link(self, url: str) -> str:
        """A link to a result that is valid for 20 minutes, for one whose own link has expired."""
        answer = self._post(f"{self.api_url}/api/v1/common/download-url", json={"url": url})
        _raise_for_code(answer)
        link = answer.get("data")
        if not isinstance(link, str):
            raise Unclear("no link", answer)
        return link

    def upload(self, data: bytes, name: str, content_type: str) -> str:
        """Puts a reference image where the models can fetch it; returns its address.

        KIE keeps it for one to three days, and an old name may come back stale from its caches:
        upload right before use, under a name that was never used.
        """
        answer = self._post(
            f"{self.upload_url}/api/file-stream-upload",
            _in_time(UPLOAD_SECONDS, UPLOAD_SECONDS),
            files={"file": (name, data, content_type)},
            data={"uploadPath": "references", "fileName": name},
        )
        _raise_for_code(answer)
        found = answer.get("data")
        url = found.get("downloadUrl") if isinstance(found, dict) else None
        if not isinstance(url, str) or not _is_link(url):
            raise Unclear("uploaded without an address", answer)
        return url

    def _get(self, url: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        request = self._request("GET", url, params=params)
        began = monotonic()
        try:
            return _answer(self._kept, request, _in_time())
        except _Broken:  # KIE may close a kept connection at any time; that shows at once
            if monotonic() - began > STALE_SECONDS:
                raise
        return self._sent_alone(request, _in_time())

    def _post(self, url: str, timeout: Timeout | None = None, **body: Any) -> dict[str, Any]:
        return self._sent_alone(self._request("POST", url, **body), timeout or _in_time())

    def _sent_alone(self, request: requests.PreparedRequest, timeout: Timeout) -> dict[str, Any]:
        """Over a connection that nothing else has used or will use."""
        request.headers["Connection"] = "close"
        with closing(InTimeAdapter()) as adapter:
            return _answer(adapter, request, timeout)

    def _request(self, method: str, url: str, **content: Any) -> requests.PreparedRequest:
        headers = {"Authorization": f"Bearer {self.key}", "User-Agent": USER_AGENT}
        return requests.Request(method, url, headers, **content).prepare()


def _in_time(connect: float | None = None, total: float | None = None) -> Timeout:
    return Timeout(
        connect=connect or CONNECT_SECONDS, read=ANSWER_SECONDS, total=total or DEADLINE_SECONDS
    )


class _Broken(Unclear):
    """The connection ended before the answer began."""


def _answer(
    adapter: HTTPAdapter, request: requests.PreparedRequest, timeout: Any
) -> dict[str, Any]:
    """One call with a deadline and a byte limit; the JSON object that came back.

    No session: no cookies, no redirects, no proxy or .netrc (which would replace the key).
    """
    try:
        with adapter.send(request, stream=True, timeout=timeout) as response:
            body = _read(response)
    except requests.ConnectTimeout as error:
        raise TryLater(f"could not connect: {error}") from error
    except requests.ConnectionError as error:
        if _never_connected(error):
            raise TryLater(f"could not connect: {error}") from error
        broken = isinstance(_cause(error), ProtocolError)
        raise (_Broken if broken else Unclear)(f"connection lost: {error}") from error
    except requests.RequestException as error:
        raise Unclear(f"no answer: {error}") from error
    return _json_object(response.status_code, body)


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65_536):
        body += chunk
        if len(body) > MOST_BYTES:
            raise Unclear("an answer without end")
    return bytes(body)


def _never_connected(error: requests.ConnectionError) -> bool:
    """Refused, unreachable or without an address: no byte of the request has left."""
    cause = _cause(error)
    return isinstance(getattr(cause, "reason", cause), NewConnectionError)


def _cause(error: requests.ConnectionError) -> object:
    """What urllib3 raised."""
    return error.args[0] if error.args else None


def _json_object(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = _clean(json.loads(body))
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("code"), int):
        return answer
    words = str(_clean(body[:300].decode("utf-8", "replace")))
    if status == requests.codes.too_many_requests:
        raise Throttled(f"HTTP 429: {words}")
    raise Unclear(f"HTTP {status}: {words}")


def _clean(value: Any) -> Any:
    """What every database and log can take: no NUL, no half or control characters, no NaN."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return value


def _raise_for_code(answer: dict[str, Any]) -> None:
    """Returns for code 200; else raises what the code and the words of the answer mean."""
    code, words = answer["code"], _words(answer)
    if code == 200:
        return
    said = f"{code}: {words}"
    lower = words.lower()
    if code in (401, 402, 433) or (code == 500 and lower.startswith("credits insufficient")):
        raise AccountBlocked(said, answer)
    if code == 429:
        raise Throttled(said, answer)
    if code in (455, 550):
        raise TryLater(said, answer)
    if code in (400, 404, 413, 422, 451, 505) or (code == 500 and _is_about_input(lower)):
        raise Refused(_why_refused(lower), said, answer)
    raise Unclear(said, answer)


def _is_about_input(words: str) -> bool:
    return (
        any(known in words for known in ("is required", "not within the range", "not supported"))
        or _why_failed(words) == "unsafe"
    )


def _why_refused(words: str) -> str:
    if "model name" in words or "model is not supported" in words:
        return "model"
    if "prompt" in words and any(w in words for w in ("required", "length", "long", "exceed")):
        return "prompt"
    return "unsafe" if _why_failed(words) == "unsafe" else "input"


UNSAFE = ("moderation", "inappropriate", "content policy", "sensitive", "nsfw", "unsafe", "violat")


def _why_failed(words: str) -> str:
    """A Reason value for the words with which a task ended."""
    words = words.lower()
    if any(known in words for known in UNSAFE):
        return "unsafe"
    if "file type not supported" in words or "image fetch failed" in words:
        return "input"
    return "render"


def _raise_for_another(task_id: str, answer: dict[str, Any]) -> None:
    """An answer that got onto the wrong connection must not end up as another order's picture."""
    data = answer.get("data")
    named = data.get("taskId") if isinstance(data, dict) else None
    if named not in (None, "", task_id):
        raise Unclear("the record of another task", answer)


def _task(answer: dict[str, Any]) -> Task:
    code, words, data = answer["code"], _words(answer), answer.get("data")
    if code in (501, 408):  # documented as final on this address
        return Task("fail", "fail", why=_why_failed(words), words=words, answer=answer)
    if code in (404, 422) or (code == 200 and data is None):
        raise TaskUnknown(f"{code}: {words}", answer)
    if code != 200:
        try:
            _raise_for_code(answer)
        except Refused as error:  # nothing can be refused by asking: it is no verdict on the task
            raise Unclear(error.words, answer) from error
    if not isinstance(data, dict):
        raise Unclear("recordInfo without data", answer)
    return _task_of(data, answer)


def _task_of(data: dict[str, Any], answer: Any) -> Task:
    word = str(data.get("state") or "waiting")[:40]
    known = {
        "word": word,
        "used": _hundredths(data.get("creditsConsumed", data.get("consumeCredits"))),
        "callback_url": _callback_url(data.get("param")),
        "answer": answer,
    }
    if word.lower() in ("success", "completed", "succeeded"):
        if urls := _urls(data):
            return Task(outcome="success", urls=urls, **known)
        why = "data" if _has_object(data) else "empty"
        return Task(outcome="fail", why=why, words="success without a picture", **known)
    if word.lower() in ("fail", "failed", "error"):
        words = f"{data.get('failCode') or ''} {data.get('failMsg') or ''}".strip()[:500]
        return Task(outcome="fail", why=_why_failed(words), words=words, **known)
    return Task(outcome="running", **known)  # an unknown word is a task still under way


def _urls(data: dict[str, Any]) -> tuple[str, ...]:
    """The result's links: from resultJson (a string, now and then an object), else `response`."""
    for holder in (data.get("resultJson"), data.get("response")):
        found = _maybe_json(holder)
        urls = found.get("resultUrls") if isinstance(found, dict) else None
        if isinstance(urls, list):
            good = [u for u in urls if isinstance(u, str) and _is_link(u)]
            if good:
                return tuple(good[:MOST_URLS])
    return ()


def _has_object(data: dict[str, Any]) -> bool:
    """Some models answer with text or the outlines of things in place of pictures."""
    found = _maybe_json(data.get("resultJson"))
    return isinstance(found, dict) and bool(found.get("resultObject"))


def _is_link(url: str) -> bool:
    """Whether it may be followed is judged by who follows it; whether it can be kept, here."""
    return 0 < len(url) <= 2000 and url.isprintable()


def _callback_url(param: Any) -> str:
    found = _maybe_json(param)
    url = found.get("callBackUrl") if isinstance(found, dict) else None
    return url if isinstance(url, str) else ""


def _maybe_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _words(answer: dict[str, Any]) -> str:
    return str(answer.get("msg") or answer.get("message") or "")[:400]


def _hundredths(value: Any) -> int | None:
    """KIE's decimal credits as an integer of hundredths; None for what is not a sane number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= MOST_CREDITS // 100:
        return None
    return int((amount * 100).to_integral_value())
