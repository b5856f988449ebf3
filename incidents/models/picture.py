from collections.abc import Mapping
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from channels.models import Picture

from .words import one_line


class UpdatePicture(models.Model):
    """The picture of an update, with what it shows in the words of each language.

    The database voids an approval when it changes, and refuses any change once the update is published.
    """

    update = models.OneToOneField(
        "incidents.IncidentUpdate", on_delete=models.CASCADE, primary_key=True, related_name="pictured"
    )
    picture = models.ForeignKey(Picture, on_delete=models.PROTECT, related_name="+")
    alt = models.JSONField(_("alternative text"), default=dict)  # {locale: text}

    class Meta:
        verbose_name = _("picture of an update")
        verbose_name_plural = _("pictures of updates")

    def __str__(self) -> str:
        return f"{self.update}: {self.picture_id[:8]}"

    @classmethod
    def forget(cls, sha256: str) -> None:
        """Delete a picture that no update shows any more. Inside a transaction.

        Picture.keep() locks the row too, so that nobody takes it up between the look and the deletion.
        """
        for row in Picture.objects.select_for_update().only("pk").filter(pk=sha256):
            if not cls.objects.filter(picture=sha256).exists():
                row.delete()

    def words(self, locale: str) -> str:
        """What it shows, in a language; "" if nobody has said it."""
        return self.alt.get(locale, "")

    def frozen(self, locale: str) -> dict[str, Any]:
        """What a message of a channel that carries pictures holds (Dispatch.content)."""
        return {"sha256": self.picture_id, "alt": self.words(locale)}

    def on_page(self, locale: str) -> dict[str, Any]:
        """What the status page needs to show it without asking for the row."""
        row = self.picture
        size = {"width": row.width, "height": row.height}
        return {**self.frozen(locale), "file": row.filename, **size}


def alt_of(texts: Mapping[str, str]) -> dict[str, str]:
    """Alternative texts as they are kept: one line each, none that is empty."""
    return {locale: text for locale, given in texts.items() if (text := one_line(given))}
