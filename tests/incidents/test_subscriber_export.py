import csv
import io
from datetime import date

import pytest

from channels.models import Recipient
from incidents import subscriber_export, subscriber_import
from incidents.models import ComponentGroup
from tests import make

pytestmark = pytest.mark.django_db


def exported() -> bytes:
    return b"".join(subscriber_export.lines(Recipient.objects.order_by("pk")))


@pytest.fixture
def people():
    """One of each kind: phone, everything, a component and a group, nothing, and hostile text."""
    cards = make.component("Cards | EU", group="Payments, all")
    make.recipients(1, medium="sms")
    first, second, third = make.recipients(3, cards, locale="it")
    first.subscriptions.create(group=ComponentGroup.objects.get(), least_severity="sev2", maintenance=False)
    first.subscriptions.update(least_severity="sev2", maintenance=False)
    second.subscriptions.all().delete()
    rows = {
        first: ("=cmd()", {"plan": "gold", "seats": 5, "tags": ["a", "b"]}),
        second: ("'=quoted", {"plan": "+1", "owner": "@bo", "p256dh": "secret-key"}),
        third: ('Zoë "Z", and; more', {"region": "-5", "=bad key": "x"}),
    }
    for person, (name, attributes) in rows.items():
        person.name, person.attributes = name, attributes
        person.save()


def test_an_export_can_be_imported_and_changes_nothing(people):
    one = subscriber_import.keep(make.user(), "x.csv", exported(), "contract", date(2025, 1, 1))
    shown = subscriber_import.plan(one)
    assert shown.bad == []
    assert (shown.counts.unchanged, shown.counts.new, shown.counts.changed) == (4, 0, 0)


def test_an_export_brings_people_back_as_they_were(people):
    before = exported()
    Recipient.objects.all().delete()
    one = subscriber_import.keep(make.user(), "x.csv", before, "contract", date(2025, 1, 1))
    assert subscriber_import.apply(one, subscriber_import.plan(one).fingerprint).new == 4
    assert exported() == before


def test_no_cell_is_a_formula_and_no_key_of_a_browser_is_told(people):
    text = exported().decode("utf-8-sig")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "secret-key" not in text
    assert "'=cmd()" in cells


def test_it_takes_the_same_number_of_queries_for_more_people(people, django_assert_num_queries):
    make.recipients(100)
    with django_assert_num_queries(3):  # attributes, people, and subscriptions with what they are of
        exported()
