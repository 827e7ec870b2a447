"""Which address leads where. Pages that show orders are generation's, the rest projects'."""

from django.contrib import admin
from django.urls import include, path, register_converter

from projects.ids import IdConverter

register_converter(IdConverter, "id")  # before the includes, which use it
admin.autodiscover()

urlpatterns = [
    path("", include("projects.urls")),
    path("", include("generation.urls")),
    path("account/", include("allauth.account.urls")),
    path("language/", include("django.conf.urls.i18n")),
    path("admin/queues/", include("django_rq.urls")),
    path("admin/", admin.site.urls),
]
