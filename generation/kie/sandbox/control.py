"""/sandbox/…: what KIE does not have. Tests and demos look in here and switch faults."""

from __future__ import annotations

import time
from typing import Any

from generation.kie.sandbox import files, records
from generation.kie.sandbox.account import CHANGEABLE, Account
from generation.kie.sandbox.answers import Reply, Request, as_json
from generation.kie.sandbox.faults import UnknownFaultError

NEWEST = 1000  # tasks shown


def overview(account: Account, request: Request) -> Reply:
    """`unreported`: tasks that have not ended yet, or whose callback is still owed."""
    credits = account.tasks.balance(time.time())
    unreported = sum(1 for _ in account.tasks.unreported())
    return as_json(
        {"sandbox": "KIE", "url": account.url, "credits": credits, "unreported": unreported}
    )


def faults(account: Account, request: Request) -> Reply:
    return as_json(account.faults.as_json())


def change_faults(account: Account, request: Request) -> Reply:
    """{"probabilities": {name: 0..1}, "next": [name | [names] | null, …]}"""
    try:
        account.faults.change(request.json())
    except UnknownFaultError as error:
        return as_json({"error": f"unknown fault: {error}"}, 400)
    except (ValueError, TypeError, AttributeError) as error:
        return as_json({"error": str(error)}, 400)
    return faults(account, request)


def clear_faults(account: Account, request: Request) -> Reply:
    account.faults.clear()
    return faults(account, request)


def change_settings(account: Account, request: Request) -> Reply:
    """{"credits": what is left on the account, "seconds": …, "rate": …} and the others of
    CHANGEABLE; tasks that are under way keep theirs."""
    try:
        wish = dict(request.json())
        credits = wish.pop("credits", None)
        values = {name: CHANGEABLE[name](value) for name, value in wish.items()}
    except (ValueError, TypeError, KeyError) as error:
        return as_json({"error": f"not a setting: {error}"}, 400)
    for name, value in values.items():
        setattr(account.options, name, value)
    if credits is not None:
        account.tasks.set_balance(float(credits), time.time())
    return overview(account, request)


def received(account: Account, request: Request) -> Reply:
    """The createTask bodies that came, newest last, with the body code of the answer."""
    return as_json(list(account.received))


def forget_received(account: Account, request: Request) -> Reply:
    account.received.clear()
    return as_json([])


def tasks(account: Account, request: Request) -> Reply:
    """The tasks, newest last: KIE's record of each, its input, and what was planned for it."""
    now = time.time()
    return as_json([_task(account, task, now) for task in account.tasks.newest(NEWEST)])


def _task(account: Account, task: Any, now: float) -> dict[str, Any]:
    return {
        **records.record(task, now, account.url),
        "input": task.input,
        "callBackUrl": task.callback_url,
        "pictures": task.pictures,
        "faults": sorted(task.faults),
    }


def callbacks(account: Account, request: Request) -> Reply:
    """The callbacks that were sent, newest last: taskId, at, and the status of the answer."""
    return as_json(list(account.callbacks.sent))


def uploads(account: Account, request: Request) -> Reply:
    return as_json(files.received_uploads(account))
