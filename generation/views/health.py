"""Is the site well? For whoever watches it: no sign-in, no secrets, nothing costly."""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from generation import checkup

UNKNOWN = checkup.Finding(None, "unknown")

log = logging.getLogger(__name__)


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """503 if anything is known to be wrong; each part says "ok", or in a word what it is.

    Without the database there is no memory of the last answers, so nobody outside is asked then.
    """
    database = _database()
    findings = {
        "database": database,
        "queue": checkup.workers(),
        "storage": checkup.storage() if database.ok else UNKNOWN,
        "provider": checkup.provider() if database.ok else UNKNOWN,
    }
    wrong = any(finding.ok is False for finding in findings.values())
    return JsonResponse(
        {name: "ok" if found.ok else found.code for name, found in findings.items()},
        status=HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK,
    )


def _database() -> checkup.Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.error("[Health] %s", error)
        return checkup.Finding(False, "down")
    return checkup.Finding(True)
