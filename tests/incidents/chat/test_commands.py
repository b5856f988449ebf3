"""`/incident`: the same verbs and permissions as on the pages, and an answer that says what came of it."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from incidents import roles
from incidents.models import (
    ChatRoom,
    Component,
    ComponentGroup,
    ComponentUserObjectPermission,
    Decision,
    Incident,
    IncidentUpdate,
    StaffContact,
)
from tests import make

pytestmark = pytest.mark.django_db
Status = IncidentUpdate.Status


@pytest.fixture
def people() -> dict[str, User]:
    return {
        "marta": make.incident_manager(first_name="Marta"),
        "anna": make.communications_manager(first_name="Anna"),
        "paolo": make.user(roles.SUPPORT_LEADS, roles.ALL_COMPONENTS, first_name="Paolo"),
        "boss": make.user(roles.MANAGERS, first_name="Boss"),
        "nobody": make.user(first_name="Nobody"),
    }


@pytest.fixture
def marta(people, connected) -> str:
    return connected(people["marta"])


@pytest.fixture
def components() -> list[Component]:
    return [make.component(name) for name in ("Checkout", "Payments API", "Payments dashboard", "Login")]


@pytest.fixture
def planned(people):
    make.recipients(2)
    return make.plan(make.channel(name="Email"), people=[("communications_manager", people["anna"])])


def decided() -> list[str]:
    return list(Decision.objects.order_by("pk").values_list("verb", flat=True))


# ── Help, list, clock ───────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "help", "HELP", "aiuto", "  help  "])
def test_help_says_what_there_is_and_who_one_is(chat, marta, text):
    answer = chat.says(marta, text)
    assert "/incident declare" in answer
    assert "You are Marta here" in answer


def test_an_unknown_word_is_named(chat, marta):
    assert "“bananas” is not a command" in chat.says(marta, "bananas now")


def test_answers_are_in_the_language_of_the_person(chat, people, connected):
    StaffContact.objects.create(user=people["anna"], locale="it")
    anna = connected(people["anna"])
    assert chat.post("commands", chat.fake.command(anna, "list")).json()["text"].startswith("Un momento")
    chat.work()
    assert "Nessun incidente è aperto" in chat.says(anna, "elenco")


def test_list_shows_what_a_person_may_see_and_nothing_else(chat, people, connected, components):
    make.incident(None, components[0], title="Cards fail")
    make.incident(None, components[3], title="Login fails")
    one = make.user(roles.SUPPORT_LEADS)
    ComponentUserObjectPermission.objects.create(
        user=one,
        content_object=components[3],
        permission=next(p for p in _permissions() if p.codename == "operate_component"),
    )
    answer = chat.says(connected(one), "list")
    assert "Login fails" in answer
    assert "Cards fail" not in answer
    assert "Cards fail" in chat.says(connected(people["marta"]), "list")
    assert "does not see incidents" in chat.says(connected(people["nobody"]), "list")


def _permissions():
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(content_type__app_label="incidents")


def test_the_clock_counts_down_each_open_incident(chat, marta, people, components, planned, time_machine):
    now = timezone.now().replace(microsecond=0)
    time_machine.move_to(now, tick=False)
    make.incident(people["marta"], components[0], title="Cards fail")
    answer = chat.says(marta, "clock")
    assert "Cards fail" in answer
    assert "first update due *in 15 min*" in answer
    time_machine.shift(16 * 60)
    assert "🔴" in (late := chat.says(marta, "clock"))
    assert "*late by 1 min*" in late


@pytest.mark.parametrize("text", ["list", "clock"])
def test_the_number_of_queries_does_not_grow(chat, marta, people, components, planned, text, fake):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for component in components[:3]:
        make.incident(people["marta"], component)
        chat.post("commands", fake.command(marta, text, trigger_id=str(component.pk)))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            chat.work()
        counts.append(len(queries))
    assert counts[0] == counts[1] == counts[2]


def test_titles_mention_nobody(chat, marta, people, components):
    make.incident(people["marta"], components[0], title="<!channel> & <@U1|you>")
    chat.says(marta, "list")
    text = chat.fake.answers[-1]["blocks"][0]["text"]["text"]
    assert "&lt;!channel&gt; &amp; &lt;@U1¦you&gt;" in text
    assert chat.fake.answers[-1]["blocks"][0]["text"]["verbatim"] is True


# ── Declare ─────────────────────────────────────────────────────────────────


def test_declare_opens_an_incident_and_tells_customers_nothing(chat, marta, people, components, planned):
    answer = chat.says(marta, 'declare sev1 "Card payments fail" checkout, payments api = major')
    incident = Incident.objects.get()
    assert (incident.title, incident.severity, incident.declared_by) == (
        "Card payments fail",
        "sev1",
        people["marta"],
    )
    draft = incident.updates.get()
    assert draft.status == Status.DRAFT
    assert draft.component_states == {str(components[0].pk): "major_outage", str(components[1].pk): "major_outage"}
    assert incident.published_at is None
    assert f"#{incident.pk}" in answer
    assert "First update within 15 minutes" in answer
    assert "Nothing is public" in answer
    assert incident.roles.get().user == people["anna"]


@pytest.mark.parametrize("quotes", ["“Cards fail”", "«Cards fail»", '"Cards fail"', "„Cards fail“"])
def test_quotes_of_every_keyboard_do(chat, marta, components, quotes):
    chat.says(marta, f"dichiara 3 {quotes} Login = prestazioni")
    assert Incident.objects.get().title == "Cards fail"
    assert set(Incident.objects.get().updates.get().component_states.values()) == {"degraded_performance"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("declare", "Checkout, Payments API"),
        ('declare "Cards fail" Checkout', "sev1, sev2, sev3, sev4"),
        ("declare sev2 Cards fail Checkout", "the title in quotes"),
        ('declare sev9 "Cards fail" Checkout', "Severities"),
        ('declare sev2 "Cards fail"', "Components: "),
        ('declare sev2 "Cards fail" Payments', "“Payments” fits more than one component. Choose: Payments API"),
        ('declare sev2 "Cards fail" Bananas', "There is no component “Bananas”. Choose: "),
        ('declare sev2 "Cards fail" Login = broken', "“broken” is not a state. Choose: Degraded performance"),
    ],
)
def test_what_is_missing_or_unclear_is_asked_for_with_the_choices(chat, marta, components, text, said):
    assert said in chat.says(marta, text)
    assert not Incident.objects.exists()


def test_a_scenario_brings_its_prepared_words(chat, marta, components):
    make.scenario("outage"), make.scenario("slowness")
    assert "Which scenario is it like? Choose: Outage; Slowness" in chat.says(
        marta, 'declare sev2 "Cards fail" Checkout / flood'
    )
    assert not Incident.objects.exists()
    chat.says(marta, 'declare sev2 "Cards fail" Checkout, Login = major / out')
    incident = Incident.objects.get()
    assert incident.scenario.slug == "outage"
    assert "Customers who pay by card see an error" in incident.updates.get().renditions.get(locale="en").impact
    assert incident.components.count() == 2


@pytest.mark.parametrize("who", ["paolo", "boss", "nobody"])
def test_who_may_not_declare_does_not(chat, people, connected, components, who):
    assert "does not declare incidents" in chat.says(connected(people[who]), 'declare sev2 "Cards fail" Checkout')
    assert not Incident.objects.exists()


def test_components_of_others_are_not_even_named(chat, connected, components):
    one = make.user(roles.INCIDENT_MANAGERS)
    ComponentUserObjectPermission.objects.create(
        user=one,
        content_object=components[3],
        permission=next(p for p in _permissions() if p.codename == "operate_component"),
    )
    answer = chat.says(connected(one), 'declare sev2 "Cards fail" Checkout')
    assert "There is no component “Checkout”. Choose: Login" in answer
    assert "Payments" not in answer


def test_a_second_incident_of_the_same_components_is_asked_about(chat, marta, components):
    chat.says(marta, 'declare sev2 "Cards fail" Checkout')
    answer = chat.says(marta, 'declare sev2 "Cards are slow" Checkout, Login')
    assert "have an open incident" in answer
    assert "Cards fail" in answer
    assert Incident.objects.count() == 1
    chat.says(marta, 'declare again sev2 "Cards are slow" Checkout, Login')
    assert Incident.objects.count() == 2


# ── Stage and draft ─────────────────────────────────────────────────────────


@pytest.fixture
def incident(people, components, planned) -> Incident:
    one = make.incident(people["marta"], components[0], title="Cards fail")
    make.published(one.updates.get(), people["anna"])
    one.refresh_from_db()
    return one


def test_a_stage_begins_its_draft(chat, marta, incident):
    answer = chat.says(marta, f"stage {incident.pk} identified")
    draft = incident.updates.get(status=Status.DRAFT)
    assert draft.stage == "identified"
    assert "A draft for “Identified” is begun" in answer
    assert "Nothing is sent" in answer
    incident.refresh_from_db()
    assert incident.stage == "investigating"  # what customers were told


@pytest.mark.parametrize("word", ["identified", "Identified", "IDENT", "causa individuata", "Causa"])
def test_stages_have_their_names_in_every_language(chat, marta, incident, word):
    chat.says(marta, f"stato #{incident.pk} {word}")
    assert incident.updates.get(status=Status.DRAFT).stage == "identified"


def test_an_unknown_stage_lists_them(chat, marta, incident):
    assert "Monitoring (monitoring)" in chat.says(marta, f"stage {incident.pk} fixed")
    assert "Which stage?" in chat.says(marta, f"stage {incident.pk}")


def test_a_draft_of_another_stage_is_not_changed(chat, marta, incident):
    chat.says(marta, "stage identified")
    assert "Another update is being written already (Identified)" in chat.says(marta, "stage resolved")
    assert incident.updates.get(status=Status.DRAFT).stage == "identified"
    assert "is there already" in chat.says(marta, "stage identified")


def test_which_incident_is_asked_where_it_is_not_clear(chat, marta, people, incident, components, workspace):
    other = make.incident(people["marta"], components[3], title="Login fails")
    answer = chat.says(marta, "stage identified")
    assert "Which one?" in answer
    assert f"#{other.pk} Login fails" in answer
    ChatRoom.objects.create(workspace=workspace, incident=incident, name="inc", channel="C0ROOM")
    chat.says(marta, "stage identified", channel_id="C0ROOM")
    assert incident.updates.filter(stage="identified").exists()
    assert "There is no incident 999999" in chat.says(marta, "stage 999999 identified")


def test_draft_writes_a_part_through_the_same_verb(chat, marta, people, incident):
    answer = chat.says(marta, "draft Payments by card are declined.")
    draft = incident.updates.get(status=Status.DRAFT)
    words = {one.locale: one for one in draft.renditions.all()}
    assert words["en"].issue == "Payments by card are declined."
    assert "{{ components }}" not in words["it"].issue or words["it"].issue
    assert "In the other languages it is as it was: Italian" in answer
    assert draft.decisions.last().by == people["marta"]
    assert draft.author == people["marta"]
    chat.says(marta, f"draft {incident.pk} impact: Orders <wait> & are not lost.")
    words = draft.renditions.get(locale="en")
    assert words.impact == "Orders <wait> & are not lost."
    assert words.issue == "Payments by card are declined."


def test_a_part_may_be_named_as_it_is_shown(chat, connected, people, incident):
    StaffContact.objects.create(user=people["anna"], locale="it")
    chat.says(connected(people["anna"]), "bozza SMS: Le carte non funzionano.")
    assert incident.updates.get(status=Status.DRAFT).renditions.get(locale="it").sms == "Le carte non funzionano."


def test_what_waits_for_approval_is_not_undone_from_the_chat(chat, marta, people, incident):
    chat.says(marta, "draft Payments by card are declined.")
    draft = incident.updates.get(status=Status.DRAFT)
    draft.submit(people["marta"])
    assert "is not a draft any more" in chat.says(marta, "draft Something else.")
    draft.refresh_from_db()
    assert draft.status == Status.IN_REVIEW


@pytest.mark.parametrize("who", ["boss", "nobody"])
@pytest.mark.parametrize("text", ["stage {} identified", "draft {} Words."])
def test_who_may_not_write_does_not(chat, people, connected, incident, who, text):
    before = decided()
    chat.says(connected(people[who]), text.format(incident.pk))
    assert decided() == before
    assert not incident.updates.filter(status=Status.DRAFT).exists()


def test_an_incident_of_other_components_is_not_there(chat, connected, incident):
    one = make.user(roles.INCIDENT_MANAGERS)
    ComponentUserObjectPermission.objects.create(
        user=one,
        content_object=make.component("Mail", group="Office"),
        permission=next(p for p in _permissions() if p.codename == "operate_component"),
    )
    member = connected(one)
    assert f"There is no incident {incident.pk}" in chat.says(member, f"stage {incident.pk} identified")
    assert f"There is no incident {incident.pk}" in chat.says(member, f"draft {incident.pk} Words.")
    assert ComponentGroup.objects.count() == 2


def test_a_subject_that_is_too_long_is_refused_with_its_length(chat, marta, incident):
    assert "The subject has 250 characters" in chat.says(marta, "draft subject: " + "x" * 250)
    assert not incident.updates.filter(status=Status.DRAFT).exists()


def test_draft_without_words_says_how(chat, marta, incident):
    assert "impact (Who is affected, and how)" in chat.says(marta, "draft")
