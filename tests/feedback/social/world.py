"""Components with watched words, and a server on which people say things."""

from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count

from django.utils import timezone

from channels.models import Channel
from channels.providers.base import Heard
from feedback.models import SocialSource, WatchTerm
from tests import make
from tests.fakes.mastodon import TOKEN, FakeMastodon, said

_n = count(1000)


def watched(name: str = "Example Pay", *terms: str):
    component = make.component(name)
    for term in terms or ("#examplepay",):
        WatchTerm.objects.create(component=component, term=term)
    return component


@contextmanager
def mastodon():
    fake = FakeMastodon()
    try:
        yield fake
    finally:
        fake.close()


def channel_on(fake: FakeMastodon) -> Channel:
    config = {"server": fake.url, "visibility": "public"}
    return make.channel("mastodon", config=config, secrets={"access_token": TOKEN})


def source_on(fake: FakeMastodon, **changes) -> SocialSource:
    return SocialSource.objects.create(name=f"Source {next(_n)}", channel=channel_on(fake), **changes)


def inbox(**changes) -> SocialSource:
    return SocialSource.objects.create(name=f"Inbox {next(_n)}", **changes)


def say(fake: FakeMastodon, words: str, account: str = "9", at: datetime | None = None) -> None:
    moment = (at or timezone.now() - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    fake.server.said.append(said(next(_n), words, moment, account))


def heard(words: str, at: datetime | None = None, author: str = "") -> Heard:
    number = next(_n)
    return Heard(
        str(number), at or timezone.now(), words, author or f"author {number}", "en", f"https://x.test/{number}"
    )
