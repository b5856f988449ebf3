"""Sources of alerts, and how each kind of monitoring system posts to one."""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from standardwebhooks.webhooks import Webhook

from channels import own_secrets, sns
from incidents.models import AlertRule, AlertSource, Component
from tests.fakes import sns as fake

_n = itertools.count(1)


@pytest.fixture(autouse=True)
def certified(monkeypatch):
    """Our own certificate lies where SNS keeps its own; nothing is fetched."""
    monkeypatch.setattr(sns, "_known", {fake.URL: sns._parsed(fake.certificate())})
    monkeypatch.setattr(sns, "fetch", lambda url: pytest.fail("nothing needs fetching"))


def source(kind: str = "generic", **kwargs: Any) -> AlertSource:
    """A source that is ready to be believed."""
    if kind in ("cloudwatch", "eventbridge"):
        kwargs.setdefault("topics", [fake.TOPIC])
    if kind != "cloudwatch":
        kwargs.setdefault("secrets", own_secrets.begun())
    return AlertSource.objects.create(name=kwargs.pop("name", f"Source {next(_n)}"), kind=kind, **kwargs)


def rule(*components: Component, **kwargs: Any) -> AlertRule:
    one = AlertRule.objects.create(name=kwargs.pop("name", f"Rule {next(_n)}"), **kwargs)
    one.components.set(components)
    return one


def secret(of: AlertSource) -> str:
    return of.secrets["secret"]


def _signed(of: AlertSource, body: bytes) -> dict[str, str]:
    now, key = datetime.now(UTC), f"msg_{next(_n)}"
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret(of)).sign(key, now, body.decode()),
    }


def _bearer(of: AlertSource, body: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret(of)}"}


def _pagerduty(of: AlertSource, body: bytes) -> dict[str, str]:
    right = hmac.new(secret(of).encode(), body, hashlib.sha256).hexdigest()
    return {"X-PagerDuty-Signature": f"v1={'0' * 64},v1={right}"}


PROOF: dict[str, Callable[[AlertSource, bytes], dict[str, str]]] = {
    "alertmanager": _bearer,
    "eventbridge": _bearer,
    "pagerduty": _pagerduty,
    "generic": _signed,
}


def post(of: AlertSource | str, body: bytes, headers: dict[str, str] | None = None) -> Any:
    """As a machine posts: without a cookie."""
    uid = of if isinstance(of, str) else of.uid
    kind = "text/plain; charset=utf-8" if headers and "x-amz-sns-message-type" in headers else "application/json"
    return Client(enforce_csrf_checks=True).post(f"/alerts/{uid}/", body, content_type=kind, headers=headers)


def by_sns(of: AlertSource, payload: Any, **changes: Any) -> Any:
    message = payload if "Type" in payload else fake.notification(payload, **changes)
    return post(of, json.dumps(message).encode(), {"x-amz-sns-message-type": message["Type"]})


def tell(of: AlertSource, payload: Any) -> Any:
    """Post a payload with the proof that its kind of source gives."""
    if of.kind == "cloudwatch":
        return by_sns(of, payload)
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return post(of, body, PROOF[of.kind](of, body))


def alert(fingerprint: str = "a", status: str = "firing", **fields: Any) -> dict[str, Any]:
    """One alert of our own format, in a message."""
    title = fields.pop("title", f"Alert {fingerprint}")
    return {"alerts": [{"fingerprint": fingerprint, "status": status, "title": title, **fields}]}


def basic(of: AlertSource, name: str = "prometheus") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret(of)}".encode()).decode()}
