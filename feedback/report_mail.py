"""Send the report over time by email: written down when its day has come, sent by a worker, each period once.

Figures are counted when the mail is sent, of the incidents that its reader may see at that moment.
"""

import re
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.http import QueryDict
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import formats, timezone, translation
from django.utils.translation import gettext as _

from channels import delivery
from channels.models import Medium
from channels.providers.base import Addressee, Message

from . import reports, tiles, wording
from .forms import Period, ReportForm
from .models import Report
from .models.report_mail import ReportMail, ReportSubscription

Outcome = ReportMail.Outcome
SALT = "feedback.report-mail"
PAUSE = timedelta(minutes=2)  # before what surely was not sent is tried again
PATIENCE = timedelta(days=2)  # later, the next one is nearer than this one
LOST = timedelta(minutes=2)  # a worker that has been sending for this long is gone
SLICE = 5  # seconds that a sweep sends for at most
NAMED = 10  # incidents
COLOUR = "#0e6377"  # that of the report's own data: no state of a service


def sweep() -> None:
    """Write down what is due, and send what is not sent."""
    write_down()
    send_waiting()


def write_down() -> None:
    """A mail for each subscription whose period has ended, unless there is one: of weeks that the worker slept through
    only the last.
    """
    now = timezone.now()
    wanted = []
    for one in ReportSubscription.objects.filter(active=True):
        if period := one.period(now):
            wanted.append(ReportMail(subscription=one, first=period[0], last=period[1]))
    there = set(
        ReportMail.objects.filter(subscription__in=[one.subscription_id for one in wanted]).values_list(
            "subscription", "first"
        )
    )
    fresh = [one for one in wanted if (one.subscription_id, one.first) not in there]
    ReportMail.objects.bulk_create(fresh, ignore_conflicts=True)  # another worker may be doing just this


def send_waiting() -> None:
    """What waits. What a lost worker was sending perhaps arrived: it is marked, and not sent again."""
    now = timezone.now()
    ReportMail.objects.filter(outcome=Outcome.SENDING, tried_at__lt=now - LOST).update(outcome=Outcome.UNKNOWN)
    unsent = ReportMail.objects.filter(outcome=Outcome.WAITING)
    unsent.filter(created_at__lt=now - PATIENCE).update(outcome=Outcome.FAILED)
    end = time.monotonic() + SLICE
    for pk, tried_at in unsent.order_by("pk").values_list("pk", "tried_at")[:500]:
        if time.monotonic() > end:
            return
        if tried_at is None or tried_at < now - PAUSE:
            send(pk)


def send(pk: int) -> None:
    """Send one, unless somebody has."""
    mine = ReportMail.objects.filter(pk=pk, outcome=Outcome.WAITING)
    if not mine.update(outcome=Outcome.SENDING, tried_at=timezone.now()):
        return
    one = ReportMail.objects.select_related("subscription__user").get(pk=pk)
    one.outcome, one.detail = _send(one)
    one.save(update_fields=["outcome", "detail"])


def _send(one: ReportMail) -> tuple[str, str]:
    """What became of it, and why."""
    subscription = one.subscription
    user = subscription.user
    with translation.override(subscription.locale):
        if not (subscription.active and user.is_active and user.has_perm("feedback.view_report")):
            return Outcome.OBSOLETE, _("It was stopped, or its reader may not read reports any more.")
        form = _form(one, user)
        if not form.is_valid():
            return Outcome.OBSOLETE, _("Its reader does not see the component or the plan that it was about any more.")
        channel = delivery.way_to(Medium.EMAIL)
        if channel is None or not user.email:
            return Outcome.WAITING, _("No channel that is on carries this.")
        parts = _parts(one, form)
    key = f"report-{one.pk}"
    stop = {"unsubscribe_url": stop_url(subscription)}
    message = Message(parts, subscription.locale, f"report-{subscription.pk}", key)
    outcome = delivery.send_own(channel, message, Addressee(user.email, key=key, values=stop))
    return delivery.fate(outcome), channel.mask(str(outcome.error or ""))[:500]


def stop_url(subscription: ReportSubscription) -> str:
    """Where its reader stops it, without a login."""
    token = signing.dumps(subscription.pk, salt=SALT)
    return f"{settings.PORTAL_URL}{reverse('report_mail_stop', args=[token])}"


def _query(one: ReportMail) -> str:
    return urlencode({"first": one.first.isoformat(), "last": one.last.isoformat(), **one.subscription.filters})


def _form(one: ReportMail, user: Any) -> ReportForm:
    """The filters as the page has them, of what this person may see now."""
    return ReportForm(QueryDict(_query(one)), user, Report.objects.for_user(user).not_dismissed())  # type: ignore[attr-defined]


# ── What it says ────────────────────────────────────────────────────────────


def _parts(one: ReportMail, form: ReportForm) -> dict[str, str]:
    """The parts of an email, in the active language."""
    period, chosen = form.selected()
    before = period.before()
    facts = reports.gather(Period(before.first, period.last).of(chosen))
    current = [fact for fact in facts if timezone.localdate(fact.started_at) >= period.first]
    summary = reports.summarise(current)
    days = {"first": _day(one.first), "last": _day(one.last)}
    url = f"{settings.PORTAL_URL}{reverse('admin:feedback_report')}?{_query(one)}"
    context = {
        "organisation": settings.PORTAL_NAME,
        "locale": one.subscription.locale,
        "colour": COLOUR,
        "subject": _("Communication report, %(first)s to %(last)s") % days,
        "sentence": wording.period_sentence(summary),
        "about": _about(one.subscription),
        "tiles": tiles.tiles(summary, reports.summarise(facts[len(current) :])) if current else [],
        "incidents": [
            {
                "title": fact.title,
                "day": _day(timezone.localdate(fact.started_at)),
                "sentence": wording.incident_sentence(fact, reports.summarise([fact])),
                "url": f"{settings.PORTAL_URL}{reverse('admin:feedback_report_incident', args=[fact.pk])}",
            }
            for fact in current[:NAMED]
        ],
        "more": max(0, len(current) - NAMED),
        "url": url,
    }
    return {
        "subject": f"{settings.PORTAL_NAME}: {context['subject']}",
        "text": re.sub(r"\n{3,}", "\n\n", render_to_string("messages/report.txt", context)),
        "html": render_to_string("messages/report.html", context),
        "url": url,
    }


def _day(day: Any) -> str:
    return formats.date_format(day, _("j M Y"))


def _about(subscription: ReportSubscription) -> str:
    """The filters in words; empty if it is about everything."""
    parts = [subscription.get_severity_display() if subscription.severity else ""]
    parts += [str(one) for one in (subscription.component, subscription.plan) if one]
    return ", ".join(part for part in parts if part)
