"""The vocabulary that incidents, templates and the status page share."""

import re
import secrets

from django.db import models
from django.utils.translation import gettext_lazy as _


class Stage(models.TextChoices):
    """Where an incident stands, in the words of the Statuspage API."""

    INVESTIGATING = "investigating", _("Investigating")
    IDENTIFIED = "identified", _("Identified")
    MONITORING = "monitoring", _("Monitoring")
    RESOLVED = "resolved", _("Resolved")
    POSTMORTEM = "postmortem", _("Review published")
    SCHEDULED = "scheduled", _("Scheduled")
    IN_PROGRESS = "in_progress", _("In progress")
    VERIFYING = "verifying", _("Verifying")
    COMPLETED = "completed", _("Completed")


INCIDENT_STAGES = (Stage.INVESTIGATING, Stage.IDENTIFIED, Stage.MONITORING, Stage.RESOLVED)
# What planned work goes through; prepared words there are for all but the checks afterwards.
MAINTENANCE_STAGES = (Stage.SCHEDULED, Stage.IN_PROGRESS, Stage.VERIFYING, Stage.COMPLETED)
NOTICE_STAGES = (Stage.SCHEDULED, Stage.IN_PROGRESS, Stage.COMPLETED)
OVER = (Stage.RESOLVED, Stage.POSTMORTEM, Stage.COMPLETED)


class ComponentStatus(models.TextChoices):
    OPERATIONAL = "operational", _("Operational")
    DEGRADED = "degraded_performance", _("Degraded performance")
    PARTIAL = "partial_outage", _("Partial outage")
    MAJOR = "major_outage", _("Major outage")
    MAINTENANCE = "under_maintenance", _("Under maintenance")


# Worst last; maintenance hides behind any outage.
BADNESS = {
    ComponentStatus.OPERATIONAL: 0,
    ComponentStatus.MAINTENANCE: 1,
    ComponentStatus.DEGRADED: 2,
    ComponentStatus.PARTIAL: 3,
    ComponentStatus.MAJOR: 4,
}


class Severity(models.TextChoices):
    SEV1 = "sev1", _("SEV 1 · critical")
    SEV2 = "sev2", _("SEV 2 · major")
    SEV3 = "sev3", _("SEV 3 · minor")
    SEV4 = "sev4", _("SEV 4 · notice")


# What the public status API calls the impact of an incident.
# What an impact means for a component, where nobody says more: of incidents that come from elsewhere.
IMPLIED = {
    "critical": ComponentStatus.MAJOR,
    "major": ComponentStatus.PARTIAL,
    "minor": ComponentStatus.DEGRADED,
    "maintenance": ComponentStatus.MAINTENANCE,
}
IMPACT = {Severity.SEV1: "critical", Severity.SEV2: "major", Severity.SEV3: "minor", Severity.SEV4: "none"}

# The words of one message in one language. One set serves every channel, so that no two channels disagree:
# the first five make email, status page and chat; SMS and social post have their own because of their length.
WORDS = {
    "subject": _("Subject"),
    "issue": _("What is happening"),
    "impact": _("Who is affected, and how"),
    "outlook": _("What happens next"),
    "action": _("What you can do meanwhile"),
    "sms": _("SMS"),
    "post": _("Social post"),
}

# What XML cannot carry (the feeds would break) and nobody types on purpose.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def plain(text: str) -> str:
    """Text without control characters; line ends as \\n, none around it."""
    return CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def one_line(text: str) -> str:
    """Plain text that fits a title or subject: any white space is one space."""
    return " ".join(plain(text).split())


# No vowels, so that no word appears by chance; no 0/o or 1/l.
ALPHABET = "bcdfghjkmnpqrstvwxz23456789"


def new_uid() -> str:
    """A public identifier of 12 characters, as the Statuspage API uses them."""
    return "".join(secrets.choice(ALPHABET) for _i in range(12))


class WordsModel(models.Model):
    """The columns of WORDS."""

    subject = models.CharField(WORDS["subject"], max_length=200, blank=True)
    issue = models.TextField(WORDS["issue"], blank=True)
    impact = models.TextField(WORDS["impact"], blank=True)
    outlook = models.TextField(WORDS["outlook"], blank=True)
    action = models.TextField(WORDS["action"], blank=True)
    sms = models.TextField(WORDS["sms"], blank=True)
    post = models.TextField(WORDS["post"], blank=True)

    class Meta:
        abstract = True

    def words(self) -> dict[str, str]:
        """Field of WORDS → text."""
        return {field: getattr(self, field) for field in WORDS}
