"""The staff's site: the catalogue, orders, pauses, and what projects chose for their pictures."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from generation.admin.catalogue import KieModelAdmin
from generation.admin.differences import BalanceSampleAdmin, DifferenceAdmin
from generation.admin.multipliers import MultiplierAdmin
from generation.admin.orders import GenerationAdmin
from generation.admin.pauses import BreakerAdmin, PauseAdmin
from generation.admin.projects import ProjectAdmin
from generation.admin.sharing import AskAdmin, InvitationAdmin

__all__ = [
    "AskAdmin",
    "BalanceSampleAdmin",
    "BreakerAdmin",
    "DifferenceAdmin",
    "GenerationAdmin",
    "InvitationAdmin",
    "KieModelAdmin",
    "MultiplierAdmin",
    "PauseAdmin",
    "ProjectAdmin",
]

admin.site.site_header = admin.site.site_title = "imagegen"
admin.site.index_title = _("Administration")
admin.site.enable_nav_sidebar = False  # the lists need its room; Home has the same links
admin.site.site_url = None  # templates/admin/base_site.html leads to the studio
# Staff sign in where everybody does: the tries of a password are limited there.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
