"""Two thousand hostile strings through every public form and address: words or silence, and never a crash.

All of them take more than a minute, so that every run tries the 521 from which the others are made, and
`HOSTILE=all` tries every one.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings as portal
from django.core import signing
from django.http import HttpResponse
from django.test import Client

from channels import counting, links
from channels.addresses import normalise
from channels.models import Medium, NoticeCount, Recipient, Suppression
from feedback import surveys
from feedback.models import SurveyAnswer, UpdateVote
from incidents import subscribing
from incidents.models import Component, Incident, Subscription, SubscriptionRequest
from incidents.publishing import CLEAR_SALT, SURVEY_SALT
from incidents.statuspage import live, subscribe_forms
from incidents.statuspage.api import DOCUMENTS
from tests import hostile, make
from tests.fakes.browser import Browser

from ..feedback.test_survey import link as survey_link
from ..feedback.test_survey import resolved
from .test_subscribe_pages import PUSH, filled

STRINGS = hostile.strings()[: None if os.environ.get("HOSTILE") == "all" else hostile.PLAIN]
MEDIA = ("email", "sms", "slack", "teams", "webhook", "webpush")
FORM = "application/x-www-form-urlencoded"
CLEAN = re.compile(r"[^\s\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]+")


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """An incident that is over and asked about, with two customers; every way to subscribe. The incident's key."""
    incident = resolved()
    make.channel("outbox_sms")
    make.channel("slack_subscribers")
    make.channel("teams_subscribers")
    make.channel("webhook", secrets={"signing_secret": "whsec_" + "A" * 40})
    make.channel("webpush", config={"contact_email": "ops@example.com"}, secrets=PUSH)
    return incident.pk


@pytest.fixture(autouse=True)
def roomy(world: int, db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit answers in the place of the form, and its list of time zones is short, for it is drawn each time."""
    for name in ("ADDRESS_PER_DAY", "NETWORK_PER_HOUR", "DOMAIN_PER_HOUR"):
        setattr(settings, f"SUBSCRIBE_{name}", 10**6)
    monkeypatch.setattr(subscribe_forms, "time_zones", lambda: [("UTC", "UTC"), ("Europe", [("Europe/Rome", "Rome")])])
    monkeypatch.setattr(counting, "LIMIT", 10**6)
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)  # a line for each refusal


@pytest.fixture
def incident(world: int) -> Incident:
    return Incident.objects.get(pk=world)


@pytest.fixture
def person() -> Recipient:
    return Recipient.objects.filter(medium="email").earliest("pk")


# ── What is asked, and what every answer must be ──


def kept() -> tuple[int, ...]:
    """How many rows there are of all that a customer can make."""
    made = (Recipient, Subscription, SubscriptionRequest, Suppression, SurveyAnswer, UpdateVote, NoticeCount)
    return tuple(one.objects.count() for one in made)


def encoded(fields: dict[str, Any]) -> bytes:
    return urlencode(fields, doseq=True, errors="surrogatepass").encode()


def in_path(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def raw(text: str) -> str:
    """As the bytes of a header reach an application."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def by(count: int) -> Iterator[list[str]]:
    """All strings, so many at a time."""
    for start in range(0, len(STRINGS), count):
        group = STRINGS[start : start + count]
        yield group + STRINGS[: count - len(group)]


class Tag(HTMLParser):
    """The shape of one tag, which is its name and its attributes' names, and where it leads."""

    shape: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape = (tag, *sorted(name for name, _value in attrs))
        self.leads = tuple(value or "" for name, value in attrs if name in ("href", "src", "action", "formaction"))


class Doors:
    """Asks, and looks at each answer: no crash, no tag that our templates do not write, no header of somebody's."""

    # Each tag by itself; the two notes that a page keeps for the time without a database are comments round tags.
    TAG = re.compile(r"""<!--as-of(?:-old)?:|-->|<(?:[^<>"]|"[^"]*")*>""")
    OURS = re.compile(r"(?:http://127\.0\.0\.1:8000)?/(?!/)|[?#]|$")

    def __init__(self) -> None:
        self.client = Client()
        self.known: set[str] = set()
        self.shapes: set[tuple[str, ...]] = {()}

    def learn(self, method: str, path: str, **kwargs: Any) -> None:
        """Ask for something harmless: what such a page is made of is ours."""
        answer = self.client.generic(method, path, kwargs.pop("body", b""), FORM, **kwargs)
        for text in set(self.TAG.findall(answer.content.decode())):
            self.shapes.add(self.parsed(text).shape)

    def ask(self, method: str, path: str, *texts: str, query: bytes = b"", body: bytes = b"", **extra: Any) -> Any:
        """`texts` are what is brought in, by the path, the query, the body or a header."""
        where = f"{method} {path[:200]} ?{query[:300]!r} {body[:600]!r}"
        kind = extra.pop("content_type", FORM)
        try:
            answer = self.client.generic(method, path, body, kind, QUERY_STRING=query.decode("ascii"), **extra)
        except Exception as error:
            error.add_note(where)
            raise
        assert answer.status_code < 500, where
        self.look_at_headers(answer, texts, where)
        if answer["Content-Type"].startswith(("text/html", "image/svg+xml")):
            self.look_at_page(answer.content.decode(), where)
        return answer

    def look_at_headers(self, answer: HttpResponse, texts: Sequence[str], where: str = "") -> None:
        # What leads back to the page that was asked for names it in full; that is one line all the same.
        lines = [line for text in texts for one in text.splitlines() if len(line := one.strip()) > 7]
        for name, value in answer.items():
            assert not re.search(r"[\x00-\x1f\x7f]", value), where
            leads_back = name == "Location" and re.match(r"/(?!/)", value)
            assert leads_back or not any(line in value for line in lines), (where, name, value)

    def look_at_page(self, page: str, where: str = "") -> None:
        assert "<" not in self.TAG.sub("", page), where
        new = set(self.TAG.findall(page)) - self.known
        for text in new:
            tag = self.parsed(text)
            assert tag.shape in self.shapes, f"{text[:300]} in {where}"
            for address in tag.leads:
                assert self.OURS.match(address), f"{text[:300]} in {where}"
        self.known |= {text for text in new if len(text) < 200}

    @staticmethod
    def parsed(text: str) -> Tag:
        one = Tag()
        one.feed(text)
        return one


@pytest.fixture
def doors() -> Doors:
    """It knows the page that says that there is nothing."""
    one = Doors()
    for path in ("/nothing/", "/subscribe/confirm/x/", "/unsubscribe/x/", "/survey/x/"):
        one.learn("GET", path)
    return one


def test_there_are_two_thousand_and_they_are_different():
    found = hostile.strings()
    assert len(set(found)) == len(found) == hostile.COUNT == 2000
    assert {text for kind in hostile.KINDS.values() for text in kind} <= set(STRINGS)


def test_the_looker_sees_what_it_looks_for(doors):
    doors.learn("GET", "/subscribe/")
    doors.look_at_page('<!doctype html><p>&lt;script&gt;</p><a class="cp-more" href="/x"></a>')
    bad = [one for one in hostile.MARKUP if re.match("<[A-Za-z!?]", one)]
    for text in (
        *bad,
        "<",
        '<a href="x',
        '<input value="" onfocus="x">',
        '<a class="cp-more" href="&#x6A;avascript:x">',
    ):
        with pytest.raises(AssertionError):
            doors.look_at_page(f"<!doctype html><p>{text}</p>")
    for header in ("a\x01b", "Card payments"):
        with pytest.raises(AssertionError):
            doors.look_at_headers({"Server": f"/{header}"}, ["x\nCard payments"])  # type: ignore[arg-type]


# ── Subscribing ──


@pytest.mark.once
@pytest.mark.parametrize("medium", Medium.values)
def test_as_an_address_each_is_refused_in_words_or_kept_clean(medium):
    for text in STRINGS:
        address, said = "", ""
        try:
            address = normalise(medium, text)
        except ValueError as error:
            said = str(error)
        assert bool(address) != bool(said.strip()), text
        if address:
            assert normalise(medium, address) == address, text
            assert medium not in MEDIA or CLEAN.fullmatch(address), text


@pytest.mark.parametrize("part", range(2))
def test_in_the_form_each_address_is_refused_or_kept_clean(doors, part):
    """Each medium has its share of the strings, and others in its other part."""
    before = kept()
    good = {medium: filled(medium=medium, **(Browser().keys if medium == "webpush" else {})) for medium in MEDIA}
    for fields in good.values():
        doors.learn("POST", "/subscribe/", body=encoded(fields | {"address": "nobody"}))
    refused = 0
    for text, (medium, fields) in zip(STRINGS[part::2], cycle(good.items()), strict=False):
        answer = doors.ask("POST", "/subscribe/", text, body=encoded(fields | {"address": text}))
        if answer.status_code == 303:
            one = SubscriptionRequest.objects.get()
            assert normalise(medium, one.address) == one.address, text
            assert CLEAN.fullmatch(one.address), text
            SubscriptionRequest.objects.all().delete()
        else:
            assert answer.status_code in (413, 422), text
            refused += 1
    assert kept() == before
    assert refused > 0.8 * len(STRINGS) / 2


@pytest.mark.once
def test_in_the_other_fields_of_the_form_each_is_refused(doors):
    before = kept()
    names = ("what", "parts", "least_severity", "locale", "time_zone", "p256dh", "auth", "stamp")
    good = filled(medium="webpush", address="https://push.example.com/x")
    for text in ("nothing", "x" * 70_000):
        doors.learn("POST", "/subscribe/", body=encoded(good | dict.fromkeys(names, text)))
    doors.learn("POST", "/subscribe/", body=encoded(good | {"medium": "nothing"}))
    for texts in by(len(names)):
        fields = dict(zip(names, texts, strict=True))
        answer = doors.ask("POST", "/subscribe/", *texts, body=encoded(good | fields))
        assert answer.status_code in (413, 422), texts
    for text in STRINGS[::16]:  # drawn nowhere
        answer = doors.ask("POST", "/subscribe/", text, body=encoded(good | {"medium": "email", "website": f"{text}x"}))
        assert answer.status_code in (303, 413), text
    for text in STRINGS[::16]:
        assert doors.ask("POST", "/subscribe/", text, body=encoded(good | {"medium": text})).status_code in (
            413,
            422,
        ), text
    assert kept() == before


@pytest.mark.once
def test_in_a_link_each_is_not_found(doors):
    before = kept()
    pages = ("/subscribe/confirm/", "/subscription/", "/unsubscribe/", "/survey/")
    for text, page in zip(STRINGS, cycle(pages), strict=False):
        for method in ("GET", "POST"):
            status = doors.ask(method, f"{page}{in_path(text)}/", text, body=b"again=1").status_code
            assert status in (301, 404), (method, page, text)
    assert kept() == before


def test_signed_by_us_for_nothing_each_is_not_found(doors):
    """As if a page of ours signed what it is given."""
    for number in (1, 10**9):
        doors.learn("GET", f"/unsubscribe/{signing.dumps(number, salt=links.UNSUBSCRIBE_SALT)}/")
    for text in STRINGS:
        number = int(text) if re.fullmatch("-?[0-9]{1,30}", text) else [text]
        for value in (text, number, {text: text}, [text, 1], [1, number]):
            with pytest.raises((subscribing.NoRequest, subscribing.Gone)):
                subscribing.read(signing.dumps(value, salt=subscribing.CONFIRM_SALT))
            with pytest.raises((subscribing.NoRequest, subscribing.Gone)):
                subscribing.subscriber(signing.dumps(value, salt=links.MANAGE_SALT))
            with pytest.raises((surveys.NoInvitation, surveys.Gone)):
                surveys.read(signing.dumps(value, salt=SURVEY_SALT))
        token = signing.dumps(text, salt=links.UNSUBSCRIBE_SALT)
        assert doors.ask("GET", f"/unsubscribe/{token}/", text).status_code in (200, 404), text


@pytest.mark.once
def test_on_the_page_of_a_subscriber_each_is_refused_and_nothing_changes(doors, person):
    path = links.manage_url(person.pk).removeprefix(portal.PORTAL_URL)
    names = ("what", "parts", "least_severity", "locale", "time_zone")
    doors.learn("POST", path, body=encoded(dict.fromkeys(names, "nothing")))
    doors.learn("GET", path, QUERY_STRING="done=saved")
    before = Recipient.objects.values().get(pk=person.pk), kept()
    for texts in by(len(names)):
        query = encoded({"done": texts[0], "lang": texts[1], texts[2]: texts[3]})
        answer = doors.ask("POST", path, *texts, query=query, body=encoded(dict(zip(names, texts, strict=True))))
        assert answer.status_code in (413, 422), texts
    for text in STRINGS[::16]:
        assert doors.ask("GET", path, text, query=encoded({"done": text})).status_code == 200, text
    assert (Recipient.objects.values().get(pk=person.pk), kept()) == before


@pytest.mark.once
def test_on_the_page_to_unsubscribe_each_is_passed_over(doors, person):
    path = links.unsubscribe_url(person.pk).removeprefix(portal.PORTAL_URL)
    for body in (b"", b"again=1"):
        doors.learn("POST", path, body=body)
    doors.learn("GET", path)
    for texts in by(4):
        fields = {"again": texts[0], texts[1]: texts[2], "List-Unsubscribe": texts[3]}
        answer = doors.ask("POST", path, *texts, query=encoded({"lang": texts[0]}), body=encoded(fields))
        assert answer.status_code == 200, texts
    assert not Suppression.objects.exists()


# ── The survey ──


@pytest.mark.once
def test_in_the_survey_each_score_is_refused(doors, incident):
    before = kept()
    path, names = survey_link(incident), ("clear", "timely", "useful", "comment")
    for text in ("", "x" * 2001):
        doors.learn("POST", path, body=encoded(dict.fromkeys(names, text)))
    for texts in by(len(names)):
        answer = doors.ask("POST", path, *texts, body=encoded(dict(zip(names, texts, strict=True))))
        assert answer.status_code in (413, 422), texts
    assert kept() == before


def test_in_the_survey_each_comment_is_kept_as_inert_text_or_refused(doors, incident):
    before = kept()
    path = survey_link(incident)
    good = {"clear": 1, "timely": 5, "useful": 3}
    doors.learn("POST", path, body=encoded(good | {"comment": "x" * 2001}))
    doors.learn("POST", path, body=encoded(good | {"comment": "Well done."}))
    doors.learn("GET", path)
    for texts in by(5):
        SurveyAnswer.objects.all().delete()
        answer = doors.ask("POST", path, *texts, body=encoded(good | {"comment": "\n".join(texts)}))
        if answer.status_code == 303:
            assert not re.search(
                "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", SurveyAnswer.objects.get().texts.get("comment", "")
            ), texts
            assert doors.ask("GET", path, *texts).status_code == 200
        else:
            assert answer.status_code in (413, 422), texts
            assert not SurveyAnswer.objects.exists()
    SurveyAnswer.objects.all().delete()
    assert kept() == before


# ── Was this clear? ──


@pytest.mark.once
def test_of_a_vote_each_answer_is_passed_over(doors, incident, person):
    before = kept()
    update = incident.updates.earliest("pk")
    link = f"/clear/{signing.dumps([update.pk, person.pk], salt=CLEAR_SALT)}/"
    page = f"/clear/page/{incident.uid}/{update.number}/"
    doors.learn("POST", link, body=encoded({"clear": "x"}))
    doors.learn("POST", page, body=encoded({"clear": "x"}))
    for texts in by(2):
        fields = {"clear": texts[0], texts[1]: "yes"}
        assert doors.ask("POST", link, *texts, body=encoded(fields)).status_code in (200, 400), texts
        assert doors.ask("POST", page, *texts, body=encoded(fields)).status_code == 400, texts
    assert kept() == before


# ── What is read ──


@pytest.mark.once
def test_in_the_query_of_whatever_is_read_each_is_passed_over(doors, incident):
    uid = Component.objects.earliest("pk").uid
    paths = ["/", "/history/", "/history/", "/subscribe/", "/subscribe/sent/", f"/incidents/{incident.uid}/"]
    paths += ["/history.atom", "/history.rss", "/maintenance.ics", "/badge.svg", f"/badge/{uid}.svg", "/in-app.js"]
    paths += ["/push-worker.js", "/admin/login/", *(f"/api/v2/{name}.json" for name in DOCUMENTS)]
    before = kept()
    for path in paths:
        doors.learn("GET", path)
    for texts, path in zip(by(4), cycle(paths), strict=False):
        query = encoded({**dict(zip(("lang", "page", "components", "next"), texts, strict=True)), texts[3]: texts[2]})
        answer = doors.ask("GET", path, *texts, query=query)
        assert answer.status_code == (301 if path == "/history/" else 200), (path, texts)
        assert path != "/history/" or answer["Location"] == "/history/"  # nothing of it is handed on
    for text in STRINGS:
        query = encoded({"lang": text, "components": f"{text},{text[:9]}"})
        assert doors.ask("GET", "/api/in-app.json", text, query=query).status_code == 200, text
    assert kept() == before


def test_in_the_path_of_whatever_is_read_each_is_not_found(doors):
    for path in ("/incidents/nothing/", "/badge/nothing.svg", "/subscribe", "/outbox/x/"):
        doors.learn("GET", path)
    patterns = (
        "/incidents/{}/",
        "/pictures/{}",
        "/badge/{}.svg",
        "/api/v2/{}.json",
        "/{}",
        "/subscribe{}",
        "/outbox/{}/",
    )
    loose = ("/{}", "/subscribe{}", "/outbox/{}/")
    for text, pattern in zip(STRINGS, cycle(patterns), strict=False):
        status = doors.ask("GET", pattern.format(in_path(text)), text).status_code
        # PostgreSQL refuses a NUL, and so do we then.
        assert status in ((200, 301, 302, 400, 404) if pattern in loose else (400, 404)), (pattern, text)


@pytest.mark.once
def test_in_headers_each_is_passed_over(doors):
    for path in ("/", "/subscribe/sent/", "/history/", "/badge.svg"):
        doors.learn("GET", path)
    doors.learn("POST", "/subscribe/")
    names = ("ACCEPT_LANGUAGE", "USER_AGENT", "REFERER", "X_FORWARDED_FOR", "IF_NONE_MATCH", "IF_MODIFIED_SINCE")
    names += ("COOKIE", "X_FORWARDED_PROTO", "ORIGIN", "ACCEPT", "ACCEPT_ENCODING", "X_FORWARDED_HOST")
    for texts in by(len(names)):
        headers = {f"HTTP_{name}": raw(text) for name, text in zip(names, texts, strict=True)}
        assert doors.ask("GET", "/api/in-app.json", *texts, **headers).status_code in (200, 304), texts
    for text, path in zip(STRINGS[::8], cycle(("/", "/subscribe/sent/", "/history/", "/badge.svg")), strict=False):
        headers = {f"HTTP_{name}": raw(text) for name in names}
        assert doors.ask("GET", path, text, **headers).status_code in (200, 304), text
        assert doors.ask("GET", "/subscribe/sent/", text, HTTP_HOST=raw(text)).status_code in (200, 400), text
        extra = {"content_type": raw(text), "CONTENT_LENGTH": raw(text)}
        assert doors.ask("POST", "/subscribe/", text, body=b"x", **extra).status_code in (400, 413, 422), text


@pytest.mark.once
def test_what_answers_from_memory_finds_an_address_for_each():
    for text in STRINGS:
        query = encoded({"lang": text, text: text}).decode()
        assert live._addresses(raw(f"/{text}"), query, raw(text)) is not None
        assert live._addresses("/", raw(text), "") is not None


@pytest.mark.once
def test_in_a_report_of_what_was_shown_each_counts_for_nothing(doors):
    before = kept()
    for text in STRINGS:
        reports = [raw(text).encode("latin-1")]
        reports += [
            json.dumps(one).encode() for one in ({"event": text, "ids": [text]}, {"event": "shown", "ids": text})
        ]
        reports.append(json.dumps({"event": "shown", "ids": [text, {text: text}]}).encode())
        for body in reports:
            counting.tally.hear(body)
        assert doors.ask("POST", "/in-app/seen", text, body=reports[-1], content_type="text/plain").status_code == 204
    counting.tally.write()
    assert kept() == before


@pytest.mark.once
def test_in_the_choice_of_a_language_each_leads_nowhere_else(doors):
    for text in STRINGS:
        answer = doors.ask("POST", "/i18n/setlang/", body=encoded({"next": text, "language": text}))
        assert answer.status_code in (302, 400, 413), text
        assert answer.status_code == 400 or re.match(r"(?![/\\]{2})(?![a-z]+:)", answer["Location"], re.I), text


def test_at_the_login_each_is_refused(doors):
    for body in (b"next=/admin/", b"username=anna&password=x&next=/admin/", b"username=%09&password=x", b"username=x"):
        doors.learn("POST", "/admin/login/", body=body)
    for texts in by(9):  # of each nine the first three
        fields = dict(zip(("username", "password", "next"), texts, strict=False))
        assert doors.ask("POST", "/admin/login/", *texts, body=encoded(fields)).status_code in (200, 400), texts
