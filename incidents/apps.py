from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class IncidentsConfig(AppConfig):
    name = "incidents"
    verbose_name = _("Incidents")

    def ready(self) -> None:
        from channels.erasing import erases

        from .forgetting import erase
        from .roles import create_groups

        erases(erase)

        # Sent once per app, in order of INSTALLED_APPS; the last one has all permissions in place.
        post_migrate.connect(create_groups, sender=self.apps.get_app_config("feedback") if self.apps else None)
