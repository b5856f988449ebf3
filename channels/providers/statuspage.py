"""The public status page, written as static files for a web server or a content network."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from django import forms
from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Transient

from .base import Addressee, Capabilities, Message, Outcome, Provider


class StatusPageForm(forms.Form):
    directory = forms.CharField(
        label=gettext_lazy("Directory"),
        max_length=500,
        initial=lambda: str(Path(settings.DATA_DIR).resolve() / "statuspage"),
        help_text=gettext_lazy("Where the files are written, as an absolute path. It is made if it is missing."),
    )

    def clean_directory(self) -> str:
        path = Path(self.cleaned_data["directory"])
        if not path.is_absolute() or ".." in path.parts:
            raise forms.ValidationError(
                _("“%(value)s” is not an absolute path; write it as /var/www/status.") % {"value": path}
            )
        if path.exists() and not path.is_dir():
            raise forms.ValidationError(_("“%(value)s” is a file; name a directory.") % {"value": path})
        return str(path)


class StatusPage(Provider):
    """Who publishes what is asked of settings.STATUS_PAGE_PUBLISHER: (directory: Path) -> str, a reference.

    It writes the page as it stands now, not the message, so that doing it twice changes nothing.
    """

    label = gettext_lazy("Page: static status page")
    capabilities = Capabilities(form="page", medium="broadcast", broadcast=True, idempotent=True)
    config_form = StatusPageForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        publish = import_string(settings.STATUS_PAGE_PUBLISHER)
        try:
            reference = publish(self._directory())
        except OSError as error:
            raise _failure(error) from error
        return [Outcome(ref=reference)] * len(recipients)

    def _directory(self) -> Path:
        directory = Path(self.config["directory"])
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def probe(self) -> str:
        try:
            with TemporaryFile(dir=self._directory()) as file:
                file.write(b"probe")
        except OSError as error:
            raise _failure(error) from error
        return ""


def _failure(error: OSError) -> DeliveryError:
    """A full disk may be cleared; a directory that is not ours stays so."""
    code = type(error).__name__ if type(error) is not OSError else f"errno {error.errno}"
    detail = f"{error.filename or ''} {os.strerror(error.errno) if error.errno else error}".strip()
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == 30:  # read-only
        return Permanent(code, detail)
    return Transient(code, detail)
