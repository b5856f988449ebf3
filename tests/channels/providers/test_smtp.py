import ssl
from email import policy
from email.parser import BytesParser

import pytest

from channels.errors import Permanent, Throttled, Transient, Uncertain
from channels.providers.base import Addressee
from channels.providers.smtp import SmtpForm
from tests.fakes.smtp import DROP, HANG, PASSWORD, USER, Mailbox

from .conftest import addressees, make_message


@pytest.fixture(autouse=True, params=["one by one", "pipelined"])
def way(request, monkeypatch):
    """Everything holds whether the server allows pipelining or not."""
    monkeypatch.setattr(Mailbox, "pipelining", request.param == "pipelined")
    return request.param


@pytest.fixture
def server(smtp_server):
    return smtp_server()


def config(server, **changes):
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "from_address": "status@example.org",
        "from_name": "Exämple Status",
        "timeout": 5,
    } | changes


@pytest.fixture
def smtp(make_provider, server):
    return make_provider("smtp", **config(server))


# ── What arrives ──


def test_it_sends_text_and_html_to_each_recipient(smtp, server):
    outcomes = smtp.send(make_message(), addressees(2))
    assert [o.error for o in outcomes] == [None, None]
    first, second = server.mailbox.messages
    assert first["To"] == "Customer 0 <customer0@example.com>"
    assert first["Subject"] == "Card payments: partial outage"
    assert first["From"] == "Exämple Status <status@example.org>"
    assert first.get_body(("plain",)).get_content().splitlines()[:2] == [
        "Hello Customer 0,",
        "Card payments fail since 14:30 CET.",
    ]
    assert "https://portal.example.com/unsubscribe/1/" in second.get_body(("html",)).get_content()
    assert [to for to, _data in server.mailbox.raw] == ["customer0@example.com", "customer1@example.com"]


def test_it_sets_the_headers_of_a_machine_that_can_be_unsubscribed_from(smtp, server):
    smtp.send(make_message(locale="it"), addressees(1))
    [mail] = server.mailbox.messages
    assert mail["List-Unsubscribe"] == "<https://portal.example.com/unsubscribe/0/>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"].endswith("<updates.example.org>")
    assert mail["In-Reply-To"] == mail["References"] == "<incident-9f3kabcd@example.org>"
    assert mail["Content-Language"] == "it"
    assert mail["Date"]


def test_it_numbers_messages_stably_and_uniquely(smtp, server):
    people = addressees(2)
    refs = [o.ref for o in smtp.send(make_message(), people) + smtp.send(make_message(), people)]
    assert refs[:2] == refs[2:]
    assert refs[0] != refs[1]
    assert [f"<{ref}>" for ref in refs] == [m["Message-ID"] for m in server.mailbox.messages]


def test_it_asks_for_bounces_at_an_address_of_their_own(make_provider, server):
    make_provider("smtp", **config(server, bounce_address="bounces@example.org")).send(make_message(), addressees(1))
    [mail] = server.mailbox.messages
    assert server.mailbox.senders == ["bounces@example.org"]
    assert mail["From"].endswith("<status@example.org>")


def test_it_cannot_be_made_to_write_headers(smtp, server):
    evil = Addressee(
        "customer@example.com",
        name="Eve\r\nBcc: all@example.com\u2028X-Evil: 1",
        key="1\r\nX-Key: 1",
        values={"name": "Eve\r\nX-Value: 1", "unsubscribe_url": "https://x.example/\r\nX-Url: 1"},
    )
    outcomes = smtp.send(make_message(parts={"subject": "Down\r\nX-Subject: [[name]]"}), [evil])
    assert outcomes[0].error is None
    [mail] = server.mailbox.messages
    assert not [name for name in mail if name.startswith("X-") or name == "Bcc"]
    assert mail["Subject"] == "Down X-Subject: Eve X-Value: 1"


@pytest.mark.parametrize(
    "address", ["a@b.example\r\nRCPT TO:<x@y.example>", "<a@b.example>", "ü@example.com", "nobody"]
)
def test_it_refuses_an_address_that_cannot_be_written_to(smtp, server, address):
    bad, good = smtp.send(make_message(), [Addressee(address), *addressees(1)])
    assert isinstance(bad.error, Permanent)
    assert not bad.error.bad_address
    assert good.error is None
    assert len(server.mailbox.raw) == 1


def test_it_writes_international_domains_in_ascii(smtp, server):
    smtp.send(make_message(), [Addressee("kunde@müller.example")])
    assert server.mailbox.raw[0][0] == "kunde@xn--mller-kva.example"


def test_it_escapes_lines_that_begin_with_a_dot(smtp, server):
    smtp.send(make_message(parts={"text": ".\n..two\n.[[name]]\n.\nend"}), addressees(1))
    [mail] = server.mailbox.messages
    assert mail.get_body(("plain",)).get_content().splitlines() == [".", "..two", ".Customer 0", ".", "end"]


# ── Connections ──


def test_it_keeps_one_connection_across_calls(smtp, server):
    message = make_message()
    for _n in range(3):
        smtp.send(message, addressees(2))
    assert server.mailbox.connections == 1
    assert len(server.mailbox.raw) == 6


def test_it_opens_a_kept_connection_anew_when_the_server_has_closed_it(smtp, server):
    server.mailbox.script("MAIL", None, DROP)
    outcomes = smtp.send(make_message(), addressees(3))
    assert [o.error for o in outcomes] == [None, None, None]
    assert server.mailbox.connections == 2


def test_it_opens_a_kept_connection_anew_when_the_server_says_it_closes_it(smtp, server):
    server.mailbox.script("MAIL", None, "421 4.7.0 too many messages on this connection")
    assert [o.error for o in smtp.send(make_message(), addressees(2))] == [None, None]


@pytest.mark.parametrize("implicit", [True, False])
def test_it_encrypts_and_logs_in(smtp_server, make_provider, vouched, implicit):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(vouched)
    server = smtp_server(tls=context, implicit=implicit, auth=True)
    security = "tls" if implicit else "starttls"
    smtp = make_provider("smtp", **config(server, security=security, user=USER, password=PASSWORD))
    assert [o.error for o in smtp.send(make_message(), addressees(2))] == [None, None]
    assert len(server.mailbox.raw) == 2


@pytest.mark.parametrize("implicit", [True, False])
def test_it_refuses_a_certificate_it_cannot_trust(smtp_server, make_provider, certificate, implicit):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = smtp_server(tls=context, implicit=implicit)
    smtp = make_provider("smtp", **config(server, security="tls" if implicit else "starttls"))
    with pytest.raises(Permanent) as caught:
        smtp.probe()
    assert caught.value.code == "certificate"


def test_it_never_falls_back_to_plain_text(server, make_provider):
    smtp = make_provider("smtp", **config(server, security="starttls"))
    with pytest.raises(Permanent) as caught:
        smtp.send(make_message(), addressees(1))
    assert caught.value.code == "not-supported"
    assert not server.mailbox.raw


# ── Failures that concern everybody ──


@pytest.mark.parametrize("password", ["wrong", "pässword"])
def test_it_raises_on_a_bad_login(smtp_server, make_provider, password):
    smtp = make_provider("smtp", **config(smtp_server(auth=True), user=USER, password=password))
    for attempt in (smtp.probe, lambda: smtp.send(make_message(), addressees(2))):
        with pytest.raises(Permanent) as caught:
            attempt()
        assert password not in str(caught.value)


def test_it_raises_when_nobody_listens(smtp_server, make_provider):
    server = smtp_server()
    smtp = make_provider("smtp", **config(server, port=1))
    with pytest.raises(Transient):
        smtp.send(make_message(), addressees(2))
    with pytest.raises(Transient):
        smtp.probe()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("421 4.3.2 shutting down", Throttled),
        ("451 4.3.0 try later", Transient),
        ("454 Throttling failure: Maximum sending rate exceeded", Throttled),
        ("530 5.7.0 authentication required", Permanent),
        ("553 5.7.1 sender not owned", Permanent),
    ],
)
def test_it_raises_when_the_sender_is_refused(smtp, server, reply, error):
    server.mailbox.script("MAIL", reply)
    with pytest.raises(error) as caught:
        smtp.send(make_message(), addressees(3))
    assert type(caught.value) is error
    assert caught.value.code.startswith(reply[:3])
    assert not server.mailbox.raw


def test_it_raises_an_impossible_sender(server, make_provider):
    with pytest.raises(Permanent):
        make_provider("smtp", **config(server, from_address="ü@example.org")).send(make_message(), addressees(1))


def test_it_raises_when_relaying_is_denied(smtp, server):
    server.mailbox.script("RCPT", "554 5.7.1 <customer0@example.com>: Relay access denied")
    with pytest.raises(Permanent):
        smtp.send(make_message(), addressees(2))


def test_it_loses_nobody_when_all_the_rest_fails(smtp, server):
    server.mailbox.script("MAIL", None, "530 5.7.0 authentication required")
    sent, *rest = smtp.send(make_message(), addressees(3))
    assert sent.error is None
    assert [type(o.error) for o in rest] == [Transient, Transient]
    assert {o.error.code for o in rest} == {"530 5.7.0"}


def test_it_passes_on_a_throttle_in_the_middle(smtp, server):
    server.mailbox.script("DATA", None, "454 Throttling failure: Maximum sending rate exceeded")
    sent, *rest = smtp.send(make_message(), addressees(3))
    assert sent.error is None
    assert [type(o.error) for o in rest] == [Throttled, Throttled]
    assert len(server.mailbox.raw) == 1


# ── Failures of one recipient ──


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "error", "bad"),
    [
        ("550 5.1.1 no such user", Permanent, True),
        ("550 No such user here", Permanent, True),
        ("550 5.1.10 null MX", Permanent, True),
        ("550 5.7.1 rejected by policy", Permanent, False),
        ("550 rejected as spam", Permanent, False),
        ("552 5.3.4 message too big", Permanent, False),
        ("450 4.2.1 mailbox temporarily unavailable", Transient, None),
        ("451 4.7.1 greylisted", Transient, None),
    ],
)
def test_it_fails_one_recipient_alone(smtp, server, command, reply, error, bad):
    server.mailbox.script(command, None, reply)
    first, second, third = smtp.send(make_message(), addressees(3))
    assert first.error is None
    assert third.error is None
    assert type(second.error) is error
    assert bad is None or second.error.bad_address is bad
    assert [to for to, _d in server.mailbox.raw] == ["customer0@example.com", "customer2@example.com"]


def test_a_lost_reply_after_the_final_dot_is_uncertain_for_that_one_only(smtp, server):
    server.mailbox.script("DATA", None, DROP)
    first, second, third, fourth = smtp.send(make_message(), addressees(4))
    assert first.error is None
    assert type(second.error) is Uncertain
    assert [type(o.error) for o in (third, fourth)] == [Transient, Transient]
    assert len(server.mailbox.raw) == 1
    assert [o.error for o in smtp.send(make_message(), addressees(2))] == [None, None]
    assert server.mailbox.connections == 2


def test_silence_after_the_final_dot_is_uncertain(server, make_provider):
    server.mailbox.script("DATA", HANG)
    smtp = make_provider("smtp", **config(server, timeout=0.3))
    [outcome] = smtp.send(make_message(), addressees(1))
    assert type(outcome.error) is Uncertain


@pytest.mark.parametrize("what", [DROP, HANG])
def test_a_connection_lost_before_the_data_means_not_sent(server, make_provider, what):
    server.mailbox.script("RCPT", what)
    smtp = make_provider("smtp", **config(server, timeout=0.3))
    with pytest.raises(Transient):
        smtp.send(make_message(), addressees(2))
    assert not server.mailbox.raw


def test_the_probe_sends_nothing(smtp, server):
    smtp.probe()
    assert server.mailbox.connections == 1
    assert not server.mailbox.raw


# ── Settings ──


GOOD = {"host": "smtp.example.com", "port": 587, "security": "starttls", "from_address": "a@example.com", "timeout": 10}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"host": "smtp://smtp.example.com"}, "host", "smtp://smtp.example.com"),
        ({"port": 465}, "security", "choose TLS"),
        ({"security": "tls"}, "security", "choose STARTTLS"),
        ({"security": "none", "user": "me", "password": "pw-of-mine"}, "security", "readable"),
        ({"timeout": 90}, "timeout", "15"),
        ({"user": "me"}, "password", "me"),
        ({"from_address": "nobody"}, "from_address", "valid"),
    ],
)
def test_the_form_names_field_and_fix(changes, field, said):
    form = SmtpForm(GOOD | changes)
    assert list(form.errors) == [field]
    assert said in str(form.errors)
    assert "pw-of-mine" not in str(form.errors)


def test_the_form_accepts_what_works():
    assert SmtpForm(GOOD).is_valid()
    assert SmtpForm(GOOD | {"port": 465, "security": "tls"}).is_valid()
    assert SmtpForm(GOOD | {"host": "127.0.0.1", "port": 25, "security": "none"}).is_valid()
    assert SmtpForm(
        GOOD | {"host": "localhost", "port": 25, "security": "none", "user": "me", "password": "x"}
    ).is_valid()


def test_every_line_is_short_and_ascii(smtp, server):
    text = "Perché " * 200 + "[[name]]" + " è fermo 😀\t\n" * 3
    smtp.send(make_message(parts={"text": text, "html": ""}), addressees(1))
    [(_to, data)] = server.mailbox.raw
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 130  # header lines; bodies keep to 76
    mail = BytesParser(policy=policy.default).parsebytes(data)
    found = mail.get_body(("plain",)).get_content()
    assert found.splitlines() == text.replace("[[name]]", "Customer 0").splitlines()


def test_an_envelope_that_was_lost_is_sent_again_and_no_message_is(smtp, server, way):
    server.mailbox.script("RCPT", None, DROP)
    errors = [type(o.error) for o in smtp.send(make_message(), addressees(3))]
    if way == "pipelined":
        assert errors == [type(None)] * 3
        assert server.mailbox.connections == 2
    else:  # the engine tries these again
        assert errors == [type(None), Transient, Transient]
    assert len(server.mailbox.raw) == errors.count(type(None))


def test_a_refused_recipient_in_the_middle_leaves_the_others_alone(smtp, server):
    server.mailbox.script("RCPT", None, "550 5.1.1 no such user", None)
    server.mailbox.script("DATA", None, "554 5.7.1 refused as spam")
    outcomes = smtp.send(make_message(), addressees(4))
    assert [o.error.code if o.error else "" for o in outcomes] == ["", "550 5.1.1", "554 5.7.1", ""]
    assert [to for to, _raw in server.mailbox.raw] == ["customer0@example.com", "customer3@example.com"]


def test_dots_at_the_start_of_a_line_arrive_as_they_were(smtp, server):
    smtp.send(make_message(parts={"text": ".\n..two\n. three", "html": ""}), addressees(2))
    for message in server.mailbox.messages:
        assert message.get_body(("plain",)).get_content().splitlines()[:3] == [".", "..two", ". three"]
