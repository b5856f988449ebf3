"""Systems that are told of events: a server of one's own, and a topic."""

from ipaddress import ip_network

import pytest

from incidents.events import recording
from incidents.models import EventSubscription
from tests import make
from tests.channels.providers.conftest import certificate, closing, vouched  # noqa: F401
from tests.fakes.http import FakeHttp

CHANNEL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver(closing, certificate, vouched, settings) -> FakeHttp:  # noqa: F811
    """A server that our webhooks reach."""
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    make.channel("webhook", "Webhooks", config={"signing_secret": CHANNEL_SECRET})
    peer = FakeHttp(certificate=str(certificate))
    closing.callback(peer.close)
    return peer


@pytest.fixture
def subscribe(receiver):
    """A subscription of that server, with a secret of its own; from what happens next on."""

    def subscribe(owner=None, **kwargs) -> EventSubscription:
        components = kwargs.pop("components", ())
        kwargs.setdefault("name", f"System {EventSubscription.objects.count()}")
        kwargs.setdefault("target", f"{receiver.url}/events")
        kwargs.setdefault("cursor", recording.head())
        one = EventSubscription.objects.create(owner=owner or make.incident_manager(), **kwargs)
        one.components.set(components)
        if one.kind == EventSubscription.Kind.WEBHOOK:
            one.renew_secret()
        return one

    return subscribe
