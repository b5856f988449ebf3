"""To whom a survey goes: by lot, by version, anonymously, and once more to those who did not answer."""

import json
from datetime import timedelta

import pytest
import time_machine
from django.core import signing
from django.db import DatabaseError, transaction
from django.utils import timezone

from channels.models import Delivery, Dispatch, Recipient
from feedback import surveys
from feedback.models import Survey, SurveyAnswer, SurveyUse, SurveyVersion
from incidents import asking, declaring, publishing
from incidents.models import Incident
from incidents.publishing import SURVEY_SALT
from tests import make

pytestmark = pytest.mark.django_db
GOOD = {"clear": "4", "timely": "5", "useful": "3", "comment": "Quick and honest."}


@pytest.fixture
def survey() -> Survey:
    return Survey.objects.get(default=True)


def change(survey: Survey, **columns) -> SurveyVersion:
    for name, value in columns.items():
        setattr(survey, name, value)
    survey.save()
    version = survey.current()
    assert version is not None
    return version


def resolved(people: int = 2, **plan) -> Incident:
    author = make.incident_manager()
    make.plan(make.channel(), locales=("en",), **plan)
    make.recipients(people)
    incident = make.incident(author)
    make.published(incident.updates.get())
    make.deliver()
    make.published(declaring.start_draft(incident, author, "resolved"))
    make.deliver()
    incident.refresh_from_db()
    return incident


def link(incident: Incident, recipient: Recipient) -> str:
    return f"/survey/{signing.dumps([incident.pk, recipient.pk], salt=SURVEY_SALT)}/"


def asked(incident: Incident, purpose: str = "survey") -> set[int]:
    sent = Delivery.objects.filter(dispatch__thread=incident.thread, dispatch__purpose=purpose)
    return set(sent.values_list("recipient_id", flat=True))


def letters(data_dir) -> list[str]:
    found = [json.loads(file.read_text()) for file in (data_dir / "outbox").glob("*.json")]
    return [one["parts"]["text"] for one in found if "/survey/" in one["parts"]["text"]]


# ── A sample ──


def test_a_share_of_those_who_were_told_is_asked_always_the_same(survey):
    change(survey, share=30)
    incident = resolved(people=200)
    found = asked(incident)
    assert 35 <= len(found) <= 85
    again = asking.drawn(Recipient.objects.filter(medium="email"), incident, 30)
    assert set(again.values_list("pk", flat=True)) == found
    one = Dispatch.objects.get(purpose="survey")
    assert one.audience["share"] == 30
    stranger = Recipient.objects.filter(medium="email").exclude(pk__in=found).first()
    with pytest.raises(surveys.NoInvitation):
        surveys.read(link(incident, stranger).split("/")[2])


def test_another_incident_draws_other_lots_and_a_larger_share_keeps_who_was_in():
    people, first, second = Recipient.objects.all(), make.incident(), make.incident()
    make.recipients(200)
    few = set(asking.drawn(people, first, 20).values_list("pk", flat=True))
    assert few < set(asking.drawn(people, first, 60).values_list("pk", flat=True))
    assert few != set(asking.drawn(people, second, 20).values_list("pk", flat=True))
    assert asking.drawn(people, first, 100).count() == 200


# ── Versions ──


def test_what_was_sent_keeps_its_questions(client, survey):
    incident = resolved()
    first = Recipient.objects.filter(medium="email").earliest("id")
    question = survey.questions.get(key="useful")
    question.key, question.text = "calm", {"en": "Did we keep calm?", "it": "Siamo rimasti calmi?"}
    question.save()
    new = change(survey)
    assert new.number == 2
    page = client.get(link(incident, first)).content.decode()
    assert "Did it help you decide what to do?" in page
    assert "Did we keep calm?" not in page
    assert client.post(link(incident, first), GOOD).status_code == 303
    assert SurveyAnswer.objects.get().version.number == 1
    later = resolved()
    assert "Did we keep calm?" in client.get(link(later, first)).content.decode()


def test_without_a_change_there_is_no_new_version(survey):
    assert survey.current() == survey.current()
    assert survey.versions.count() == 1


def test_the_database_keeps_versions_and_answers_apart_and_scores_whole(survey):
    incident = make.incident()
    answer = make.survey_answer(incident)
    other = change(survey, open_days=7)
    for change_ in (
        lambda: SurveyVersion.objects.update(number=9),
        lambda: survey.versions.filter(number=1)._raw_delete("default"),
        lambda: SurveyAnswer.objects.update(version=other),
        lambda: SurveyAnswer.objects.update(given={"clear": 6}),
        lambda: SurveyAnswer.objects.update(given={"clear": 1.5}),
        lambda: SurveyAnswer.objects.update(given={"clear": True}),
        lambda: SurveyAnswer.objects.update(given={"clear": None}),
        lambda: make.survey_answer(incident, clear=0),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change_()
    assert SurveyAnswer.objects.get() == answer


def test_a_plan_may_have_a_survey_of_its_own(client, survey):
    own = Survey.objects.create(name="Short")
    own.questions.create(position=1, key="calm", text={"en": "Were we calm?", "it": "Eravamo calmi?"})
    incident = make.incident(make.incident_manager())
    assert asking.survey(incident).version == survey.current().pk
    plan = make.plan(make.channel())
    own.plans.add(plan)
    incident = make.incident(make.incident_manager())
    found = asking.survey(incident)
    assert (found.version, found.questions) == (own.current().pk, 1)


def test_without_a_survey_nobody_is_asked(survey):
    survey.default = False
    survey.save()
    assert asked(resolved()) == set()
    assert not Dispatch.objects.exclude(purpose="update").exists()


def test_the_invitation_says_how_many_questions(data_dir, survey):
    resolved(1)
    [text] = letters(data_dir)
    assert "3 questions, twenty seconds." in " ".join(text.split())


# ── Anonymous ──


def test_an_anonymous_answer_has_neither_person_nor_hour(client, survey, data_dir):
    change(survey, anonymous=True)
    incident = resolved()
    first, _second = Recipient.objects.filter(medium="email").order_by("id")
    assert all("kept without your name" in " ".join(text.split()) for text in letters(data_dir))
    page = client.get(link(incident, first)).content.decode()
    assert "kept without your name" in page
    response = client.post(link(incident, first), GOOD, follow=True)
    assert "your answer is recorded" in response.content.decode()
    assert "Quick and honest." not in response.content.decode()
    answer = SurveyAnswer.objects.get()
    assert (answer.recipient, answer.fixed_at, answer.texts) == (None, None, {"comment": "Quick and honest."})
    assert (answer.at.hour, answer.at.minute, answer.at.second) == (0, 0, 0)
    use = SurveyUse.objects.get()
    assert use.recipient == first
    assert {f.name for f in SurveyUse._meta.get_fields()} == {"id", "incident", "recipient"}


def test_an_anonymous_invitation_is_used_once(client, survey):
    change(survey, anonymous=True)
    incident = resolved()
    first = Recipient.objects.filter(medium="email").earliest("id")
    client.post(link(incident, first), GOOD)
    for response in (client.post(link(incident, first), GOOD), client.get(link(incident, first) + "?change")):
        assert response.status_code == 200
        assert "stays as it is" in response.content.decode()
    assert SurveyAnswer.objects.count() == SurveyUse.objects.count() == 1


def test_neither_table_tells_the_order(client, survey):
    change(survey, anonymous=True)
    incident = resolved(people=12)
    people = list(Recipient.objects.filter(medium="email").order_by("id"))
    for one in people:
        client.post(link(incident, one), GOOD | {"comment": str(one.pk)})
    by_key = [int(one.texts["comment"]) for one in SurveyAnswer.objects.order_by("id")]
    by_use = list(SurveyUse.objects.order_by("id").values_list("recipient_id", flat=True))
    assert sorted(by_key) == sorted(by_use) == [one.pk for one in people]
    assert by_key != by_use != [one.pk for one in people]


def test_the_database_refuses_an_anonymous_answer_with_a_name(survey):
    version = change(survey, anonymous=True)
    [person] = make.recipients(1)
    with pytest.raises(DatabaseError):
        make.survey_answer(make.incident(), person, version=version)


# ── A reminder ──


def test_only_those_are_reminded_who_did_not_answer(client, survey, data_dir):
    change(survey, remind_days=3)
    incident = resolved(people=3)
    first, second, third = Recipient.objects.filter(medium="email").order_by("id")
    client.post(link(incident, first), GOOD)
    client.post(f"/unsubscribe/{signing.dumps(second.pk, salt='channels.unsubscribe')}/")
    make.deliver()
    assert asked(incident, "reminder") == set()
    with time_machine.travel(timezone.now() + timedelta(days=3, minutes=5), tick=False):
        Dispatch.objects.filter(purpose="reminder").update(not_before=timezone.now() - timedelta(days=4))
        make.deliver()
    assert asked(incident, "reminder") == {third.pk}
    [text] = [text for text in letters(data_dir) if "only reminder" in " ".join(text.split())]
    assert client.get("/survey/" + text.split("/survey/")[1].split("/")[0] + "/").status_code == 200
    make.deliver()
    assert len(asked(incident, "reminder")) == 1


def test_who_answered_anonymously_is_not_reminded(client, survey):
    change(survey, remind_days=3, anonymous=True)
    incident = resolved()
    first, second = Recipient.objects.filter(medium="email").order_by("id")
    client.post(link(incident, first), GOOD)
    [reminder] = Dispatch.objects.filter(purpose="reminder")
    assert list(publishing.invited(incident, reminder.audience)) == [second]


def test_nobody_is_reminded_of_what_is_closed(survey):
    change(survey, remind_days=3, open_days=5)
    incident = resolved()
    [reminder] = Dispatch.objects.filter(purpose="reminder")
    assert publishing.invited(incident, reminder.audience).count() == 2
    with time_machine.travel(timezone.now() + timedelta(days=6)):
        assert publishing.invited(incident, reminder.audience).count() == 0


def test_a_reminder_is_approved_with_the_rest_and_can_be_stopped(survey):
    change(survey, remind_days=3)
    incident = resolved()
    update = incident.updates.get(stage="resolved")
    assert publishing.sent_hash(update) == update.approved_hash
    update.stop(make.communications_manager())
    assert Dispatch.objects.get(purpose="reminder").cancelled_at


def test_a_reminder_closes_with_the_invitation(client, survey):
    change(survey, remind_days=3, open_days=5)
    incident = resolved()
    url = link(incident, Recipient.objects.filter(medium="email").earliest("id"))
    with time_machine.travel(timezone.now() + timedelta(days=4, hours=23)):
        late = link(incident, Recipient.objects.filter(medium="email").earliest("id"))
        assert client.get(late).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=5, hours=1)):
        assert client.get(url).status_code == 410
        assert client.get(late).status_code == 410
