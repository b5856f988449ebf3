"""Take in what a source told: count it, find out what it means for customers, and propose that to people.

Nothing here is public and nothing declares an incident. Whatever many processes take in at once, alerts that belong
together end up in one proposal: who decides where a new one belongs holds a lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone

from channels.events import first_time
from incidents.models import (
    Alert,
    AlertRule,
    AlertSource,
    Component,
    ComponentStatus,
    Incident,
    Proposal,
    ProposedComponent,
    Severity,
    Stage,
)
from incidents.models.alert import one_at_a_time

from .signal import Signal

FIRING, RESOLVED = Alert.State.FIRING, Alert.State.RESOLVED
PORTION = 5000  # rows that are forgotten at a time


@dataclass(frozen=True)
class Meaning:
    """What a signal is read as, by the first rule that fits."""

    rule: AlertRule | None
    severity: str
    components: list[Component] = field(default_factory=list)
    status: str = ComponentStatus.DEGRADED

    @property
    def severity_in_words(self) -> str:
        return str(Severity(self.severity).label)

    @property
    def proposes(self) -> bool:
        return self.rule is None or self.rule.proposes


@dataclass(frozen=True)
class Home:
    """Where an alert belongs: an open incident, an open proposal, or (neither) a new proposal."""

    incident: Incident | None = None
    proposal: Proposal | None = None


def take_in(source: AlertSource, event_id: str, signals: Iterable[Signal]) -> int | None:
    """Take in all signals of one message, or none. How many changed something; None if it was told before.

    `event_id`: what the message is known by if it is told again; "" if by nothing.
    """
    ordered = sorted(signals, key=lambda one: one.fingerprint)
    with transaction.atomic():
        if event_id and not first_time(f"alerts:{source.pk}", event_id):
            return None
        if len(ordered) == 1 and ordered[0].firing and _count(source, ordered[0]):
            return 1  # what fires already needs no lock; most of a storm is that
        one_at_a_time()
        rules = _rules(source)
        return sum(_take(source, one, read_as(source, one, rules)) for one in ordered)


def take_in_as(source: AlertSource, signal: Signal, meaning: Meaning) -> int:
    """Take in one signal of which the portal itself knows what it means. 1 if it changed something."""
    with transaction.atomic():
        one_at_a_time()
        return _take(source, signal, meaning)


def _rules(source: AlertSource) -> list[AlertRule]:
    mine = AlertRule.objects.filter(Q(source=None) | Q(source=source))
    return list(mine.select_related("scenario").prefetch_related("components"))


def _count(source: AlertSource, signal: Signal) -> int:
    """Count what fires already; 0 if it does not."""
    firing = Alert.objects.filter(source=source, fingerprint=signal.fingerprint, state=FIRING)
    return firing.update(count=F("count") + 1, last_at=timezone.now())


def _take(source: AlertSource, signal: Signal, meaning: Meaning) -> int:
    if not signal.firing:
        return _resolve(source, signal)
    if _count(source, signal):
        return 1
    before = Alert.objects.filter(source=source, fingerprint=signal.fingerprint).order_by("-pk").first()
    if before and signal.at <= before.state_at:
        return 0  # it came late: that it stopped is newer
    home = home_of(meaning) if meaning.proposes else Home()
    proposal = home.proposal
    if meaning.proposes and not home.incident:
        proposal = _join(proposal, signal, meaning) if proposal else _open(signal, meaning)
    Alert.objects.create(
        source=source,
        fingerprint=signal.fingerprint,
        state_at=signal.at,
        first_at=signal.at,
        last_at=timezone.now(),
        title=signal.title,
        summary=signal.summary,
        labels=signal.labels,
        rule=meaning.rule,
        proposal=proposal,
        incident=home.incident,
    )
    return 1


def _resolve(source: AlertSource, signal: Signal) -> int:
    firing = Alert.objects.filter(source=source, fingerprint=signal.fingerprint, state=FIRING)
    return firing.filter(state_at__lte=signal.at).update(state=RESOLVED, state_at=signal.at, last_at=timezone.now())


# ── What it means, and where it belongs ─────────────────────────────────────


def read_as(source: AlertSource, signal: Signal, rules: list[AlertRule]) -> Meaning:
    rule = next((one for one in rules if one.fits(source, signal)), None)
    severity = (rule.severity if rule else "") or signal.severity_hint or source.default_severity
    if rule is None:
        return Meaning(None, severity)
    return Meaning(rule, severity, list(rule.components.all()), rule.status)


def home_of(meaning: Meaning) -> Home:
    """An open incident that covers all components; else the proposal of which it is a part; else a new one."""
    pks = [one.pk for one in meaning.components]
    active = Proposal.objects.active(_window())
    if not pks:
        # It says nothing of customers; in a storm it belongs to what is going on.
        return Home(proposal=active.order_by("-pk").first())
    if incident := _covering(pks):
        return Home(incident=incident)
    own = ProposedComponent.objects.filter(proposal=OuterRef("pk"))
    overlapping = active.filter(Exists(own.filter(component__in=pks))).order_by("pk").first()
    return Home(proposal=overlapping or active.filter(~Exists(own)).order_by("pk").first())


def _covering(pks: list[int]) -> Incident | None:
    """Work that is only planned covers nothing yet; once it has begun, alerts of it are no surprise."""
    running = Incident.objects.open().exclude(maintenance=True, stage=Stage.SCHEDULED)
    hit = Count("incident_components", filter=Q(incident_components__component__in=pks))
    return running.annotate(hit=hit).filter(hit=len(pks)).order_by("-pk").first()


def _open(signal: Signal, meaning: Meaning) -> Proposal:
    proposal = Proposal.objects.create(title=signal.title, severity=meaning.severity, opened_at=timezone.now())
    _add(proposal, meaning)
    return proposal


def _join(found: Proposal, signal: Signal, meaning: Meaning) -> Proposal:
    """The proposal, with what this alert adds; others that it connects with it are joined."""
    proposal = Proposal.objects.select_for_update(no_key=True).get(pk=found.pk)
    known = proposal.proposed.exists()
    if meaning.components and not known:
        # What a rule knows says more than what none does, whichever came first.
        proposal.title, proposal.severity = signal.title, meaning.severity
    elif meaning.components or not known:
        proposal.severity = min(proposal.severity, meaning.severity)
    _add(proposal, meaning)
    pks = [one.pk for one in meaning.components]
    others = Proposal.objects.active(_window()).filter(proposed__component__in=pks).exclude(pk=proposal.pk).distinct()
    for other in others:
        _absorb(proposal, other)
    return proposal


def _window() -> datetime:
    return timezone.now() - timedelta(minutes=settings.ALERT_WINDOW_MINUTES)


def _add(proposal: Proposal, meaning: Meaning) -> None:
    rule = meaning.rule
    if rule:
        proposal.scenario = proposal.scenario or rule.scenario
        proposal.public_title = proposal.public_title or rule.public_title
    for component in meaning.components:
        _propose(proposal, component.pk, meaning.status)
    proposal.save()


def _propose(proposal: Proposal, component: int, status: str) -> None:
    row, new = ProposedComponent.objects.get_or_create(
        proposal=proposal, component_id=component, defaults={"status": status}
    )
    if not new:
        row.worsen(status)


def _absorb(proposal: Proposal, other: Proposal) -> None:
    for one in other.proposed.all():
        _propose(proposal, one.component_id, one.status)
    other.alerts.update(proposal=proposal)
    proposal.severity = min(proposal.severity, other.severity)
    proposal.scenario = proposal.scenario or other.scenario
    proposal.save()
    other.state, other.joined = Proposal.State.JOINED, proposal
    other.save()


# ── Try, and forget ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Preview:
    """What a signal would do just now."""

    signal: Signal
    meaning: Meaning
    home: Home
    firing: Alert | None  # it counts there already


def preview(source: AlertSource, signals: Iterable[Signal]) -> list[Preview]:
    """What would become of them, each by itself. Nothing is kept."""
    rules = _rules(source)
    known = {one.fingerprint: one for one in Alert.objects.filter(source=source, state=FIRING)[:PORTION]}
    found = []
    for one in signals:
        meaning = read_as(source, one, rules)
        home = home_of(meaning) if one.firing and meaning.proposes else Home()
        found.append(Preview(one, meaning, home, known.get(one.fingerprint)))
    return found


def forget() -> None:
    """Drop what nobody declared as an incident, after a while; in portions, and proposals once they are empty."""
    before = timezone.now() - timedelta(days=settings.ALERT_KEEP_DAYS)
    old = Alert.objects.filter(incident=None, last_at__lt=before).order_by("last_at")
    Alert.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:PORTION])).delete()
    empty = Proposal.objects.filter(~Exists(Alert.objects.filter(proposal=OuterRef("pk"))), opened_at__lt=before)
    empty.exclude(state=Proposal.State.ACCEPTED).delete()
