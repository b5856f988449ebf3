import codecs
from datetime import date, timedelta

import pytest
from django.utils import timezone

from channels.models import Recipient, Suppression
from channels.secrets import address_hash
from incidents import subscriber_file, subscriber_import
from incidents.errors import WrongState
from incidents.models import SubscriberImport, Subscription
from incidents.subscriber_file import BadFile
from tests import make

pytestmark = pytest.mark.django_db


def kept(text: str | bytes) -> SubscriberImport:
    content = text.encode() if isinstance(text, str) else text
    return subscriber_import.keep(make.user(), "list.csv", content, "contract 2025, clause 7", date(2025, 3, 1))


def applied(text: str | bytes) -> subscriber_import.Counts:
    one = kept(text)
    return subscriber_import.apply(one, subscriber_import.plan(one).fingerprint)


def bad(text: str | bytes) -> list[tuple[int, str, str]]:
    return [(row.line, row.column, row.value) for row in subscriber_import.plan(kept(text)).bad]


def test_a_dry_run_changes_nothing_and_applying_does_what_it_showed():
    make.component("Cards")
    one = kept("address,name,locale,components,plan\nanna@Example.com,Anna,it,cards,gold\nbo@example.com,,,,\n")
    shown = subscriber_import.plan(one)
    assert (shown.counts.new, Recipient.objects.count()) == (2, 0)
    subscriber_import.apply(one, shown.fingerprint)
    anna, bo = Recipient.objects.order_by("address")
    assert (anna.address, anna.name, anna.locale, anna.attributes) == (
        "anna@example.com",
        "Anna",
        "it",
        {"plan": "gold"},
    )
    assert anna.consent_source == "contract 2025, clause 7"
    assert timezone.localtime(anna.confirmed_at).date() == date(2025, 3, 1)
    assert anna.address_hash == address_hash("email", "anna@example.com")
    assert [s.component.name for s in anna.subscriptions.all()] == ["Cards"]
    assert [(s.component, s.group) for s in bo.subscriptions.all()] == [(None, None)]
    one.refresh_from_db()
    assert (bytes(one.content), one.counts["new"]) == (b"", 2)


def test_a_second_import_of_the_same_file_changes_nothing():
    text = "medium,address,name,plan\nsms,+442071234567,Bo,gold\n"
    applied(text)
    again = applied(text)
    assert (again.unchanged, again.new, again.changed) == (1, 0, 0)


def test_only_what_the_file_has_columns_for_is_changed():
    card = make.component("Cards")
    anna = make.recipients(1, card)[0]
    Recipient.objects.filter(pk=anna.pk).update(consent_source="form", attributes={"plan": "gold", "region": "EU"})
    counts = applied(f"address,plan\n{anna.address},\n")
    anna.refresh_from_db()
    assert counts.changed == 1
    assert (anna.name, anna.attributes, anna.consent_source) == ("Customer 0", {"region": "EU"}, "form")
    assert [s.component for s in anna.subscriptions.all()] == [card]


def test_a_stopped_address_is_never_subscribed_again():
    Suppression.objects.create(
        medium="email", address_hash=address_hash("email", "no@example.com"), reason="complained"
    )
    counts = applied("address\nNO@example.com\n")
    assert (counts.stopped, counts.new, Recipient.objects.count()) == (1, 0, 0)


def test_every_bad_line_is_named_and_the_others_are_taken_in():
    one = kept(
        "medium,address,locale,time_zone,components\n"
        ",nonsense,,,\n"
        ",a@example.com,xx,,\n"
        ",b@example.com,,Mars/Base,\n"
        ",c@example.com,,,Nowhere\n"
        "fax,1,,,\n"
        ",d@example.com,,,\n"
        ",D@example.com,,,\n"
        "a,b\n"
    )
    shown = subscriber_import.plan(one)
    assert [(row.line, row.column, row.value) for row in shown.bad] == [
        (2, "address", "nonsense"),
        (3, "locale", "xx"),
        (4, "time_zone", "Mars/Base"),
        (5, "components", "Nowhere"),
        (6, "medium", "fax"),
        (8, "address", "D@example.com"),
        (9, "", "a"),
    ]
    assert all(row.fix for row in shown.bad)
    assert subscriber_import.apply(one, shown.fingerprint).new == 1


def test_the_list_of_bad_lines_is_safe_to_open():
    lines = subscriber_import.bad_rows_csv(subscriber_import.plan(kept("address\n=cmd()\n")).bad).decode("utf-8-sig")
    assert "'=cmd()" in lines.splitlines()[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda: (
            make.recipients(1)
            and Recipient.objects.update(address="a@example.com", address_hash=address_hash("email", "a@example.com"))
        ),
        lambda: Suppression.objects.create(
            medium="email", address_hash=address_hash("email", "a@example.com"), reason="manual"
        ),
    ],
)
def test_what_changed_since_the_dry_run_is_said_and_nothing_is_done(change):
    one = kept("address,name\na@example.com,Anna\n")
    shown = subscriber_import.plan(one)
    change()
    before = Recipient.objects.count()
    with pytest.raises(WrongState, match="changed since"):
        subscriber_import.apply(one, shown.fingerprint)
    assert Recipient.objects.count() == before
    assert not Recipient.objects.filter(name="Anna").exists()


def test_a_file_is_applied_once_and_forgotten_after_an_hour():
    one = kept("address\na@example.com\n")
    shown = subscriber_import.plan(one)
    subscriber_import.apply(one, shown.fingerprint)
    with pytest.raises(WrongState, match="already"):
        subscriber_import.apply(one, shown.fingerprint)
    old = kept("address\nb@example.com\n")
    SubscriberImport.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(hours=1, seconds=1))
    subscriber_import.forget()
    old.refresh_from_db()
    assert bytes(old.content) == b""
    with pytest.raises(WrongState, match="upload it again"):
        subscriber_import.plan(old)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_separators(encoding, delimiter):
    text = f"address{delimiter}name\r\nzoe@example.com{delimiter}Zoë Müller\r\n"
    found = subscriber_file.read(text.encode(encoding))
    assert [row.name for row in found.rows] == ["Zoë Müller"]
    assert bool(found.warnings) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,plan\nx,y\n",
        b"address,address\na@example.com,b@example.com\n",
        b"address,Plan,plan\na@example.com,x,y\n",
        b"address,p256dh\na@example.com,x\n",
        b"address,=cmd\na@example.com,x\n",
        b"address,name\na@example.com,\0\n",
        b'address,name\na@example.com,"open\n',
        b'address,name\na@example.com,"a"b\n',
        b'address,name\na@example.com,"' + b"x" * 200_000 + b'"\n',
        b"address,name\n\x81\x8d\xff\n",
        codecs.BOM_UTF16_LE + b"a",
        ",".join(["address", *(f"c{i}" for i in range(10_000))]).encode(),
        b"x" * (subscriber_file.MAX_BYTES + 1),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(content):
    with pytest.raises(BadFile, match=r"\w+ \w+"):
        subscriber_import.keep(make.user(), "x.csv", content, "contract", date(2025, 1, 1))
    assert not SubscriberImport.objects.exists()


def test_a_line_with_ten_thousand_columns_is_one_bad_line():
    assert bad("address,name\na@example.com" + "," * 10_000 + "\nb@example.com,B\n") == [(2, "", "a@example.com")]


STATUSPAGE = (
    "Mode,Email,Phone Number,Phone Country,Endpoint,Components,Quarantined At,Confirmed,Created At\n"
    "email,a@example.com,,,,Cards,,true,2024-01-01\n"
    "sms,,7911123456,GB,,,,true,2024-01-01\n"
    "webhook,,,,https://example.com/hook,,,true,2024-01-01\n"
    "email,gone@example.com,,,,,2024-02-01 10:00,true,2024-01-01\n"
    "email,new@example.com,,,,,,false,2024-01-01\n"
    "slack,,,,,,,true,2024-01-01\n"
)


def test_an_export_of_statuspage_is_recognised_and_who_must_not_be_written_to_is_left_out():
    make.component("Cards")
    shown = subscriber_import.plan(kept(STATUSPAGE))
    assert shown.statuspage
    assert {p.address for p, _wants in shown.writes} == {"a@example.com", "+447911123456", "https://example.com/hook"}
    assert [(row.line, row.column) for row in shown.bad] == [(5, "Quarantined At"), (6, "Confirmed"), (7, "mode")]


def test_lines_are_not_stored_one_by_one(django_assert_max_num_queries):
    one = kept("address\n" + "".join(f"p{i}@example.com\n" for i in range(400)))
    shown = subscriber_import.plan(one)
    with django_assert_max_num_queries(25):  # SQLite takes about a hundred rows in one statement
        subscriber_import.apply(one, shown.fingerprint)
    assert Subscription.objects.count() == 400


def test_several_values_of_an_attribute_become_a_list_and_stay_one():
    file = "medium,address,tags\nemail,anna@example.com,vip|beta | \n"
    applied(file)
    assert Recipient.objects.get().attributes == {"tags": ["vip", "beta"]}
    assert applied(file.replace("vip|beta | ", "vip | beta")).unchanged == 1
