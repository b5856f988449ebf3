"""An incident as managers read it."""

from django.utils.translation import gettext_lazy as _

from incidents.models import Incident


class Report(Incident):
    """An incident as a manager reads it: no rows of its own, but an address and a permission in the admin."""

    class Meta:
        proxy = True
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        default_permissions = ("view",)
