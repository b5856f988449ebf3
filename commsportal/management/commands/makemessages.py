"""`makemessages` that also finds texts marked with `_t`, the name of gettext where `_` is gettext_lazy."""

from django.core.management.commands import makemessages


class Command(makemessages.Command):
    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=_t"]
