"""What everybody who chooses a model may see of it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponseBase
from django.views.decorators.http import require_safe

from generation.models import KieModel
from projects import files
from projects.request import Request


@require_safe
@login_required
def sample(request: Request, model_pk: int) -> HttpResponseBase:
    """The model's sample picture, small. Never one of a project: that is its people's alone."""
    shown = KieModel.objects.filter(pk=model_pk, sample__project=None).select_related("sample")
    model = shown.first()
    if model is None or model.sample is None:
        raise Http404
    return files.thumbnail_of(request, model.sample)
