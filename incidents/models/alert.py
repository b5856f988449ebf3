"""What monitoring systems tell us, by which rules it is read, and the incidents that it proposes to people."""

import re
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models, transaction
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from channels import own_secrets
from channels.secrets import EncryptedJSONField
from incidents.errors import NotAllowed, Refused, WrongState

from .component import OPERATE, VIEW, Component
from .incident import Incident, IncidentComponent
from .template import Scenario
from .words import BADNESS, ComponentStatus, Severity, new_uid

if TYPE_CHECKING:
    from incidents.alerts.signal import Format, Signal, Trust

TOPIC = re.compile(r"arn:aws(-[a-z]+)*:sns:[a-z]{2,3}(-[a-z]+)+-\d+:\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
MOST_TOPICS = 20
LOCK = 0x616C65727473  # “alerts”: any number that nobody else takes
STATES = [ComponentStatus.DEGRADED, ComponentStatus.PARTIAL, ComponentStatus.MAJOR]


def kind_choices() -> list[tuple[str, str]]:
    from incidents.alerts import choices

    return choices()


def state_choices() -> list[tuple[str, Any]]:
    """What a component can be in an incident."""
    return [(one.value, one.label) for one in STATES]


def one_at_a_time() -> None:
    """Until the transaction ends nobody else decides where an alert belongs, or about a proposal.

    On SQLite every transaction is alone anyway (its mode is IMMEDIATE).
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


# ── Where alerts come from ──────────────────────────────────────────────────


class AlertSource(models.Model):
    """A monitoring system that may tell us what fires."""

    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    kind = models.CharField(_("kind"), max_length=16, choices=kind_choices)
    secrets = EncryptedJSONField(_("credentials"), default=dict, blank=True, editable=False)  # as own_secrets has it
    topics = models.JSONField(
        _("SNS topics"),
        default=list,
        blank=True,
        help_text=_("ARNs of the topics that may tell alerts, one on each line. Others are refused."),
    )
    default_severity = models.CharField(
        _("severity"),
        max_length=8,
        choices=Severity,
        default=Severity.SEV3,
        help_text=_("What is proposed where neither a rule nor the alert says more."),
    )
    rate = models.PositiveIntegerField(
        _("most messages a minute"),
        default=2000,
        validators=[MinValueValidator(1), MaxValueValidator(100_000)],
        help_text=_("More are turned away and counted; monitoring systems send them again."),
    )
    enabled = models.BooleanField(_("on"), default=True)
    heard_at = models.DateTimeField(_("last heard"), null=True, blank=True, editable=False)
    minute = models.PositiveBigIntegerField(default=0, editable=False)  # since 1970, to which `taken` belongs
    taken = models.PositiveIntegerField(default=0, editable=False)
    dropped = models.PositiveBigIntegerField(_("turned away"), default=0, editable=False)
    dropped_at = models.DateTimeField(_("last turned away"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("alert source")
        verbose_name_plural = _("alert sources")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.topics = checked_topics(self.topics)

    @property
    def format(self) -> "Format | None":
        """How it speaks; None if that kind is gone."""
        from incidents.alerts import FORMATS

        return FORMATS.get(self.kind)

    @property
    def trust(self) -> "Trust":
        from incidents.alerts.signal import Trust

        return Trust(own_secrets.in_force(self.secrets), tuple(self.topics))

    @property
    def can_be_believed(self) -> bool:
        """Whether there is anything by which it proves who it is."""
        return bool(self.secrets or self.topics)

    @property
    def url(self) -> str:
        return f"{settings.PORTAL_URL}/alerts/{self.uid}/"

    def renew_secret(self, given: str = "", at_once: bool = False) -> str:
        """A new secret, or the `given` one; the one before is good for another day, unless `at_once`. Raises Refused.

        Returned this once.
        """
        with transaction.atomic():
            me = AlertSource.objects.select_for_update().get(pk=self.pk)
            try:
                fresh = own_secrets.begun() if at_once or not me.secrets else own_secrets.renewed(me.secrets)
            except own_secrets.TooMany:
                raise Refused(_t("Five secrets are good already: wait a day, or end the old ones at once.")) from None
            me.secrets = fresh | ({"secret": given} if given else {})
            me.save(update_fields=["secrets"])
        self.secrets = me.secrets
        return me.secrets["secret"]

    def admit(self) -> bool:
        """Count one message of this minute; False, and counted as turned away, if that is too many.

        In the database, which all processes share, and by conditional updates: none is lost between two of them.
        """
        now = timezone.now()
        minute = int(now.timestamp()) // 60
        me = AlertSource.objects.filter(pk=self.pk)
        if me.filter(minute__lt=minute).update(minute=minute, taken=1, heard_at=now):
            return True
        if me.filter(taken__lt=self.rate).update(taken=F("taken") + 1, heard_at=now):
            return True
        me.update(dropped=F("dropped") + 1, dropped_at=now)
        return False


def checked_topics(topics: Any) -> list[str]:
    """Raises ValidationError that names the topic and the fix."""
    found = list(dict.fromkeys(str(one).strip() for one in topics or [] if str(one).strip()))
    if len(found) > MOST_TOPICS:
        raise ValidationError({"topics": _t("A source has at most %d topics.") % MOST_TOPICS})
    for one in found:
        if not TOPIC.fullmatch(one):
            text = _t("“%(value)s” is not the ARN of a topic; write it as arn:aws:sns:eu-south-1:123456789012:alarms.")
            raise ValidationError({"topics": text % {"value": one[:80]}})
    return found


# ── How they are read ───────────────────────────────────────────────────────


class AlertRule(models.Model):
    """What an alert means for customers. The first rule that fits decides."""

    name = models.CharField(_("name"), max_length=80)
    position = models.PositiveSmallIntegerField(
        _("position"), default=0, help_text=_("The lowest is looked at first; the first that fits decides.")
    )
    source = models.ForeignKey(
        AlertSource,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("alert source"),
        help_text=_("Empty: every source."),
    )
    title = models.CharField(
        _("title of the alert"),
        max_length=200,
        blank=True,
        help_text=_("As in checkout-*; a star stands for anything. Empty: any title."),
    )
    labels = models.JSONField(
        _("labels"),
        default=dict,
        blank=True,
        help_text=_("One on each line, as in service = checkout-*. All must fit. Empty: any labels."),
    )
    proposes = models.BooleanField(
        _("proposes an incident"),
        default=True,
        help_text=_("Off: such alerts are listed and propose nothing."),
    )
    components = models.ManyToManyField(
        Component,
        blank=True,
        related_name="alert_rules",
        verbose_name=_("components"),
        help_text=_("What customers notice of it."),
    )
    status = models.CharField(_("state"), max_length=24, choices=state_choices, default=ComponentStatus.DEGRADED.value)
    severity = models.CharField(
        _("severity"),
        max_length=8,
        choices=Severity,
        blank=True,
        help_text=_("Empty: as the alert says, else as its source does."),
    )
    scenario = models.ForeignKey(
        Scenario,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("scenario"),
        help_text=_("Picks the prepared words for the first draft."),
    )
    public_title = models.CharField(
        _("title for customers"),
        max_length=200,
        blank=True,
        help_text=_("Empty: it is made from the components and their state. An alert's own title is never proposed."),
    )

    class Meta:
        verbose_name = _("alert rule")
        verbose_name_plural = _("alert rules")
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.name

    def fits(self, source: AlertSource, signal: "Signal") -> bool:
        """Whatever the case of the letters."""
        if self.source_id not in (None, source.pk) or not _like(signal.title, self.title or "*"):
            return False
        found = {name.lower(): value for name, value in signal.labels.items()}
        return all(_like(found.get(name.lower(), ""), pattern) for name, pattern in self.labels.items())


def _like(text: str, pattern: str) -> bool:
    # Only the star is special: a title such as “[FIRING:1] x” is no set of letters.
    plain = re.sub(r"[\[?]", lambda found: f"[{found[0]}]", pattern.lower())
    return fnmatchcase(text.lower(), plain)


# ── What is proposed ────────────────────────────────────────────────────────


class ProposalQuerySet(models.QuerySet["Proposal"]):
    def for_user(self, user: User | AnonymousUser) -> "ProposalQuerySet":
        """Those on at least one component that this person may see. Without components: whoever sees all."""
        if user.is_active and (user.has_perm(VIEW) or user.has_perm(OPERATE)):  # type: ignore[union-attr, attr-defined]
            return self.all()
        mine = ProposedComponent.objects.filter(
            proposal=OuterRef("pk"), component__in=Component.objects.for_user(user).order_by().values("pk")
        )
        return self.filter(Exists(mine))

    def open(self) -> "ProposalQuerySet":
        return self.filter(state=Proposal.State.OPEN)

    def active(self, since: datetime) -> "ProposalQuerySet":
        """Open ones of which something still fires, or was heard after `since`."""
        going_on = Alert.objects.filter(Q(state=Alert.State.FIRING) | Q(last_at__gte=since), proposal=OuterRef("pk"))
        return self.open().filter(Exists(going_on))

    def counted(self) -> "ProposalQuerySet":
        """With `alerts_n`, how many still fire (`firing_n`), how often they were told, and from when to when."""
        firing = Q(alerts__state=Alert.State.FIRING)
        return self.annotate(
            alerts_n=Count("alerts"),
            firing_n=Count("alerts", filter=firing),
            told_n=Sum("alerts__count", default=0),
            since=Min("alerts__first_at"),
            latest=Max("alerts__last_at"),
        )


class Proposal(models.Model):
    """The draft of an incident that alerts propose. Nothing of it is public, and no incident: a person decides."""

    class State(models.TextChoices):
        OPEN = "open", _("Waits for a decision")
        ACCEPTED = "accepted", _("Declared as an incident")
        DISMISSED = "dismissed", _("Dismissed")
        JOINED = "joined", _("Joined with another one")

    title = models.CharField(_("title"), max_length=200)
    public_title = models.CharField(_("title for customers"), max_length=200, blank=True)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity)
    scenario = models.ForeignKey(
        Scenario, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("scenario")
    )
    components: "models.ManyToManyField[Component, ProposedComponent]" = models.ManyToManyField(
        Component, through="ProposedComponent", related_name="proposals"
    )
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(_("proposed"), default=timezone.now)
    told_at = models.DateTimeField(null=True, blank=True, editable=False)  # when staff were told of it
    incident = models.ForeignKey(
        Incident, on_delete=models.CASCADE, null=True, blank=True, related_name="proposals", verbose_name=_("incident")
    )
    joined = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)

    objects = ProposalQuerySet.as_manager()

    class Meta:
        verbose_name = _("proposed incident")
        verbose_name_plural = _("proposed incidents")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["id"], condition=Q(state="open"), name="proposal_open")]
        constraints = [
            # No state without the person who made it: a machine can only leave it open, or join it with another.
            models.CheckConstraint(
                condition=Q(state="open", incident=None, joined=None, decided_by=None, decided_at=None, reason="")
                | Q(state="joined", incident=None, joined__isnull=False, decided_by=None)
                | Q(state="accepted", incident__isnull=False, decided_by__isnull=False, decided_at__isnull=False)
                | (Q(state="dismissed", incident=None, decided_by__isnull=False) & ~Q(reason="")),
                name="proposal_decided_by_a_person",
            )
        ]

    def __str__(self) -> str:
        return self.title

    def may_decide(self, user: Any, mine: set[int] | None = None) -> bool:
        """Declares incidents, and may work on all that is proposed; without components, on everything.

        `mine`: the components that they may work on, where that is known already.
        """
        if not user.has_perm("incidents.declare_incident"):
            return False
        if user.has_perm(OPERATE):
            return True
        own = {one.component_id for one in self.proposed.all()}
        if mine is None:
            mine = set(Component.objects.for_user(user, OPERATE).order_by().values_list("pk", flat=True))
        return bool(own) and own <= mine

    def accept(self, by: Any, incident: Incident) -> None:
        """A person declared the incident: it is linked, with its alerts. In the transaction that declares it.

        Raises NotAllowed, WrongState.
        """
        with transaction.atomic():
            me = self._locked(by)
            me.check_open()
            me.state, me.incident = Proposal.State.ACCEPTED, incident
            me._decide(by)
            me.alerts.filter(incident=None).update(incident=incident)
        self.refresh_from_db()

    def dismiss(self, by: Any, reason: str) -> None:
        """A person says that it is no incident, and why. Raises NotAllowed, WrongState, Refused (no reason)."""
        with transaction.atomic():
            me = self._locked(by)
            me.check_open()
            if not reason.strip():
                raise Refused(_t("Say why it is no incident, for whoever reads this later."))
            me.state, me.reason = Proposal.State.DISMISSED, reason.strip()[:500]
            me._decide(by)
        self.refresh_from_db()

    def reopen(self, by: Any) -> None:
        """It waits for a decision again. Raises NotAllowed, WrongState."""
        with transaction.atomic():
            me = self._locked(by)
            if me.state != Proposal.State.DISMISSED:
                raise WrongState(_t("Only what was dismissed can be opened again."))
            me.state, me.reason, me.decided_by, me.decided_at = Proposal.State.OPEN, "", None, None
            me.save()
        self.refresh_from_db()

    def check_open(self) -> None:
        """Raises WrongState, which names who decided what, and when."""
        from .decision import name_of

        if self.state == Proposal.State.OPEN:
            return
        text = _t("This proposal was decided: %(state)s.") % {"state": self.get_state_display()}
        if self.decided_by and self.decided_at:
            text = _t("This proposal was decided by %(who)s at %(time)s: %(state)s.") % {
                "who": name_of(self.decided_by),
                "time": timezone.localtime(self.decided_at).strftime("%d.%m.%Y %H:%M"),
                "state": self.get_state_display(),
            }
        raise WrongState(text)

    def _locked(self, by: Any) -> "Proposal":
        from .decision import name_of

        one_at_a_time()
        me = Proposal.objects.select_for_update(no_key=True).get(pk=self.pk)
        if not me.may_decide(by):
            raise NotAllowed(_t("%(who)s may not decide about this proposal.") % {"who": name_of(by)})
        return me

    def _decide(self, by: Any) -> None:
        self.decided_by, self.decided_at = by, timezone.now()
        self.save()


class ProposedComponent(models.Model):
    """A component that an incident would hit, and the worst state that a rule says of it."""

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="proposed")
    component = models.ForeignKey(Component, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(_("state"), max_length=24, choices=state_choices)

    class Meta:
        verbose_name = _("proposed component")
        verbose_name_plural = _("proposed components")
        ordering = ["component__group__position", "component__position", "component__name"]
        constraints = [models.UniqueConstraint(fields=["proposal", "component"], name="proposed_component_once")]

    def __str__(self) -> str:
        return f"{self.component}: {self.get_status_display()}"

    def worsen(self, status: str) -> None:
        if BADNESS[ComponentStatus(status)] > BADNESS[ComponentStatus(self.status)]:
            self.status = status
            self.save(update_fields=["status"])


# ── What was told ───────────────────────────────────────────────────────────


class AlertQuerySet(models.QuerySet["Alert"]):
    def for_user(self, user: User | AnonymousUser) -> "AlertQuerySet":
        """Those of proposals and incidents that this person may see. Of neither: whoever sees all."""
        if user.is_active and (user.has_perm(VIEW) or user.has_perm(OPERATE)):  # type: ignore[union-attr, attr-defined]
            return self.all()
        mine = Component.objects.for_user(user).order_by().values("pk")
        proposed = ProposedComponent.objects.filter(proposal=OuterRef("proposal"), component__in=mine)
        hit = IncidentComponent.objects.filter(incident=OuterRef("incident"), component__in=mine)
        return self.filter(Exists(proposed) | Exists(hit))


class Alert(models.Model):
    """One thing that fired at one source, until it stopped. Told again, it only counts."""

    class State(models.TextChoices):
        FIRING = "firing", _("Firing")
        RESOLVED = "resolved", _("Resolved")

    # What an incident was declared for stays: a source that has told something is switched off, not deleted.
    source = models.ForeignKey(
        AlertSource, on_delete=models.PROTECT, related_name="alerts", verbose_name=_("alert source")
    )
    fingerprint = models.CharField(max_length=64)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.FIRING)
    state_at = models.DateTimeField()  # since when, as the source says: what is older changes nothing
    first_at = models.DateTimeField(_("first"))
    last_at = models.DateTimeField(_("last heard"))
    count = models.PositiveIntegerField(_("times told"), default=1)
    title = models.CharField(_("title"), max_length=200)
    summary = models.CharField(_("summary"), max_length=1000, blank=True)
    labels = models.JSONField(_("labels"), default=dict)
    rule = models.ForeignKey(
        AlertRule, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("alert rule")
    )
    proposal = models.ForeignKey(
        Proposal,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="alerts",
        verbose_name=_("proposed incident"),
    )
    incident = models.ForeignKey(
        Incident, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts", verbose_name=_("incident")
    )

    objects = AlertQuerySet.as_manager()

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["source", "fingerprint", "-id"], name="alert_by_fingerprint"),
            models.Index(fields=["last_at"], condition=Q(incident=None), name="alert_to_forget"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "fingerprint"], condition=Q(state="firing"), name="alert_once_while_firing"
            )
        ]

    def __str__(self) -> str:
        return self.title
