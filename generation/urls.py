"""The studio's addresses: boards, orders, money, the API, and where KIE reports."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from generation import api
from generation.rework import PAGES
from generation.views import (
    asks,
    batches,
    board,
    credits,
    flow,
    health,
    kie,
    live,
    members,
    models,
    orders,
    receipts,
    rework,
    settings,
    takes,
)


class SubjectConverter:
    """What can have pictures: "scenes" or "characters"."""

    regex = "scenes|characters"

    def to_python(self, value: str) -> str:
        return value.removesuffix("s")

    def to_url(self, value: str) -> str:
        return f"{value}s"


class WorkConverter(StringConverter):
    """What can be done with a take: "edit", "upscale" …; "generate" for its recipe."""

    regex = "|".join(PAGES)


register_converter(SubjectConverter, "subject")
register_converter(WorkConverter, "work")

app_name = "generation"
urlpatterns = [
    path("projects/<id:project_id>/", board.board, name="board"),
    path("projects/<id:project_id>/live/", live.stream, name="project_stream"),
    path("projects/<id:project_id>/settings/", settings.settings, name="settings"),
    path(
        "projects/<id:project_id>/settings/replacement/",
        settings.use_replacement,
        name="use_replacement",
    ),
    path("projects/<id:project_id>/bill/", batches.bill, name="bill"),
    path("batches/<id:batch_id>/", batches.batch, name="batch"),
    path("batches/<id:batch_id>/put-away/", batches.put_away, name="batch_put_away"),
    path("projects/<id:project_id>/flow/", flow.flow, name="flow"),
    path("projects/<id:project_id>/members/", members.members, name="members"),
    path("projects/<id:project_id>/members/leave/", members.leave, name="leave"),
    path("projects/<id:project_id>/members/<int:member_id>/", members.change, name="member_change"),
    path(
        "projects/<id:project_id>/members/<int:member_id>/remove/",
        members.remove,
        name="member_remove",
    ),
    path(
        "projects/<id:project_id>/invitations/<int:invitation_id>/take-back/",
        members.take_back,
        name="invitation_take_back",
    ),
    # <kind> is "scene" or "character"
    path("<subject:kind>/<id:subject_id>/", board.subject, name="subject"),
    path("<subject:kind>/<id:subject_id>/generate/", board.generate, name="generate"),
    path("<subject:kind>/<id:subject_id>/compare/", takes.compare, name="compare"),
    path("<subject:kind>/<id:subject_id>/ask/", asks.ask, name="ask"),
    path("asks/answer/", asks.answer, name="ask_answer"),
    path("asks/<id:ask_id>/take-back/", asks.take_back, name="ask_take_back"),
    path("orders/<id:generation_id>/", receipts.order, name="order"),
    path("orders/<id:generation_id>/cancel/", orders.cancel, name="cancel"),
    path("takes/<id:take_id>/receipt/", receipts.take, name="receipt"),
    path("takes/<id:take_id>/<work:operation>/", rework.rework, name="rework"),
    path("models/<int:model_pk>/sample", models.sample, name="sample"),
    path("queue/", orders.queue, name="queue"),
    path("live/", live.stream, name="stream"),
    path("credits/", credits.credits, name="credits"),
    path("credits/entries.csv", credits.credits_csv, name="credits_csv"),
    path("api/image", api.image, name="api_image"),
    path("api/image/<id:generation_id>", api.image_status, name="api_image_status"),
    path("kie/callback/<id:generation_id>/<str:tag>", kie.callback, name="callback"),
    path("healthz", health.healthz, name="healthz"),
]
