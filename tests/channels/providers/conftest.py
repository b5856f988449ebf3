"""Real connections to loopback servers. Providers are closed before the servers they talk to."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from channels.providers import get, tls
from channels.providers.base import Addressee, Message, Provider
from tests.fakes import aws as fake_aws
from tests.fakes import x as fake_x
from tests.fakes.smtp import Mailbox, SmtpServer

HTML = "<p>Hello [[name]], card payments fail.</p><p><a href='[[unsubscribe_url]]'>Stop</a></p>"


def make_message(**changes: Any) -> Message:
    parts = {
        "subject": "Card payments: partial outage",
        "text": "Hello [[name]],\nCard payments fail since 14:30 CET.\n\nStop: [[unsubscribe_url]]\n",
        "html": HTML,
        "json": '{"version": "1", "type": "incident.update"}',
        "url": "https://portal.example.com/incidents/9f3kabcd/",
    }
    parts |= changes.pop("parts", {})
    options = {"locale": "en", "thread": "incident-9f3kabcd", "reference": "dispatch-42"} | changes
    return Message(parts=parts, **options)


def addressees(count: int, medium: str = "email") -> list[Addressee]:
    return [
        Addressee(
            address=f"customer{n}@example.com" if medium == "email" else f"+3932012345{n:02}",
            name=f"Customer {n}",
            key=f"42-{n}",
            values={"name": f"Customer {n}", "unsubscribe_url": f"https://portal.example.com/unsubscribe/{n}/"},
        )
        for n in range(count)
    ]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What is entered last is closed first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_provider(closing: ExitStack) -> Callable[..., Provider]:
    def make(key: str, **config: Any) -> Provider:
        provider = get(key)(config)
        closing.callback(provider.close)
        return provider

    return make


@pytest.fixture
def vouched(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`certificate`, which the providers trust for the length of this test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls.trusted.cache_clear()
    yield certificate
    tls.trusted.cache_clear()


# ── SMTP ────────────────────────────────────────────────────────────────────


@pytest.fixture
def smtp_server(closing: ExitStack) -> Callable[..., SmtpServer]:
    def start(**options: Any) -> SmtpServer:
        server = SmtpServer(Mailbox(), **options)
        closing.callback(server.close)
        return server

    return start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


# ── AWS ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No configuration but the test's own: neither files nor a machine's role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def fake_service(aws_env: pytest.MonkeyPatch, closing: ExitStack) -> Callable[[str], fake_aws.FakeAws]:
    """Start a fake of one service, where the SDK will look for it."""

    def start(service: str) -> fake_aws.FakeAws:
        fake = closing.enter_context(fake_aws.fake_aws(service))
        name = fake.model.service_id.replace(" ", "_").upper()
        aws_env.setenv(f"AWS_ENDPOINT_URL_{name}", fake.url)
        return fake

    return start


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    line = ""
    while "Running on" not in line:
        line = process.stdout.readline()
        assert line, "moto's server ended before it began"
    # Its log must be read on, or the server stops when the pipe is full.
    reader = Thread(target=process.stdout.read, daemon=True)
    reader.start()
    yield line.split("Running on ")[1].strip()
    process.terminate()
    process.wait()
    reader.join()
    process.stdout.close()


@pytest.fixture
def moto(moto_url: str, aws_env: pytest.MonkeyPatch) -> str:
    for service in ("SESV2", "SNS", "SQS", "STS", "S3", "CLOUDFRONT"):
        aws_env.setenv(f"AWS_ENDPOINT_URL_{service}", moto_url)
    urlopen(Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    return moto_url


# ── X ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def x_api(closing: ExitStack) -> fake_x.FakeX:
    fake = fake_x.FakeX()
    closing.callback(fake.close)
    return fake


@pytest.fixture
def make_x(make_provider: Callable[..., Provider], x_api: fake_x.FakeX) -> Callable[..., Provider]:
    """A provider of X whose adapter leads to the fake."""

    def make(**config: Any) -> Provider:
        provider: Any = make_provider("x", **{**fake_x.KEYS, **config})
        session = provider.client.session
        session.mount("https://", fake_x.ToLoopback(x_api.port, session.get_adapter("https://api.twitter.com")))
        # Behind the adapter the address is http; requests looks the adapter up before that.
        return provider

    return make
