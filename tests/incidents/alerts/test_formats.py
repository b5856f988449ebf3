"""What each monitoring system says, read from payloads as its documentation publishes them."""

import copy
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.alerts import FORMATS, alertmanager, cloudwatch, eventbridge, generic, pagerduty
from incidents.alerts.signal import Malformed, Signal, Unknown, fingerprint, moment, text


def changed(sample, path, value):
    """The sample with another value at `path`; REMOVED takes it away."""
    found = copy.deepcopy(sample)
    *way, last = path
    inner = found
    for step in way:
        inner = inner[step]
    if value is REMOVED:
        del inner[last]
    else:
        inner[last] = value
    return found


REMOVED = object()


@pytest.mark.parametrize("key", FORMATS)
def test_each_sample_is_read(key):
    (signal,) = FORMATS[key].read(FORMATS[key].sample)
    assert signal.firing
    assert signal.title
    assert signal.labels
    assert signal.at <= datetime.now(UTC)


# ── CloudWatch ──


def test_an_alarm_says_what_it_is_and_where():
    (signal,) = cloudwatch.read(cloudwatch.SAMPLE)
    assert signal == Signal(
        "arn:aws:cloudwatch:eu-south-1:123456789012:alarm:checkout-5xx",
        True,
        "checkout-5xx",
        "More than 5 % of the answers of the checkout are errors.",
        labels={
            "alarm": "checkout-5xx",
            "account": "123456789012",
            "region": "EU (Milan)",
            "namespace": "AWS/ApplicationELB",
            "metric": "HTTPCode_Target_5XX_Count",
            "LoadBalancer": "app/checkout/50dc6c495c0c9188",
        },
        at=datetime(2026, 11, 3, 14, 2, 10, tzinfo=UTC),
    )


def test_an_alarm_that_is_ok_again_is_the_same_and_resolved():
    ok = cloudwatch.SAMPLE | {"NewStateValue": "OK", "OldStateValue": "ALARM"}
    (before,), (after,) = cloudwatch.read(cloudwatch.SAMPLE), cloudwatch.read(ok)
    assert (before.fingerprint, before.firing, after.firing) == (after.fingerprint, True, False)


def test_a_composite_alarm_without_a_trigger_is_read():
    (signal,) = cloudwatch.read(changed(cloudwatch.SAMPLE, ["Trigger"], REMOVED))
    assert signal.labels["alarm"] == "checkout-5xx"


@pytest.mark.parametrize("alarm", [cloudwatch.SAMPLE | {"NewStateValue": "INSUFFICIENT_DATA"}, {"x": 1}, [], None, 7])
def test_what_is_no_alarm_is_not_taken_for_one(alarm):
    with pytest.raises(Unknown):
        cloudwatch.read(alarm)


# ── EventBridge ──


def test_an_alarm_through_eventbridge_is_the_alarm_itself():
    (there,), (here,) = cloudwatch.read(cloudwatch.SAMPLE), eventbridge.read(eventbridge.SAMPLE)
    assert (there.fingerprint, there.title, there.at) == (here.fingerprint, here.title, here.at)
    assert eventbridge.identity(eventbridge.SAMPLE) == (
        "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
        datetime(2026, 11, 3, 14, 2, 10, tzinfo=UTC),
    )


HEALTH = {
    "version": "0",
    "id": "7bf73129-1428-4cd3-a780-95db273d1602",
    "detail-type": "AWS Health Event",
    "source": "aws.health",
    "account": "123456789012",
    "time": "2026-11-03T14:05:00Z",
    "region": "eu-south-1",
    "resources": [],
    "detail": {
        "eventArn": "arn:aws:health:eu-south-1::event/EC2/AWS_EC2_OPERATIONAL_ISSUE/AWS_EC2_OPERATIONAL_ISSUE_7f35c8ae",
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_OPERATIONAL_ISSUE",
        "eventTypeCategory": "issue",
        "startTime": "Tue, 3 Nov 2026 14:00:00 GMT",
        "statusCode": "open",
        "eventRegion": "eu-south-1",
        "eventDescription": [{"language": "en_US", "latestDescription": "Increased API error rates."}],
    },
}


def test_what_fails_at_aws_is_an_alert_until_it_is_closed():
    (signal,) = eventbridge.read(HEALTH)
    assert (signal.firing, signal.title) == (True, "AWS EC2: AWS_EC2_OPERATIONAL_ISSUE")
    assert signal.summary == "Increased API error rates."
    (closed,) = eventbridge.read(changed(HEALTH, ["detail", "statusCode"], "closed"))
    assert (closed.firing, closed.fingerprint) == (False, signal.fingerprint)


@pytest.mark.parametrize("category", ["scheduledChange", "accountNotification", None, 7])
def test_notices_and_planned_work_of_aws_are_no_alerts(category):
    with pytest.raises(Unknown):
        eventbridge.read(changed(HEALTH, ["detail", "eventTypeCategory"], category))


def test_any_other_event_fires():
    event = {
        "id": "1",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "resources": ["arn:aws:ec2:eu-south-1:123456789012:instance/i-abcd1111"],
        "detail": {"instance-id": "i-abcd1111", "state": "stopped", "nested": {"x": 1}},
    }
    (signal,) = eventbridge.read(event)
    assert signal.firing
    assert signal.labels["state"] == "stopped"
    (other,) = eventbridge.read(event | {"resources": ["arn:aws:ec2:eu-south-1:123456789012:instance/i-2"]})
    assert other.fingerprint != signal.fingerprint


@pytest.mark.parametrize(
    "event", [{}, [], None, {"detail-type": 3}, {"detail-type": "x", "detail": []}, HEALTH["detail"]]
)
def test_what_is_no_event_is_refused_with_the_field(event):
    with pytest.raises(Malformed, match="detail"):
        eventbridge.read(event)


# ── Alertmanager ──

# As in the documentation of its types, with a second alert that is over.
GROUP = {
    "receiver": "sms",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "ProbeFailure",
                "instance": "https://server.example.org",
                "job": "http_checks",
                "severity": "critical",
            },
            "annotations": {
                "description": "Instance https://server.example.org has been down for over 5m.",
                "summary": "BlackBox Probe Failure: https://server.example.org",
            },
            "startsAt": "2023-02-06T13:08:45.828Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.org:9090/graph?g0.expr=probe_success",
            "fingerprint": "1a30ba71cca2921f",
        },
        {
            "status": "resolved",
            "labels": {"alertname": "Slow", "severity": "page-me-maybe"},
            "annotations": {},
            "startsAt": "2023-02-06T12:00:00.266739266+02:00",
            "endsAt": "2023-02-06T13:00:00Z",
            "fingerprint": "2",
        },
    ],
    "groupLabels": {"alertname": "ProbeFailure"},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://prometheus.example.org:9093",
    "version": "4",
    "groupKey": '{}/{severity="critical"}:{alertname="ProbeFailure"}',
    "truncatedAlerts": 0,
}


def test_each_alert_of_a_group_is_one_signal():
    first, second = alertmanager.read(GROUP)
    assert (first.fingerprint, first.firing, first.severity_hint) == ("1a30ba71cca2921f", True, "sev1")
    assert first.title == "BlackBox Probe Failure: https://server.example.org"
    assert first.at == datetime(2023, 2, 6, 13, 8, 45, 828000, tzinfo=UTC)
    assert (second.title, second.firing, second.severity_hint) == ("Slow", False, "")
    assert second.at == datetime(2023, 2, 6, 13, 0, tzinfo=UTC)


def test_an_older_alertmanager_without_fingerprints_is_told_apart_by_labels():
    (first, second) = alertmanager.read(
        GROUP | {"alerts": [changed(one, ["fingerprint"], REMOVED) for one in GROUP["alerts"]]}
    )
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == alertmanager.read(changed(GROUP, ["alerts", 0, "fingerprint"], REMOVED))[0].fingerprint


def test_a_version_to_come_is_unknown():
    with pytest.raises(Unknown, match="5"):
        alertmanager.read(GROUP | {"version": "5"})


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["alerts"], {}, "alerts"),
        (["alerts"], [], "alerts"),
        (["alerts", 0], 7, "alerts[0].labels"),
        (["alerts", 1, "labels"], [], "alerts[1].labels"),
        (["alerts", 0, "status"], "on fire", "on fire"),
        (["alerts", 0, "status"], REMOVED, "alerts[0].status"),
        (["version"], 4, "version"),
    ],
)
def test_a_malformed_group_is_refused_with_the_field(path, value, named):
    with pytest.raises(Malformed) as refused:
        alertmanager.read(changed(GROUP, path, value))
    assert named in str(refused.value)


# ── PagerDuty ──


def test_an_incident_of_pagerduty():
    (signal,) = pagerduty.read(pagerduty.SAMPLE)
    assert (signal.fingerprint, signal.firing, signal.severity_hint) == ("PGR0VU2", True, "sev1")
    assert signal.labels == {
        "service": "Checkout",
        "priority": "P1",
        "urgency": "high",
        "team": "Payments",
        "number": "2",
    }
    (over,) = pagerduty.read(changed(pagerduty.SAMPLE, ["event", "event_type"], "incident.resolved"))
    assert (over.fingerprint, over.firing) == ("PGR0VU2", False)


def test_without_a_priority_the_urgency_is_the_hint():
    (signal,) = pagerduty.read(changed(pagerduty.SAMPLE, ["event", "data", "priority"], None))
    assert signal.severity_hint == "sev2"


@pytest.mark.parametrize("kind", ["pagey.ping", "incident.annotated", "service.updated", "incident.responder.added"])
def test_what_says_nothing_of_an_alert_is_unknown(kind):
    with pytest.raises(Unknown):
        pagerduty.read(changed(pagerduty.SAMPLE, ["event", "event_type"], kind))


@pytest.mark.parametrize("payload", [{}, {"event": []}, {"event": {"event_type": "incident.triggered"}}, []])
def test_what_is_no_webhook_of_pagerduty_is_refused(payload):
    with pytest.raises(Malformed, match="event"):
        pagerduty.read(payload)


# ── Our own ──


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["alerts"], REMOVED, "alerts"),
        (["alerts"], [{}], "alerts[0].status"),
        (["alerts"], [7], "alerts[0].status"),
        (["alerts", 0, "status"], "ok", "use firing or resolved"),
        (["alerts", 0, "title"], "", "alerts[0].title"),
        (["alerts", 0, "fingerprint"], 7, "alerts[0].fingerprint"),
        (["alerts", 0, "severity"], "awful", "awful"),
        (["alerts", 0, "at"], "yesterday", "yesterday"),
        (["alerts", 0, "colour"], "red", "colour"),
        (["alerts"], [{}] * 501, "500 at most"),
    ],
)
def test_a_mistake_is_named_with_its_fix(path, value, named):
    with pytest.raises(Malformed) as refused:
        generic.read(changed(generic.SAMPLE, path, value))
    assert named in str(refused.value)


# ── Fields ──


def test_a_time_in_the_future_is_now_and_the_year_one_is_none():
    assert moment("2099-01-01T00:00:00Z") <= datetime.now(UTC)
    assert moment("0001-01-01T00:00:00Z") is None
    assert moment("2026-02-30T00:00:00Z") is None
    assert moment("2026-11-03T14:02:10.000+0000") == datetime(2026, 11, 3, 14, 2, 10, tzinfo=UTC)


def test_text_is_one_line_that_a_database_takes():
    assert text("a\0b\nc\ud800d\u202ee" + "f" * 500, 12) == "a b c d efff"
    assert text(12.5) == "12.5"
    assert text(True) == text(None) == text([]) == ""


def test_a_long_or_odd_fingerprint_is_hashed():
    assert fingerprint("short-1") == "short-1"
    assert len(fingerprint("x" * 65)) == len(fingerprint("\ud800")) == len(fingerprint("a", "b")) == 64
    assert fingerprint("x" * 65) != fingerprint("x" * 66)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(payload, way=()):
    yield from [way] if way else []
    if isinstance(payload, dict | list):
        for step, inner in payload.items() if isinstance(payload, dict) else enumerate(payload):
            yield from paths(inner, (*way, step))


@given(st.data())
def test_whatever_a_field_holds_it_is_read_or_refused(data):
    form = FORMATS[data.draw(st.sampled_from(sorted(FORMATS)))]
    where = data.draw(st.sampled_from(list(paths(form.sample))))
    payload = changed(form.sample, where, data.draw(JSON))
    form.identity(payload)
    try:
        signals = form.read(payload)
    except (Malformed, Unknown):
        return
    for one in signals:
        stored = json.dumps([one.fingerprint, one.title, one.summary, one.labels], ensure_ascii=False)
        assert stored.encode()
        assert "\0" not in stored
        assert 0 < len(one.fingerprint) <= 64
        assert 0 < len(one.title) <= 200
        assert one.at <= datetime.now(UTC)
