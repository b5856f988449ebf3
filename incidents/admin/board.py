"""What is told about the delivery of an update: counted by the engine, said in words here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min
from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from channels.counting import counted
from channels.models import OPENS_AFTER, Batch, Channel, Delivery, Dispatch
from channels.progress import Progress, progress_of
from channels.reasons import explain
from channels.tasks import SILENT, worker_seen
from incidents import publishing
from incidents.models import IncidentUpdate
from incidents.rendering import moment

PACE_SECONDS = 30  # the rate is that of the last half minute
# Rows of the page from top to bottom.
ORDER: list[str] = [Dispatch.Purpose.UPDATE, Dispatch.Purpose.SURVEY, Dispatch.Purpose.REMINDER]
HEADINGS = {
    Delivery.Status.FAILED: gettext_lazy("Not reached"),
    Delivery.Status.UNKNOWN: gettext_lazy("We cannot tell whether these were sent"),
    Delivery.Status.SKIPPED: gettext_lazy("Left out"),
}


# ── Words ───────────────────────────────────────────


@dataclass
class Failure:
    """Those on one channel whom one thing befell. `detail` is what the provider said, masked."""

    row: "Row"
    status: str
    code: str
    people: int
    detail: str = ""

    @property
    def heading(self) -> str | Promise:
        return HEADINGS[Delivery.Status(self.status)]

    @property
    def words(self) -> str | Promise:
        return explain(self.code).words

    @property
    def way_out(self) -> str | Promise:
        return explain(self.code).way_out

    @property
    def may_repeat(self) -> bool:
        if self.status == Delivery.Status.FAILED:
            return explain(self.code).again
        return self.status == Delivery.Status.UNKNOWN


@dataclass
class Row:
    """One channel and purpose, all languages together. Counts are people; `rate` is people a second."""

    channel: Channel
    purpose: str
    parts: list[Progress]
    broadcast: bool
    rate: float = 0.0
    next_try_at: datetime | None = None
    worker_seen: datetime | None = None
    now: datetime = field(default_factory=timezone.now)
    shown: Mapping[str, int] | None = None  # what its readers' browsers told, by NoticeCount.Event

    def count(self, status: str) -> int:
        return sum(part.counts.get(status, 0) for part in self.parts)

    @property
    def total(self) -> int:
        return sum(part.total for part in self.parts)

    @property
    def reached(self) -> int:
        return sum(part.reached for part in self.parts)

    @property
    def failed(self) -> int:
        return self.count(Delivery.Status.FAILED)

    @property
    def unknown(self) -> int:
        return self.count(Delivery.Status.UNKNOWN)

    @property
    def skipped(self) -> int:
        return self.count(Delivery.Status.SKIPPED)

    @property
    def waiting(self) -> int:
        return sum(part.waiting for part in self.parts)

    @property
    def unsent(self) -> int:
        """People without any outcome yet."""
        return sum(part.waiting - part.repeating for part in self.parts)

    @property
    def repeating(self) -> int:
        return sum(part.repeating for part in self.parts)

    @property
    def finished(self) -> bool:
        return all(part.finished for part in self.parts)

    @property
    def stopped(self) -> bool:
        return any(part.dispatch.cancelled_at for part in self.parts)

    @property
    def preparing(self) -> bool:
        return not self.finished and not all(p.dispatch.expanded_at for p in self.parts)

    @property
    def starts_at(self) -> datetime:
        return min(part.dispatch.not_before for part in self.parts)

    @property
    def last_at(self) -> datetime | None:
        return max((part.last_at for part in self.parts if part.last_at), default=None)

    @property
    def title(self) -> str:
        if self.purpose == Dispatch.Purpose.SURVEY:
            return _("Survey invitations: %(channel)s") % {"channel": self.channel.name}
        if self.purpose == Dispatch.Purpose.REMINDER:
            return _("Reminders of the survey: %(channel)s") % {"channel": self.channel.name}
        return self.channel.name

    @property
    def in_numbers(self) -> str:
        if self.broadcast:
            done = [p.dispatch.locale.upper() for p in self.parts if p.reached]
            return _("Posted: %(languages)s") % {"languages": ", ".join(done)} if done else _("Not posted yet")
        if not self.total:
            return "" if self.preparing else _("Nobody to write to")
        text = ngettext("%(reached)s of %(total)s person", "%(reached)s of %(total)s people", self.total)
        return text % {"reached": number(self.reached), "total": number(self.total)}

    @property
    def views(self) -> str:
        """In how many browsers it was shown and closed; empty where nobody counts that."""
        if self.shown is None or not self.reached:
            return ""
        told = {event: number(n) for event, n in self.shown.items()}
        return _("Browsers that showed it: %(shown)s; closed there: %(dismissed)s. Each counts at most once.") % told

    @property
    def way(self) -> Channel:
        """What the rest goes through: the channel, or its fallback."""
        return next((p.dispatch.via for p in self.parts if not p.finished), self.parts[0].dispatch.via)

    @property
    def detour(self) -> str:
        """Since when it goes through the fallback and why; empty if it does not."""
        for part in self.parts:
            if part.dispatch.via_since:
                return _("Since %(time)s through %(channel)s, the fallback: %(reason)s") % {
                    "time": moment(part.dispatch.via_since),
                    "channel": part.dispatch.via.name,
                    "reason": self.channel.mask(part.dispatch.via_reason),
                }
        return ""

    @property
    def blocked(self) -> bool:
        """Whether it stays as it is until somebody does something about the channel."""
        return not self.finished and self.starts_at <= self.now and (bool(self.way.paused_at) or not self.way.enabled)

    @property
    def held(self) -> bool:
        return bool(self.way.held_until and self.way.held_until > self.now)

    @property
    def state(self) -> str:
        """What it is doing now and when it will be over, in words."""
        if self.stopped:
            at = max(part.dispatch.cancelled_at for part in self.parts if part.dispatch.cancelled_at)
            return _("Stopped at %(time)s.") % {"time": moment(at)} + " " + self._left_out()
        if self.finished:
            return _("Finished at %(time)s") % {"time": moment(self.last_at)} if self.last_at else _("Finished")
        if self.starts_at > self.now:
            return _("From %(time)s") % {"time": moment(self.starts_at)}
        if self.way.paused_at:
            return _("Paused at %(time)s: the provider refused everything. A successful test sets it going again.") % {
                "time": moment(self.way.paused_at)
            }
        if not self.way.enabled:
            return _("The channel is switched off. Test it and switch it on, and the rest goes out.")
        return self._waiting_state() or self._pace()

    def _left_out(self) -> str:
        if not self.unsent:
            return ""
        words = ngettext("%(n)s person was not written to.", "%(n)s people were not written to.", self.unsent)
        return words % {"n": number(self.unsent)}

    def _waiting_state(self) -> str:
        """Why nothing goes out at this moment; empty if it does."""
        if self.way.failures >= OPENS_AFTER and self.way.held_until:
            return _("The provider cannot be reached; the next attempt is at %(time)s.") % {
                "time": moment(max(self.way.held_until, self.now), "H:i:s")
            }
        if self.held:
            return _("The provider asked us to slow down; it goes on by itself at %(time)s.") % {
                "time": moment(self.way.held_until, "H:i:s")
            }
        if self.rate:
            return ""
        if self.worker_seen is None or self.now - self.worker_seen > SILENT:
            return _("Waiting for workers")
        if self.next_try_at and self.next_try_at > self.now + timedelta(seconds=1):
            return _("Not reached at the first try; the next is at %(time)s.") % {
                "time": moment(self.next_try_at, "H:i:s")
            }
        if self.preparing:
            if self.purpose != Dispatch.Purpose.UPDATE:
                return _("Starts when the messages above are out")
            if self.broadcast:
                return _("About to start")
            return _("Finding the people to write to")
        return _("About to start")

    def _pace(self) -> str:
        if self.rate >= 1:
            words = _("%(n)s a second") % {"n": number(round(self.rate))}
        else:
            words = _("%(n)s a minute") % {"n": number(max(1, round(self.rate * 60)))}
        granted = self.way.effective_rate
        if granted:
            words = _("%(pace)s of at most %(limit)s") % {"pace": words, "limit": number(round(granted))}
        return _("Sending %(pace)s, %(left)s") % {"pace": words, "left": left(self.waiting / self.rate)}


@dataclass
class Board:
    """The whole page: rows by channel, failures by reason, and whether somebody works at it."""

    update: IncidentUpdate
    rows: list[Row]
    failures: list[Failure]
    worker_seen: datetime | None
    now: datetime

    @property
    def finished(self) -> bool:
        return all(row.finished for row in self.rows)

    @property
    def people_rows(self) -> list[Row]:
        return [r for r in self.rows if r.purpose == Dispatch.Purpose.UPDATE and not r.broadcast]

    @property
    def reached(self) -> int:
        return sum(row.reached for row in self.people_rows)

    @property
    def total(self) -> int:
        return sum(row.total for row in self.people_rows)

    @property
    def unsent(self) -> int:
        return sum(row.unsent for row in self.rows if not row.finished and not row.broadcast)

    @property
    def worker_missing(self) -> bool:
        """Whether work waits and nobody has reported for it."""
        if self.finished or any(row.rate for row in self.rows):
            return False
        return self.worker_seen is None or self.now - self.worker_seen > SILENT

    @property
    def poll_seconds(self) -> int:
        """How soon the page should look again; 0 when there is nothing to wait for."""
        if self.finished:
            return 0
        moving = [r for r in self.rows if not r.finished and not r.blocked and r.starts_at <= self.now]
        return 2 if moving else 15

    @property
    def headline(self) -> str:
        if not self.rows:
            return _("Only the status page changed: this update notified nobody.")
        people = self.total
        numbers = {"reached": number(self.reached), "total": number(people)}
        if not people:
            if any(row.preparing for row in self.people_rows):
                return _("Finding the people to write to")
            if any(row.broadcast for row in self.rows):
                done = all(row.finished for row in self.rows if row.broadcast)
                return _("Posted") if done else _("Being posted")
            return _("No subscriber matched: nobody was written to")
        if self.reached == self.total:
            return ngettext("%(total)s person reached", "All %(total)s people reached", self.total) % numbers
        text = ngettext(
            "%(reached)s of %(total)s person reached", "%(reached)s of %(total)s people reached", self.total
        )
        return text % numbers


def number(n: int) -> str:
    """A count for people: 12,431."""
    return formats.number_format(n, use_l10n=True, force_grouping=True)


def left(seconds: float) -> str:
    """“about 40 s left”: rounded as coarsely as people would."""
    if seconds < 60:
        return _("about %(n)s s left") % {"n": max(5, round(seconds / 5) * 5)}
    if seconds < 5400:
        return _("about %(n)s min left") % {"n": round(seconds / 60)}
    return _("about %(n)s h left") % {"n": round(seconds / 3600)}


# ── Counting ────────────────────────────────────────────────────────────────


def board(update: IncidentUpdate) -> Board:
    """Count it all, in a constant number of queries however many people it goes to."""
    now = timezone.now()
    found = progress_of(publishing.dispatches(update))
    seen = worker_seen()
    rows: dict[tuple[int, str], Row] = {}
    for part in found:
        channel, purpose = part.dispatch.channel, part.dispatch.purpose
        row = rows.get((channel.pk, purpose))
        if row is None:
            able = channel.capabilities
            row = Row(channel, purpose, [], bool(able and able.broadcast), worker_seen=seen, now=now)
            rows[channel.pk, purpose] = row
        row.parts.append(part)
    ordered = sorted(rows.values(), key=lambda r: (ORDER.index(r.purpose), r.channel.name))
    unfinished = [row for row in ordered if not row.finished]
    if unfinished:
        _measure(unfinished, now)
    _count_views(ordered)
    return Board(update, ordered, _failures(ordered), seen, now)


NOT_REACHED = [one for one in Delivery.Status if one not in Delivery.REACHED]


def _measure(rows: list[Row], now: datetime) -> None:
    """Rate over the last half minute, and the next try where all work is waiting for one."""
    ids = [part.dispatch.pk for row in rows for part in row.parts]
    since = now - timedelta(seconds=PACE_SECONDS)
    recent = Delivery.objects.filter(dispatch__in=ids, at__gte=since)
    pace = {
        (channel, purpose): n / max(1.0, (now - first).total_seconds())
        for channel, purpose, n, first in recent.values_list("dispatch__channel_id", "dispatch__purpose")
        .annotate(n=Count("id"), first=Min("at"))
        .order_by()
    }
    waiting = Batch.objects.filter(dispatch__in=ids, done_at__isnull=True)
    tries = {
        (channel, purpose): at
        for channel, purpose, at in waiting.values_list("dispatch__channel_id", "dispatch__purpose")
        .annotate(at=Min("next_try_at"))
        .order_by()
    }
    for row in rows:
        key = (row.channel.pk, row.purpose)
        row.rate = pace.get(key, 0.0)
        row.next_try_at = tries.get(key)


def _count_views(rows: list[Row]) -> None:
    """Fill in `shown` where the readers' browsers tell; without such a channel this asks nothing."""
    telling = [row for row in rows if (able := row.channel.capabilities) and able.counted]
    if telling:
        found = counted(part.dispatch.pk for row in telling for part in row.parts)
        for row in telling:
            row.shown = found[row.channel.pk]


def _failures(rows: list[Row]) -> list[Failure]:
    """By channel and reason, most people first, each with one example of what the provider said."""
    grouped: dict[tuple[int, str, str, str], Failure] = {}
    for row in rows:
        for part in row.parts:
            for (status, code), people in part.reasons.items():
                key = (row.channel.pk, row.purpose, status, code)
                failure = grouped.setdefault(key, Failure(row, status, code, 0))
                failure.people += people
    if grouped:
        ids = [part.dispatch.pk for row in rows for part in row.parts if part.reasons]
        examples = (
            # Named, not excluded, so that the index leads to them past all that arrived.
            Delivery.objects.filter(dispatch__in=ids, status__in=NOT_REACHED)
            .values_list("dispatch__channel_id", "dispatch__purpose", "status", "code")
            .annotate(detail=Max("detail"))
            .order_by()
        )
        for channel, purpose, status, code, detail in examples:
            example = grouped.get((channel, purpose, status, code))
            if example:  # not if it failed since the count was taken
                example.detail = example.row.channel.mask(detail)
    return sorted(grouped.values(), key=lambda f: (f.status == Delivery.Status.SKIPPED, -f.people))
