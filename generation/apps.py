from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GenerationConfig(AppConfig):
    name = "generation"
    verbose_name = _("Orders and models")

    def ready(self) -> None:
        from generation import checks  # noqa: F401 - they register themselves
