"""Runbooks that come with the portal, to begin with: each does nothing until a plan names it, or a person starts it."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext_lazy

from incidents.models import Role, Runbook, RunbookStep

Trigger = Runbook.Trigger
SPEAK: list[dict[str, Any]] = [{"kind": "approval"}, {"kind": "publish"}]
READY: list[dict[str, Any]] = [
    {
        "name": gettext_lazy("First words"),
        "description": gettext_lazy(
            "Writes the draft from the template, asks for approval, publishes, and tells support."
        ),
        "triggers": [],
        "stages": [],
        "steps": [
            {"kind": "draft", "stage": "", "words": "template"},
            *SPEAK,
            {
                "kind": "notify",
                "role": Role.SUPPORT_LEAD.value,
                "text": gettext_lazy("Customers can read this now: {{ status_url }}. Please answer in the same words."),
            },
        ],
    },
    {
        "name": gettext_lazy("Nothing new, in time"),
        "description": gettext_lazy(
            "Before a promise breaks: writes that nothing has changed, asks for approval, and publishes."
        ),
        "triggers": [Trigger.CLOCK.value],
        "stages": [],
        "steps": [{"kind": "draft", "stage": "", "words": "no_change"}, *SPEAK],
    },
    {
        "name": gettext_lazy("Critical: bring people together"),
        "description": gettext_lazy("What to do in the first minutes of a critical incident."),
        "triggers": [Trigger.OPENED.value, Trigger.SEVERITY.value],
        "stages": [],
        "steps": [
            {"kind": "branch", "severities": ["sev1"], "stages": [], "to": 0},
            {"kind": "chat", "text": gettext_lazy("{{ severity }}: {{ title }}. Affected: {{ components }}.")},
            {
                "kind": "ask",
                "role": Role.INCIDENT_MANAGER.value,
                "items": gettext_lazy(
                    "Open the call, and say where it is\n"
                    "Name who speaks to customers, and who stands in for them\n"
                    "Stop planned posts and campaigns"
                ),
            },
        ],
    },
    {
        "name": gettext_lazy("After it is over"),
        "description": gettext_lazy("Nobody is left waiting for an answer, and the review has a date."),
        "triggers": [Trigger.STAGE.value],
        "stages": ["resolved"],
        "steps": [
            {"kind": "wait", "minutes": 15},
            {
                "kind": "ask",
                "role": Role.SUPPORT_LEAD.value,
                "items": gettext_lazy(
                    "Open tickets about it are answered\n"
                    "Large customers were spoken to\n"
                    "Questions that came often are written down"
                ),
            },
            {
                "kind": "notify",
                "role": Role.COMMUNICATIONS_MANAGER.value,
                "text": gettext_lazy("“{{ title }}” is over: please set a date for its review."),
            },
        ],
    },
]


def add() -> list[Runbook]:
    """Those of READY of whose name there is none yet, in the active language."""
    found = []
    with transaction.atomic():
        for one in READY:
            runbook, new = Runbook.objects.get_or_create(
                name=str(one["name"]),
                defaults={
                    "description": str(one["description"]),
                    "triggers": one["triggers"],
                    "stages": one["stages"],
                },
            )
            if not new:
                continue
            for position, step in enumerate(one["steps"], 1):
                # A lazy text becomes what it says in this language.
                config = {
                    key: value if isinstance(value, list | int | str) else str(value)
                    for key, value in step.items()
                    if key != "kind"
                }
                RunbookStep.objects.create(runbook=runbook, position=position, kind=step["kind"], config=config)
            found.append(runbook)
    return found


def missing() -> bool:
    names = [str(one["name"]) for one in READY]
    return Runbook.objects.filter(name__in=names).count() < len(names)
