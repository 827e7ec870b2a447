"""The studio's addresses: boards, orders, money, the API, and where KIE reports."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from generation import api
from generation.rework import WORKS
from generation.views import (
    board,
    credits,
    flow,
    health,
    kie,
    models,
    orders,
    receipts,
    rework,
    settings,
)


class SubjectConverter:
    """What can have pictures: "scenes" or "characters"."""

    regex = "scenes|characters"

    def to_python(self, value: str) -> str:
        return value.removesuffix("s")

    def to_url(self, value: str) -> str:
        return f"{value}s"


class WorkConverter(StringConverter):
    """What can be done with a take: "edit", "upscale" …"""

    regex = "|".join(WORKS)


register_converter(SubjectConverter, "subject")
register_converter(WorkConverter, "work")

app_name = "generation"
urlpatterns = [
    path("projects/<id:project_id>/", board.board, name="board"),
    path("projects/<id:project_id>/settings/", settings.settings, name="settings"),
    path(
        "projects/<id:project_id>/settings/replacement/",
        settings.use_replacement,
        name="use_replacement",
    ),
    path("projects/<id:project_id>/flow/", flow.flow, name="flow"),
    # <kind> is "scene" or "character"
    path("<subject:kind>/<id:subject_id>/", board.subject, name="subject"),
    path("<subject:kind>/<id:subject_id>/card/", board.card, name="card"),
    path("<subject:kind>/<id:subject_id>/generate/", board.generate, name="generate"),
    path("orders/<id:generation_id>/", receipts.order, name="order"),
    path("orders/<id:generation_id>/cancel/", orders.cancel, name="cancel"),
    path("takes/<id:take_id>/receipt/", receipts.take, name="receipt"),
    path("takes/<id:take_id>/<work:operation>/", rework.rework, name="rework"),
    path("models/<int:model_pk>/sample", models.sample, name="sample"),
    path("queue/", orders.queue, name="queue"),
    path("credits/", credits.credits, name="credits"),
    path("api/image", api.image, name="api_image"),
    path("api/image/<id:generation_id>", api.image_status, name="api_image_status"),
    path("kie/callback/<id:generation_id>/<str:tag>", kie.callback, name="callback"),
    path("healthz", health.healthz, name="healthz"),
]
