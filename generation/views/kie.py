"""Where KIE reports that a task has ended."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from generation import callbacks
from generation.models import Generation


@csrf_exempt
@require_POST
def callback(request: HttpRequest, generation_id: str, tag: str) -> HttpResponse:
    """Keeps the pair (order, task) before answering; what it means is asked of KIE afterwards."""
    if not callbacks.is_tag_of(tag, generation_id):
        raise Http404
    generation = Generation.objects.filter(pk=generation_id).first()
    if generation is None:
        raise Http404
    task_id = callbacks.task_id_in(_json(request))
    if not task_id:
        return JsonResponse({"code": 400, "msg": "no task id"}, status=400)
    if not callbacks.is_signed(task_id, request.headers):
        return JsonResponse({"code": 401, "msg": "bad signature"}, status=401)
    callbacks.keep(generation, task_id)
    return JsonResponse({"code": 200, "msg": "success"})


def _json(request: HttpRequest) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None
