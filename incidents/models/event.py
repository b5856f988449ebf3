"""What other systems of the organisation are told of what happens here, which of them, and what became of it."""

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels import own_secrets
from channels.addresses import normalise
from channels.models import Channel, Medium, Recipient
from channels.secrets import EncryptedJSONField
from incidents.errors import Refused

from .alert import TOPIC
from .component import OPERATE, VIEW, Component
from .incident import Incident
from .words import new_uid


class EventType(models.TextChoices):
    DECLARED = "incident.declared", _("An incident is declared")
    SEVERITY = "incident.severity_changed", _("Its severity changes")
    DISMISSED = "incident.dismissed", _("It is closed as declared by mistake")
    RESOLVED = "incident.resolved", _("Customers are told that it is over")
    PLANNED = "maintenance.planned", _("Maintenance is planned")
    MOVED = "maintenance.moved", _("Maintenance is moved")
    CANCELLED = "maintenance.cancelled", _("Maintenance is cancelled")
    DRAFTED = "update.drafted", _("A draft is begun")
    SUBMITTED = "update.submitted", _("Approval is asked for")
    APPROVED = "update.approved", _("An approval is given")
    REJECTED = "update.rejected", _("A draft is sent back")
    PUBLISHED = "update.published", _("An update is published")
    WITHDRAWN = "update.withdrawn", _("A draft is given up")
    BROKEN = "promise.broken", _("A promise to customers is broken")
    STARTED = "runbook.started", _("A runbook starts")
    HALTED = "runbook.halted", _("A runbook stands still until somebody decides")
    FINISHED = "runbook.finished", _("A runbook ends")


TEST = "portal.test"  # what “Try it” sends; nothing of it is kept in the stream


def new_event_id() -> str:
    return uuid.uuid4().hex


def checked_types(types: Any) -> list[str]:
    """Raises ValidationError that names the value and the fix."""
    for one in types or []:
        if one not in EventType.values:
            text = _t("“%(value)s” is not a kind of event; choose from: %(all)s.")
            raise ValidationError({"types": text % {"value": str(one)[:60], "all": ", ".join(EventType.values)}})
    return [one for one in EventType.values if one in (types or [])]


class EventMark(models.Model):
    """Up to which row a source has been read for good; rows up to there are looked at no more."""

    source = models.CharField(max_length=12, primary_key=True)
    upto = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.source} {self.upto}"


class OutgoingEvent(models.Model):
    """Something that happened, as others may be told it. Append-only: the database refuses to change or delete a row.

    `number` counts from 1 without a gap, in the order in which events became visible: who has read up to one has
    missed none before it. `source` and `source_id` name the row that it stands for, `nth` tells its events apart.
    """

    number = models.PositiveBigIntegerField(_("number"), primary_key=True)
    uid = models.CharField(max_length=32, unique=True, default=new_event_id)
    type = models.CharField(_("what"), max_length=32, choices=EventType)
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="events")
    source = models.CharField(max_length=12)
    source_id = models.PositiveBigIntegerField()
    nth = models.PositiveIntegerField(default=1)
    data = models.JSONField()  # what everybody is told who may see the incident
    components = models.JSONField()  # [{"key", "id", "name", "status"}]: each is told those that they may see
    at = models.DateTimeField(_("when"))
    recorded_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("outgoing event")
        verbose_name_plural = _("outgoing events")
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["source", "source_id", "type", "nth"], name="event_once")]

    def __str__(self) -> str:
        return f"{self.number} {self.type}"


class EventSubscriptionQuerySet(models.QuerySet["EventSubscription"]):
    def for_user(self, user: User | AnonymousUser) -> "EventSubscriptionQuerySet":
        """One's own; all of them for whoever sees every component."""
        if user.is_active and (user.has_perm(VIEW) or user.has_perm(OPERATE)):  # type: ignore[union-attr, attr-defined]
            return self.all()
        return self.filter(owner=user.pk) if user.is_active else self.none()


class EventSubscription(models.Model):
    """A system that is told of events, in order, and of none that its owner may not see.

    `cursor` is the number of the last event that is dealt with; `tries` counts those of the next one.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", _("Signed webhook")
        SNS = "sns", _("Amazon SNS topic")

    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    kind = models.CharField(_("way"), max_length=8, choices=Kind, default=Kind.WEBHOOK)
    target = models.CharField(
        _("where to"),
        max_length=500,
        help_text=_("The address of your server, https://…, or the ARN of the topic, arn:aws:sns:…"),
    )
    secrets = EncryptedJSONField(_("credentials"), default=dict, blank=True, editable=False)  # as own_secrets has it
    types = models.JSONField(_("which events"), default=list, blank=True, help_text=_("None chosen: all of them."))
    components = models.ManyToManyField(
        Component,
        blank=True,
        related_name="+",
        verbose_name=_("components"),
        help_text=_("None chosen: all that the owner may see."),
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="event_subscriptions",
        verbose_name=_("owner"),
        help_text=_("What this person may not see is not sent. They are told when the sending pauses."),
    )
    enabled = models.BooleanField(
        _("on"), default=True, help_text=_("Off: nothing is sent. What happens meanwhile is sent once it is on again.")
    )
    paused_reason = models.CharField(_("why it is paused"), max_length=500, blank=True, editable=False)
    cursor = models.PositiveBigIntegerField(default=0, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    next_try_at = models.DateTimeField(_("next try"), null=True, blank=True, editable=False)
    # While a worker sends: nobody else does before then, and who took over since has another number.
    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(default=0, editable=False)
    sent_at = models.DateTimeField(_("last sent"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EventSubscriptionQuerySet.as_manager()

    class Meta:
        verbose_name = _("event subscription")
        verbose_name_plural = _("event subscriptions")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.types = checked_types(self.types)
        self.target = checked_target(self.kind, self.target)
        if self.reaches_customers():
            text = _t("Customers are written to at “%(value)s”: choose a place that only your own systems read.")
            raise ValidationError({"target": text % {"value": self.target[:80]}})

    def reaches_customers(self) -> bool:
        """Whether a channel publishes there, or a recipient is there: what staff know is not for them. One query."""
        if self.kind == self.Kind.WEBHOOK:
            return Recipient.objects.filter(medium=Medium.WEBHOOK, address=self.target).exists()
        return any(self.target in config.values() for config in Channel.objects.values_list("config", flat=True))

    @property
    def region(self) -> str:
        """Of its topic: an SNS topic takes messages at an endpoint of its own region alone."""
        return self.target.split(":")[3] if self.kind == self.Kind.SNS else ""

    @property
    def is_fifo(self) -> bool:
        return self.kind == self.Kind.SNS and self.target.endswith(".fifo")

    @property
    def is_connected(self) -> bool:
        """Whether what is sent can be believed: a topic has AWS's own login, a webhook needs its secret."""
        return self.kind == self.Kind.SNS or bool(self.secrets)

    def is_due(self, now: datetime) -> bool:
        waits = (self.next_try_at and self.next_try_at > now) or (self.leased_until and self.leased_until > now)
        return self.enabled and not self.paused_reason and self.is_connected and not waits

    def key_of(self, event: OutgoingEvent) -> str:
        """By which the receiver knows the same event when it comes again."""
        return f"{event.uid}-{self.uid}"

    def renew_secret(self, at_once: bool = False) -> str:
        """A new secret; the one before signs for another day, unless `at_once`. Returned this once. Raises Refused."""
        with transaction.atomic():
            me = EventSubscription.objects.select_for_update().get(pk=self.pk)
            try:
                me.secrets = own_secrets.begun() if at_once or not me.secrets else own_secrets.renewed(me.secrets)
            except own_secrets.TooMany:
                raise Refused(_t("Five secrets are good already: wait a day, or end the old ones at once.")) from None
            me.save(update_fields=["secrets"])
        self.secrets = me.secrets
        return me.secrets["secret"]


def checked_target(kind: str, target: str) -> str:
    """Raises ValidationError that names the value and the fix."""
    target = target.strip()
    if kind == EventSubscription.Kind.WEBHOOK:
        try:
            return normalise(Medium.WEBHOOK, target)
        except ValueError as error:
            raise ValidationError({"target": str(error)}) from None
    if not TOPIC.fullmatch(target):
        text = _t("“%(value)s” is not the ARN of a topic; write it as arn:aws:sns:eu-south-1:123456789012:incidents.")
        raise ValidationError({"target": text % {"value": target[:80]}})
    return target


class EventDelivery(models.Model):
    """What became of an event on its way to a subscription. Written down before it is sent."""

    class State(models.TextChoices):
        SENDING = "sending", _("Being sent")
        WAITING = "waiting", _("Not taken yet: it is sent again")
        SENT = "sent", _("Sent")
        SKIPPED = "skipped", _("Left out by a person")

    subscription = models.ForeignKey(EventSubscription, on_delete=models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(OutgoingEvent, on_delete=models.PROTECT, related_name="deliveries")
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.SENDING)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    tried_at = models.DateTimeField(_("last try"), default=timezone.now)
    detail = models.CharField(_("answer"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("sent event")
        verbose_name_plural = _("sent events")
        ordering = ["-event_id"]
        constraints = [models.UniqueConstraint(fields=["subscription", "event"], name="event_delivery_once")]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.event_id}: {self.state}"
