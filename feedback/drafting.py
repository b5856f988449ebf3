"""What the facts say of how an incident was communicated, in plain sentences: the first draft of its review.

Each sentence under “what went well” and “what to improve” follows from a rule, and names the figure that says so.
docs/reference/reviews.md lists the rules.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import Count
from django.utils import formats, timezone, translation
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from channels.models import Delivery, Dispatch
from channels.reasons import explain
from incidents.models import BADNESS, OVER, ComponentStatus, Decision, Incident, IncidentUpdate, PromiseBreach, Stage

from . import reports, wording
from .people import people
from .reports import RIGHT_WITHIN, IncidentFacts, Reach
from .wording import duration, number, percent, score

# From when on a figure is praised, or asks to be improved.
REACHED_WELL, REACHED_BADLY = 0.98, 0.95
APPROVED_WELL, APPROVED_BADLY = 5 * 60, 10 * 60
SCORED_WELL, SCORED_BADLY = 4.0, 3.0
ANSWERS_AT_LEAST = 5  # fewer say little of all
ANSWERED_BADLY = 0.1


def draft(incident: Incident, locale: str) -> dict[str, str]:
    """{part of models.review.PARTS: Markdown}, in this language; empty where the figures say nothing."""
    [one] = reports.gather(Incident.objects.filter(pk=incident.pk))
    with translation.override(locale):
        return {
            "happened": _paragraphs(_happened(incident, one, locale)),
            "told": _paragraphs(_told(one)),
            "reached": _paragraphs(_reached(incident, one)),
            "worked": _paragraphs(_worked(incident, one)),
            "well": _bullets(_well(one)),
            "improve": _bullets(_improve(one)),
            "timeline": _timeline(incident, one, locale),
        }


# ── How it is written ───────────────────────────────────────────────────────


def _paragraphs(sentences: Iterator[str]) -> str:
    """One paragraph, and each quotation one of its own."""
    parts: list[str] = []
    for sentence in sentences:
        if parts and not sentence.startswith(">") and not parts[-1].startswith(">"):
            parts[-1] += f" {sentence}"
        else:
            parts.append(sentence)
    return "\n\n".join(parts)


def _bullets(sentences: Iterator[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def literal(text: str) -> str:
    """A text of somebody's in Markdown, as it stands: on one line, and none of its signs means anything."""
    return "".join(f"\\{sign}" if sign in r"\`*_[]<>|#~" else sign for sign in " ".join(text.split()))


def _when(at: datetime) -> str:
    """With its year and zone: a review is read long after."""
    local = timezone.localtime(at)
    return f"{formats.date_format(local, _('j M Y, H:i'))} {local.tzname()}"


# ── Parts ───────────────────────────────────────────────────────────────────


def _happened(incident: Incident, one: IncidentFacts, locale: str) -> Iterator[str]:
    own = list(incident.components.order_by("position", "name"))
    # Whoever reads this may be a customer: private ones only where there are no others, as in messages.
    named = [c for c in own if not c.private] or own
    published = _published(incident)
    keys = {str(c.pk) for c in named}
    states = [
        ComponentStatus(state) for update in published for key, state in update.component_states.items() if key in keys
    ]
    words = {
        "start": _when(one.started_at),
        "end": _when(one.resolved_at) if one.resolved_at else "",
        "time": duration(one.duration),
        "components": get_text_list([literal(c.name) for c in named], _("and")),
    }
    if named and one.resolved_at:
        yield _("From %(start)s to %(end)s (%(time)s) this affected %(components)s.") % words
    elif one.resolved_at:
        yield _("It lasted from %(start)s to %(end)s (%(time)s).") % words
    else:
        yield _("It began on %(start)s.") % words
    worst = max(states, key=BADNESS.__getitem__, default=ComponentStatus.OPERATIONAL)
    if worst != ComponentStatus.OPERATIONAL:
        yield _("At its worst it was: %(state)s.") % {"state": str(worst.label).lower()}
    last = next((u for u in reversed(published) if u.stage in OVER and u.stage != Stage.POSTMORTEM), None)
    said = _page(last, locale) if last else ""
    if said:
        yield _("When it was over, customers read:")
        yield "\n".join(f"> {line}".rstrip() for line in said.splitlines())


def _told(one: IncidentFacts) -> Iterator[str]:
    if not one.updates:
        yield _("No update was published.")
        return
    if one.first_from_start is not None:
        yield _("Customers first heard of it %(time)s after it began.") % {"time": duration(one.first_from_start)}
    if one.first_from_declared is not None and not one.imported:
        words = {"time": duration(one.first_from_declared), "allowed": duration(one.first_allowed)}
        if one.updates[0].late:
            yield _("From declaring it to the first update it took %(time)s; %(allowed)s were allowed: late.") % words
        else:
            yield (
                _("From declaring it to the first update it took %(time)s; %(allowed)s were allowed: in time.") % words
            )
    said = [u for u in one.updates if u.stage != Stage.POSTMORTEM]
    yield ngettext("%(n)s update was published.", "%(n)s updates were published.", len(said)) % {"n": number(len(said))}
    if one.due:
        words = {"late": number(one.late), "due": number(one.due)}
        if one.late:
            yield _("Of %(due)s that were due by a time, %(late)s came late.") % words
        else:
            yield _("None of the %(due)s that were due by a time came late.") % words
    if one.longest_gap is not None:
        words = {"gap": duration(one.longest_gap), "interval": duration(one.interval)}
        yield _("The longest silence between two updates was %(gap)s; one was to come every %(interval)s.") % words
    if one.expectation:
        told = one.expectation
        words = {"first": _when(told.first), "off": wording.off(told.first_off)}
        yield _("The first time named for the resolution was %(first)s; it was resolved %(off)s.") % words
        if told.revisions:
            words = {"n": number(told.revisions), "off": wording.off(told.last_off)}
            yield (
                ngettext(
                    "That time was changed %(n)s time; of the last one told, it was resolved %(off)s.",
                    "That time was changed %(n)s times; of the last one told, it was resolved %(off)s.",
                    told.revisions,
                )
                % words
            )
    else:
        yield _("No update named a time for the resolution.")


def _reached(incident: Incident, one: IncidentFacts) -> Iterator[str]:
    found = people(incident)
    if found.all:
        rate = percent((found.reached or 0) / found.all)
        words = {"reached": number(found.reached or 0), "all": number(found.all), "rate": rate}
        yield _("At least one message reached %(reached)s of %(all)s people (%(rate)s).") % words
    elif found.all == 0:
        yield _("No message was sent to a person.")
    for reach in one.channels:
        if reach.total and not reach.broadcast:
            words = {"channel": literal(reach.channel), "rate": percent(reach.rate), "n": number(reach.total)}
            yield _("%(channel)s: %(rate)s of %(n)s messages.") % words
    if one.reach.failed:
        words = {"n": number(one.reach.failed), "reasons": _reasons(incident)}
        yield _("Failed for good: %(n)s, mostly: %(reasons)s.") % words
    if one.reach.unknown:
        yield _("Not known whether they arrived: %(n)s.") % {"n": number(one.reach.unknown)}
    survey = one.survey
    if survey.answered:
        words = {
            "answered": number(survey.answered),
            "invited": number(survey.invited),
            "clear": score(survey.mean("clear")),
            "timely": score(survey.mean("timely")),
            "useful": score(survey.mean("useful")),
        }
        yield (
            _(
                "In the survey %(answered)s of %(invited)s answered: clear %(clear)s, timely %(timely)s, "
                "useful %(useful)s of 5."
            )
            % words
        )
    elif survey.invited:
        yield _("Of %(invited)s who were asked in the survey, nobody answered.") % {"invited": number(survey.invited)}
    else:
        yield _("Nobody was asked in a survey.")


def _reasons(incident: Incident) -> str:
    """The reasons of failures in words, the most frequent first."""
    rows = (
        Delivery.objects.filter(
            dispatch__in=Dispatch.objects.filter(thread=incident.thread, purpose=Dispatch.Purpose.UPDATE).values("pk"),
            status=Delivery.Status.FAILED,
        )
        .values_list("code")
        .annotate(n=Count("*"))
        .order_by("-n", "code")
    )
    counts: dict[str, int] = {}
    for code, n in rows:
        words = str(explain(code).words)
        counts[words] = counts.get(words, 0) + n
    return ", ".join(f"{words.lower()}: {number(n)}" for words, n in list(counts.items())[:3])


def _worked(incident: Incident, one: IncidentFacts) -> Iterator[str]:
    if one.imported:
        yield _("This incident was imported: who approved it, and how long that took, is not known.")
        return
    if one.waits:
        words = {"all": duration(one.waited), "longest": duration(max(one.waits))}
        yield _("Updates waited %(all)s for approval altogether, the longest %(longest)s.") % words
    else:
        yield _("No update waited for approval.")
    back = Decision.objects.filter(incident=incident, verb=Decision.Verb.REJECT).count()
    if back:
        yield ngettext("One was sent back once.", "Updates were sent back %(n)s times.", back) % {"n": number(back)}
    if one.glass:
        words = {"n": number(one.glass), "open": number(one.glass_open)}
        yield (
            ngettext(
                "%(n)s update went out without a second person; not reviewed since: %(open)s.",
                "%(n)s updates went out without a second person; not reviewed since: %(open)s.",
                one.glass,
            )
            % words
        )
    else:
        yield _("Nothing went out without a second person or approved templates.")
    if one.breaches:
        yield ngettext("%(n)s promise was broken.", "%(n)s promises were broken.", len(one.breaches)) % {
            "n": number(len(one.breaches))
        }


# ── Rules ───────────────────────────────────────────────────────────────────


def _well(one: IncidentFacts) -> Iterator[str]:
    if one.updates and one.updates[0].late is False:
        words = {"time": duration(one.first_from_declared), "allowed": duration(one.first_allowed)}
        yield _("The first update came in time: %(time)s after declaring, %(allowed)s were allowed.") % words
    if one.gaps and one.cadence == 1:
        words = {"gap": duration(one.longest_gap), "interval": duration(one.interval)}
        yield _("Updates came regularly: no silence longer than %(gap)s, %(interval)s were allowed.") % words
    promised = [u for u in one.updates if u.kept_promise is not None]
    if promised and all(u.kept_promise for u in promised) and not one.breaches:
        yield _("Every time promised for the next update was kept (%(n)s).") % {"n": number(len(promised))}
    if one.expectation and one.expectation.first_off is not None and abs(one.expectation.first_off) <= RIGHT_WITHIN:
        off = {"off": wording.off(one.expectation.first_off)}
        yield _("The first time named for the resolution was right: it was resolved %(off)s.") % off
    if one.reach.rate is not None and one.reach.rate >= REACHED_WELL:
        yield _("Messages arrived: %(rate)s of %(n)s.") % {
            "rate": percent(one.reach.rate),
            "n": number(one.reach.total),
        }
    if one.waits and max(one.waits) <= APPROVED_WELL:
        yield _("Approval was quick: at most %(time)s.") % {"time": duration(max(one.waits))}
    for question, words in _scores(one):
        if one.survey.mean(question) >= SCORED_WELL:  # type: ignore[operator]
            yield {
                "clear": _("Customers found it clear: %(score)s of 5, of %(n)s answers."),
                "timely": _("Customers found it timely: %(score)s of 5, of %(n)s answers."),
                "useful": _("Customers found it useful: %(score)s of 5, of %(n)s answers."),
            }[question] % words


def _improve(one: IncidentFacts) -> Iterator[str]:
    yield from _improve_time(one)
    yield from _improve_reach(one)
    yield from _improve_approval(one)
    for question, words in _scores(one):
        if one.survey.mean(question) < SCORED_BADLY:  # type: ignore[operator]
            yield {
                "clear": _("Customers found it unclear: %(score)s of 5, of %(n)s answers. Read their comments."),
                "timely": _("Customers found it late: %(score)s of 5, of %(n)s answers. Read their comments."),
                "useful": _("It helped customers little: %(score)s of 5, of %(n)s answers. Read their comments."),
            }[question] % words
    rate = one.survey.rate
    if rate is not None and one.survey.invited >= 20 and rate < ANSWERED_BADLY:
        words = {"rate": percent(rate), "n": number(one.survey.invited)}
        yield _("Few answered the survey: %(rate)s of %(n)s who were asked.") % words


def _improve_time(one: IncidentFacts) -> Iterator[str]:
    if not one.updates and not one.imported:
        yield _("Customers were told nothing.")
    if one.updates and one.updates[0].late:
        words = {"time": duration(one.first_from_declared), "allowed": duration(one.first_allowed)}
        yield (
            _(
                "The first update came late: %(time)s after declaring, %(allowed)s were allowed. Prepare words for "
                "this kind of incident."
            )
            % words
        )
    late = sum(not kept for _gap, kept in one.gaps)
    if late:
        words = {"n": number(late), "all": number(len(one.gaps)), "gap": duration(one.longest_gap)}
        words["interval"] = duration(one.interval)
        yield (
            _(
                "%(n)s of %(all)s silences were longer than the %(interval)s that were allowed, the longest %(gap)s. "
                "Also “nothing has changed” is an update."
            )
            % words
        )
    if one.breaches:
        words = {"n": number(len(one.breaches)), "longest": duration(one.longest_breach)}
        yield (
            ngettext(
                "%(n)s promise was broken, by %(longest)s. Promise a time that can be kept.",
                "%(n)s promises were broken, the longest by %(longest)s. Promise times that can be kept.",
                len(one.breaches),
            )
            % words
        )
    told = one.expectation
    if told and told.first_off is not None and abs(told.first_off) > RIGHT_WITHIN:
        words = {"off": wording.off(told.first_off)}
        yield _("The first time named for the resolution was wrong: it was resolved %(off)s.") % words
    if not told and len(one.updates) > 1:
        yield _("No update named a time for the resolution: readers could not plan.")


def _improve_reach(one: IncidentFacts) -> Iterator[str]:
    if one.reach.rate is not None and one.reach.rate < REACHED_BADLY:
        words = {"rate": percent(one.reach.rate), "n": number(one.reach.total)}
        yield _("Only %(rate)s of %(n)s messages arrived.") % words
        worst: Reach = min((r for r in one.channels if r.total and not r.broadcast), key=lambda r: r.rate or 0.0)
        words = {"channel": literal(worst.channel), "rate": percent(worst.rate), "n": number(worst.total)}
        yield _("Fewest arrived by %(channel)s: %(rate)s of %(n)s.") % words
    if one.reach.unknown:
        yield _("Of %(n)s messages it is not known whether they arrived: somebody has to decide about them.") % {
            "n": number(one.reach.unknown)
        }


def _improve_approval(one: IncidentFacts) -> Iterator[str]:
    if one.waits and max(one.waits) > APPROVED_BADLY:
        words = {"time": duration(max(one.waits))}
        yield _("An update waited %(time)s for approval: name deputies, or approve templates beforehand.") % words
    if one.glass:
        yield (
            ngettext(
                "%(n)s update went out without a second person: see to it that somebody can be reached.",
                "%(n)s updates went out without a second person: see to it that somebody can be reached.",
                one.glass,
            )
            % {"n": number(one.glass)}
        )
    if one.glass_open:
        yield _("Of what went out without a second person, nobody has reviewed %(n)s yet.") % {
            "n": number(one.glass_open)
        }


def _scores(one: IncidentFacts) -> Iterator[tuple[str, dict[str, str]]]:
    """Each question, with its score and how many answered, if enough did."""
    if one.survey.answered >= ANSWERS_AT_LEAST:
        for question in ("clear", "timely", "useful"):
            yield question, {"score": score(one.survey.mean(question)), "n": number(one.survey.answered)}


# ── Timeline ────────────────────────────────────────────────────────────────

_STEPS = (Decision.Verb.REJECT, Decision.Verb.GLASS, Decision.Verb.GLASS_SEEN, Decision.Verb.SEVERITY)


def _timeline(incident: Incident, one: IncidentFacts, locale: str) -> str:
    """A table in Markdown: what happened, oldest first."""
    rows: list[tuple[datetime, str]] = [(one.started_at, _("It began."))]
    if one.declared_at and not one.imported:
        rows.append((one.declared_at, _("It was declared.")))
    for update in _published(incident):
        subject = literal((update.page.get(locale) or next(iter(update.page.values()), {})).get("subject", ""))
        words: dict[str, Any] = {"number": update.number, "stage": update.get_stage_display(), "subject": subject}
        text = _("Update %(number)s, %(stage)s: %(subject)s") if subject else _("Update %(number)s, %(stage)s")
        rows.append((update.published_at or update.created_at, text % words))
    for breach in one.breaches:
        broken = {"what": str(PromiseBreach.Kind(breach.kind).label), "time": duration(breach.late)}
        rows.append((breach.due, _("Promise broken (%(what)s): late by %(time)s.") % broken))
    for step in Decision.objects.filter(incident=incident, verb__in=_STEPS).select_related("update"):
        about = _("Update %(number)s") % {"number": step.update.number} + ": " if step.update else ""
        rows.append((step.at, literal(f"{about}{step.get_verb_display()}") + "."))
    if one.resolved_at:
        rows.append((one.resolved_at, _("It was resolved.")))
    rows.sort(key=lambda row: row[0])
    head = f"| {_('When')} | {_('What')} |\n|---|---|"
    return "\n".join([head, *(f"| {_when(at)} | {text} |" for at, text in rows)])


def _published(incident: Incident) -> list[IncidentUpdate]:
    found = incident.updates.filter(status=IncidentUpdate.Status.PUBLISHED, published_at__isnull=False)
    return list(found.order_by("published_at", "number"))


def _page(update: Any, locale: str) -> str:
    """What the status page showed of an update: in this language, or else in another."""
    words: dict[str, Any] = update.page.get(locale) or next(iter(update.page.values()), {})
    return words.get("text", "")
