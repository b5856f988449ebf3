from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from commsportal.demo import DEMO_LOGINS, DEMO_PASSWORD


class Command(BaseCommand):
    help = "Load the demo company: people, components, templates, channels, customers, and what happened to it."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.PORTAL_DEMO:
            raise CommandError(
                _("The demo creates people whose password everybody knows. To load it anyway, set PORTAL_DEMO=true.")
            )
        from commsportal.demo import build
        from incidents.models import Component

        if build.is_loaded():
            self.stdout.write(_("The demo company is there already."))
            return
        if Component.objects.exists():
            raise CommandError(_("This database holds other data. Load the demo into an empty one."))
        for line in build.load():
            self.stdout.write(f"  {line}")
            self.stdout.flush()
        self.stdout.write(_("Log in with the password %(password)s as:") % {"password": DEMO_PASSWORD})
        for username, role, name in DEMO_LOGINS:
            self.stdout.write(f"  {username:<8} {name}, {role}")
