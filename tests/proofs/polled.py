"""The best that polling could be, for comparison: a signed address, answered from Redis alone.

Whatever else is asked for is answered by the site. A number changes with every piece of news of a
project; with it stand the names of what has changed lately.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django.core.signing import BadSignature, Signer

from imagegen.wsgi import application as site
from projects import live

KEPT = 20  # pieces of news
signer = Signer(salt="proof")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if not path.startswith("/proof/"):
        return site(environ, start_response)
    try:
        project = signer.unsign(path.removeprefix("/proof/"))
    except BadSignature:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]
    told = live.redis().get(f"proof:{project}") or b""
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]


def write_down() -> None:
    """What is told is kept under each audience's name, as a site with polling would do itself."""
    names: dict[str, list[str]] = {}
    redis = live.redis()
    subscription = redis.pubsub()
    subscription.subscribe(live.CHANNEL)
    number = 0
    while True:
        message = subscription.get_message(timeout=0.5)
        if not message or message["type"] != "message":
            continue
        audience, *told = json.loads(message["data"])
        number += 1
        kept = names[audience] = [*told, *names.get(audience, [])][:KEPT]
        key = f"proof:{audience.removeprefix('project-')}"
        redis.set(key, json.dumps({"number": number, "names": kept}))


threading.Thread(target=write_down, daemon=True).start()
