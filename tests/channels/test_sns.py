"""Who wrote a message of SNS: real ones published by AWS, and many that are not quite as they should be."""

import base64
import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from channels import sns
from tests.fakes import sns as fake
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import FakeHttp, Reply

REAL = json.loads((Path(__file__).parent / "sns_messages.json").read_text())
FETCH = sns.fetch
SAMPLE = fake.notification({"a": 1}, Subject="Amazon SES Email Event Notification")


@pytest.fixture(autouse=True)
def fetched(monkeypatch):
    """The addresses asked for; our own certificate lies at each."""
    asked = []

    def fetch(url):
        asked.append(url)
        return fake.certificate()

    monkeypatch.setattr(sns, "_known", {})
    monkeypatch.setattr(sns, "fetch", fetch)
    return asked


def check(fields, topic=fake.TOPIC):
    raw = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    note = sns.read(raw, topic)
    sns.verify(note)
    return note


# ── Real messages ──


@pytest.mark.parametrize("fields", REAL["messages"], ids=lambda one: one["MessageId"][:8])
def test_what_sns_really_wrote_is_believed(fields, monkeypatch):
    monkeypatch.setattr(sns, "fetch", lambda url: REAL["certificates"][url].encode())
    with time_machine.travel(fields["Timestamp"], tick=False):
        note = check(fields, fields["TopicArn"])
        assert (note.kind, note.id, note.text) == (fields["Type"], fields["MessageId"], fields["Message"])
        assert note.token == fields.get("Token", "")
        for name in {"Message", "MessageId", "Timestamp", "Subject", "Token", "SubscribeURL"} & set(fields):
            changed = {**fields, name: fields[name][:-1] + ("0" if fields[name][-1] != "0" else "1")}
            with pytest.raises((sns.Forged, sns.Malformed)):
                check(changed, fields["TopicArn"])


def test_a_certificate_that_has_ended_proves_nothing(monkeypatch):
    fields = REAL["messages"][0]
    monkeypatch.setattr(sns, "fetch", lambda url: REAL["certificates"][url].encode())
    with time_machine.travel("2022-08-18T00:00:00Z"), pytest.raises(sns.Forged, match="not valid at this time"):
        check(fields, fields["TopicArn"])


# ── Messages signed by a key of the tests ──


@pytest.mark.parametrize(
    "fields",
    [
        SAMPLE,
        fake.notification("plain words"),
        fake.notification("Zeilen\nund “Zeichen” 🎉"),
        fake.notification("", Subject=""),
        fake.confirmation(),
        fake.confirmation("UnsubscribeConfirmation"),
    ],
)
def test_each_type_is_believed_when_it_is_signed(fields):
    note = check(fields)
    assert note.kind == fields["Type"]
    assert note.at <= datetime.now(UTC)


def test_a_subject_that_is_null_is_a_subject_that_is_missing():
    assert check({**fake.notification("x"), "Subject": None}).text == "x"


signed_fields = st.sampled_from(["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"])


@given(signed_fields, st.data())
def test_any_change_of_what_is_signed_is_refused(name, data):
    value = data.draw(
        st.one_of(
            st.text(max_size=60),
            st.none(),
            st.integers(),
            st.booleans(),
            st.lists(st.text(max_size=3), max_size=2),
            st.sampled_from([*sns.SIGNED, SAMPLE[name] + "\n", SAMPLE[name] + " ", SAMPLE[name].upper()]),
        ).filter(lambda new: new != SAMPLE[name])
    )
    sns._known.setdefault(fake.URL, sns._parsed(fake.certificate()))
    with pytest.raises((sns.Forged, sns.Malformed)):
        check({**SAMPLE, name: value})


@given(st.integers(0, 255), st.integers(1, 255))
def test_any_change_of_the_signature_is_refused(place, flip):
    raw = bytearray(base64.b64decode(SAMPLE["Signature"]))
    raw[place] ^= flip
    sns._known.setdefault(fake.URL, sns._parsed(fake.certificate()))
    with pytest.raises(sns.Forged):
        check({**SAMPLE, "Signature": base64.b64encode(bytes(raw)).decode()})


@pytest.mark.parametrize("missing", ["Message", "MessageId", "Timestamp", "Signature", "SigningCertURL"])
def test_a_field_too_few_is_malformed(missing):
    with pytest.raises(sns.Malformed):
        check({name: value for name, value in SAMPLE.items() if name != missing})


@pytest.mark.parametrize("missing", ["Token", "SubscribeURL"])
def test_a_confirmation_needs_its_own_fields(missing):
    with pytest.raises(sns.Malformed):
        check({name: value for name, value in fake.confirmation().items() if name != missing})


def test_fields_cannot_be_moved_into_one_another():
    """The same bytes are signed; but an ID has no line break."""
    fields = fake.notification("x", Subject="y")
    moved = {**fields, "MessageId": f"{fields['MessageId']}\nSubject\ny"}
    del moved["Subject"]
    with pytest.raises(sns.Malformed):
        check(moved)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b"[]", b"3", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000, b'{"eventType": "Bounce"}'],
    ids=["nothing", "half", "null", "list", "number", "text", "empty", "not UTF-8", "deep", "raw delivery"],
)
def test_what_is_no_message_is_malformed(raw):
    with pytest.raises(sns.Malformed):
        check(raw)


@pytest.mark.parametrize("text", ["\\ud800", "a\\udfffb"])
def test_half_a_character_is_malformed(text):
    with pytest.raises(sns.Malformed):
        check(json.dumps(SAMPLE).replace('"Message": "', f'"Message": "{text}').encode())


def test_another_topic_is_refused_before_anything_is_looked_at(fetched):
    other = fake.notification("x", TopicArn=fake.TOPIC + "2")
    with pytest.raises(sns.Forged, match="This topic"):
        check(other)
    with pytest.raises(sns.Forged, match="This topic"):
        check({"TopicArn": "x", "Type": "y"})
    assert fetched == []


def test_an_unknown_type_is_malformed():
    with pytest.raises(sns.Malformed, match="type"):
        check(fake.notification("x", Type="Raw"))


@pytest.mark.parametrize("version", ["1", "3", 2, None])
def test_only_version_two_counts(version, fetched):
    fields = fake.sign({**SAMPLE, "SignatureVersion": version}, hashed=hashes.SHA1())
    with pytest.raises(sns.Forged, match="SignatureVersion"):
        check(fields)
    assert fetched == []


def test_sha_1_does_not_pass_for_version_two():
    with pytest.raises(sns.Forged, match="signature"):
        check(fake.sign(SAMPLE, hashed=hashes.SHA1()))


def test_somebody_elses_key_does_not_pass():
    with pytest.raises(sns.Forged, match="signature"):
        check(fake.sign(SAMPLE, by=fake.key(2049)))


# ── Where the certificate lies ──

REGION = "https://sns.eu-south-1.amazonaws.com"


@pytest.mark.parametrize(
    "url",
    [
        f"http{REGION[5:]}/a.pem",
        "https://sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.eu-south-1.amazonaws.com.cn/a.pem",
        "https://sns.eu-south-1.amazonaws.com.example.com/a.pem",
        "https://sns.eu-south-1.amazonaws.com@example.com/a.pem",
        "https://user@sns.eu-south-1.amazonaws.com/a.pem",
        "https://sns.eu-south-1.amazonaws.com:444/a.pem",
        "https://example.com/a.pem",
        "https://example.com/sns.eu-south-1.amazonaws.com/a.pem",
        "https://SNS.eu-south-1.amazonaws.com/a.pem",
        "https://s3.eu-south-1.amazonaws.com/bucket/a.pem",
        "//sns.eu-south-1.amazonaws.com/a.pem",
        " https://sns.eu-south-1.amazonaws.com/a.pem",
        f"{REGION}/a.pem?x=1",
        f"{REGION}/a.pem#x",
        f"{REGION}/?file=a.pem",
        f"{REGION}/#a.pem",
        f"{REGION}/x/../a.pem",
        f"{REGION}/x/a.pem",
        f"{REGION}//example.com/a.pem",
        f"{REGION}/a%2e.pem",
        f"{REGION}/a.pem\n",
        f"{REGION}/a.key",
        f"{REGION}/.pem.exe",
        f"{REGION}/",
        REGION,
        "",
        "file:///etc/passwd",
    ],
)
def test_a_certificate_elsewhere_is_not_even_fetched(url, fetched):
    with pytest.raises(sns.Forged):
        check({**SAMPLE, "SigningCertURL": url})
    assert fetched == []


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        ("arn:aws:sns:us-east-1:123456789012:x", "sns.us-east-1.amazonaws.com"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:x", "sns.us-gov-west-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:x.fifo", "sns.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_each_region_has_its_own_place(topic, host, fetched):
    url = f"https://{host}/SimpleNotificationService-0a.pem"
    assert check(fake.notification("x", TopicArn=topic, SigningCertURL=url), topic).topic == topic
    assert fetched == [url]


# ── The certificate itself ──


def test_a_certificate_is_fetched_once(fetched):
    for _time in range(3):
        check(fake.notification("x"))
    assert fetched == [fake.URL]


def test_it_remembers_few_certificates(fetched):
    for n in range(40):
        check(fake.notification("x", SigningCertURL=f"{REGION}/{n}.pem"))
    assert len(fetched) == 40
    assert len(sns._known) <= 32


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        fake.certificate(name="example.com"),
        fake.certificate(name="xsns.amazonaws.com"),
        fake.certificate(name="sns.amazonaws.com.example.com"),
        fake.certificate(days=-1),
        fake.certificate(days=61),
        fake.certificate(other=fake.key(1024)),
        fake.certificate(other=ec.generate_private_key(ec.SECP256R1())),
    ],
    ids=["empty", "broken", "name", "prefix", "suffix", "ended", "not begun", "short key", "no RSA key"],
)
def test_a_certificate_that_is_not_one_of_sns_proves_nothing(pem, monkeypatch):
    monkeypatch.setattr(sns, "fetch", lambda url: pem)
    with pytest.raises(sns.Forged):
        check(SAMPLE)


def test_a_failure_to_fetch_is_not_remembered(monkeypatch, fetched):
    ours = sns.fetch

    def broken(url):
        raise sns.Unavailable("x")

    monkeypatch.setattr(sns, "fetch", broken)
    with pytest.raises(sns.Unavailable):
        check(SAMPLE)
    monkeypatch.setattr(sns, "fetch", ours)
    assert check(SAMPLE)


def test_strangers_keep_one_thread_waiting_and_not_all(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(url):
        begun.set()
        go_on.wait(10)
        return fake.certificate()

    monkeypatch.setattr(sns, "fetch", slow)
    first = threading.Thread(target=check, args=(SAMPLE,))
    first.start()
    assert begun.wait(10)
    with pytest.raises(sns.Unavailable):
        check({**SAMPLE, "SigningCertURL": f"{REGION}/other.pem"})
    go_on.set()
    first.join()
    assert check(SAMPLE)


# ── Fetching ──


@pytest.fixture
def peer():
    server = FakeHttp()
    yield server
    server.close()


def test_it_fetches_what_lies_there(peer):
    peer.script(Reply(body=fake.certificate()))
    assert FETCH(f"{peer.url}/a.pem") == fake.certificate()
    assert [(call.method, call.path) for call in peer.calls] == [("GET", "/a.pem")]


@pytest.mark.parametrize("step", [Reply(503), Reply(500), Reply(429), Drop(), Drop(cut=True)])
def test_what_may_work_later_is_said_to_be_unavailable(peer, step):
    peer.script(step)
    with pytest.raises(sns.Unavailable):
        FETCH(f"{peer.url}/a.pem")
    assert len(peer.calls) == 1


@pytest.mark.parametrize(
    "reply", [Reply(404), Reply(403), Reply(302, headers={"Location": "/b.pem"}), Reply(body=b"x" * 40_000)]
)
def test_nothing_a_redirect_or_too_much_is_no_certificate(peer, reply):
    peer.script(reply)
    with pytest.raises(sns.Forged):
        FETCH(f"{peer.url}/a.pem")
    assert len(peer.calls) == 1


def test_a_peer_that_cannot_prove_its_name_is_not_believed(tmp_path):
    pem = tmp_path / "peer.pem"
    private = fake.key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + fake.certificate())
    peer = FakeHttp(certificate=str(pem))
    try:
        with pytest.raises(sns.Unavailable, match="SSLError"):
            FETCH(f"{peer.url}/a.pem")
    finally:
        peer.close()
    assert peer.calls == []


def test_silence_ends(peer, monkeypatch):
    monkeypatch.setattr(sns, "TIMEOUT", 0.5)
    peer.script(Hang())
    with pytest.raises(sns.Unavailable, match="Timeout"):
        FETCH(f"{peer.url}/a.pem")


def test_nobody_there_is_unavailable():
    with pytest.raises(sns.Unavailable):
        FETCH("http://127.0.0.1:1/a.pem")
