"""The steps that a runbook may have, one class each: its settings as form fields, and what it does.

A step of this database alone is done within one transaction, together with what is written down of it: a worker that
dies in the middle has done nothing. A step that talks to the network (`Calling`) is written down before, and done
outside a transaction; one that was interrupted is done again only where the receiver knows that it is the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from incidents import approving, declaring, rendering, telling_staff
from incidents.clock import holders
from incidents.errors import Refused
from incidents.models import (
    OVER,
    Decision,
    Incident,
    IncidentUpdate,
    Role,
    RunbookRun,
    RunbookStepRun,
    Severity,
    StaffNotice,
)
from incidents.models.decision import name_of
from incidents.models.runbook import STAGES

from .outcome import Outcome, done, failed, left_out, waits

Status = IncidentUpdate.Status
Config = Mapping[str, Any]
LONGEST_MINUTES = 7 * 24 * 60
# What the texts of a runbook may say. They are for staff: customers read approved updates only.
TEXT_VARIABLES = {
    "organisation": gettext_lazy("the name of our organisation"),
    "title": gettext_lazy("the title of the incident"),
    "components": gettext_lazy("the affected components, as in “Checkout and Payments API”"),
    "severity": gettext_lazy("its severity"),
    "stage": gettext_lazy("its stage, as customers know it"),
    "status_url": gettext_lazy("the address of the incident on the status page"),
}


def check_text(value: str) -> None:
    if found := rendering.problems(value, TEXT_VARIABLES):
        raise ValidationError(found)


def filled(text: str, incident: Incident, to_staff: bool = False) -> str:
    """With the values put in. `to_staff`: whoever reads it may open the portal, where customers see nothing yet."""
    names = [one.component.name for one in incident.incident_components.select_related("component")]
    hidden = to_staff and not incident.published_at
    values = {
        "organisation": settings.PORTAL_NAME,
        "title": incident.title,
        "components": get_text_list(names, _("and")),
        "severity": str(incident.get_severity_display()),
        "stage": str(incident.get_stage_display()),
        "status_url": _staff_page(incident) if hidden else rendering.status_url(incident),
    }
    return rendering.fill(text, values)


def _staff_page(incident: Incident) -> str:
    """Where staff read of what customers do not see yet."""
    return f"{settings.PORTAL_URL}/admin/incidents/incident/{incident.pk}/change/"


def text_field(label: Any, most: int = 500) -> forms.CharField:
    words = gettext_lazy("You may write {{ title }}, {{ components }}, {{ severity }}, {{ stage }}, {{ status_url }}.")
    return forms.CharField(
        label=label, max_length=most, widget=forms.Textarea(attrs={"rows": 3}), validators=[check_text], help_text=words
    )


def role_field(label: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=Role.choices)


def minutes_field(label: Any, least: int, help_text: Any = "") -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=least, max_value=LONGEST_MINUTES, help_text=help_text)


def severities_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=gettext_lazy("Severities"), choices=Severity.choices, required=False, help_text=gettext_lazy("None: any.")
    )


def stages_field(required: bool = False) -> forms.MultipleChoiceField:
    text = "" if required else gettext_lazy("None: any.")
    return forms.MultipleChoiceField(label=gettext_lazy("Stages"), choices=STAGES, required=required, help_text=text)


class Kind(ABC):
    """A kind of step. `fields` are its settings: name → form field."""

    label: ClassVar[str | Promise]
    fields: ClassVar[dict[str, forms.Field]] = {}
    offered: ClassVar[bool] = True  # to whoever writes a runbook

    @abstractmethod
    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        """Begin it, or look again at what waits. Raises Problem where a verb refuses: the step then waits."""

    def check(self, config: Config) -> None:
        """Raises Refused where settings that are right one by one do not fit together."""

    def in_words(self, config: Config) -> str:
        """What it does with these settings, for whoever reads the runbook."""
        return ""

    def items(self, config: Config) -> list[str]:
        """What a person is to tick off, one thing each."""
        return []


class Draft(Kind):
    label = gettext_lazy("Write the draft of an update")
    fields: ClassVar = {
        "stage": forms.ChoiceField(
            label=gettext_lazy("For the stage"),
            choices=[("", gettext_lazy("As the incident stands")), *STAGES],
            required=False,
        ),
        "words": forms.ChoiceField(
            label=gettext_lazy("In the words of"),
            choices=[
                ("template", gettext_lazy("the template")),
                ("no_change", gettext_lazy("the last update, saying that nothing has changed")),
            ],
        ),
    }

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        incident = run.incident
        if incident.is_over:
            return left_out(_("The incident is over."))
        pending = incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()
        if pending:
            run.update = pending
            return done(_("An update was being written already: this goes on with it."))
        if config["words"] == "no_change":
            run.update = declaring.start_no_change(incident, run.by)
        else:
            run.update = declaring.start_draft(incident, run.by, config.get("stage") or None)
        return done(_("Draft %(number)d was written.") % {"number": run.update.number})

    def in_words(self, config: Config) -> str:
        if config.get("words") == "no_change":
            return _("“Nothing has changed”, in the words of the last update")
        stage = dict(STAGES).get(config.get("stage", ""))
        return _("From the template for “%(stage)s”") % {"stage": stage} if stage else _("From the template")


class Approval(Kind):
    """Asks for the approval that the plan wants, and waits until it is there."""

    label = gettext_lazy("Ask for approval, and wait for it")

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        update = _update_of(run)
        if isinstance(update, Outcome):
            return update
        if update.status == Status.DRAFT and not log.facts.get("asked"):
            log.facts["asked"] = True  # a draft that somebody is working on is not sent for approval over their heads
            try:
                update = update.submit(run.by)
                asked = update.decisions.filter(verb=Decision.Verb.SUBMIT).order_by("-pk")
                log.facts["decision"] = asked.values_list("pk", flat=True).first()  # that it was not the person's own
            except Refused as refusal:
                found = "; ".join(str(one.message) for one in refusal.findings if one.blocks) or str(refusal)
                return waits(_("The draft needs a person before approval can be asked for: %(why)s") % {"why": found})
        if update.status in (Status.APPROVED, Status.PUBLISHED):
            return done(_("Approved by %(who)s.") % {"who": name_of(update.approved_by)} if update.approved_by else "")
        if update.status == Status.IN_REVIEW:
            people = ", ".join(name_of(one) for one in approving.approvers(update)) or _("nobody who may")
            return waits(_("Waits for the approval of: %(who)s.") % {"who": people})
        return waits(log.note or _("It is a draft again: it waits until somebody asks for approval."))


class Publish(Kind):
    """Publishes what is approved: in the name of whoever the run acts for, or else of whoever approved it."""

    label = gettext_lazy("Publish what was approved")

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        update = _update_of(run)
        if isinstance(update, Outcome):
            return update
        if update.status == Status.PUBLISHED:
            return done(_("Published."))
        if update.status != Status.APPROVED:
            return waits(_("It is not approved yet."))
        if update.approved_at and update.approved_at < run.started_at:
            # Whoever approved it then was told of no runbook, and perhaps held it back on purpose.
            return waits(_("It was approved before this began: a person has to publish it."))
        people = [run.by, update.approved_by]
        for person in people:
            if person and update.may("publish", person):
                update.publish(person)
                return done(_("Published in the name of %(who)s.") % {"who": name_of(person)})
        return waits(_("Neither who started this nor who approved may publish: a person who may has to."))


def _update_of(run: RunbookRun) -> IncidentUpdate | Outcome:
    """The update that the run is about; an outcome where there is none, or it was withdrawn."""
    if run.update is None:
        run.update = run.incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).first()
    if run.update is None:
        return left_out(_("No update is being written."))
    if run.update.status == Status.WITHDRAWN:
        return failed(_("The update was withdrawn: skip what would publish it, or stop."))
    return run.update


class Wait(Kind):
    label = gettext_lazy("Wait")
    fields: ClassVar = {"minutes": minutes_field(gettext_lazy("Minutes"), 1)}

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        end = log.began_at + timedelta(minutes=config["minutes"])
        if timezone.now() >= end:
            return done()
        return waits(_("Until %(time)s.") % {"time": rendering.moment(end)}, end)

    def in_words(self, config: Config) -> str:
        return _("%(n)s minutes") % {"n": config.get("minutes")}


class WaitFor(Kind):
    label = gettext_lazy("Wait until customers are told of a stage")
    fields: ClassVar = {
        "stages": stages_field(required=True),
        "minutes": minutes_field(gettext_lazy("At most, minutes"), 0, gettext_lazy("0: as long as it takes.")),
        "late": forms.ChoiceField(
            label=gettext_lazy("If it does not come by then"),
            choices=[("go_on", gettext_lazy("go on")), ("halt", gettext_lazy("stand still until a person decides"))],
        ),
    }

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        incident = run.incident
        if incident.published_at and incident.stage in config["stages"]:
            return done(_("Customers were told: %(stage)s.") % {"stage": incident.get_stage_display()})
        if incident.stage in OVER:
            return left_out(_("The incident is over."))
        end = log.began_at + timedelta(minutes=config["minutes"]) if config["minutes"] else None
        if end is None or timezone.now() < end:
            return waits(self.in_words(config))
        text = _("It did not come by %(time)s.") % {"time": rendering.moment(end)}
        return failed(text) if config["late"] == "halt" else left_out(text)

    def in_words(self, config: Config) -> str:
        names = [str(dict(STAGES).get(one, one)) for one in config.get("stages", ())]
        return _("Until customers are told: %(stages)s.") % {"stages": get_text_list(names, _("or"))}


class Notify(Kind):
    label = gettext_lazy("Tell a role")
    fields: ClassVar = {"role": role_field(gettext_lazy("Role")), "text": text_field(gettext_lazy("What to tell"))}

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        people = holders(run.incident, config["role"])
        if not people:
            return left_out(_("Nobody holds this role: %(role)s.") % {"role": Role(config["role"]).label})
        _tell(run, log, people, config["text"])
        return done(_("Told: %(who)s.") % {"who": ", ".join(name_of(one) for one in people)})

    def in_words(self, config: Config) -> str:
        return f"{Role(config['role']).label}: “{config['text']}”"


class Chat(Kind):
    label = gettext_lazy("Write in the chat for staff")
    fields: ClassVar = {"text": text_field(gettext_lazy("What to write"))}

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        plan = run.incident.plan_version
        rooms = plan.staff_channels() if plan else []
        if not rooms:
            return left_out(_("The plan names no chat for staff."))
        _tell(run, log, rooms, config["text"])
        return done(_("Written in: %(rooms)s.") % {"rooms": ", ".join(one.name for one in rooms)})

    def in_words(self, config: Config) -> str:
        return f"“{config['text']}”"


def _tell(run: RunbookRun, log: RunbookStepRun, whom: list[Any], text: str) -> None:
    def words() -> tuple[str, str]:
        return f"{run.incident.title}: {run}", filled(text, run.incident, to_staff=True)

    path = f"/admin/incidents/runbookrun/{run.pk}/change/"
    telling_staff.tell_only(whom, StaffNotice.Kind.RUNBOOK, f"{run.pk}:{log.index}", words, path, run.incident)


class Ask(Kind):
    """A list that a person works through. Only `running.answer` ends it."""

    label = gettext_lazy("Ask a person (checklist)")
    fields: ClassVar = {
        "role": role_field(gettext_lazy("Whom")),
        "items": forms.CharField(
            label=gettext_lazy("What to check, one thing a line"),
            max_length=4000,
            widget=forms.Textarea(attrs={"rows": 4}),
        ),
    }

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        people = holders(run.incident, config["role"])
        who = ", ".join(name_of(one) for one in people) or str(Role(config["role"]).label)
        if people and not log.facts.get("told"):
            log.facts["told"] = True
            _tell(run, log, people, _("A checklist of the runbook waits for you."))
        return waits(_("Waits for: %(who)s.") % {"who": who})

    def in_words(self, config: Config) -> str:
        return str(Role(config["role"]).label)

    def items(self, config: Config) -> list[str]:
        return lines(config["items"])


def lines(text: str) -> list[str]:
    return [one.strip() for one in text.splitlines() if one.strip()]


class Branch(Kind):
    label = gettext_lazy("Go on only if …, or else jump")
    fields: ClassVar = {
        "severities": severities_field(),
        "stages": stages_field(),
        "to": forms.IntegerField(
            label=gettext_lazy("If not, go on with step"),
            min_value=0,
            max_value=99,
            help_text=gettext_lazy("The number of a later step; 0: that was the last step."),
        ),
    }

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        incident = run.incident
        fits = (not config["severities"] or incident.severity in config["severities"]) and (
            not config["stages"] or incident.stage in config["stages"]
        )
        if fits:
            return done(_("It applies."))
        return done(_("It does not apply."), jump=config["to"] - 1 if config["to"] else len(run.steps))

    def in_words(self, config: Config) -> str:
        named = [str(Severity(one).label) for one in config.get("severities", ())]
        named += [str(dict(STAGES)[one]) for one in config.get("stages", ())]
        target = _("step %(n)d") % {"n": config["to"]} if config.get("to") else _("the end")
        return _("If %(what)s; else on to %(target)s") % {"what": ", ".join(named) or "—", "target": target}


class Calling(Kind):
    """A step that talks to the network. `do` is called outside a transaction."""

    def repeats(self, config: Config) -> bool:
        """Whether it may be done again after it perhaps was: the receiver knows that it is the same."""
        return False
