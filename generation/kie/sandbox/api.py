"""KIE's API: createTask, recordInfo, credit, download-url."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from generation.kie.sandbox import files, records
from generation.kie.sandbox.account import Account, addresses
from generation.kie.sandbox.answers import Reply, Request, bad_gateway, envelope
from generation.kie.sandbox.drawing import size_of
from generation.kie.sandbox.faults import CREATE_ANSWERS, RECORD_FAILURES
from generation.kie.sandbox.schema import UNKNOWN_MODEL, Model, Refusal, model_named
from generation.kie.sandbox.tasks import Task, new_task_id

LINK_LIFE = 20 * 60  # seconds that a link of download-url is valid
UNAUTHORISED = Refusal(*CREATE_ANSWERS["create_401"])
THROTTLED = Refusal(*CREATE_ANSWERS["create_429"])
NO_CREDITS = Refusal(*CREATE_ANSWERS["create_402"])


def create_task(account: Account, request: Request) -> Reply:
    refusal = _key_refusal(account, request) or _throttle_refusal(account, request)
    if refusal:
        return _refused(account, request, refusal)
    faults = account.faults.take("create")
    if "create_502" in faults:
        return _noted(account, request, bad_gateway(), 502)
    if named := next((CREATE_ANSWERS[f] for f in sorted(faults & CREATE_ANSWERS.keys())), None):
        return _refused(account, request, Refusal(*named))
    made = _task_from(account, request, faults)
    if isinstance(made, Refusal):
        return _refused(account, request, made)
    return _accepted(account, request, made)


def _key_refusal(account: Account, request: Request) -> Refusal | None:
    wanted = account.options.key
    key = _key(request)
    if not key or (wanted and key != wanted):
        return UNAUTHORISED
    wrong_type = request.method == "POST" and request.content_type != "application/json"
    return UNAUTHORISED if wrong_type else None


def _key(request: Request) -> str:
    scheme, _, key = str(request.headers.get("Authorization", "")).partition(" ")
    return key.strip() if scheme == "Bearer" else ""


def _throttle_refusal(account: Account, request: Request) -> Refusal | None:
    return None if account.throttle.admits(_key(request), account.options.rate) else THROTTLED


def _task_from(account: Account, request: Request, faults: frozenset[str]) -> Task | Refusal:
    """Checks model, input and credits, in this order, and takes the task."""
    body = _object(request)
    if body is None:
        return Refusal(400, "Invalid JSON")
    model = model_named(body.get("model"))
    if model is None:
        return UNKNOWN_MODEL
    given = {} if body.get("input") is None else body["input"]
    if not isinstance(given, dict):
        return Refusal(422, "input must be of type object")
    if refusal := model.refusal(given):
        return refusal
    task = _new_task(account, model, given, body.get("callBackUrl"), faults)
    return task if account.tasks.add(task) else NO_CREDITS


def _new_task(
    account: Account, model: Model, given: dict[str, Any], callback: Any, faults: frozenset[str]
) -> Task:
    source_task = given.get("task_id")
    if any(files.is_missing(account, url) for url in addresses(given)) or (
        source_task and account.tasks.get(str(source_task)) is None
    ):
        faults |= {"image_fetch"}
    usual = "queuing" if account.options.queuing else "both"
    return Task(
        id=new_task_id(),
        model=model.id,
        input=given,
        callback_url=callback if isinstance(callback, str) and callback else None,
        created=time.time(),
        seconds=account.length(),
        profile=model.pending_state or usual,
        credits=model.credits(given, size_of(account.picture_for(given))),
        pictures=model.pictures(given),
        faults=faults,
    )


def _accepted(account: Account, request: Request, task: Task) -> Reply:
    account.options.log(f"createTask {task.id} {task.model} {task.credits:g} credits")
    if "callback_early" in task.faults and task.callback_url:
        account.callbacks.send(task)
    account.callbacks.watch(task)
    reply = _envelope(account, 200, "success", {"taskId": task.id, "recordId": task.id})
    if "create_502_made" in task.faults:
        reply = bad_gateway()
    reply.hang_up = "create_lost" in task.faults
    reply.delay = account.options.slow_seconds if "create_slow" in task.faults else 0
    return _noted(account, request, reply, 200, task)


def _refused(account: Account, request: Request, refusal: Refusal) -> Reply:
    account.options.log(f"createTask refused {refusal.code} {refusal.msg}")
    reply = _envelope(account, refusal.code, refusal.msg)
    return _noted(account, request, reply, refusal.code)


def _noted(
    account: Account, request: Request, reply: Reply, code: int, task: Task | None = None
) -> Reply:
    """Keeps what was received, for GET /sandbox/requests and the journal."""
    received = {
        "at": time.time(),
        "body": _object(request),
        "user_agent": request.headers.get("User-Agent"),
        "code": code,
        "taskId": task.id if task else None,
    }
    account.received.append(received)
    account.journal.note("create", **received, faults=sorted(task.faults) if task else [])
    return reply


def record_info(account: Account, request: Request) -> Reply:
    if refusal := _key_refusal(account, request):
        return _envelope(account, refusal.code, refusal.msg)
    if reply := _record_fault(account):
        return reply
    task_id = request.query.get("taskId")
    if not task_id:
        return _envelope(account, 400, "taskId is required")
    now = time.time()
    task = account.tasks.get(task_id)
    if task is None or _is_hidden(account, task, now):
        return _envelope(account, 422, "recordInfo is null")
    ending = next((c for f, c in RECORD_FAILURES.items() if f in task.faults), None)
    if ending and task.state(now) == "fail":
        return _envelope(account, ending, task.failure or "")
    return _envelope(account, 200, "success", records.record(task, now, account.url))


def _is_hidden(account: Account, task: Task, now: float) -> bool:
    return "hidden" in task.faults and now < task.created + account.options.hidden_seconds


def _record_fault(account: Account) -> Reply | None:
    faults = account.faults.take("record")
    if faults:
        account.journal.note("record", faults=sorted(faults))
    if "record_502" in faults:
        return bad_gateway()
    if "record_lost" in faults:
        return Reply(hang_up=True)
    for name in sorted(faults):
        code, msg = CREATE_ANSWERS[name.replace("record", "create")]
        return _envelope(account, code, msg)
    return None


def credit(account: Account, request: Request) -> Reply:
    if refusal := _key_refusal(account, request):
        return _envelope(account, refusal.code, refusal.msg)
    return _envelope(account, 200, "success", account.tasks.balance(time.time()))


def download_url(account: Account, request: Request) -> Reply:
    """A link to a picture of ours that is valid for 20 minutes."""
    if refusal := _key_refusal(account, request):
        return _envelope(account, refusal.code, refusal.msg)
    url = (_object(request) or {}).get("url")
    if not isinstance(url, str) or not url.startswith(f"{account.url}/r/"):
        return _envelope(account, 422, "url is wrong")
    if files.find_picture(account, urlsplit(url).path) is None:
        return _envelope(account, 422, "url is wrong")
    fresh = f"{account.url}{urlsplit(url).path}?expires={int(time.time()) + LINK_LIFE}"
    return _envelope(account, 200, "success", fresh)


def _object(request: Request) -> dict[str, Any] | None:
    """The body, if it is a JSON object."""
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _envelope(account: Account, code: int, msg: str, data: Any = None) -> Reply:
    return envelope(code, msg, data, account.options.real_statuses)
