"""Surveys are designed and have versions; an answer is of one. The three questions of before become the usual survey.

Answers that are there already are answers to its first version, with every score and every word. Where it is still
known by which channel somebody was asked, that is kept as well.
"""

import os
from importlib import import_module

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, Q

import feedback.models.answer

guards = import_module("incidents.migrations.0002_guards")

# What each database reads of JSON. An answer's scores are whole numbers from 1 to 5.
JSON = {
    "postgresql": {
        "score": """EXISTS (SELECT 1 FROM jsonb_each(NEW.given) AS g(key, value) WHERE jsonb_typeof(g.value) <> 'string'
            AND g.value::text NOT IN ('1', '2', '3', '4', '5'))""",
        "anonymous": "(v.content ->> 'anonymous')::boolean",
    },
    "sqlite": {
        "score": """EXISTS (SELECT 1 FROM json_each(NEW.given) g WHERE g.type <> 'text'
            AND NOT (g.type = 'integer' AND g.atom BETWEEN 1 AND 5))""",
        "anonymous": "json_extract(v.content, '$.anonymous')",
    },
}


def rules(vendor):
    """As in incidents 0002: name, when, table, condition under which it is refused, message."""
    says = JSON[vendor]
    anonymous = f"""NEW.recipient_id IS NOT NULL AND EXISTS (SELECT 1 FROM feedback_surveyversion v
        WHERE v.id = NEW.version_id AND {says["anonymous"]})"""
    found = [
        (
            "survey_version_no_update",
            "UPDATE",
            "feedback_surveyversion",
            "true",
            "a version of a survey is append-only",
        ),
        (
            # SQLite's INSERT OR REPLACE deletes what is in its way without asking the rule above.
            "survey_version_no_replace",
            "INSERT",
            "feedback_surveyversion",
            """EXISTS (SELECT 1 FROM feedback_surveyversion v
                WHERE v.id = NEW.id OR (v.survey_id = NEW.survey_id AND v.number = NEW.number))""",
            "a version of a survey is append-only",
        ),
        (
            # Keys are checked at the end of a transaction: until then another row could be put in its place.
            "survey_version_stays",
            "DELETE",
            "feedback_surveyversion",
            "EXISTS (SELECT 1 FROM feedback_surveyanswer a WHERE a.version_id = OLD.id)",
            "a version of a survey that somebody answered stays",
        ),
        (
            "survey_answer_stays",
            "UPDATE",
            "feedback_surveyanswer",
            guards.changed("incident_id", "version_id"),
            "an answer stays one to the survey that was asked",
        ),
    ]
    found.append(("survey_reading_no_update", "UPDATE", "feedback_surveyreading", "true", "a reading is never changed"))
    for event in ("INSERT", "UPDATE"):
        name, table = event.lower(), "feedback_surveyanswer"
        found += [
            (f"survey_score_{name}", event, table, says["score"], "a score is a whole number from 1 to 5"),
            (f"survey_anonymous_{name}", event, table, anonymous, "an anonymous answer has no recipient"),
        ]
    return found


def create(apps, schema_editor):
    guards.create_guards(schema_editor, rules(schema_editor.connection.vendor), [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, rules(schema_editor.connection.vendor), [], "")


QUESTIONS = [
    (
        "clear",
        "Was it clear what was happening and whether it affected you?",
        "Era chiaro che cosa stava succedendo e se il problema ti riguardava?",
    ),
    ("timely", "Did we tell you in time?", "Ti abbiamo avvisato in tempo?"),
    (
        "useful",
        "Did it help you decide what to do?",
        "Le nostre comunicazioni ti hanno aiutato a decidere che cosa fare?",
    ),
    ("comment", "Anything else?", "Vuoi aggiungere altro?"),
]


def ship(apps, schema_editor):
    carry(apps, write(apps))
    if schema_editor.connection.vendor == "postgresql":  # or it refuses to alter the tables that were written
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


def write(apps):
    """The usual survey, as customers know it; its version."""
    survey = apps.get_model("feedback", "Survey").objects.create(
        name="How well did we keep you informed?",
        default=True,
        # A setting of before: who changed it finds it in the survey now.
        open_days=min(365, max(1, int(os.environ.get("SURVEY_OPEN_DAYS") or 30))),
    )
    content = [
        {
            "key": key,
            "kind": "text" if key == "comment" else "scale",
            "required": key != "comment",
            "text": {"en": en, "it": it},
        }
        for key, en, it in QUESTIONS
    ]
    Question = apps.get_model("feedback", "SurveyQuestion")
    Question.objects.bulk_create(
        Question(survey=survey, position=number, **one) for number, one in enumerate(content, 1)
    )
    return apps.get_model("feedback", "SurveyVersion").objects.create(
        survey=survey,
        number=1,
        content={
            "name": survey.name,
            "share": 100,
            "anonymous": False,
            "open_days": survey.open_days,
            "remind_days": None,
            "change_minutes": 60,
            "questions": content,
        },
    )


def carry(apps, version):
    """Every answer that there is, incident by incident."""
    Answer, Delivery = apps.get_model("feedback", "SurveyAnswer"), apps.get_model("channels", "Delivery")
    uids = apps.get_model("incidents", "Incident").objects.filter(pk__in=Answer.objects.values("incident"))
    for incident, uid in uids.order_by("pk").values_list("pk", "uid"):
        asked = Delivery.objects.filter(dispatch__thread=f"incident-{uid}", dispatch__purpose="survey")
        channels = dict(asked.order_by("pk").values_list("recipient_id", "dispatch__channel_id"))
        answers = list(Answer.objects.filter(incident=incident))
        for one in answers:
            one.version = version
            one.given = {"clear": one.clear, "timely": one.timely, "useful": one.useful}
            one.texts = {"comment": one.comment} if one.comment else {}
            one.channel_id = channels.get(one.recipient_id)
        Answer.objects.bulk_update(answers, ["version", "given", "texts", "channel"], batch_size=200)


def key():
    return ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))


def drawn():
    """A key that tells no order."""
    return models.BigIntegerField(
        default=feedback.models.answer.random_key, editable=False, primary_key=True, serialize=False
    )


def to(model, on_delete=django.db.models.deletion.CASCADE, **kwargs):
    return models.ForeignKey(on_delete=on_delete, to=model, **kwargs)


class Migration(migrations.Migration):
    dependencies = [
        ("channels", "0011_recipient_signing"),
        ("feedback", "0001_initial"),
        ("incidents", "0019_plan_versions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Survey",
            fields=[
                key(),
                (
                    "name",
                    models.CharField(
                        help_text="For staff; customers do not see it.",
                        max_length=120,
                        unique=True,
                        verbose_name="name",
                    ),
                ),
                (
                    "default",
                    models.BooleanField(
                        default=False,
                        help_text="Asked after every incident whose plan has no other.",
                        verbose_name="the usual one",
                    ),
                ),
                (
                    "share",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="The share of those who were told. Who is asked is drawn by lot for each incident.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="asked of (%)",
                    ),
                ),
                (
                    "anonymous",
                    models.BooleanField(
                        default=False,
                        help_text="An answer is kept without who gave it, and with the day only. It cannot be changed.",
                        verbose_name="anonymous",
                    ),
                ),
                (
                    "open_days",
                    models.PositiveSmallIntegerField(
                        default=30,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(365),
                        ],
                        verbose_name="closes after (days)",
                    ),
                ),
                (
                    "remind_days",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Only those who have not answered. Empty: never.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(364),
                        ],
                        verbose_name="remind once after (days)",
                    ),
                ),
                (
                    "change_minutes",
                    models.PositiveIntegerField(
                        default=60,
                        help_text="0: never.",
                        validators=[django.core.validators.MaxValueValidator(43200)],
                        verbose_name="answers can be changed for (minutes)",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "plans",
                    models.ManyToManyField(
                        blank=True,
                        related_name="+",
                        to="incidents.communicationplan",
                        verbose_name="instead of the usual one, for these plans",
                    ),
                ),
            ],
            options={
                "verbose_name": "survey",
                "verbose_name_plural": "surveys",
                "ordering": ["-default", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=("default",), condition=Q(default=True), name="survey_one_default"),
                    models.CheckConstraint(condition=Q(share__range=(1, 100)), name="survey_share_in_percent"),
                    models.CheckConstraint(
                        condition=Q(remind_days__isnull=True) | Q(remind_days__lt=F("open_days")),
                        name="survey_reminds_before_it_closes",
                        violation_error_message="The reminder must come before the survey closes.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SurveyQuestion",
            fields=[
                key(),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                (
                    "key",
                    models.SlugField(
                        help_text="Its name in files. Reports count “clear”, “timely” and “useful”: keep these for "
                        "what they mean.",
                        max_length=32,
                        verbose_name="key",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("scale", "Scale from 1 to 5"), ("choice", "Choice of one"), ("text", "Free text")],
                        default="scale",
                        max_length=8,
                        verbose_name="kind",
                    ),
                ),
                ("required", models.BooleanField(default=True, verbose_name="must be answered")),
                ("text", models.JSONField(default=dict)),
                ("choices", models.JSONField(default=list)),
                ("survey", to("feedback.survey", related_name="questions")),
            ],
            options={
                "verbose_name": "question",
                "verbose_name_plural": "questions",
                "ordering": ["position", "id"],
                "constraints": [models.UniqueConstraint(fields=("survey", "key"), name="survey_question_key_once")],
            },
        ),
        migrations.CreateModel(
            name="SurveyVersion",
            fields=[
                key(),
                ("number", models.PositiveIntegerField(verbose_name="version")),
                ("content", models.JSONField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "by",
                    to(
                        settings.AUTH_USER_MODEL,
                        django.db.models.deletion.PROTECT,
                        null=True,
                        related_name="+",
                    ),
                ),
                ("survey", to("feedback.survey", related_name="versions")),
            ],
            options={
                "verbose_name": "version of a survey",
                "verbose_name_plural": "versions of surveys",
                "ordering": ["-number"],
                "constraints": [models.UniqueConstraint(fields=("survey", "number"), name="survey_version_once")],
            },
        ),
        migrations.CreateModel(
            name="SurveyUse",
            fields=[
                ("id", drawn()),
                ("incident", to("incidents.incident", related_name="+")),
                ("recipient", to("channels.recipient", db_constraint=False, related_name="+")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("incident", "recipient"), name="survey_used_once")]
            },
        ),
        migrations.CreateModel(
            name="SurveyReading",
            fields=[
                key(),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                ("by", to(settings.AUTH_USER_MODEL, django.db.models.deletion.PROTECT, related_name="+")),
            ],
            options={
                "verbose_name": "reading of an answer",
                "verbose_name_plural": "readings of answers",
                "ordering": ["-at"],
            },
        ),
        migrations.AddField("surveyanswer", "given", models.JSONField(default=dict)),
        migrations.AddField("surveyanswer", "texts", models.JSONField(default=dict)),
        migrations.AddField("surveyanswer", "fixed_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "surveyanswer",
            "channel",
            to(
                "channels.channel",
                django.db.models.deletion.SET_NULL,
                null=True,
                related_name="+",
                verbose_name="channel",
            ),
        ),
        migrations.AddField(
            "surveyanswer",
            "version",
            to("feedback.surveyversion", django.db.models.deletion.PROTECT, null=True, related_name="answers"),
        ),
        migrations.RunPython(ship),
        migrations.RemoveConstraint("surveyanswer", "survey_scores_from_1_to_5"),
        *(migrations.RemoveField("surveyanswer", name) for name in ("clear", "timely", "useful", "comment")),
        migrations.AlterField(
            "surveyanswer",
            "version",
            to(
                "feedback.surveyversion",
                django.db.models.deletion.PROTECT,
                related_name="answers",
                verbose_name="survey",
            ),
        ),
        migrations.AlterField("surveyanswer", "id", drawn()),
        # Only now: what points to a key must have that key's kind.
        migrations.AddField("surveyreading", "answer", to("feedback.surveyanswer", related_name="readings")),
        migrations.AlterField(
            "surveyanswer", "at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")
        ),
        migrations.AlterModelOptions(
            "surveyanswer",
            {
                "ordering": ["-at"],
                "permissions": [("read_surveytext", "Can read what customers wrote, unscreened")],
                "verbose_name": "survey answer",
                "verbose_name_plural": "survey answers",
            },
        ),
        migrations.RunPython(create, drop),
    ]
