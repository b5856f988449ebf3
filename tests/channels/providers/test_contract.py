"""What every registered provider owes the engine, asked of all of them alike."""

import json
import logging
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import botocore.session
import pytest
from django import forms
from django.utils import translation
from django.utils.functional import Promise

from channels.errors import DeliveryError, Transient
from channels.models import Medium
from channels.providers import REGISTRY, choices, get
from channels.providers.base import FORMS, Addressee, Capabilities, Message, Outcome, Provider
from tests.fakes import aws, bluesky, connect, mastodon, slack, teams, x, zendesk
from tests.fakes.browser import Browser
from tests.fakes.http import Call, FakeHttp, Reply
from tests.fakes.smtp import PASSWORD, USER, SmtpServer

from .conftest import addressees, make_message

AWS = {"region": "eu-south-1", "access_key_id": aws.ACCESS_KEY, "secret_access_key": aws.SECRET_KEY}
TOPIC = "arn:aws:sns:eu-south-1:123456789012:incidents"
APPLICATION = "arn:aws:sns:eu-south-1:123456789012:app/GCM/example"
DOCS = Path(__file__).parents[3] / "docs/channels"
WEBHOOK_SECRET = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
SECOND_SECRET = "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
VAPID_KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE"
BROWSER = Browser()
# Key → a configuration that its form accepts, with every credential that the form has a field for.
CONFIGS: dict[str, dict[str, Any]] = {
    "outbox_email": {},
    "outbox_sms": {},
    "outbox_post": {},
    "smtp": {
        "host": "127.0.0.1",
        "port": 25,
        "security": "none",
        "user": USER,
        "password": PASSWORD,
        "from_address": "status@example.org",
        "timeout": 5,
        "receipts_secret": SECOND_SECRET,
    },
    "ses": {**AWS, "from_address": "status@example.org"},
    "eum_sms": {**AWS, "origination_identity": "EXAMPLE"},
    "sns_sms": {**AWS, "sender_id": "EXAMPLE", "receipts_secret": SECOND_SECRET},
    "eum_voice": {
        **AWS,
        "origination_identity": "+390212345678",
        "voice_en": "AMY",
        "voice_it": "BIANCA",
        "time_to_live": 60,
    },
    "eum_whatsapp": {
        **AWS,
        "phone_number_id": "phone-number-id-01234567890123456789012345678901",
        "template": "incident_update",
        "language_en": "en",
        "api_version": "v20.0",
    },
    "eum_push": {**AWS, "application_id": "0123456789abcdef0123456789abcdef"},
    "sns_topic": {**{k: v for k, v in AWS.items() if k != "region"}, "topic_arn": TOPIC},
    "aws_lambda": {**AWS, "function": "notify", "invocation": "RequestResponse", "receipts_secret": SECOND_SECRET},
    "webhook": {"signing_secret": WEBHOOK_SECRET, "previous_secret": SECOND_SECRET},
    "webpush": {"vapid_private_secret": VAPID_KEY, "contact_email": "ops@example.com"},
    "sns_push": {**{k: v for k, v in AWS.items() if k != "region"}, "application_arn": APPLICATION},
    "in_app": {},
    "x": x.KEYS,
    "mastodon": {"server": "https://mastodon.social", "access_token": mastodon.TOKEN, "visibility": "public"},
    "bluesky": {
        "service": "https://bsky.social",
        "identifier": bluesky.HANDLE,
        "app_password": bluesky.PASSWORD,
    },
    "slack": {"bot_token": slack.TOKEN, "channel": slack.CHANNEL},
    "slack_webhook": {"secret_url": "https://hooks.slack.com/services/T0/B0/fake"},
    "teams": {"secret_url": f"https://prod-1.westeurope.logic.azure.com{teams.PATH}"},
    "slack_subscribers": {},
    "teams_subscribers": {},
    "apprise": {"secret_url": "json://127.0.0.1/fake-path-of-apprise"},
    "amazon_q": {**{k: v for k, v in AWS.items() if k != "region"}, "topic_arn": TOPIC},
    "zendesk": {"subdomain": "example", "email": "agent@example.org", "api_token": zendesk.TOKEN},
    "connect_cases": {**AWS, "domain_id": "1f2e3d4c-5b6a-4789-8abc-0123456789ab"},
    "ticket_webhook": {
        "url": "https://help.example.org/tickets",
        "signing_secret": WEBHOOK_SECRET,
        "previous_secret": SECOND_SECRET,
        "receipts_secret": SECOND_SECRET,
    },
    "statuspage": {"directory": "/nonexistent"},
    "s3": {**AWS, "bucket": "status", "folder": "pages/", "distribution_id": ""},
}
# Drawn as passwords, but public parts of a signature: a request carries them, and what is logged of it may.
PUBLIC = {"x": {"consumer_key", "access_token"}}
# Key → the page in docs/channels that tells of it, where that is not named as its key.
PAGES = {"outbox_email": "outbox", "outbox_sms": "outbox", "outbox_post": "outbox", "slack_webhook": "slack"}
PAGES |= {"slack_subscribers": "chat-subscribers", "teams_subscribers": "chat-subscribers"}

# What stands at the other end of a provider: each key is in one of the following five.
# Those that keep what they are given in the portal's own database.
STORED = {"in_app"}
LOCAL = {key for key in REGISTRY if key.startswith("outbox_")} | STORED
# Those that do not tell why they failed: their own tests say what becomes of that.
UNTOLD = {"apprise"}
# Key of a provider on AWS → the SDK's name of its service.
SERVICES = {
    "ses": "sesv2",
    "eum_sms": "pinpoint-sms-voice-v2",
    "eum_voice": "pinpoint-sms-voice-v2",
    "eum_whatsapp": "socialmessaging",
    "eum_push": "pinpoint",
    "sns_topic": "sns",
    "sns_sms": "sns",
    "sns_push": "sns",
    "amazon_q": "sns",
    "aws_lambda": "lambda",
    "connect_cases": "connectcases",
}
# Key of a provider that speaks plain HTTP → how its peer answers, and where it reads the peer's address: in its
# attribute `api`, else in the setting of that name; "" if the recipients' addresses lead there.
HTTP: dict[str, tuple[Callable[[Call], Reply], str]] = {
    "teams": (teams.workflow, "secret_url"),
    "slack": (slack.api, "api"),
    "slack_webhook": (slack.webhook, "secret_url"),
    "slack_subscribers": (slack.webhook, ""),
    "teams_subscribers": (teams.workflow, ""),
    "webhook": (lambda _call: Reply(204, b""), ""),
    "webpush": (lambda _call: Reply(201, b""), ""),
    "mastodon": (mastodon.Server(), "server"),
    "bluesky": (bluesky.Server(), "service"),
    "zendesk": (zendesk.api, "api"),
    "ticket_webhook": (lambda _call: Reply(204, b""), "url"),
}
# Media whose every address is a server of its own.
STRANGERS = {"webhook", "webpush", "slack", "teams"}
# Those with another end of their own: the fixtures `working` and `unreachable` name each.
SPECIAL = {"smtp", "x", "statuspage", "s3"}
# What a fake AWS answers where the empty shape would not do.
ANSWERS: dict[str, Any] = {
    "GetAccount": {"SendingEnabled": True},
    "DescribeAccountAttributes": {"AccountAttributes": []},
    "GetTopicAttributes": {"Attributes": {}},
    "GetSMSSandboxAccountStatus": {"IsInSandbox": False},
    "GetPlatformApplicationAttributes": {"Attributes": {"Enabled": "true"}},
    "Invoke": {"StatusCode": 200, "Payload": b"null"},
    "GetDomain": connect.DOMAIN,
    "GetLinkedWhatsAppBusinessAccountPhoneNumber": {"linkedWhatsAppBusinessAccountId": "waba-0123"},
    "GetChannels": {"ChannelsResponse": {"Channels": {"GCM": {"Enabled": True}}}},
    "SendMessages": lambda params: {"MessageResponse": {"ApplicationId": "app", "Result": notified(params)}},
}


def notified(params: dict[str, Any]) -> dict[str, Any]:
    tokens = params["MessageRequest"]["Addresses"]
    return {one: {"DeliveryStatus": "SUCCESSFUL", "StatusCode": 200, "MessageId": f"id-{one}"} for one in tokens}


def publish(directory: Any) -> str:
    return "etag"


def files() -> list[tuple[str, bytes]]:
    return [("index.html", b"<h1>Status</h1>")]


def make_bucket(name: str) -> None:
    client = botocore.session.Session().create_client(
        "s3", region_name="us-east-1", aws_access_key_id=aws.ACCESS_KEY, aws_secret_access_key=aws.SECRET_KEY
    )
    client.create_bucket(Bucket=name)
    client.close()


def after_host(url: str) -> str:
    """Path and query of an address, "" of any other text."""
    found = re.fullmatch(r"\w+://[^/]+(/.+)", url)
    return found[1] if found else ""


def credentials(key: str, config: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """What its form draws as passwords. Of a secret address, what follows the host is as good as the whole."""
    fields = get(key).config_form.base_fields
    hidden = {name for name, field in fields.items() if isinstance(field.widget, forms.PasswordInput)}
    found = [config[name] for name in hidden.difference(but)]
    return found + [path.lstrip("/") for one in found if (path := after_host(one))]


def to_peer(make_provider: Callable[..., Provider], key: str, url: str) -> Provider:
    """A provider that speaks plain HTTP, and with that peer."""
    place = HTTP[key][1]
    config = CONFIGS[key]
    provider = make_provider(key, **config | ({place: url + after_host(config[place])} if place in config else {}))
    if place == "api":
        provider.api = url
    provider.peer_url = url
    return provider


@pytest.fixture
def peers() -> list[Any]:
    """The other ends that `working` started, to be asked what they heard."""
    return []


@pytest.fixture
def working(
    request, settings, tmp_path, closing, make_provider, make_x, fake_service, smtp_server, vouched, peers
) -> Callable[[str], Provider]:
    """A provider of the given key whose other end accepts everything."""
    settings.STATUS_PAGE_PUBLISHER, settings.STATUS_PAGE_FILES = f"{__name__}.publish", f"{__name__}.files"
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]

    def make(key: str) -> Provider:
        if key == "x":
            return make_x()
        changes: dict[str, Any] = {}
        if key in HTTP:
            peer = FakeHttp(HTTP[key][0], "" if HTTP[key][1] else str(vouched))
            closing.callback(peer.close)
            peers.append(peer)
            return to_peer(make_provider, key, peer.url)
        if key in SERVICES:
            peers.append(fake_service(SERVICES[key]))
            peers[-1].answers.update(ANSWERS)
        elif key == "apprise":
            peer = FakeHttp()
            closing.callback(peer.close)
            url = peer.url.replace("http://", "json://")
            changes = {"secret_url": url + after_host(CONFIGS[key]["secret_url"])}
        elif key == "smtp":
            peers.append(smtp_server(auth=True))
            changes = {"port": peers[-1].port}
        elif key == "statuspage":
            changes = {"directory": str(tmp_path / "status")}
        elif key == "s3":
            request.getfixturevalue("moto")
            make_bucket(CONFIGS[key]["bucket"])
        return make_provider(key, **{**CONFIGS[key], **changes})

    return make


@pytest.fixture
def unreachable(aws_env, settings, tmp_path, make_provider, make_x) -> Callable[[str], Provider]:
    """A provider of the given key whose other end is not there."""
    settings.STATUS_PAGE_PUBLISHER, settings.STATUS_PAGE_FILES = f"{__name__}.publish", f"{__name__}.files"
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    (tmp_path / "file").write_text("")

    def make(key: str) -> Provider:
        for service in [*SERVICES.values(), "s3", "cloudfront"]:
            aws_env.setenv(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}", "http://127.0.0.1:1")
        if key in HTTP:
            return to_peer(make_provider, key, "http://127.0.0.1:1" if HTTP[key][1] else "https://127.0.0.1:1")
        if key == "x":
            provider = make_x()
            provider.client.session.get_adapter("https://").port = 1
            return provider
        nowhere: dict[str, dict[str, Any]] = {"smtp": {"port": 1}, "statuspage": {"directory": str(tmp_path / "file")}}
        return make_provider(key, **{**CONFIGS[key], **nowhere.get(key, {})})

    return make


def param(key: str) -> Any:
    return pytest.param(key, marks=pytest.mark.django_db) if key in STORED else key


def is_personal(can: Capabilities) -> bool:
    """Whether it speaks to its recipients. An event is data, and who reads in a ticket is not known to us."""
    return not can.broadcast and can.form != "event" and can.medium != "ticket"


each = pytest.mark.parametrize("key", [param(key) for key in REGISTRY])
# Those that reach over a network; the others cannot fail to.
each_remote = pytest.mark.parametrize("key", [key for key in REGISTRY if key not in LOCAL | UNTOLD])


def people(provider: Provider) -> list[Addressee]:
    found = addressees(provider.capabilities.max_batch, provider.capabilities.medium)
    if provider.capabilities.medium == "ticket":
        return [one._replace(address=f"7:1000{n}") for n, one in enumerate(found)]
    if "application_arn" in provider.config:
        return [
            one._replace(address=f"{APPLICATION.replace(':app/', ':endpoint/')}/{n}") for n, one in enumerate(found)
        ]
    if provider.capabilities.medium in STRANGERS:
        return [
            one._replace(address=f"{provider.peer_url}/{n}", attributes=BROWSER.keys) for n, one in enumerate(found)
        ]
    return found


def words(provider: Provider) -> Message:
    """WhatsApp takes one line in each place of a template."""
    return make_message(parts={"text": "Hello [[name]]."} if provider.capabilities.medium == "whatsapp" else {})


def shown(call: aws.Call) -> str:
    """What recipients get to read of a call of AWS."""
    if call.operation == "SendWhatsAppMessage":
        return b64decode(call.params["message"]).decode()
    if call.operation == "SendMessages":  # each address has words of its own instead of the general ones
        return json.dumps(call.params["MessageRequest"]["Addresses"])
    return json.dumps(call.params)


def heard(peer: FakeHttp | aws.FakeAws | SmtpServer) -> str:
    """All that a peer was sent, as who it is meant for reads it."""
    if isinstance(peer, SmtpServer):
        letters = peer.mailbox.messages
        return "\n".join(f"{one['Subject']}\n{part.get_content()}" for one in letters for part in one.iter_parts())
    if isinstance(peer, aws.FakeAws):
        return "\n".join(map(shown, peer.calls))
    sealed = "aes128gcm"  # for a browser alone
    bodies = (
        json.dumps(BROWSER.read(call.body)) if call.headers.get("Content-Encoding") == sealed else call.body.decode()
        for call in peer.calls
    )
    return unquote_plus("\n".join([*(call.path for call in peer.calls), *bodies]))


def send_in_vain(provider: Provider) -> DeliveryError:
    """What it says when nobody is there. Where each address is a server of its own, the outcomes say it."""
    try:
        outcomes = provider.send(words(provider), people(provider))
    except DeliveryError as error:
        return error
    assert provider.capabilities.medium in STRANGERS
    [error] = {str(one.error): one.error for one in outcomes}.values()
    assert error
    return error


def test_every_provider_is_asked():
    assert set(CONFIGS) == set(REGISTRY)
    assert [key for key, _label in choices()] == list(REGISTRY)
    groups = Counter(key for group in (LOCAL, UNTOLD, SERVICES, HTTP, SPECIAL) for key in group)
    assert groups == Counter(list(REGISTRY)), "each key belongs into one group, which tells what its other end is"


@pytest.mark.parametrize("key", REGISTRY)
def test_its_page_is_in_the_list_of_channels(key):
    page = f"{PAGES.get(key, key.replace('_', '-'))}.md"
    rows = [line for line in (DOCS / "README.md").read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if f"]({page})" in row], f"no row of docs/channels/README.md leads to {page}"
    assert (DOCS / page).exists()


@each
def test_its_capabilities_make_sense(key):
    can = get(key).capabilities
    assert isinstance(can, Capabilities)
    assert can.form in FORMS
    assert can.medium in Medium.values
    assert can.max_batch >= 1
    assert can.broadcast == (can.medium == Medium.BROADCAST)
    assert (can.form == "sms") == (can.max_segments is not None)
    assert (can.form == "post") == (can.max_weight is not None)


@each
def test_its_label_can_be_translated(key):
    label = get(key).label
    assert isinstance(label, Promise)
    with translation.override("en"):
        assert ":" in str(label)


@each
def test_its_form_takes_its_settings_and_explains_itself(key):
    form_class = get(key).config_form
    form = form_class(CONFIGS[key])
    assert form.is_valid(), form.errors
    assert form_class().as_div() is not None
    for name, field in form.fields.items():
        assert isinstance(field.label, Promise), name
        secret = any(word in name for word in ("secret", "password", "token", "consumer_key"))
        assert isinstance(field.widget, forms.PasswordInput) is secret, name
        assert not secret or CONFIGS[key].get(name), f"give CONFIGS a {name}, or nobody asks whether it leaks"


@each
def test_its_form_never_shows_a_credential_again(key):
    drawn = get(key).config_form(CONFIGS[key]).as_div()
    assert not [secret for secret in credentials(key, CONFIGS[key]) if secret in drawn]


@each
def test_it_gives_one_outcome_each_in_order(key, working):
    provider = working(key)
    chosen = people(provider)
    outcomes = provider.send(words(provider), chosen)
    assert len(outcomes) == len(chosen)
    assert all(isinstance(o, Outcome) and o.error is None and o.ref for o in outcomes), outcomes
    if not provider.capabilities.broadcast:
        assert len({o.ref for o in outcomes}) == len(chosen)


@pytest.mark.parametrize("key", [key for key in REGISTRY if key not in LOCAL and is_personal(get(key).capabilities)])
def test_it_fills_in_what_is_each_recipients_own(key, working, peers):
    provider = working(key)
    chosen = people(provider)
    parts = {"subject": "For [[name]]: card payments fail", "text": "Hello [[name]]. Stop: [[unsubscribe_url]]"}
    provider.send(make_message(parts=parts), chosen)
    found = "".join(heard(peer) for peer in peers)
    assert not re.findall(r"\[\[\w*", found), "use personalise() of base.py"
    assert not [(one.name, value) for one in chosen for value in one.values.values() if value not in found]


@each
def test_its_probe_succeeds_and_says_something_or_nothing(key, working):
    assert isinstance(working(key).probe(), str)


@each
def test_it_can_be_closed_before_use_and_twice(key, working):
    provider = working(key)
    provider.close()
    provider = working(key)
    provider.probe()
    provider.close()
    provider.close()


@each_remote
def test_it_raises_when_nobody_is_there(key, unreachable):
    provider = unreachable(key)
    error = send_in_vain(provider)
    if key != "statuspage":  # a path that is a file stays one
        assert type(error) is Transient
    if provider.capabilities.medium not in STRANGERS:  # before there is a recipient, nobody can be asked
        with pytest.raises(DeliveryError):
            provider.probe()


@each_remote
def test_it_keeps_credentials_to_itself(key, working, unreachable, caplog):
    caplog.set_level(logging.DEBUG)
    good, bad = working(key), None
    good.probe()
    good.send(words(good), people(good))
    said = [repr(good), str(good)]
    bad = unreachable(key)
    error = send_in_vain(bad)
    said += [str(error), repr(error), error.detail, repr(bad)]
    # The test server's own log tells what it was sent.
    said += [record.getMessage() for record in caplog.records if record.name != "mail.log"]
    hidden = [one for provider in (good, bad) for one in credentials(key, provider.config, PUBLIC.get(key, ()))]
    assert not [(secret, text) for secret in hidden for text in said if secret in text]
