"""Networks are asked, and what is new is kept once, without names, wherever a worker stopped."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from channels.errors import Permanent, Transient
from channels.providers.mastodon import Mastodon
from feedback import tasks
from feedback.models import SocialPost, SocialSource, WatchTerm
from feedback.social import taking_in, watching
from feedback.social.taking_in import about, take_in, without_names
from tests import make
from tests.fakes.http import Reply

from .world import channel_on, heard, inbox, mastodon, say, source_on, watched

pytestmark = pytest.mark.django_db


@pytest.fixture
def fake():
    with mastodon() as one:
        yield one


def due(source):
    SocialSource.objects.filter(pk=source.pk).update(next_at=timezone.now() - timedelta(seconds=1))


def test_the_sweep_hears_what_is_said_about_a_component(fake):
    component, source = watched(), source_on(fake)
    say(fake, "The #examplepay app is not working")
    say(fake, "Nothing to do with it")
    tasks.sweep_social()
    [post] = SocialPost.objects.all()
    assert (post.text, post.label, post.language, post.engine) == (
        "The #examplepay app is not working",
        "negative",
        "en",
        "offline",
    )
    assert list(post.components.all()) == [component]
    assert (post.source, post.network) == (source, "mastodon")
    source.refresh_from_db()
    assert source.health == "well"
    assert source.next_at > timezone.now() + timedelta(seconds=60)


def test_nothing_is_kept_twice_and_nothing_is_asked_before_its_time(fake):
    watched()
    source = source_on(fake)
    say(fake, "#examplepay is down")
    watching.watch_due()
    calls = len(fake.calls)
    watching.watch_due()
    assert len(fake.calls) == calls
    say(fake, "#examplepay is still down")
    due(source)
    watching.watch_due()
    assert SocialPost.objects.count() == 2


def test_a_worker_that_dies_in_the_middle_loses_nothing(fake, monkeypatch):
    watched("Example Pay", "#examplepay", "#exampleshop")
    source = source_on(fake)
    say(fake, "#examplepay is down")
    say(fake, "#exampleshop is down")
    real = Mastodon.hear
    pages = []

    def dies(self, terms, cursor):
        pages.append(cursor)
        if len(pages) == 2:
            raise MemoryError
        return real(self, terms, cursor)

    monkeypatch.setattr(Mastodon, "hear", dies)
    with pytest.raises(MemoryError):
        watching.watch(source.pk)
    assert SocialPost.objects.count() == 1  # the first page, with where to go on
    watching.watch(source.pk)
    assert len(pages) == 2  # the lease holds
    due(source)
    watching.watch(source.pk)
    assert SocialPost.objects.count() == 2


def test_it_waits_for_as_long_as_the_network_says(fake):
    watched()
    source = source_on(fake)
    fake.script(Reply(429, {"error": "Too many"}, {"Retry-After": "900"}))
    watching.watch_due()
    source.refresh_from_db()
    assert timedelta(minutes=14) < source.next_at - timezone.now() < timedelta(minutes=16)
    assert (source.trouble, source.failures) == ("", 0)


def test_trouble_is_told_without_the_credential_and_it_backs_off(fake):
    watched()
    source = source_on(fake)
    pauses = []
    for _n in range(3):
        fake.script(Reply(403, {"error": "fake-mastodon-token lacks a scope"}))
        watching.watch(source.pk)
        source.refresh_from_db()
        pauses.append(round((source.next_at - timezone.now()).total_seconds() / 60))
        due(source)
    assert pauses == [1, 2, 4]
    assert "lacks a scope" in source.trouble
    assert "fake-mastodon-token" not in source.trouble
    assert source.health == "trouble"
    watching.watch(source.pk)
    source.refresh_from_db()
    assert (source.trouble, source.failures) == ("", 0)


def test_a_page_that_is_taken_no_more_does_not_block_for_ever(fake):
    watched()
    source = source_on(fake, cursor={"newest": {"#examplepay": "5"}, "next": "gone", "top": "9"})
    watching._failed(source, Permanent("400", "Invalid next_token"))
    source.refresh_from_db()
    assert source.cursor == {"newest": {"#examplepay": "5"}}
    watching._failed(source, Transient("timeout"))
    source.refresh_from_db()
    assert source.cursor == {"newest": {"#examplepay": "5"}}


def test_one_that_breaks_does_not_hold_up_the_others(fake):
    watched()
    first = source_on(fake, next_at=timezone.now() - timedelta(hours=1))
    first.channel.provider = "of an older version"
    first.channel.save()
    second = source_on(fake)
    say(fake, "#examplepay is down")
    watching.watch_due()
    assert SocialPost.objects.get().source == second


def test_switched_off_is_not_asked(fake):
    watched()
    source_on(fake, enabled=False)
    watching.watch_due()
    assert fake.calls == []


def test_our_own_posts_are_left_out(fake):
    watched()
    source_on(fake)
    say(fake, "#examplepay: we are working on it", account="1")
    watching.watch_due()
    assert not SocialPost.objects.exists()


def test_of_its_author_only_a_hash_is_kept(fake):
    watched()
    source_on(fake)
    say(fake, "@ann@social.example.org is #examplepay down? write to bob@example.com")
    say(fake, "#examplepay is down")
    watching.watch_due()
    first, second = SocialPost.objects.order_by("pk")
    assert "ann" not in first.text
    assert "bob" not in first.text
    assert "#examplepay" in first.text
    assert first.author_hash == second.author_hash
    assert len(first.author_hash) == 64
    kept = " ".join(
        str(getattr(first, field.attname))
        for field in SocialPost._meta.fields
        if field.name not in ("url", "external_id")
    )
    assert "user9" not in kept


def test_the_same_post_from_two_workers_is_one():
    component = watched()
    source = inbox()
    one = heard("#examplepay is down")
    assert take_in(source, [one, one]) == 1
    assert take_in(source, [one]) == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        SocialPost.objects.create(
            source=source,
            network="inbox",
            external_id=one.id,
            at=one.at,
            text="x",
            language="en",
            label="neutral",
            score=0,
        )
    assert list(SocialPost.objects.get().components.all()) == [component]


def test_a_post_may_be_about_two_components():
    first, second = watched("Pay", "#examplepay"), watched("Shop", "example shop")
    take_in(inbox(), [heard("#examplepay in the Example Shop is down")])
    assert set(SocialPost.objects.get().components.all()) == {first, second}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#ExamplePay down", True),
        ("the example pay is down", True),
        ("examplepay is down", True),
        ("example_pay", True),
        ("my examplepayments are late", False),
        ("an example: pay later", False),
    ],
)
def test_words_are_found_as_people_write_them(text, found):
    watched("Pay", "example pay")
    assert bool(about(text, taking_in.terms())) == found


@pytest.mark.parametrize(
    ("term", "message"),
    [('"a b"', '“"” has a meaning'), ("(pay OR shop)", "“(” has a meaning"), ("ab", "too short"), ("#x", "too short")],
)
def test_words_that_a_search_would_take_otherwise_are_refused(term, message):
    with pytest.raises(ValidationError, match=message.replace("(", "\\(")):
        WatchTerm(component=make.component(), term=term).full_clean()


def test_words_are_kept_in_one_form():
    one = WatchTerm(component=make.component(), term="  Example   PAY ")
    one.full_clean()
    assert one.term == "example pay"


def test_a_channel_that_cannot_search_is_refused():
    with pytest.raises(ValidationError, match="cannot search; choose a channel of X, Mastodon or Bluesky"):
        SocialSource(name="a", channel=make.channel()).full_clean()


def test_posts_are_forgotten_in_time(settings):
    settings.SOCIAL_KEEP_DAYS = 30
    watched()
    take_in(inbox(), [heard("#examplepay old", timezone.now() - timedelta(days=31)), heard("#examplepay new")])
    tasks.sweep_social()
    assert [one.text for one in SocialPost.objects.all()] == ["#examplepay new"]


def test_what_no_database_takes_is_left_out():
    assert without_names("a\x00b\x07c") == "a b c"
    watched()
    take_in(inbox(), [heard("#examplepay \x00 " + "x" * 5000)])
    assert len(SocialPost.objects.get().text) <= 2000


def test_the_channel_of_a_source_is_not_deleted(fake):
    source = source_on(fake)
    with pytest.raises(Exception, match="protected"):
        source.channel.delete()
    assert channel_on(fake)
