"""Where is listened to what is said in public, for which words, and what was heard."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels import own_secrets
from channels.models import Channel
from channels.secrets import EncryptedJSONField
from incidents.errors import Refused
from incidents.models import Component, Incident
from incidents.models.component import OPERATE, VIEW
from incidents.models.words import new_uid

from .sentiment import Label

LONGEST = 2000  # characters of a post that are kept
INBOX = "inbox"


class SocialSource(models.Model):
    """A network that is searched with the account of a channel; or an inbox, to which others bring posts."""

    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    channel = models.OneToOneField(
        Channel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("channel"),
        help_text=_("Whose account searches. Empty: an inbox, for signed webhooks and CSV files."),
    )
    secrets = EncryptedJSONField(default=dict, blank=True, editable=False)  # of an inbox, as own_secrets has it
    enabled = models.BooleanField(_("on"), default=True)
    cursor = models.JSONField(default=dict, editable=False)  # where to go on, in the words of its network
    next_at = models.DateTimeField(default=timezone.now, editable=False)
    failures = models.PositiveSmallIntegerField(default=0, editable=False)  # in a row
    heard_at = models.DateTimeField(_("last asked"), null=True, blank=True, editable=False)
    trouble = models.CharField(_("trouble"), max_length=600, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("social source")
        verbose_name_plural = _("social sources")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.channel and not (self.channel.capabilities and self.channel.capabilities.hears):
            text = _t("“%(name)s” cannot search; choose a channel of X, Mastodon or Bluesky.")
            raise ValidationError({"channel": text % {"name": self.channel}})

    @property
    def network(self) -> str:
        """What is known by its own ids there: the same post of two sources is one."""
        return self.channel.provider if self.channel else INBOX

    @property
    def url(self) -> str:
        return f"{settings.PORTAL_URL}/social/{self.uid}/"

    @property
    def health(self) -> str:
        """One of off, trouble, waiting, well."""
        if not self.enabled:
            return "off"
        if self.trouble:
            return "trouble"
        return "well" if self.heard_at else "waiting"

    def renew_secret(self, at_once: bool = False) -> str:
        """A new secret of an inbox; the one before is good for another day, unless `at_once`. Raises Refused."""
        with transaction.atomic():
            me = SocialSource.objects.select_for_update(of=("self",)).get(pk=self.pk)
            try:
                me.secrets = own_secrets.begun() if at_once or not me.secrets else own_secrets.renewed(me.secrets)
            except own_secrets.TooMany:
                raise Refused(_t("Five secrets are good already: wait a day, or end the old ones at once.")) from None
            me.save(update_fields=["secrets"])
        self.secrets = me.secrets
        return me.secrets["secret"]


class WatchTermQuerySet(models.QuerySet["WatchTerm"]):
    def for_user(self, user: User | AnonymousUser) -> "WatchTermQuerySet":
        """Terms of the components that this person may see."""
        return self.filter(component__in=Component.objects.for_user(user).order_by().values("pk"))


class WatchTerm(models.Model):
    """Words by which a post is about a component: as in #examplepay or "example pay"."""

    component = models.ForeignKey(
        Component, on_delete=models.CASCADE, related_name="watch_terms", verbose_name=_("component")
    )
    term = models.CharField(
        _("words"),
        max_length=60,
        help_text=_("A hashtag, or words next to each other, as in #examplepay or example pay app."),
    )

    objects = WatchTermQuerySet.as_manager()

    class Meta:
        verbose_name = _("watched words")
        verbose_name_plural = _("watched words")
        ordering = ["component__position", "component__name", "term"]
        constraints = [models.UniqueConstraint(fields=["component", "term"], name="watch_term_once")]

    def __str__(self) -> str:
        return f"{self.component}: {self.term}"

    def clean(self) -> None:
        self.term = " ".join(self.term.lower().split())
        bare = self.term.removeprefix("#")
        wrong = next((one for one in bare if not (one.isalnum() or one in " _-.'&+")), None)
        if wrong is not None:
            text = _t("“%(sign)s” has a meaning of its own in searches; write letters, digits and spaces.")
            raise ValidationError({"term": text % {"sign": wrong}})
        if len(bare) < 3:
            text = _t("“%(term)s” is too short: it would find everything. Write three letters or more.")
            raise ValidationError({"term": text % {"term": self.term}})


class SocialPostQuerySet(models.QuerySet["SocialPost"]):
    def for_user(self, user: User | AnonymousUser) -> "SocialPostQuerySet":
        """Posts about at least one component that this person may see."""
        if user.is_active and (user.has_perm(VIEW) or user.has_perm(OPERATE)):  # type: ignore[union-attr, attr-defined]
            return self.all()
        mine = SocialPost.components.through.objects.filter(  # type: ignore[attr-defined]
            socialpost=OuterRef("pk"), component__in=Component.objects.for_user(user).order_by().values("pk")
        )
        return self.filter(Exists(mine))

    def of_incident(self, incident: Incident) -> "SocialPostQuerySet":
        """About its components, from an hour before it began until an hour after its end."""
        hour = timedelta(hours=1)
        hit = incident.incident_components.values("component")
        about = SocialPost.components.through.objects.filter(  # type: ignore[attr-defined]
            socialpost=OuterRef("pk"), component__in=hit
        )
        end = (incident.resolved_at + hour) if incident.resolved_at else timezone.now()
        return self.filter(Exists(about), at__gte=incident.started_at - hour, at__lte=end)


class SocialPost(models.Model):
    """One public post about a component. Of its author only a keyed hash is kept, and nothing for long."""

    source = models.ForeignKey(SocialSource, on_delete=models.PROTECT, related_name="posts", verbose_name=_("source"))
    network = models.CharField(_("network"), max_length=32)
    external_id = models.CharField(max_length=300, editable=False)
    at = models.DateTimeField(_("when"))
    heard_at = models.DateTimeField(default=timezone.now)
    text = models.TextField(_("text"), max_length=LONGEST)
    url = models.CharField(_("address"), max_length=500, blank=True)
    author_hash = models.CharField(max_length=64, editable=False)  # tells whether two posts are of one person
    language = models.CharField(_("language"), max_length=8)
    label = models.CharField(_("mood"), max_length=8, choices=Label)
    score = models.FloatField(_("score"))
    engine = models.CharField(_("read by"), max_length=16)
    detail = models.CharField(_("why not by another"), max_length=200, blank=True)
    components = models.ManyToManyField(Component, related_name="social_posts", verbose_name=_("components"))

    objects = SocialPostQuerySet.as_manager()

    class Meta:
        verbose_name = _("social post")
        verbose_name_plural = _("social posts")
        ordering = ["-at", "-pk"]
        indexes = [models.Index(fields=["at"], name="social_post_by_time")]
        constraints = [
            models.UniqueConstraint(fields=["network", "external_id"], name="social_post_once"),
            models.CheckConstraint(condition=Q(score__range=(-1, 1)), name="social_post_score_from_minus_1_to_1"),
            models.CheckConstraint(condition=Q(label__in=Label.values), name="social_post_label_known"),
        ]

    def __str__(self) -> str:
        return f"{self.network} {self.at:%Y-%m-%d %H:%M}"

    @property
    def link(self) -> str:
        """Its address if a browser may open it: whoever brings posts could write anything there."""
        return self.url if self.url.startswith("https://") else ""

    @staticmethod
    def forget(now: Any = None) -> int:
        """Delete what was said longer ago than it is kept, some at a time."""
        before = (now or timezone.now()) - timedelta(days=settings.SOCIAL_KEEP_DAYS)
        old = SocialPost.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)
        return SocialPost.objects.filter(pk__in=list(old[:PORTION])).delete()[0]


PORTION = 5000
