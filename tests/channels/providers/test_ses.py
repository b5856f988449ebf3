import json
import re
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers import aws
from channels.providers.base import Addressee
from channels.providers.ses import SesForm
from tests.fakes.aws import ACCESS_KEY, SECRET_KEY, Drop, Fault, Hang

from .conftest import addressees, make_message

CONFIG = {
    "region": "eu-south-1",
    "access_key_id": ACCESS_KEY,
    "secret_access_key": SECRET_KEY,
    "from_address": "status@example.org",
    "from_name": "Exämple Status",
    "configuration_set": "portal",
}
SEND = "SendEmail"


@pytest.fixture
def fake(fake_service):
    return fake_service("sesv2")


@pytest.fixture
def ses(make_provider, fake):
    return make_provider("ses", **CONFIG)


# ── On moto's server ──


def test_it_sends_through_moto(moto, make_provider):
    setup = boto3.client("sesv2", "eu-south-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)
    setup.create_email_identity(EmailIdentity="example.org")
    setup.close()
    outcomes = [make_provider("ses", **CONFIG).send(make_message(), [one])[0] for one in addressees(2)]
    assert [o.error for o in outcomes] == [None, None]
    with urlopen(f"{moto}/moto-api/data.json") as reply:
        sent = json.load(reply)["ses"]["Message"]
    assert [m["id"] for m in sent] == [o.ref for o in outcomes]
    assert sent[1]["destinations"] == {"ToAddresses": ["Customer 1 <customer1@example.com>"]}
    assert "Hello Customer 1," in sent[1]["body"]


def test_it_raises_when_our_own_sender_is_not_verified(moto, make_provider):
    with pytest.raises(Permanent) as caught:
        make_provider("ses", **CONFIG).send(make_message(), addressees(1))
    assert caught.value.code == "MessageRejected"


def test_it_assumes_a_role_once(moto, make_provider):
    setup = boto3.client("sesv2", "eu-south-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)
    setup.create_email_identity(EmailIdentity="example.org")
    setup.close()
    provider = make_provider("ses", **CONFIG, role_arn="arn:aws:iam::123456789012:role/sender")
    message = make_message()
    assert [provider.send(message, [one])[0].error for one in addressees(2)] == [None, None]
    assert provider.client._request_signer._credentials.access_key.startswith("ASIA")


# ── What is asked of SES ──


def test_its_requests_fit_the_model(ses, fake):
    ses.send(make_message(parts={"subject": "Pagamenti: è tutto fermo, [[name]]"}), addressees(1))
    [request] = fake.params(SEND)
    assert fake.invalid == []
    assert request["FromEmailAddress"] == "=?utf-8?q?Ex=C3=A4mple_Status?= <status@example.org>"
    assert request["Destination"] == {"ToAddresses": ["Customer 0 <customer0@example.com>"]}
    assert request["ConfigurationSetName"] == "portal"
    simple = request["Content"]["Simple"]
    assert simple["Subject"]["Data"] == "Pagamenti: è tutto fermo, Customer 0"
    assert simple["Body"]["Text"]["Data"].startswith("Hello Customer 0,")
    assert "unsubscribe/0/" in simple["Body"]["Html"]["Data"]
    headers = {h["Name"]: h["Value"] for h in simple["Headers"]}
    assert headers["List-Unsubscribe"] == "<https://portal.example.com/unsubscribe/0/>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["References"] == "<incident-9f3kabcd@example.org>"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert {t["Name"]: t["Value"] for t in request["EmailTags"]} == {"dispatch": "dispatch-42", "delivery": "42-0"}


def test_it_escapes_a_name_in_html_only(ses, fake):
    ses.send(make_message(), [Addressee("a@example.com", "Eve", "1", {"name": "<b>Eve"})])
    body = fake.params(SEND)[0]["Content"]["Simple"]["Body"]
    assert "Hello &lt;b&gt;Eve" in body["Html"]["Data"]
    assert "Hello <b>Eve" in body["Text"]["Data"]


def test_it_keeps_one_connection_across_calls(ses, fake):
    for one in addressees(3):
        ses.send(make_message(), [one])
    assert len({call.peer for call in fake.calls}) == 1


def test_it_refuses_an_address_that_cannot_be_written_to(ses, fake):
    [outcome] = ses.send(make_message(), [Addressee("a@b.example, c@d.example")])
    assert type(outcome.error) is Permanent
    assert not fake.calls


# ── Settings ──

FORM = {"region": "eu-south-1", "from_address": "status@example.org"}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"region": "Milan"}, "region", "“Milan” is not an AWS region"),
        ({"access_key_id": ACCESS_KEY}, "secret_access_key", "or empty both"),
        ({"secret_access_key": SECRET_KEY}, "access_key_id", "or empty both"),
        ({"role_arn": "sender"}, "role_arn", "“sender” is not the ARN of a role"),
        ({"configuration_set": "no spaces"}, "configuration_set", "valid"),
    ],
)
def test_the_form_names_field_and_fix(changes, field, said):
    form = SesForm(FORM | changes)
    assert list(form.errors) == [field]
    assert said in str(form.errors)
    assert SECRET_KEY not in str(form.errors)


def test_the_form_needs_no_keys():
    assert SesForm(FORM).is_valid()


# ── Failures ──


@pytest.mark.parametrize(
    ("fault", "patience"),
    [
        (Fault("TooManyRequestsException", "Maximum sending rate exceeded.", 429), 1),
        (Fault("TooManyRequestsException", "Daily message quota exceeded.", 429), 600),
        (Fault("ThrottlingException", "Rate exceeded"), 1),
        (Fault("LimitExceededException", "Too many"), 1),
    ],
)
def test_a_throttle_is_raised_once_and_says_how_long(ses, fake, fault, patience):
    fake.script(SEND, fault)
    with pytest.raises(Throttled) as caught:
        ses.send(make_message(), addressees(1))
    assert caught.value.retry_after == patience
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("AccountSuspendedException", "suspended"),
        Fault("SendingPausedException", "paused"),
        Fault("MailFromDomainNotVerifiedException", "not verified"),
        Fault("NotFoundException", "Configuration set <portal> does not exist.", 404),
        Fault("AccessDeniedException", "not authorized to perform ses:SendEmail", 403),
        Fault("SignatureDoesNotMatch", "signature", 403),
        Fault(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region EU-SOUTH-1: "
            "Status <status@example.org>",
        ),
    ],
    ids=lambda fault: fault.code,
)
def test_what_everybody_would_meet_is_raised(ses, fake, fault):
    fake.script(SEND, fault)
    with pytest.raises(Permanent) as caught:
        ses.send(make_message(), addressees(1))
    assert caught.value.code == fault.code
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("MessageRejected", "Address is on the suppression list"),
        Fault(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region EU-SOUTH-1: "
            "customer0@example.com",
        ),
        Fault("BadRequestException", "Domain contains dot-dot"),
    ],
)
def test_what_one_recipient_meets_is_an_outcome(ses, fake, fault):
    fake.script(SEND, fault)
    [outcome] = ses.send(make_message(), addressees(1))
    assert type(outcome.error) is Permanent
    assert not outcome.error.bad_address


@pytest.mark.parametrize(
    "step", [Drop(), Drop(cut=True), Fault("InternalFailure", "oops", 500), Fault("ServiceUnavailable", "", 503)]
)
def test_perhaps_sent_is_uncertain_and_not_repeated(ses, fake, step):
    fake.script(SEND, step)
    [outcome] = ses.send(make_message(), addressees(1))
    assert type(outcome.error) is Uncertain
    assert len(fake.calls) == 1


def test_silence_is_uncertain(ses, fake, monkeypatch):
    monkeypatch.setattr(aws, "CONFIG", aws.CONFIG.merge(Config(read_timeout=0.3)))
    fake.script(SEND, Hang())
    [outcome] = ses.send(make_message(), addressees(1))
    assert type(outcome.error) is Uncertain
    assert outcome.error.code == "ReadTimeoutError"
    assert len(fake.calls) == 1


def test_nobody_listening_means_not_sent(make_provider, aws_env):
    aws_env.setenv("AWS_ENDPOINT_URL_SESV2", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        make_provider("ses", **CONFIG).send(make_message(), addressees(1))


def test_missing_credentials_are_raised(make_provider, fake):
    with pytest.raises(Permanent) as caught:
        make_provider("ses", **CONFIG | {"access_key_id": "", "secret_access_key": ""}).send(
            make_message(), addressees(1)
        )
    assert caught.value.code == "NoCredentialsError"


def test_unknown_credentials_are_raised_without_the_secret(make_provider, fake):
    provider = make_provider("ses", **CONFIG | {"access_key_id": "AKIASTRANGESTRANGE00"})
    for attempt in (provider.probe, lambda: provider.send(make_message(), addressees(1))):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert caught.value.code == "UnrecognizedClientException"
        assert SECRET_KEY not in str(caught.value)


# ── Probe ──

ACCOUNT = {
    "ProductionAccessEnabled": True,
    "SendingEnabled": True,
    "EnforcementStatus": "HEALTHY",
    "SendQuota": {"MaxSendRate": 14.0, "Max24HourSend": 50000.0, "SentLast24Hours": 0.0},
}


def test_the_probe_tells_the_quota_and_sends_nothing(ses, fake):
    fake.answers["GetAccount"] = ACCOUNT
    said = ses.probe()
    assert "14 messages a second" in said
    assert "50000 in 24 hours" in said
    assert "sandbox" not in said
    assert [call.operation for call in fake.calls] == ["GetAccount"]


def test_the_probe_tells_of_the_sandbox(ses, fake):
    fake.answers["GetAccount"] = ACCOUNT | {"ProductionAccessEnabled": False}
    assert "sandbox" in ses.probe()


@pytest.mark.parametrize("changes", [{"SendingEnabled": False}, {"EnforcementStatus": "SHUTDOWN"}])
def test_the_probe_fails_when_sending_is_stopped(ses, fake, changes):
    fake.answers["GetAccount"] = ACCOUNT | changes
    with pytest.raises(Permanent):
        ses.probe()


# ── Fifty at a time ──

BULK = "SendBulkEmail"


@pytest.fixture
def bulk(make_provider, fake):
    fake.answers[BULK] = lambda params: results(*["SUCCESS"] * len(params["BulkEmailEntries"]))
    return make_provider("ses", **CONFIG, mode="bulk")


def results(*statuses):
    found = [{"Status": s, **({"MessageId": f"m-{n}"} if s == "SUCCESS" else {})} for n, s in enumerate(statuses)]
    return {"BulkEmailEntryResults": found}


def rendered(params, n, part):
    """What SES makes of a part for one recipient: {{name}} is replaced, nothing is escaped, nothing rendered twice."""
    template = params["DefaultContent"]["Template"]
    own = params["BulkEmailEntries"][n]["ReplacementEmailContent"]["ReplacementTemplate"]["ReplacementTemplateData"]
    values = json.loads(template["TemplateData"]) | json.loads(own)
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], template["TemplateContent"][part])


def test_bulk_takes_fifty_in_one_call_that_fits_the_model(bulk, fake):
    assert bulk.capabilities.max_batch == 50
    outcomes = bulk.send(make_message(), addressees(50))
    assert [o.ref for o in outcomes] == [f"m-{n}" for n in range(50)]
    assert fake.invalid == []
    [params] = fake.params(BULK)
    assert rendered(params, 7, "Text").startswith("Hello Customer 7,\nCard payments fail")
    assert rendered(params, 7, "Subject") == "Card payments: partial outage"
    entry = params["BulkEmailEntries"][7]
    assert entry["Destination"] == {"ToAddresses": ["Customer 7 <customer7@example.com>"]}
    assert {h["Name"]: h["Value"] for h in entry["ReplacementHeaders"]} == {
        "List-Unsubscribe": "<https://portal.example.com/unsubscribe/7/>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert entry["ReplacementTags"] == [
        {"Name": "dispatch", "Value": "dispatch-42"},
        {"Name": "delivery", "Value": "42-7"},
    ]


def test_a_bulk_call_is_signed_with_the_channels_key(make_provider, fake):
    provider = make_provider("ses", **CONFIG | {"secret_access_key": "another"}, mode="bulk")
    with pytest.raises(Permanent, match="SignatureDoesNotMatch"):
        provider.send(make_message(), addressees(2))


def test_bulk_sends_the_words_that_single_sends(bulk, make_provider, fake):
    nasty = 'A {{ b }} {{{c}}} {{#each x}} [[name]] <b> & "q" [[unknown]]'
    message = make_message(parts={"subject": nasty, "text": nasty, "html": nasty})
    one = Addressee(
        "a@example.com", key="1", values={"name": "<i>{{x}}</i>", "unsubscribe_url": "https://p.example/u/"}
    )
    assert bulk.send(message, [one])[0].error is None
    make_provider("ses", **CONFIG).send(message, [one])
    [single], [many] = fake.params(SEND), fake.params(BULK)
    simple = single["Content"]["Simple"]
    assert rendered(many, 0, "Subject") == simple["Subject"]["Data"]
    assert rendered(many, 0, "Text") == simple["Body"]["Text"]["Data"]
    assert rendered(many, 0, "Html") == simple["Body"]["Html"]["Data"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("MESSAGE_REJECTED", Permanent),
        ("INVALID_PARAMETER", Permanent),
        ("TRANSIENT_FAILURE", Transient),
        ("FAILED", Uncertain),
        ("ACCOUNT_THROTTLED", Throttled),
        ("ACCOUNT_DAILY_QUOTA_EXCEEDED", Throttled),
    ],
)
def test_bulk_tells_each_recipients_fate(bulk, fake, status, kind):
    fake.answers[BULK] = results("SUCCESS", status, "SUCCESS")
    outcomes = bulk.send(make_message(), addressees(3))
    assert [type(o.error) for o in outcomes] == [type(None), kind, type(None)]
    assert outcomes[1].error.code == status


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("ACCOUNT_SUSPENDED", Permanent),
        ("ACCOUNT_SENDING_PAUSED", Permanent),
        ("MAIL_FROM_DOMAIN_NOT_VERIFIED", Permanent),
        ("ACCOUNT_THROTTLED", Throttled),
    ],
)
def test_bulk_raises_what_stops_everybody(bulk, fake, status, kind):
    fake.answers[BULK] = results(status, status)
    with pytest.raises(kind):
        bulk.send(make_message(), addressees(2))


def test_bulk_keeps_the_order_around_an_impossible_address(bulk, fake):
    people = addressees(3)
    people[1] = Addressee("no body@example.com", key="x")
    outcomes = bulk.send(make_message(), people)
    assert [o.ref for o in outcomes] == ["m-0", "", "m-1"]
    assert outcomes[1].error.code == "bad-syntax"


def test_bulk_answers_that_do_not_add_up_are_uncertain(bulk, fake):
    fake.answers[BULK] = results("SUCCESS")
    assert [type(o.error) for o in bulk.send(make_message(), addressees(2))] == [Uncertain, Uncertain]


def test_a_dropped_reply_of_bulk_is_uncertain_for_all(bulk, fake):
    fake.script(BULK, Drop())
    with pytest.raises(Uncertain):
        bulk.send(make_message(), addressees(50))
    assert len(fake.params(BULK)) == 1


def test_a_throttled_bulk_call_holds_the_channel(bulk, fake):
    fake.script(BULK, Fault("TooManyRequestsException", "Maximum sending rate exceeded.", 429))
    with pytest.raises(Throttled):
        bulk.send(make_message(), addressees(50))


def test_the_probe_learns_the_granted_rate(ses, fake):
    fake.answers["GetAccount"] = {"SendingEnabled": True, "SendQuota": {"MaxSendRate": 14.0, "Max24HourSend": 50000.0}}
    ses.probe()
    assert ses.granted_rate() == 14.0
