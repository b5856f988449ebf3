"""“Was this clear?”: links that scanners open, that are forged, reused or old; and the form of the status page."""

import json
import re
from datetime import timedelta

import pytest
import time_machine
from django.core import signing
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from channels import erasing
from channels.models import Batch, Channel, Delivery, Recipient
from feedback import voting
from feedback.models import UpdateVote
from incidents.models import IncidentUpdate
from incidents.publishing import CLEAR_SALT, SURVEY_SALT
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def update() -> IncidentUpdate:
    """Published and sent to two people."""
    make.plan(make.channel(), locales=("en",))
    make.recipients(2)
    one = make.published(make.incident(make.incident_manager()).updates.get())
    make.deliver()
    return one


@pytest.fixture
def person(update) -> Recipient:
    return Recipient.objects.filter(medium="email").earliest("id")


def link(update: IncidentUpdate, person: Recipient, answer: str = "") -> str:
    return f"/clear/{signing.dumps([update.pk, person.pk], salt=CLEAR_SALT)}/" + (f"{answer}/" if answer else "")


def on_page(update: IncidentUpdate) -> str:
    return f"/clear/page/{update.incident.uid}/{update.number}/"


# ── Under a message ──


def test_every_email_asks_with_two_links_of_its_readers_own(client, update, data_dir):
    letters = [json.loads(file.read_text())["parts"] for file in (data_dir / "outbox").glob("*.json")]
    assert len(letters) == 2
    found = set()
    for parts in letters:
        for text in (parts["text"], parts["html"]):
            yes, no = re.findall(r"/clear/[\w:.-]+/(?:yes|no)/", text)
            assert (yes[-5:], no[-4:]) == ("/yes/", "/no/")
            assert client.get(yes).status_code == 200
            found.add(yes)
    assert len(found) == 2


def test_what_is_approved_shows_where_the_links_stand(update):
    author = make.incident_manager()
    from incidents import declaring

    waiting = declaring.start_draft(update.incident, author, "identified").submit(author)
    reviewer = make.client(make.communications_manager())
    page = reviewer.get(f"/admin/incidents/incidentupdate/{waiting.pk}/review/").content.decode()
    assert "[[clear_url]]" not in page
    assert "Was this clear?" in page


def test_opening_a_link_counts_nothing_and_one_tap_does(client, update, person):
    url = link(update, person, "no")
    for _n in range(3):
        page = client.get(url).content.decode()
        client.head(url)
    assert not UpdateVote.objects.exists()
    assert re.search(r'value="yes" class="is-other"', page)
    assert update.incident.title in page
    response = client.post(url, {"clear": "no"})
    assert "your answer is counted" in response.content.decode()
    vote = UpdateVote.objects.get()
    assert (vote.clear, vote.recipient, vote.channel, vote.locale) == (False, person, Channel.objects.get(), "en")


def test_it_counts_once_and_the_last_answer_stands(client, update, person):
    client.post(link(update, person, "no"), {"clear": "no"})
    client.post(link(update, person), {"clear": "yes"})
    assert UpdateVote.objects.get().clear is True


def test_it_needs_no_cookie_and_sets_none(update, person):
    client = Client(enforce_csrf_checks=True)
    for url in (link(update, person), on_page(update)):
        response = client.post(url, {"clear": "yes"})
        assert response.status_code == 200
        assert not response.cookies
        assert response["Cache-Control"] == "no-store"
    page = client.get(link(update, person)).content.decode()
    assert "<script" not in page


def test_it_speaks_the_recipients_language(client, update, person):
    Recipient.objects.update(locale="it")
    assert '<html lang="it">' in client.get(link(update, person, "yes")).content.decode()
    client.post(link(update, person), {"clear": "yes"})
    assert UpdateVote.objects.get().locale == "it"


@pytest.mark.parametrize("token", ["x", "a:b:c", "🙂", "%00", "x" * 3000, ":"])
def test_a_garbled_link_is_not_found(client, token):
    for response in (client.get(f"/clear/{token}/"), client.post(f"/clear/{token}/", {"clear": "yes"})):
        assert response.status_code == 404
        assert "This link does not work" in response.content.decode()


def test_a_forged_link_is_not_found(client, update, person):
    payloads = [[update.pk], [update.pk, person.pk, 1], [str(update.pk), person.pk], {"a": 1}, None, 7]
    urls = [f"/clear/{signing.dumps(one, salt=CLEAR_SALT)}/" for one in payloads]
    urls += [f"/clear/{signing.dumps([update.pk, person.pk], salt=SURVEY_SALT)}/"]
    good = link(update, person)
    urls += [f"{good[:-2]}{'A' if good[-2] != 'A' else 'B'}/", f"{good}maybe/"]
    for url in urls:
        assert client.post(url, {"clear": "yes"}).status_code == 404, url
    assert not UpdateVote.objects.exists()


def test_whoever_was_not_written_to_has_no_say(client, update):
    [stranger] = make.recipients(1)
    assert client.post(link(update, stranger), {"clear": "yes"}).status_code == 404
    Delivery.objects.all().delete()
    one = Recipient.objects.filter(medium="email").earliest("id")
    assert client.get(link(update, one)).status_code == 404
    Batch.objects.update(done_at=None, done_to=0)
    assert client.get(link(update, one)).status_code == 200


def test_it_is_open_for_thirty_days(client, update, person):
    url = link(update, person)
    with time_machine.travel(timezone.now() + timedelta(days=29)):
        assert client.get(url).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        for response in (
            client.get(url),
            client.post(url, {"clear": "no"}),
            client.post(on_page(update), {"clear": "no"}),
        ):
            assert response.status_code == 410
            assert "no longer open" in response.content.decode()
    assert not UpdateVote.objects.exists()


def test_of_whom_is_erased_the_vote_stays_without_them(client, update, person):
    url = link(update, person)
    client.post(url, {"clear": "no"})
    erasing.erase(person, make.user())
    assert client.get(url).status_code == 410
    assert UpdateVote.objects.get().recipient_id is None


@pytest.mark.parametrize("answer", ["", "maybe", "YES", "1", "\x00"])
def test_what_is_no_answer_is_asked_again_or_refused(client, update, person, answer):
    assert "One tap" in client.post(link(update, person), {"clear": answer}).content.decode()
    assert client.post(on_page(update), {"clear": answer}).status_code == 400
    assert client.post(on_page(update), {"clear": "yes" * 1000}).status_code == 400
    assert not UpdateVote.objects.exists()


def test_it_asks_the_database_little(client, update, person, django_assert_max_num_queries):
    url = link(update, person, "yes")
    with django_assert_max_num_queries(5):
        client.get(url)
    with django_assert_max_num_queries(9):
        client.post(url, {"clear": "yes"})


# ── On the status page ──


def test_the_page_of_an_incident_asks_under_each_update(client, update):
    page = client.get(f"/incidents/{update.incident.uid}/").content.decode()
    assert f'{on_page(update)}"' in page
    assert "Was this clear?" not in client.get("/").content.decode()


def test_a_reader_answers_there_without_a_name(client, update):
    response = client.post(on_page(update) + "?lang=it", {"clear": "no"})
    assert response.status_code == 200
    vote = UpdateVote.objects.get()
    assert (vote.update, vote.clear, vote.recipient, vote.channel, vote.locale) == (update, False, None, None, "it")
    assert client.get(on_page(update)).status_code == 405


def test_of_what_is_not_published_nothing_is_counted(client, update):
    draft = make.incident(make.incident_manager()).updates.get()
    for url in (on_page(draft), "/clear/page/nothing/1/", f"/clear/page/{update.incident.uid}/99/"):
        assert client.post(url, {"clear": "yes"}).status_code == 404
    assert client.post(f"/clear/page/{update.incident.uid}/{'9' * 30}/", {"clear": "yes"}).status_code == 404
    assert not UpdateVote.objects.exists()


def test_a_script_is_stopped_and_another_network_is_not(client, update):
    for _n in range(voting.PER_NETWORK):
        assert client.post(on_page(update), {"clear": "no"}).status_code == 200
    response = client.post(on_page(update), {"clear": "no"})
    assert response.status_code == 429
    assert "Not counted" in response.content.decode()
    assert client.post(on_page(update), {"clear": "yes"}, REMOTE_ADDR="203.0.113.9").status_code == 200
    assert UpdateVote.objects.count() == voting.PER_NETWORK + 1


def test_without_the_database_it_says_so_and_the_page_still_asks(client, update, monkeypatch):
    def away(*_args, **_kwargs):
        raise OperationalError("gone")

    client.get(f"/incidents/{update.incident.uid}/")
    monkeypatch.setattr(voting, "cast_on_page", away)
    response = client.post(on_page(update), {"clear": "yes"})
    assert response.status_code == 503
    assert response["Retry-After"]
    assert "try again in a few minutes" in response.content.decode()
