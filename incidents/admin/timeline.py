"""What the portal did by itself in an incident, told in its timeline: what the clock did, and how runbooks went."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Prefetch
from django.utils.translation import gettext as _

from incidents import rendering, telling_staff
from incidents.models import Incident, PromiseBreach, RunbookRun, RunbookStepRun, StaffNotice
from incidents.models.decision import name_of

from .runbook import title_of
from .runbook_run import was_stopped

Kind = StaffNotice.Kind


def runs_of(incident: Incident) -> list[RunbookRun]:
    """Newest first, with what became of their steps. Two queries."""
    log = Prefetch("log", RunbookStepRun.objects.select_related("by"))
    return list(incident.runs.select_related("by").prefetch_related(log))


def happenings(incident: Incident, runs: Iterable[RunbookRun], broken: Iterable[PromiseBreach]) -> list[dict[str, Any]]:
    """{"at", "text"}, newest first. One query."""
    found = [*_clock(incident, broken), *(one for run in runs for one in _run(run))]
    return sorted(found, key=lambda one: one["at"], reverse=True)


def asked(runs: Iterable[RunbookRun]) -> dict[int, str]:
    """{key of a decision: that it was a runbook that asked for this approval}."""
    found = {}
    for run in runs:
        text = _("The runbook “%(name)s” asked for approval, as started by %(who)s")
        if run.trigger:
            text = _("The runbook “%(name)s” asked for approval, in the name of %(who)s")
        for one in run.log.all():
            if decision := one.facts.get("decision"):
                found[decision] = text % {"name": run, "who": name_of(run.by)}
    return found


# ── The clock ───────────────────────────────────────────────────────────────


def _clock(incident: Incident, broken: Iterable[PromiseBreach]) -> Iterator[dict[str, Any]]:
    kinds = (Kind.REMINDER, Kind.BREACH, Kind.ESCALATED)
    notices = StaffNotice.objects.filter(incident=incident, kind__in=kinds).exclude(
        outcome=StaffNotice.Outcome.OBSOLETE
    )
    occasions: dict[str, list[StaffNotice]] = {}
    for one in notices.select_related("user", "channel", "update").order_by("pk"):
        about, _whom, _medium = one.key.rsplit(":", 2)
        occasions.setdefault(about, []).append(one)
    for breach in broken:
        told = occasions.pop(f"{Kind.BREACH}:{incident.pk}:{telling_staff.about(breach.due_at)}", [])
        what = {"what": breach.get_kind_display(), "time": rendering.moment(breach.due_at)}
        text = _("A promise was broken: %(what)s, due %(time)s.") % what
        yield {
            "at": breach.noticed_at,
            "text": " ".join([text, *([_("Told: %(who)s.") % {"who": _names(told)}] if told else [])]),
        }
    for told in occasions.values():
        first = told[0]
        if first.kind == Kind.REMINDER:
            text = _("An update was due soon. Reminded: %(who)s.") % {"who": _names(told)}
        elif first.kind == Kind.ESCALATED and first.update:
            text = _("Update %(number)d still waited for approval. Asked as well: %(who)s.")
            text %= {"number": first.update.number, "who": _names(told)}
        else:
            continue
        yield {"at": first.created_at, "text": text}


def _names(told: list[StaffNotice]) -> str:
    """Who was told; beside a name to whom nothing went out, why."""
    whom: dict[Any, tuple[str, str]] = {}
    for one in told:
        key = (one.user_id, one.channel_id)
        fate = "" if one.outcome == StaffNotice.Outcome.SENT else one.get_outcome_display()
        if key not in whom or not fate:  # one way is enough
            whom[key] = (name_of(one.user) if one.user else str(one.channel), fate)
    return ", ".join(f"{name} ({fate})" if fate else name for name, fate in whom.values())


# ── Runbooks ────────────────────────────────────────────────────────────────


def _run(run: RunbookRun) -> Iterator[dict[str, Any]]:
    what = {"name": run, "who": name_of(run.by), "why": run.get_trigger_display()}
    text = _("%(who)s started the runbook “%(name)s”.")
    if run.trigger:
        text = _("The runbook “%(name)s” started by itself (%(why)s), in the name of %(who)s.")
    yield {"at": run.started_at, "text": text % what}
    for one in run.log.all():
        if one.state == RunbookStepRun.State.SKIPPED and one.ended_at and not was_stopped(run, one):
            what = {"name": run, "step": title_of(run.steps[one.index]), "who": name_of(one.by), "why": one.note}
            text = _("The runbook “%(name)s” left out “%(step)s”: %(why)s")
            if one.by:
                text = _("%(who)s skipped “%(step)s” of the runbook “%(name)s”: %(why)s")
            yield {"at": one.ended_at, "text": text % what}
    if run.finished_at:
        text = _("The runbook “%(name)s” is done.")
        if run.state == RunbookRun.State.STOPPED:
            text = _("The runbook “%(name)s” ended early. %(why)s")
        yield {"at": run.finished_at, "text": text % {"name": run, "why": run.reason}}
