"""What staff see of posts: as text, whatever it is, and only of components that are theirs."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from guardian.shortcuts import assign_perm

from feedback.models import SocialPost, SocialSource, WatchTerm
from feedback.social.curve import curve
from feedback.social.taking_in import take_in
from incidents import roles
from tests import make

from .world import heard, inbox, watched

pytestmark = pytest.mark.django_db
HOSTILE = "#examplepay <script>alert(1)</script><img src=x onerror=alert(2)> is down"
POSTS, TERMS, SOURCES = (f"/admin/feedback/{name}/" for name in ("socialpost", "watchterm", "socialsource"))


@pytest.fixture
def component():
    return watched()


def say(words=HOSTILE, minutes_ago=1.0):
    at = timezone.now() - timedelta(minutes=minutes_ago)
    take_in(inbox(), [heard(words, at)])
    return SocialPost.objects.latest("pk")


def someone(component, role=roles.COMMUNICATIONS_MANAGERS) -> User:
    """Of this component only."""
    who = make.user(role)
    assign_perm("incidents.operate_component", who, component)
    return who


def test_a_post_is_shown_as_text_everywhere(component):
    post, staff = say(), make.client(make.communications_manager())
    incident = make.incident(None, component)
    for path in (POSTS, f"{POSTS}{post.pk}/change/", f"/admin/feedback/report/{incident.pk}/"):
        page = staff.get(path)
        assert page.status_code == 200
        assert b"<script>alert" not in page.content
        assert b"<img src=x" not in page.content
        assert "&lt;script&gt;alert(1)" in page.content.decode()


def test_an_address_that_is_none_is_no_link(component):
    post, staff = say(), make.client(make.communications_manager())
    SocialPost.objects.update(url="javascript:alert(1)")
    assert b"javascript:alert" not in staff.get(f"{POSTS}{post.pk}/change/").content


def test_posts_of_other_components_are_not_seen(component):
    post = say()
    stranger = make.client(someone(make.component("Another")))
    assert b"is down" not in stranger.get(POSTS).content
    assert b"Example Pay" not in stranger.get(POSTS).content
    assert stranger.get(f"{POSTS}{post.pk}/change/").status_code in (302, 403, 404)
    mine = make.client(someone(component))
    assert b"is down" in mine.get(POSTS).content


def test_nobody_changes_a_post(component):
    post, staff = say(), make.client(make.communications_manager())
    assert staff.post(f"{POSTS}{post.pk}/change/", {"text": "praise"}).status_code == 403
    assert staff.post(f"{POSTS}{post.pk}/delete/", {"post": "yes"}).status_code == 403
    assert staff.get(f"{POSTS}add/").status_code == 403


def test_words_are_watched_only_for_components_that_one_works_on(component):
    other = make.component("Another")
    mine = make.client(someone(component))
    refused = mine.post(f"{TERMS}add/", {"component": other.pk, "term": "another"})
    assert refused.status_code == 200
    assert WatchTerm.objects.filter(component=other).count() == 0
    assert mine.post(f"{TERMS}add/", {"component": component.pk, "term": "Example Money"}).status_code == 302
    assert set(component.watch_terms.values_list("term", flat=True)) == {"#examplepay", "example money"}
    term = WatchTerm.objects.create(component=other, term="another")
    assert mine.get(f"{TERMS}{term.pk}/change/").status_code in (302, 403, 404)


def test_sources_are_for_those_who_see_every_component(component):
    assert make.client(someone(component)).get(SOURCES).status_code == 403
    staff = make.client(make.communications_manager())
    assert staff.post(f"{SOURCES}add/", {"name": "Forum", "channel": "", "enabled": "on"}).status_code == 302
    source = SocialSource.objects.get(name="Forum")
    path = f"{SOURCES}{source.pk}/inbox/"
    assert staff.get(path).status_code == 200
    assert make.client(make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS)).post(path).status_code == 403
    assert make.client(someone(component)).get(path).status_code in (403, 404)


def test_only_channels_that_can_search_are_offered():
    make.channel(name="Mail")
    make.channel("mastodon", name="Toots")
    page = make.client(make.communications_manager()).get(f"{SOURCES}add/").content.decode()
    assert "Toots" in page
    assert ">Mail<" not in page


@pytest.mark.parametrize("path", [POSTS, TERMS, SOURCES])
def test_the_number_of_queries_does_not_grow(component, path, django_assert_max_num_queries):
    for n in range(12):
        say(f"#examplepay is down, {n}")
        WatchTerm.objects.create(component=component, term=f"example {n}")
    staff = make.client(make.communications_manager())
    staff.get(path)
    with django_assert_max_num_queries(20):
        assert staff.get(path).status_code == 200


# ── The curve ───────────────────────────────────────────────────────────────


def test_the_curve_counts_what_was_said(component, django_assert_num_queries):
    incident = make.incident(None, component)
    for words in ("#examplepay is down", "#examplepay is not working", "#examplepay works again, thank you"):
        say(words)
    say("#examplepay was down long ago", minutes_ago=600)
    watched("Another", "#another")
    say("#another is down")
    with django_assert_num_queries(1):
        found = curve(incident, SocialPost.objects.all(), [(timezone.now(), "Update 1")], timezone.now())
    assert (found.total, found.negative) == (3, 2)
    [bar] = [one for one in found.bars if one.total]
    assert bar.counts == (2, 0, 0, 1)
    assert [one.key for one in bar.parts] == ["negative", "positive"]
    assert -1 <= bar.mean < 0
    assert all(0 <= one.y <= found.height and one.height > 0 for one in bar.parts)
    [mark] = found.updates
    assert mark.text.startswith("Update 1, ")
    assert found.left <= mark.x <= found.width
    assert len(found.bars) <= 42


def test_a_long_incident_has_no_more_bars(component):
    incident = make.incident(None, component)
    incident.started_at = timezone.now() - timedelta(days=40)
    say("#examplepay is down", minutes_ago=60 * 24 * 39)
    say("#examplepay is down")
    found = curve(incident, SocialPost.objects.all(), [], timezone.now())
    assert found.total == 2
    assert len(found.bars) <= 42


def test_where_nobody_spoke_there_is_no_curve(component):
    incident = make.incident(None, component)
    assert curve(incident, SocialPost.objects.all(), [], timezone.now()) is None
    page = make.client(make.communications_manager()).get(f"/admin/feedback/report/{incident.pk}/").content.decode()
    assert "Nothing was heard about its components" in page


def test_the_report_draws_it_only_for_those_who_may_read_posts(component):
    incident = make.incident(None, component)
    say("#examplepay is down")
    path = f"/admin/feedback/report/{incident.pk}/"
    page = make.client(make.communications_manager()).get(path).content.decode()
    assert "cp-social-negative" in page
    assert "#examplepay is down" in page
    page = make.client(make.user(roles.MANAGERS, roles.ALL_COMPONENTS)).get(path).content.decode()
    assert "cp-social-negative" not in page
    assert "#examplepay" not in page
