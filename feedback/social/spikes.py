"""Notice when far more people than usual complain about a component, and propose an incident: people decide."""

from datetime import datetime, timedelta
from statistics import median

from django.conf import settings
from django.db.models import Count, Q
from django.db.models.functions import TruncMinute
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, override

from channels import own_secrets
from incidents.alerts import taking_in
from incidents.alerts.signal import Signal
from incidents.alerts.taking_in import Meaning
from incidents.models import Alert, AlertSource, Component, Severity

from .models import SocialPost
from .sentiment import Label

KIND = "social"  # of the alert source in whose name this is told
BASELINE = timedelta(hours=24)  # what is usual is what there was since then
SIGMAS = 4.0  # by so much a spike stands out of what is usual
TO_SIGMA = 1.4826  # the median deviation of what is normally distributed, as its standard deviation
NEGATIVE = Q(label=Label.NEGATIVE)


def look(now: datetime | None = None) -> None:
    """Tell of each component that many complain about, and that it is over where they no longer do."""
    now = now or timezone.now()
    since = now - _window()
    lately = SocialPost.objects.filter(at__gt=since, at__lte=now).exclude(label=Label.UNREAD)
    rows = lately.values("components").annotate(
        posts=Count("pk"),
        bad=Count("pk", filter=NEGATIVE),
        people=Count("author_hash", filter=NEGATIVE, distinct=True),
    )
    loud = {
        row["components"]: row
        for row in rows.order_by()
        if row["people"] >= settings.SOCIAL_SPIKE_PEOPLE and 2 * row["bad"] >= row["posts"]
    }
    spikes = {pk: row["bad"] for pk, row in loud.items() if row["bad"] >= limit(pk, now)}
    for component in Component.objects.filter(pk__in=spikes):
        _tell(component, spikes[component.pk], now)
    _end(set(loud), now)


def _window() -> timedelta:
    return timedelta(minutes=settings.SOCIAL_SPIKE_MINUTES)


def limit(component: int, now: datetime) -> float:
    """From how many negative posts in a window on it is a spike: far beyond the median of the day before.

    The median and the median deviation, because a spike of this morning must not hide one of the afternoon.
    """
    window, since = _window(), now - _window()
    mine = SocialPost.objects.filter(NEGATIVE, components=component, at__gt=since - BASELINE, at__lte=since)
    counts = [0] * int(BASELINE / window)
    by_minute = mine.annotate(minute=TruncMinute("at")).values("minute").annotate(n=Count("pk")).order_by()
    for row in by_minute.values_list("minute", "n"):
        counts[min(max(int((since - row[0]) / window), 0), len(counts) - 1)] += row[1]
    usual = median(counts)
    spread = TO_SIGMA * median(abs(one - usual) for one in counts)
    return max(settings.SOCIAL_SPIKE_PEOPLE, usual + SIGMAS * max(spread, 1.0), 2 * usual)


def _source() -> AlertSource:
    """In whose name it is told; nobody can post to it, for no kind of system speaks that way."""
    with override(settings.LANGUAGE_CODE):
        name = _("Social posts")
    found = AlertSource.objects.filter(kind=KIND).first()
    if found:
        return found
    if AlertSource.objects.filter(name=name).exists():
        name = f"{name} ({KIND})"
    source = AlertSource(name=name, kind=KIND)
    source.secrets = own_secrets.begun()  # type: ignore[assignment]
    source.save()
    return source


def _tell(component: Component, bad: int, now: datetime) -> None:
    source = _source()
    if not source.enabled:
        return
    minutes = settings.SOCIAL_SPIKE_MINUTES
    with override(settings.LANGUAGE_CODE):
        title = _("Many complain about %(component)s") % {"component": component.name}
        summary = ngettext(
            "%(n)d negative post in %(minutes)d minutes.", "%(n)d negative posts in %(minutes)d minutes.", bad
        ) % {"n": bad, "minutes": minutes}
    signal = Signal(_fingerprint(component), True, title[:200], summary, labels={"component": component.name}, at=now)
    taking_in.take_in_as(source, signal, Meaning(None, Severity(source.default_severity), [component]))


def _end(loud: set[int], now: datetime) -> None:
    firing = Alert.objects.filter(source__kind=KIND, state=Alert.State.FIRING).select_related("source")
    if not (found := {one.fingerprint: one for one in firing}):
        return
    for component in Component.objects.filter(uid__in=[key.partition(":")[2] for key in found]):
        if component.pk not in loud:
            alert = found[_fingerprint(component)]
            over = Signal(alert.fingerprint, False, alert.title, at=now)
            taking_in.take_in_as(alert.source, over, Meaning(None, alert.source.default_severity, [component]))


def _fingerprint(component: Component) -> str:
    return f"social:{component.uid}"
