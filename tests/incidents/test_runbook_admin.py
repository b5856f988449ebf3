"""Staff write runbooks, see how far they are, and have the last word."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from incidents.models import Decision, Runbook, RunbookRun, RunbookStep
from incidents.rendering import moment
from incidents.runbooks import ready, running
from tests import make
from tests.incidents.test_runbooks import SPEAK, TEXT, opened, people, runbook, walk  # noqa: F401

pytestmark = pytest.mark.django_db


def posted(*steps: dict, **fields) -> dict:
    """The form of a runbook, as a browser sends it."""
    data = {"name": "First words", "description": "", "enabled": "on", **fields}
    data |= {"steps-TOTAL_FORMS": len(steps), "steps-INITIAL_FORMS": 0}
    for n, step in enumerate(steps):
        data |= {f"steps-{n}-position": n + 1, f"steps-{n}-name": ""}
        data |= {f"steps-{n}-{name}": value for name, value in step.items()}
    return data


@pytest.fixture
def writer():
    return make.client(make.communications_manager(first_name="Marta"))


ADD = "admin:incidents_runbook_add"


def test_a_runbook_is_written_with_the_settings_of_each_kind(writer):
    steps = [
        {"kind": "wait", "wait__minutes": "5", "notify__text": "not of this kind"},
        {"kind": "notify", "notify__role": "support_lead", "notify__text": "See {{ title }}"},
        {"kind": "branch", "branch__severities": ["sev1", "sev2"], "branch__to": "0"},
    ]
    answer = writer.post(reverse(ADD), posted(*steps, triggers=["opened"]))
    assert answer.status_code == 302, answer.context["errors"]
    one = Runbook.objects.get()
    assert one.content()["triggers"] == ["opened"]
    assert one.content()["steps"] == [
        {"kind": "wait", "name": "", "minutes": 5},
        {"kind": "notify", "name": "", "role": "support_lead", "text": "See {{ title }}"},
        {"kind": "branch", "name": "", "severities": ["sev1", "sev2"], "stages": [], "to": 0},
    ]
    page = writer.get(reverse("admin:incidents_runbook_change", args=[one.pk])).text
    assert 'name="steps-0-wait__minutes" value="5"' in page
    assert "See {{ title }}</textarea>" in page


@pytest.mark.parametrize(
    ("step", "field", "error"),
    [
        ({"kind": "wait", "wait__minutes": "0"}, "wait__minutes", "greater than or equal to 1"),
        ({"kind": "wait", "wait__minutes": "soon"}, "wait__minutes", "whole number"),
        ({"kind": "notify", "notify__role": "king", "notify__text": "x"}, "notify__role", "king"),
        (
            {"kind": "notify", "notify__role": "support_lead", "notify__text": "See {{ titel }}"},
            "notify__text",
            "did you mean {{ title }}?",
        ),
        ({"kind": "webhook", "webhook__url": "http://example.com/"}, "webhook__url", "not secure"),
        ({"kind": "webhook", "webhook__url": "javascript:alert(1)"}, "webhook__url", "valid URL"),
        ({"kind": "branch", "branch__to": "1"}, "branch__to", "This is step 1, and there are 1"),
        ({"kind": "branch", "branch__to": "9"}, "branch__to", "This is step 1, and there are 1"),
        (
            {"kind": "aws", "aws__operation": "sns:Publish", "aws__region": "eu-south-1", "aws__parameters": "{}"},
            "aws__operation",
            "sns:Publish",
        ),
        (
            {
                "kind": "aws",
                "aws__operation": "ssm:CreateOpsItem",
                "aws__region": "eu-south-1",
                "aws__parameters": '{"Title": "x"}',
            },
            "aws__parameters",
            "Missing required parameter",
        ),
        (
            {
                "kind": "aws",
                "aws__operation": "ssm:CreateOpsItem",
                "aws__region": "Milan",
                "aws__parameters": "{",
            },
            "aws__region",
            "write it as eu-south-1",
        ),
        ({"kind": "wait_for", "wait_for__minutes": "5", "wait_for__late": "go_on"}, "wait_for__stages", "required"),
        ({"kind": "sing"}, "kind", "sing"),
        ({"kind": "automation"}, "kind", "automation"),  # what only the portal puts there
    ],
)
def test_bad_settings_are_named_and_nothing_is_saved(writer, step, field, error):
    answer = writer.post(reverse(ADD), posted(step))
    assert answer.status_code == 200
    [formset] = [one.formset for one in answer.context["inline_admin_formsets"]]
    assert error in str(formset.forms[0].errors[field])
    assert not Runbook.objects.exists()


def test_steps_are_numbered_in_their_order(writer):
    steps = [
        {"kind": "publish", "position": "30"},
        {"kind": "draft", "draft__words": "template", "position": "4"},
        {"kind": "approval", "position": "7"},
    ]
    writer.post(reverse(ADD), posted(*steps))
    rows = RunbookStep.objects.order_by("position").values_list("position", "kind")
    assert list(rows) == [(1, "draft"), (2, "approval"), (3, "publish")]


def test_who_may_only_read_them_reads_sentences(people):  # noqa: F811
    one = runbook(*SPEAK, name="First words")
    browser = make.client(people["incident_manager"])
    page = browser.get(reverse("admin:incidents_runbook_change", args=[one.pk])).text
    assert "Ask for approval, and wait for it" in page
    assert "steps-0" not in page
    assert browser.post(reverse("admin:incidents_runbook_change", args=[one.pk]), posted()).status_code == 403
    assert browser.get(reverse(ADD)).status_code == 403
    assert browser.get(reverse("admin:incidents_runbook_ready")).status_code == 403


def test_ready_made_ones_are_shown_before_they_are_brought_in_and_come_once(writer):
    url = reverse("admin:incidents_runbook_ready")
    assert "Nothing new, in time" in writer.get(url).text
    assert not Runbook.objects.exists()
    writer.post(url)
    writer.post(url)
    assert Runbook.objects.count() == len(ready.READY)
    assert "Bring them in" not in writer.get(url).text


def test_ready_made_ones_have_steps_that_the_form_takes(writer):
    for one in ready.add():
        page = writer.get(reverse("admin:incidents_runbook_change", args=[one.pk]))
        [formset] = [inline.formset for inline in page.context["inline_admin_formsets"]]
        data = {"name": one.name, "description": one.description, "enabled": "on", "triggers": one.triggers}
        data |= {
            "stages": one.stages,
            "steps-TOTAL_FORMS": len(formset.forms),
            "steps-INITIAL_FORMS": len(formset.forms),
        }
        for form in formset.forms:
            for name, _field in form.fields.items():
                if (value := form[name].value()) is not None:
                    data[form.add_prefix(name)] = getattr(value, "pk", value)
        before = one.content()
        answer = writer.post(reverse("admin:incidents_runbook_change", args=[one.pk]), data)
        assert answer.status_code == 302, answer.context["errors"]
        assert Runbook.objects.get(pk=one.pk).content() == before


def test_they_are_shown_in_italian(people):  # noqa: F811
    ready.add()
    browser = make.client(make.communications_manager())
    page = browser.get(reverse("admin:incidents_runbook_ready"), headers={"Accept-Language": "it"}).text
    assert "Runbook pronti" in page


def test_a_step_with_an_error_counts_among_the_steps(writer):
    steps = [{"kind": "wait", "wait__minutes": "soon"}, {"kind": "branch", "branch__to": "9"}, {"kind": "approval"}]
    answer = writer.post(reverse(ADD), posted(*steps))
    [formset] = [one.formset for one in answer.context["inline_admin_formsets"]]
    assert "This is step 2, and there are 3" in str(formset.forms[1].errors["branch__to"])


# ── A run ───────────────────────────────────────────────────────────────────


def act(browser, run, **data):
    return browser.post(reverse("admin:incidents_runbookrun_act", args=[run.pk]), data)


def test_the_page_of_a_run_tells_what_became_of_each_step(opened, people, django_assert_max_num_queries):  # noqa: F811
    run = walk(opened(*SPEAK))
    browser = make.client(people["incident_manager"])
    url = reverse("admin:incidents_runbookrun_change", args=[run.pk])
    with django_assert_max_num_queries(16):
        page = browser.get(url).text
    assert "Draft 1 was written." not in page  # there was one already
    assert "this goes on with it" in page
    assert "Waits for the approval of: Marta" in page


def test_it_is_paused_skipped_and_stopped_by_post_only(opened, people):  # noqa: F811
    run = walk(opened({"kind": "wait", "minutes": 5}, {"kind": "wait", "minutes": 5}))
    browser = make.client(people["incident_manager"])
    assert browser.get(reverse("admin:incidents_runbookrun_act", args=[run.pk]) + "?do=stop").status_code == 302
    for data, state in [
        ({"do": "pause"}, "paused"),
        ({"do": "resume"}, "running"),
        ({"do": "skip", "index": "0", "reason": "Not now."}, "running"),
        ({"do": "stop", "reason": "Over."}, "stopped"),
    ]:
        assert act(browser, run, **data).status_code == 302
        run.refresh_from_db()
        assert run.state == state
    assert act(browser, run, do="resume").status_code == 409


@pytest.mark.parametrize(
    "data", [{}, {"do": "dance"}, {"do": "skip", "index": "x", "reason": "y"}, {"do": "skip", "index": "9" * 30}]
)
def test_nonsense_is_refused_in_words(opened, people, data):  # noqa: F811
    run = walk(opened({"kind": "wait", "minutes": 5}))
    assert act(make.client(people["incident_manager"]), run, **data).status_code in (409, 422)


def test_a_checklist_is_ticked_on_its_page(opened, people):  # noqa: F811
    run = walk(opened({"kind": "ask", "role": "support_lead", "items": "Call the bank\nTell the front desk"}))
    browser = make.client(people["support_lead"])
    page = browser.get(reverse("admin:incidents_runbookrun_change", args=[run.pk])).text
    assert page.count('name="ticked"') == 2
    answer = act(browser, run, do="answer", index="0", ticked=["0"], reason="The bank knows & waits.")
    assert answer.status_code == 422
    assert "Not everything is ticked: tick the rest, or skip the step and say why." in answer.text
    assert 'value="0" checked' in answer.text
    assert 'value="1" aria-invalid="true" aria-describedby="cp-answer-error"' in answer.text
    assert 'value="The bank knows &amp; waits."' in answer.text
    assert "data-cp-live" not in answer.text  # it would be replaced, and what was typed with it
    assert act(browser, run, do="answer", index="0", ticked=["0", "1"]).status_code == 302
    assert walk(run).state == "done"


@pytest.mark.parametrize(("do", "error"), [("skip", "Say why the step is left out"), ("stop", "Say why it is stopped")])
def test_a_missing_reason_is_asked_for_beside_its_field(opened, people, do, error):  # noqa: F811
    run = walk(opened({"kind": "wait", "minutes": 5}))
    answer = act(make.client(people["incident_manager"]), run, do=do, index="0", reason="  ")
    assert answer.status_code == 422
    assert f'aria-describedby="cp-{do}-error"' in answer.text
    assert f'<p class="cp-error" id="cp-{do}-error" role="alert">{error}' in answer.text


def test_a_checklist_is_a_list_for_who_only_reads_it(opened, people):  # noqa: F811
    items = "Is the provider informed?\nHas support the brief?"
    run = walk(opened({"kind": "ask", "role": "support_lead", "items": items}))
    reader = make.client(make.user("Managers", "All components"))
    page = reader.get(reverse("admin:incidents_runbookrun_change", args=[run.pk])).text
    assert "<li>Is the provider informed?</li><li>Has support the brief?</li>" in page
    page = make.client(people["incident_manager"]).get(reverse("admin:incidents_runbook_change", args=[run.runbook_id]))
    assert "<li>Is the provider informed?</li><li>Has support the brief?</li>" in page.text


def test_each_step_tells_when_it_ended_and_what_was_really_told(opened, people, time_machine):  # noqa: F811
    start = timezone.now().replace(hour=8, minute=0, second=0)
    time_machine.move_to(start, tick=False)
    run = walk(opened({"kind": "wait", "minutes": 5}, {**TEXT, "text": "“{{ title }}” is open."}))
    browser = make.client(people["incident_manager"])
    url = reverse("admin:incidents_runbookrun_change", args=[run.pk])
    page = browser.get(url).text
    assert f"begun {moment(start, 'H:i:s')}" in page
    assert "“{{ title }}” is open." in page  # not told yet
    time_machine.move_to(start + timedelta(minutes=6), tick=False)
    walk(run)
    page = browser.get(url).text
    assert "begun" not in page
    assert page.count(f">{moment(start + timedelta(minutes=6), 'H:i:s')}</time>") == 2
    assert "“Cards fail” is open." in page.replace("““", "“").replace("””", "”")
    assert "{{ title }}" not in page


def test_the_step_under_way_was_stopped_with_its_run(opened, people):  # noqa: F811
    wait = {"kind": "wait", "minutes": 5}
    run = walk(opened(wait, wait, wait))
    running.skip(run, people["incident_manager"], 0, "Not now.")
    running.stop(walk(run), people["incident_manager"], "Over.")
    page = make.client(people["incident_manager"]).get(reverse("admin:incidents_runbookrun_change", args=[run.pk]))
    assert [line.state for line in page.context["lines"]] == ["Skipped", "Stopped", ""]
    assert '<span class="cp-badge cp-tone-off">Stopped</span>' in page.text


def test_others_do_not_see_it(opened, people):  # noqa: F811
    run = walk(opened({"kind": "wait", "minutes": 5}))
    stranger = make.client(make.user("Incident managers"))
    assert stranger.get(reverse("admin:incidents_runbookrun_change", args=[run.pk])).status_code == 404
    assert act(stranger, run, do="pause").status_code == 404
    start = reverse("admin:incidents_runbookrun_start", args=[run.incident_id])
    assert stranger.post(start, {"runbook": run.runbook_id}).status_code == 404
    assert str(run) not in stranger.get(reverse("admin:incidents_runbookrun_changelist")).text
    assert (
        make.client(make.user("Managers", "All components"))
        .get(reverse("admin:incidents_runbookrun_change", args=[run.pk]))
        .status_code
        == 200
    )


def test_one_is_started_on_the_page_of_the_incident(people, django_assert_max_num_queries):  # noqa: F811
    make.plan(people=list(people.items()))
    incident = make.incident(people["incident_manager"])
    one = runbook({"kind": "wait", "minutes": 5})
    browser = make.client(people["incident_manager"])
    page = browser.get(reverse("admin:incidents_incident_change", args=[incident.pk])).text
    assert f'<option value="{one.pk}">First words</option>' in page
    start = reverse("admin:incidents_runbookrun_start", args=[incident.pk])
    assert browser.post(start, {"runbook": str(one.pk)}).status_code == 302
    assert browser.post(start, {"runbook": str(one.pk)}).status_code == 409
    assert browser.post(start, {"runbook": "9" * 40}).status_code == 422
    run = RunbookRun.objects.get()
    assert run.by == people["incident_manager"]
    page = browser.get(reverse("admin:incidents_incident_change", args=[incident.pk])).text
    assert "Step 1 of 1: Wait" in page


def test_whoever_approves_reads_that_a_runbook_publishes(opened, people):  # noqa: F811
    run = walk(opened(*SPEAK))
    update = run.incident.updates.get()
    url = reverse("admin:incidents_incidentupdate_review", args=[update.pk])
    text = "The runbook “First words” publishes it as soon as it is approved."
    browser = make.client(people["communications_manager"])
    page = browser.get(url).text
    assert text in page
    assert "Approve: the runbook sends it" in page
    assert f'name="seen_runs" value="{run.pk}"' in page
    before_it_began = {"decision": "approve", "seen_hash": update.content_hash, "seen_runs": ""}
    assert browser.post(url, before_it_began).status_code == 409
    assert type(update).objects.get(pk=update.pk).status == "in_review"
    running.stop(run, people["incident_manager"], "By hand.")
    assert text not in browser.get(url).text


# ── Severity ────────────────────────────────────────────────────────────────


def test_the_severity_is_changed_on_the_page_of_the_incident(people):  # noqa: F811
    make.plan(people=list(people.items()))
    incident = make.incident(people["incident_manager"])
    url = reverse("admin:incidents_incident_severity", args=[incident.pk])
    assert make.client(people["support_lead"]).post(url, {"severity": "sev1"}).status_code == 403
    browser = make.client(people["incident_manager"])
    assert browser.post(url, {"severity": "sev9"}).status_code == 422
    assert browser.post(url, {"severity": "sev1", "reason": "All cards."}).status_code == 302
    incident.refresh_from_db()
    assert incident.severity == "sev1"
    page = browser.get(reverse("admin:incidents_incident_change", args=[incident.pk])).text
    assert "changed the severity: <q" in page
    assert Decision.objects.filter(verb="severity").count() == 1
