"""What a bad or hostile person types, at every door: 4xx and never 500, inert wherever it is shown."""

import re
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels.models import Recipient
from commsportal.spreadsheet import inert
from incidents import roles
from incidents.forms import ComposeForm
from incidents.models import Incident, IncidentUpdate
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
EVIL = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>"""
SCRIPTS = re.compile(r"<script>alert|<img src=x|href=.javascript:", re.I)


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """The draft of a first update: its key."""
    make.plan(make.channel(), make.channel("outbox_sms"), make.channel("outbox_post"))
    make.recipients(3)
    return make.incident(make.incident_manager(username="author")).updates.get().pk


@pytest.fixture
def author(db) -> User:
    return User.objects.get(username="author")


@pytest.fixture
def update(world: int, db) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


def url(name: str, *args: object) -> str:
    return reverse(f"admin:incidents_{name}", args=args)


def typed(update: IncidentUpdate, **changes: str) -> dict[str, str]:
    """What the compose form would post, with some fields changed."""
    form = ComposeForm(update)
    data = {name: form[name].value() for name in form.fields}
    return {k: v for k, v in data.items() if v not in (None, False)} | changes


def test_a_subject_and_a_title_are_one_line_without_control_characters(author, update):
    client = make.client(author)
    nasty = "Checkout\r\nBcc: everybody@example.com\x08\x1b"
    client.post(url("incidentupdate_compose", update.pk), typed(update, **{"en-subject": nasty}))
    assert update.renditions.get(locale="en").subject == "Checkout Bcc: everybody@example.com"
    component = make.component()
    client.post(
        url("incident_declare"),
        {
            "title": nasty,
            "severity": "sev2",
            "started_at": f"{timezone.localtime():%Y-%m-%dT%H:%M}",
            f"component_{component.pk}": "major_outage",
        },
    )
    assert Incident.objects.get(components=component).title == "Checkout Bcc: everybody@example.com"


def test_words_keep_their_lines_and_lose_control_characters(author, update):
    client = make.client(author)
    client.post(url("incidentupdate_compose", update.pk), typed(update, **{"en-issue": "One\r\n\r\nTwo\x0b\x01."}))
    assert update.renditions.get(locale="en").issue == "One\n\nTwo."


@pytest.mark.parametrize("kind", ["atom", "rss"])
def test_the_feeds_stay_whole_whatever_was_published(update, kind):
    """Also what came by another way than a form."""
    Incident.objects.filter(pk=update.incident_id).update(title="Bell\x07 & <b>")
    update.renditions.filter(locale="en").update(issue="Payments fail.\x08 ]]> &amp;")
    make.published(update)
    response = Client().get(f"/history.{kind}")
    assert response.status_code == 200
    ElementTree.fromstring(response.content)


def test_scripts_stay_text_for_staff_and_customers(author, update):
    Incident.objects.filter(pk=update.incident_id).update(title=EVIL)
    Recipient.objects.update(name=EVIL)
    words = {"subject": EVIL, "issue": f"{EVIL} [a](javascript:alert(3)) ![b](http://x.example/t.png)", "impact": EVIL}
    update.refresh_from_db()
    update.edit(author, update.version, {"en": words, "it": words})
    client, other = make.client(author), make.client(make.communications_manager())
    shown = [client.get(url("incidentupdate_compose", update.pk))]
    make.published(update)
    make.deliver()
    pages = [url("incident_change", update.incident_id), url("incident_changelist"), url("incidentupdate_changelist")]
    pages += [
        url("incidentupdate_review", update.pk),
        url("incidentupdate_delivery", update.pk),
        reverse("admin:index"),
    ]
    shown += [other.get(page) for page in pages]
    public = ["/", f"/incidents/{update.incident.uid}/", "/history/", "/history.atom", "/history.rss"]
    shown += [Client().get(page) for page in public]
    for response in shown:
        assert response.status_code == 200, response.request["PATH_INFO"]
        # A script of our own never begins so; what is quoted in an attribute (srcdoc) is escaped there.
        assert not SCRIPTS.search(response.content.decode()), response.request["PATH_INFO"]


@pytest.mark.parametrize(
    "what", ["{{ title | upcase | exec }}", "{% include 'x' %}", "{{ title.__class__ }}", "{% if %}"]
)
def test_a_template_that_reaches_for_more_blocks_and_runs_nothing(author, update, what):
    update.edit(author, update.version, {"en": {"issue": f"Payments fail. {what}"}})
    response = make.client(author).post(url("incidentupdate_compose", update.pk), typed(update, do="submit"))
    assert response.status_code == 422
    update.refresh_from_db()
    assert update.status == "draft"


def test_an_odd_count_is_no_crash(update, settings):
    settings.AUDIENCE_CONFIRM_ABOVE = 1
    update.submit(update.author)
    client = make.client(make.communications_manager())
    data = {"decision": "approve", "seen_hash": update.content_hash}
    for count in ("²", "①", "-1", "9" * 400, "\0", "3.0e9"):
        response = client.post(url("incidentupdate_review", update.pk), data | {"typed_count": count})
        assert response.status_code == 422, count


def test_a_character_that_cannot_be_stored_is_refused_whole_or_kept(update):
    """PostgreSQL takes no NUL."""
    update.submit(update.author)
    client = make.client(make.communications_manager())
    data = {"decision": "reject", "seen_hash": update.content_hash, "comment": "Too\0long"}
    status = client.post(url("incidentupdate_review", update.pk), data).status_code
    update.refresh_from_db()
    assert (status, update.status) in [(302, "draft"), (400, "in_review")]
    assert (status == 400) == (connection.vendor == "postgresql")


@pytest.mark.parametrize("pk", ["²", "9" * 30, "-1", "abc", "%00", "1;drop"])
@pytest.mark.parametrize("page", ["incident", "incidentupdate"])
def test_an_odd_key_is_not_found(author, page, pk):
    assert make.client(author).get(f"/admin/incidents/{page}/{pk}/change/").status_code == 404


@pytest.mark.parametrize("value", ["²", "9" * 30, "-1", "abc", "\0"])
@pytest.mark.parametrize("page", ["incident_changelist", "incidentupdate_changelist"])
def test_odd_filters_are_no_crash(author, page, value):
    client = make.client(author)
    for name in ("component", "open", "severity", "status__exact", "stage", "p", "o", "q", "e", "started_at__year"):
        assert client.get(url(page), {name: value}).status_code in (200, 302, 400), name


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\n=1", "\t=1", "\r=1"])
def test_a_csv_cell_is_no_formula(text):
    assert inert(text) == f"'{text}"


def test_no_post_is_taken_without_its_csrf_token(author, update):
    client = Client(enforce_csrf_checks=True)
    client.force_login(author)
    for name in ("compose", "preview", "review", "publish", "withdraw", "retry", "stop"):
        assert client.post(url(f"incidentupdate_{name}", update.pk), {}).status_code == 403, name
    for name in ("write", "dismiss", "role"):
        assert client.post(url(f"incident_{name}", update.incident_id), {}).status_code == 403, name
    assert client.post(url("incident_declare"), {}).status_code == 403


def test_reading_changes_nothing(author, update):
    update.submit(author)
    before = list(IncidentUpdate.objects.values()), list(Incident.objects.values())
    client = make.client(make.communications_manager())
    for name in ("compose", "preview", "review", "publish", "withdraw", "delivery", "retry", "stop"):
        client.get(url(f"incidentupdate_{name}", update.pk), {"decision": "approve", "do": "submit"})
    for name in ("write", "dismiss", "role"):
        client.get(url(f"incident_{name}", update.incident_id), {"reason": "x"})
    assert (list(IncidentUpdate.objects.values()), list(Incident.objects.values())) == before


def test_somebody_of_one_component_acts_on_no_other(update):
    """Every door of an update and its incident, for somebody with all the roles but another component."""
    stranger = make.user(roles.INCIDENT_MANAGERS, roles.COMMUNICATIONS_MANAGERS)
    assign_perm("incidents.operate_component", stranger, make.component("Elsewhere"))
    client = make.client(stranger)
    for name in (
        "compose",
        "preview",
        "review",
        "publish",
        "withdraw",
        "delivery",
        "delivery_progress",
        "retry",
        "stop",
    ):
        for method in (client.get, client.post):
            assert method(url(f"incidentupdate_{name}", update.pk), {}).status_code in (404, 405), name
    assert client.get(url("incidentupdate_delivery_failures", update.pk)).status_code == 404
    for name in ("change", "write", "dismiss", "role"):
        assert client.post(url(f"incident_{name}", update.incident_id), {}).status_code == 404, name
    for page in ("incident_changelist", "incidentupdate_changelist"):
        assert update.incident.title not in client.get(url(page)).content.decode()
    assert client.get("/outbox/").status_code == 403
    for pk in (update.incident_id,):
        assert client.get(reverse("admin:feedback_report_incident", args=[pk])).status_code == 404
        assert client.get(reverse("admin:feedback_report_incident_csv", args=[pk])).status_code == 404
    answers = client.get(
        reverse("admin:autocomplete"), {"app_label": "incidents", "model_name": "planrole", "field_name": "plan"}
    )
    assert answers.status_code in (200, 403)
