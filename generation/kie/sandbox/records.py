"""What KIE tells of a task: recordInfo's data and the callback's body."""

from __future__ import annotations

import json
from typing import Any

from generation.kie.sandbox.schema import model_named
from generation.kie.sandbox.tasks import Task

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def param(task: Task) -> str:
    """The request as KIE echoes it: a JSON string in which `input` is a JSON string again, with
    callBackUrl only if one was sent."""
    request = {"callBackUrl": task.callback_url} if task.callback_url else {}
    return compact({**request, "input": compact(task.input), "model": task.model})


def file_format(task: Task) -> str:
    """The format that the names of the task's pictures promise."""
    model = model_named(task.model)
    if "result_mislabelled" in task.faults or model is None:
        return "png"
    return model.file_format(task.input)


def file_names(task: Task) -> list[str]:
    return task.file_names(EXTENSIONS[file_format(task)])


def result_json(task: Task, base: str) -> str:
    """The pictures' addresses, as the JSON string of a task that succeeded."""
    if task.pictures == 0:
        return compact({"resultObject": {"segments": []}})
    return compact({"resultUrls": [f"{base}/r/{name}" for name in file_names(task)]})


def record(task: Task, now: float, base: str) -> dict[str, Any]:
    """recordInfo's `data`, its keys in the recorded order; times in ms since 1970, costTime in
    seconds (KIE's pages say milliseconds, all recordings seconds)."""
    state = task.state(now)
    ended = state in ("success", "fail")
    failed = state == "fail"
    return {
        "taskId": task.id,
        "model": task.model,
        "state": state,
        "param": param(task),
        "resultJson": result_json(task, base) if state == "success" else "",
        "failCode": "500" if failed else None,
        "failMsg": task.failure if failed else None,
        "costTime": int(task.seconds) if ended else None,
        "completeTime": round((task.ends or 0) * 1000) if ended else None,
        "createTime": round(task.created * 1000),
        "creditsConsumed": 0.0 if failed else task.credits,
    }


def callback_body(task: Task, base: str) -> dict[str, Any]:
    """What is sent to callBackUrl: the record at the task's end, whenever it is sent."""
    end = task.created + task.seconds
    data = record(task, end, base)
    data["updateTime"] = data["completeTime"]
    if data["state"] == "success":
        return {"code": 200, "msg": "Playground task completed successfully.", "data": data}
    return {"code": 501, "msg": "Playground task failed.", "data": {**data, "resultJson": None}}
