"""Email through Amazon SES, API version 2: one SendEmail a recipient, or one SendBulkEmail for fifty."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from html import escape
from typing import Any

import orjson
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from . import aws
from .base import TOKEN, Addressee, Capabilities, Message, Outcome, personalise
from .mail import ascii_address, common_headers, domain_of, mailbox, one_line, unsubscribe_headers

# Said about one message; everything else that SES refuses, it would refuse for everybody.
OF_ONE = {"MessageRejected", "BadRequestException", "MESSAGE_REJECTED", "INVALID_PARAMETER"}
BULK = 50  # recipients in one SendBulkEmail
BRACES = "portal_braces"
HTML = "__html"


class SesForm(aws.AwsForm):
    from_address = forms.EmailField(
        label=gettext_lazy("From address"),
        help_text=gettext_lazy("This address or its domain must be a verified identity in SES, in this region."),
    )
    from_name = forms.CharField(label=gettext_lazy("From name"), required=False, max_length=80)
    configuration_set = forms.RegexField(
        r"^[A-Za-z0-9_-]{1,64}$",
        label=gettext_lazy("Configuration set"),
        required=False,
        help_text=gettext_lazy("Optional. Without one, SES reports no bounces and deliveries to the portal."),
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("Calls"),
        choices=[
            ("single", gettext_lazy("One for each recipient (SendEmail)")),
            ("bulk", gettext_lazy("One for fifty recipients (SendBulkEmail)")),
        ],
        initial="single",
        required=False,
        help_text=gettext_lazy(
            "Fifty at a time is faster where the account may do it: some are limited to one such call a second."
        ),
    )
    field_order = ["from_address", "from_name", "configuration_set", "mode"]

    def clean_mode(self) -> str:
        return self.cleaned_data["mode"] or "single"


class Ses(aws.AwsProvider):
    label = gettext_lazy("Email: Amazon SES")
    capabilities = Capabilities(form="email", medium="email", receipts=True)
    config_form = SesForm
    service = "sesv2"

    _bulk: "Bulk | None" = None
    _body = b""  # of the call being made
    _reply: Mapping[str, Any] = {}  # of the last one that was accepted
    _rate: float | None = None

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if config.get("mode") == "bulk":
            self.capabilities = replace(type(self).capabilities, max_batch=BULK)  # type: ignore[misc]

    @cached_property
    def client(self) -> Any:
        client = super().client
        # The SDK walks through every field of every entry and of every result, in Python: a third of what a recipient
        # costs. All that SendBulkEmail takes and gives is JSON of these very names, so ours takes the place of the
        # SDK's own. What the service refuses is left to the SDK.
        client.meta.events.register(
            "before-call.sesv2.SendBulkEmail", lambda params, **_: params.update(body=self._body)
        )
        client.meta.events.register("before-parse.sesv2.SendBulkEmail", self._keep_reply)
        return client

    def _keep_reply(self, response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] != 200:
            return
        with suppress(orjson.JSONDecodeError):  # it is the SDK that says so
            self._reply = orjson.loads(response_dict["body"])
            response_dict["body"] = b""

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        if self.config.get("mode") == "bulk":
            return self._send_bulk(message, recipients)
        return [self._send_one(message, one) for one in recipients]

    def _send_bulk(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        if self._bulk is None or self._bulk.message is not message:
            self._bulk = Bulk(message, self.config)
        outcomes: dict[int, Outcome] = {}
        entries: dict[int, dict[str, Any]] = {}
        for n, one in enumerate(recipients):
            try:
                entries[n] = self._bulk.entry(one)
            except ValueError as error:
                outcomes[n] = Outcome(error=Permanent("bad-syntax", str(error)))
        if entries:
            client = self.client
            self._body = orjson.dumps({**self._bulk.request, "BulkEmailEntries": list(entries.values())})
            self._reply = {}
            try:
                client.send_bulk_email(DefaultContent={}, BulkEmailEntries=[])  # of _body into _reply, see client
            except aws.SDK_ERRORS as error:
                found = self._failure(error)
                if aws.code_of(error) not in OF_ONE or self._is_about_us(found):
                    raise found from error
                return [outcomes.get(n, Outcome(error=found)) for n in range(len(recipients))]
            outcomes |= dict(zip(entries, _results(self._reply, len(entries)), strict=True))
        return [outcomes[n] for n in range(len(recipients))]

    def _send_one(self, message: Message, one: Addressee) -> Outcome:
        try:
            request = self._request(message, one)
        except ValueError as error:
            return Outcome(error=Permanent("bad-syntax", str(error)))
        client = self.client
        try:
            return aws.accepted(client.send_email(**request))
        except aws.SDK_ERRORS as error:
            found = self._failure(error)
            if isinstance(found, Uncertain) or (aws.code_of(error) in OF_ONE and not self._is_about_us(found)):
                return Outcome(error=found)
            raise found from error

    def _request(self, message: Message, one: Addressee) -> dict[str, Any]:
        sender = self.config["from_address"]
        headers = {**common_headers(message, domain_of(sender)), **unsubscribe_headers(one)}
        body = {
            form.capitalize(): {
                "Data": personalise(message.parts[form], one.values, form == "html"),
                "Charset": "UTF-8",
            }
            for form in ("text", "html")
            if message.parts.get(form)
        }
        subject = one_line(personalise(message.parts["subject"], one.values))
        request = {
            "FromEmailAddress": mailbox(sender, self.config.get("from_name", "")),
            "Destination": {"ToAddresses": [mailbox(one.address, one.name)]},
            "Content": {
                "Simple": {
                    "Subject": {"Data": subject, "Charset": "UTF-8"},
                    "Body": body,
                    "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
                }
            },
            # Events of SES carry the tags back, so that one whose reply was lost can be found again.
            "EmailTags": [
                {"Name": "dispatch", "Value": _tag(message.reference)},
                {"Name": "delivery", "Value": _tag(one.key)},
            ],
        }
        if self.config.get("configuration_set"):
            request["ConfigurationSetName"] = self.config["configuration_set"]
        return request

    def _failure(self, error: Exception) -> DeliveryError:
        found = aws.failure(error)
        if isinstance(found, Throttled):
            # The rate is counted by the second, the quota by the day.
            found.retry_after = 600 if re.search("daily|quota", found.detail, re.I) else 1
        return found

    def _is_about_us(self, error: DeliveryError) -> bool:
        """Whether a rejection names our own sender as not verified (in the sandbox it names recipients too)."""
        said = error.detail.lower()
        return "verified" in said and ascii_address(self.config["from_address"]).lower() in said

    def probe(self) -> str:
        try:
            account = self.client.get_account()
        except aws.SDK_ERRORS as error:
            raise self._failure(error) from error
        status = account.get("EnforcementStatus", "HEALTHY")
        if not account.get("SendingEnabled", True) or status == "SHUTDOWN":
            raise Permanent("SendingPaused", _("SES has paused sending for this account (%s).") % status)
        quota = account.get("SendQuota", {})
        self._rate = float(quota.get("MaxSendRate", 0)) or None
        rate, daily = int(quota.get("MaxSendRate", 0)), int(quota.get("Max24HourSend", 0))
        said = [
            ngettext("SES grants %(rate)d message a second", "SES grants %(rate)d messages a second", rate)
            % {"rate": rate}
            + _(" and %(daily)d in 24 hours.") % {"daily": daily}
        ]
        if not account.get("ProductionAccessEnabled", True):
            said.append(_("The account is in the sandbox: it can write to verified addresses only."))
        return " ".join(said)

    def granted_rate(self) -> float | None:
        return self._rate


class Bulk:
    """One message as SendBulkEmail takes it: a template of SES's own, and what differs from recipient to recipient.

    SES fills in `{{name}}` and escapes nothing (SES developer guide, advanced email personalization), so
    that each value comes twice: as it is, and escaped for the HTML part. Braces of ours come as a value of their own.
    """

    def __init__(self, message: Message, config: Mapping[str, Any]) -> None:
        self.message = message
        sender = config["from_address"]
        headers = common_headers(message, domain_of(sender))
        subject, text, html = one_line(message.parts["subject"]), message.parts["text"], message.parts.get("html", "")
        content = {"Subject": _template(subject), "Text": _template(text)}
        if html:
            content["Html"] = _template(html, html=True)
        plain, escaped = set(TOKEN.findall(subject + text)), set(TOKEN.findall(html))
        self.tokens = [(name, f"{name}{HTML}", name in plain, name in escaped) for name in sorted(plain | escaped)]
        self.same = {BRACES: "{{"} if "{{" in subject + text + html else {}  # for every recipient
        self.dispatch_tag = {"Name": "dispatch", "Value": _tag(message.reference)}
        self.request: dict[str, Any] = {
            "FromEmailAddress": mailbox(sender, config.get("from_name", "")),
            "DefaultContent": {
                "Template": {
                    "TemplateContent": content,
                    "TemplateData": json.dumps(self.same),
                    "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
                }
            },
            "DefaultEmailTags": [self.dispatch_tag],
        }
        if config.get("configuration_set"):
            self.request["ConfigurationSetName"] = config["configuration_set"]

    def entry(self, one: Addressee) -> dict[str, Any]:
        """One recipient. Raises ValueError for an impossible address."""
        values = self.same.copy()
        for name, name_in_html, plain, escaped in self.tokens:
            text = one.values.get(name, f"[[{name}]]")
            if plain:
                values[name] = one_line(text)
            if escaped:
                values[name_in_html] = escape(text)
        found = {
            "Destination": {"ToAddresses": [mailbox(one.address, one.name)]},
            "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": _json(values)}},
            # These stand in for the default ones, they do not add to them.
            "ReplacementTags": [self.dispatch_tag, {"Name": "delivery", "Value": _tag(one.key)}],
        }
        own = unsubscribe_headers(one)
        if own:
            found["ReplacementHeaders"] = [{"Name": name, "Value": value} for name, value in own.items()]
        return found


def _template(text: str, html: bool = False) -> str:
    """Our text as a template of SES: [[name]] becomes {{name}}, and {{ of ours something that prints {{."""
    pieces = TOKEN.split(text)
    for n, piece in enumerate(pieces):
        pieces[n] = f"{{{{{piece}{HTML if html else ''}}}}}" if n % 2 else piece.replace("{{", f"{{{{{BRACES}}}}}")
    return "".join(pieces)


def _results(reply: Mapping[str, Any], count: int) -> list[Outcome]:
    """What SES says of each entry, in their order. Raises DeliveryError if it says the same of all."""
    found = list(reply.get("BulkEmailEntryResults") or [])
    if len(found) != count:
        text = _("AWS answered for %(got)d of %(wanted)d recipients.") % {"got": len(found), "wanted": count}
        return [Outcome(error=Uncertain("bad-reply", text))] * count
    outcomes = [_result(one) for one in found]
    first = outcomes[0].error
    # What stops the account stops everybody, unless some got through before.
    ours = isinstance(first, Throttled) or (isinstance(first, Permanent) and first.code not in OF_ONE)
    if first and ours and all(outcome.error and outcome.error.code == first.code for outcome in outcomes):
        raise first
    return outcomes


def _result(one: Mapping[str, Any]) -> Outcome:
    status, said = one.get("Status", ""), one.get("Error", "")
    if status == "SUCCESS":
        return aws.accepted(one)
    if status in ("ACCOUNT_THROTTLED", "ACCOUNT_DAILY_QUOTA_EXCEEDED"):
        return Outcome(error=Throttled(status, said, retry_after=1 if status == "ACCOUNT_THROTTLED" else 600))
    if status == "TRANSIENT_FAILURE":
        return Outcome(error=Transient(status, said))
    if status in ("", "FAILED"):
        return Outcome(error=Uncertain(status or "bad-reply", said))
    return Outcome(error=Permanent(status, said))


def _json(values: dict[str, str]) -> str:
    return orjson.dumps(values).decode()


def _tag(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]", "-", text)[:256] or "-"
