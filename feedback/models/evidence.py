"""Evidence packs: who took one, and the keys that sign them."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels.secrets import EncryptedJSONField
from feedback import sealing
from incidents.models import Component, Incident


class EvidenceKey(models.Model):
    """A pair of keys. The newest whose private half can be read signs; the public halves of all are kept, so that old
    packs can be verified. The database refuses to change or delete one.
    """

    public = models.CharField(_("public key"), max_length=64, unique=True, editable=False)
    private = EncryptedJSONField(default=dict, editable=False)  # {"seed": 64 hexadecimal digits}
    created_at = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("key of evidence packs")
        verbose_name_plural = _("keys of evidence packs")
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.public

    @classmethod
    def current(cls) -> "EvidenceKey":
        """The one that signs now, made when it is first asked for. Two that are made at once are both good."""
        found = next((one for one in cls.objects.all() if one.private), None)
        if found:
            return found
        key = Ed25519PrivateKey.generate()
        seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex()
        return cls.objects.create(public=sealing.hex_of(key.public_key()), private={"seed": seed})

    @property
    def pem(self) -> str:
        return sealing.pem_of(Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public)))

    def signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.private["seed"]))


class EvidencePackQuerySet(models.QuerySet["EvidencePack"]):
    def for_user(self, user: Any) -> "EvidencePackQuerySet":
        return self.filter(incident__in=Incident.objects.for_user(user).order_by().values("pk"))


class EvidencePack(models.Model):
    """That somebody took the evidence of an incident. The pack itself is not kept: it is made anew each time.

    Written before the first byte goes out; how much went out, and the hash of its list, once the last byte did. The
    database refuses to change anything else, or to delete a row.
    """

    incident = models.ForeignKey(
        Incident, verbose_name=_("incident"), on_delete=models.PROTECT, related_name="evidence_packs"
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("taken by"), on_delete=models.PROTECT, related_name="+"
    )
    at = models.DateTimeField(_("when"), default=timezone.now)
    addresses = models.BooleanField(_("with addresses"), default=False)
    finished_at = models.DateTimeField(_("complete"), null=True, blank=True)
    size = models.BigIntegerField(_("bytes"), null=True, blank=True)
    manifest_sha256 = models.CharField(_("SHA-256 of manifest.json"), max_length=64, blank=True)

    objects = EvidencePackQuerySet.as_manager()

    class Meta:
        verbose_name = _("evidence pack")
        verbose_name_plural = _("evidence packs")
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [
            ("take_evidencepack", "Can take the evidence of an incident"),
            ("take_evidence_addresses", "Can take evidence with the addresses of recipients"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True, size__isnull=True, manifest_sha256="")
                | Q(finished_at__isnull=False, size__isnull=False) & ~Q(manifest_sha256=""),
                name="evidence_pack_complete_or_not",
            )
        ]

    def __str__(self) -> str:
        return f"{self.incident} {self.at:%Y-%m-%d %H:%M}"


def may_take(user: Any, incident: Incident) -> bool:
    """Whether somebody may take the evidence: it tells of the customers of every component, so all must be theirs."""
    if not (user.has_perm("feedback.take_evidencepack") and user.has_perm("feedback.view_report")):
        return False
    if not Incident.objects.for_user(user).filter(pk=incident.pk).exists():
        return False
    foreign = incident.components.exclude(pk__in=Component.objects.for_user(user).order_by().values("pk"))
    return not foreign.exists()
