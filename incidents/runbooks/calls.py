"""The steps that talk to the network: a signed webhook, and an operation of AWS that the operator has allowed."""

import json
import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels import delivery
from channels.errors import DeliveryError, Throttled, Transient, Uncertain
from channels.models import Medium
from channels.providers.base import Addressee, Message
from incidents.aws import operations
from incidents.models import Incident, RunbookRun, RunbookStepRun

from .kinds import Calling, Config, filled
from .outcome import Outcome, done, doubtful, failed, waits

MOST_TRIES = 5  # of a call that surely did not get through
PAUSE = timedelta(seconds=15)  # before the first repetition; twice as long before each further one


def after(error: DeliveryError, log: RunbookStepRun, repeats: bool) -> Outcome:
    """What a call that failed means for its step."""
    note = " ".join(filter(None, [error.code, error.detail]))[:500]
    if isinstance(error, Uncertain) and not repeats:
        return doubtful(note)
    if not isinstance(error, Transient | Throttled | Uncertain) or log.tries >= MOST_TRIES:
        return failed(note)
    return waits(note, timezone.now() + PAUSE * 2 ** (log.tries - 1))


def check_https(value: str) -> None:
    if not value.startswith("https://"):
        raise ValidationError(_("The address is not secure; enter one that begins with https://."))


class Webhook(Calling):
    """Posts what is known of the incident, signed with the secret of the channel for webhooks (Standard Webhooks).

    The key stays the same however often it is sent, so the receiver does it once.
    """

    label = gettext_lazy("Call a webhook")
    fields: ClassVar = {
        "url": forms.URLField(
            label=gettext_lazy("Address"),
            max_length=500,
            assume_scheme="https",
            validators=[check_https],
            help_text=gettext_lazy("Signed with the secret of the channel for webhooks."),
        )
    }

    def repeats(self, config: Config) -> bool:
        return True

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        channel = delivery.way_to(Medium.WEBHOOK)
        if channel is None:
            return failed(_("No channel for webhooks is on: its secret would sign the call."))
        body = {"type": "runbook.step", "timestamp": timezone.now().isoformat(), "data": told(run, log, config)}
        key = f"runbook-{run.pk}-{log.index}"
        message = Message({"json": json.dumps(body)}, settings.LANGUAGE_CODE, run.incident.thread, key)
        outcome = delivery.send_own(channel, message, Addressee(config["url"], key=key))
        if outcome.error is None:
            return done(_("Called."))
        return after(outcome.error, log, repeats=True)

    def in_words(self, config: Config) -> str:
        return str(config.get("url", ""))


def told(run: RunbookRun, log: RunbookStepRun, config: Config) -> dict[str, Any]:
    """What the receiver of a webhook learns."""
    incident = run.incident
    return {
        "incident": incident.uid,
        "title": incident.title,
        "severity": incident.severity,
        "stage": incident.stage,
        "public": incident.published_at is not None,
        "url": f"{settings.PORTAL_URL}/admin/incidents/incident/{incident.pk}/change/",
        "runbook": run.content["name"],
        "step": log.index + 1,
        "name": config.get("name", ""),
    }


class AwsCall(Calling):
    """An operation of AWS. What sends messages to people is never allowed, whatever the setting says."""

    label = gettext_lazy("Call an operation of AWS")

    fields: ClassVar = {
        "operation": forms.ChoiceField(
            label=gettext_lazy("Operation"),
            choices=lambda: [(one, one) for one in operations.allowed()],
            help_text=gettext_lazy("The operator allows more of them by the setting RUNBOOK_AWS_OPERATIONS."),
        ),
        "region": forms.RegexField(
            r"^[a-z]{2}(-[a-z]+)+-\d$",
            label=gettext_lazy("Region"),
            max_length=30,
            error_messages={"invalid": gettext_lazy("That is no region; write it as eu-south-1.")},
        ),
        "parameters": forms.JSONField(
            label=gettext_lazy("Parameters (JSON)"),
            help_text=gettext_lazy(
                "As the API reference names them. Texts in it may say {{ title }}, {{ severity }} …"
            ),
        ),
    }

    def check(self, config: Config) -> None:
        operations.check(config["operation"], config["parameters"])

    def repeats(self, config: Config) -> bool:
        return bool(operations.token_of(config["operation"]))

    def do(self, run: RunbookRun, log: RunbookStepRun, config: Config) -> Outcome:
        operation = config["operation"]
        parameters = _filled(config["parameters"], run.incident)
        if token := operations.token_of(operation):
            parameters = {**parameters, token: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run.key}:{log.index}"))}
        try:
            reply = operations.call(operation, config["region"], parameters)
        except DeliveryError as error:
            return after(error, log, self.repeats(config))
        log.facts["reply"] = reply
        return done(_("AWS answered: %(reply)s") % {"reply": json.dumps(reply, ensure_ascii=False)[:400]})

    def in_words(self, config: Config) -> str:
        return f"{config.get('operation')}, {config.get('region')}"


def _filled(value: Any, incident: Incident) -> Any:
    """The same with the placeholders of every text in it filled."""
    if isinstance(value, dict):
        return {name: _filled(one, incident) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, incident) for one in value]
    return filled(value, incident) if isinstance(value, str) else value
