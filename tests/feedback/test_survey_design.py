"""The designer: questions in every language, versions, what is refused, and the page as customers will see it."""

import re

import pytest

from feedback.models import Survey
from incidents import roles
from tests import make

pytestmark = pytest.mark.django_db
ADD = "/admin/feedback/survey/add/"


@pytest.fixture
def designer(client):
    client.force_login(make.communications_manager())
    return client


def data(*questions: dict, **more) -> dict:
    found = {
        "name": "Short",
        "share": 100,
        "open_days": 14,
        "remind_days": "",
        "change_minutes": 30,
        "questions-TOTAL_FORMS": len(questions),
        "questions-INITIAL_FORMS": 0,
        **more,
    }
    for number, question in enumerate(questions):
        found |= {f"questions-{number}-{name}": value for name, value in question.items()}
    return found


def scale(**more) -> dict:
    return {
        "position": 1,
        "kind": "scale",
        "required": "on",
        "key": "clear",
        "text_en": "Was it clear?",
        "text_it": "Era chiaro?",
    } | more


def choice(**more) -> dict:
    words = {"choice__en": "Email\nThe status page", "choice__it": "Email\nLa pagina di stato"}
    return (
        scale(kind="choice", key="where", text_en="Where did you read it?", text_it="Dove l'hai letto?") | words | more
    )


def text(**more) -> dict:
    return scale(kind="text", key="more", text_en="What was missing?", text_it="Che cosa mancava?") | more


def test_a_survey_is_made_with_its_first_version(designer):
    questions = [scale(), choice(position=2), text(position=3) | {"required": ""}]
    assert designer.post(ADD, data(*questions)).status_code == 302
    survey = Survey.objects.get(name="Short")
    [version] = survey.versions.all()
    assert version.content == {
        "name": "Short",
        "share": 100,
        "anonymous": False,
        "open_days": 14,
        "remind_days": None,
        "change_minutes": 30,
        "questions": [
            {"key": "clear", "kind": "scale", "required": True, "text": {"en": "Was it clear?", "it": "Era chiaro?"}},
            {
                "key": "where",
                "kind": "choice",
                "required": True,
                "text": {"en": "Where did you read it?", "it": "Dove l'hai letto?"},
                "choices": [
                    {"key": "1", "text": {"en": "Email", "it": "Email"}},
                    {"key": "2", "text": {"en": "The status page", "it": "La pagina di stato"}},
                ],
            },
            {
                "key": "more",
                "kind": "text",
                "required": False,
                "text": {"en": "What was missing?", "it": "Che cosa mancava?"},
            },
        ],
    }
    assert version.by is not None


def test_a_change_is_a_new_version_and_saving_the_same_is_none(designer):
    survey = Survey.objects.get()
    url = f"/admin/feedback/survey/{survey.pk}/change/"
    form = designer.get(url).context["adminform"].form
    sent = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    inline = designer.get(url).context["inline_admin_formsets"][0].formset
    sent |= {f"questions-{name}_FORMS": inline.initial_form_count() for name in ("TOTAL", "INITIAL")}
    for one in inline.initial_forms:
        sent |= {
            one.add_prefix(name): one[name].value() for name in one.fields if one[name].value() not in (None, False)
        }
    assert designer.post(url, sent).status_code == 302
    assert survey.versions.count() == 1
    response = designer.post(url, sent | {"open_days": 20}, follow=True)
    assert survey.versions.first().number == 2
    assert "This is version 2 now." in response.content.decode()


@pytest.mark.parametrize(
    ("questions", "more", "says"),
    [
        ([], {}, "A survey needs a question."),
        ([scale(), scale(position=2)], {}, "is the key of another question, too."),
        ([scale(text_it="")], {}, "This field is required."),
        ([scale()], {"share": 0}, "greater than or equal to 1"),
        ([scale()], {"share": 101}, "less than or equal to 100"),
        ([scale()], {"open_days": 0}, "greater than or equal to 1"),
        ([scale()], {"remind_days": 14}, "The reminder must come before the survey closes, which is after 14 days."),
        ([choice(choice__it="Email")], {}, "1 answers: write 2 to 8, one on each line."),
        ([choice(choice__it="Email\nA\nB")], {}, "3 answers, and 2 in English"),
        ([choice(choice__en="Email\nEmail")], {}, "An answer stands here twice."),
        ([scale(key="not a key")], {}, "valid “slug”"),
        ([scale(key=f"k{n}", position=n) for n in range(11)], {}, "A survey has 10 questions at most."),
        ([scale()], {"name": "How well did we keep you informed?"}, "already exists"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_saved(designer, questions, more, says):
    response = designer.post(ADD, data(*questions, **more))
    assert response.status_code == 200
    assert says in response.content.decode().replace("&#x27;", "'")
    assert Survey.objects.count() == 1


def test_one_survey_is_the_usual_one(designer):
    assert designer.post(ADD, data(scale(), default="on")).status_code == 302
    assert [one.name for one in Survey.objects.filter(default=True)] == ["Short"]


def test_a_plan_has_one_survey_of_its_own(designer):
    plan = make.plan()
    assert designer.post(ADD, data(scale(), plans=[plan.pk])).status_code == 302
    response = designer.post(ADD, data(scale(), plans=[plan.pk], name="Other"))
    assert "is asked by “Short” already" in response.content.decode()


def test_a_question_without_a_key_gets_one_from_its_words(designer):
    designer.post(ADD, data(scale(key="", text_en="Were we calm and kind?")))
    assert Survey.objects.get(name="Short").questions.get().key == "were-we-calm-and-kind"


def test_the_page_is_shown_in_both_languages(designer):
    designer.post(ADD, data(scale(), choice(position=2, text_en="<b>Where</b>"), text(position=3)))
    survey = Survey.objects.get(name="Short")
    page = designer.get(f"/admin/feedback/survey/{survey.pk}/change/").content.decode()
    english, italian = re.findall(r'<iframe sandbox="" srcdoc="([^"]*)"', page)
    assert "The status page" in english
    assert "La pagina di stato" in italian
    assert "<b>Where" not in page
    assert "lang=&quot;it&quot;" in italian


def test_customers_answer_each_kind(client, designer):
    from tests.feedback.test_survey_sending import link, resolved

    designer.post(ADD, data(scale(), choice(position=2), text(position=3), default="on"))
    incident = resolved(1)
    from channels.models import Recipient

    url = link(incident, Recipient.objects.get(medium="email"))
    page = client.get(url).content.decode()
    assert page.index("Was it clear?") < page.index("Where did you read it?") < page.index("What was missing?")
    response = client.post(url, {"clear": "3", "where": "9", "more": ""})
    assert response.status_code == 422
    assert "choose one of those shown" in response.content.decode()
    assert "Please write something here." in response.content.decode()
    shown = client.post(url, {"clear": "3", "where": "2", "more": "A time"}, follow=True).content.decode()
    answer = incident.survey_answers.get()
    assert (answer.given, answer.texts) == ({"clear": 3, "where": "2"}, {"more": "A time"})
    assert "The status page</dd>" in shown


def test_who_only_reads_plans_reads_it_in_words(client):
    client.force_login(make.user(roles.INCIDENT_MANAGERS))
    survey = Survey.objects.get()
    page = client.get(f"/admin/feedback/survey/{survey.pk}/change/").content.decode()
    assert "Did we tell you in time?" in page
    assert "<iframe" in page
    assert client.post(f"/admin/feedback/survey/{survey.pk}/change/", {}).status_code == 403
    assert client.get(ADD).status_code == 403


def test_nobody_deletes_what_was_asked(client):
    client.force_login(make.user(is_superuser=True))
    assert client.get(f"/admin/feedback/survey/{Survey.objects.get().pk}/delete/").status_code == 403


def test_it_asks_the_database_little(designer, django_assert_max_num_queries):
    for number in range(8):
        one = Survey.objects.create(name=f"Number {number}")
        one.questions.create(key="clear", text={"en": "Clear?", "it": "Chiaro?"})
        one.current()
    with django_assert_max_num_queries(14):
        assert designer.get("/admin/feedback/survey/").status_code == 200
    with django_assert_max_num_queries(26):
        assert designer.get(f"/admin/feedback/survey/{one.pk}/change/").status_code == 200
