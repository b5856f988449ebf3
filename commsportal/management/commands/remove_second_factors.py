from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from commsportal import second_factor


class Command(BaseCommand):
    help = "Remove the second factors of somebody who lost theirs, where no administrator can do it in the admin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model()._default_manager.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(_("There is nobody of the username “%(name)s”.") % {"name": options["username"]})
        n = second_factor.reset(user, user)
        self.stdout.write(ngettext("%(n)d second factor removed.", "%(n)d second factors removed.", n) % {"n": n})
