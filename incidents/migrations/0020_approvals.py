"""Approval rules of a plan, break-glass, approved templates, corrections; and what the database holds of them.

- What an update needs is frozen while it waits; it goes out only with the approval of as many people.
- It goes out without a second person only by a recorded decision that says why.
"""

from importlib import import_module

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")
moves = import_module("incidents.migrations.0014_maintenance_moves")
versions = import_module("incidents.migrations.0019_plan_versions")

VERBS = [
    *moves.VERBS,
    ("glass", "broke the glass: let it out without a second person"),
    ("glass_seen", "reviewed afterwards what went out without a second person"),
    ("prepared", "let it out by approved templates"),
]
SINCE_ASKED = """d.update_id = NEW.id AND d.content_hash = NEW.approved_hash AND d.id > COALESCE(
    (SELECT MAX(s.id) FROM incidents_decision s WHERE s.update_id = NEW.id AND s.verb = 'submit'), 0)"""
GOES_OUT = "NEW.status = 'published' AND OLD.status <> 'published' AND NOT NEW.imported"
NEEDED = {
    "postgresql": "COALESCE((NEW.policy ->> 'approvers')::integer, 1)",
    "sqlite": "COALESCE(json_extract(NEW.policy, '$.approvers'), 1)",
}
OLD_STEPS = next(one for one in guards.RULES if one[0] == "update_step_by_step")
NEW_STEPS = (
    "update_step_by_step",
    "UPDATE",
    "incidents_incidentupdate",
    OLD_STEPS[3].replace("OR NOT EXISTS", "OR NEW.waiver IS NULL AND NOT EXISTS"),
    OLD_STEPS[4],
)
assert NEW_STEPS[3] != OLD_STEPS[3]


def rules(vendor):
    """As in 0002: name, when, table, condition under which it is refused, message."""
    table = "incidents_incidentupdate"
    return [
        NEW_STEPS,
        (
            "update_enough_approvals",
            "UPDATE",
            table,
            f"""{GOES_OUT} AND NEW.waiver IS NULL AND (SELECT COUNT(DISTINCT d.by_id) FROM incidents_decision d
                WHERE d.verb = 'approve' AND {SINCE_ASKED}) < {NEEDED[vendor]}""",
            "an update needs as many approvals as its plan asks for",
        ),
        (
            "update_waiver_is_decided",
            "UPDATE",
            table,
            f"""{GOES_OUT} AND NEW.waiver IS NOT NULL AND NOT EXISTS (SELECT 1 FROM incidents_decision d
                WHERE d.verb = NEW.waiver AND d.verb IN ('glass', 'prepared') AND {SINCE_ASKED})""",
            "an update goes out without a second person only by a recorded decision",
        ),
        (
            "glass_is_reviewed_by_another",
            "INSERT",
            "incidents_decision",
            """NEW.verb = 'glass_seen' AND EXISTS (SELECT 1 FROM incidents_decision d
                WHERE d.update_id = NEW.update_id AND d.by_id = NEW.by_id AND d.verb IN ('draft', 'edit', 'glass'))""",
            "what went out without a second person is reviewed by somebody who neither wrote nor sent it",
        ),
        (
            "update_policy_is_frozen",
            "UPDATE",
            table,
            f"""OLD.status IN ('in_review', 'approved') AND NEW.status IN ('in_review', 'approved', 'published')
                AND {guards.changed("policy", "corrects_id")}
                OR OLD.status = 'approved' AND NEW.status IN ('approved', 'published') AND {guards.changed("waiver")}
                OR OLD.status = 'published' AND {guards.changed("policy", "waiver", "corrects_id")}""",
            "what waits for approval or has it is changed only by making it a draft again",
        ),
    ]


def create(apps, schema_editor):
    guards.drop_guards(schema_editor, [OLD_STEPS], [], "")
    guards.create_guards(schema_editor, rules(schema_editor.connection.vendor), [], "")


def drop(apps, schema_editor):
    guards.drop_guards(schema_editor, rules(schema_editor.connection.vendor), [], "")
    guards.create_guards(schema_editor, [OLD_STEPS], [], "")


ROLES = [
    ("incident_manager", "Major incident manager"),
    ("communications_manager", "Communications manager"),
    ("support_lead", "Support lead"),
]


def template_approval(kind):
    """The three columns; history keeps who approved by a key that may go."""
    person = {"on_delete": django.db.models.deletion.PROTECT, "related_name": "+"}
    if kind == "historical":
        person |= {"on_delete": django.db.models.deletion.DO_NOTHING, "db_constraint": False}
    return {
        "approved_hash": models.CharField(blank=True, default="", editable=False, max_length=64),
        "approved_by": models.ForeignKey(blank=True, editable=False, null=True, to=settings.AUTH_USER_MODEL, **person),
        "approved_at": models.DateTimeField(blank=True, editable=False, null=True, verbose_name="approved"),
    }


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0019_plan_versions"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(versions.set_aside, versions.put_back),
        migrations.CreateModel(
            name="ApprovalRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "position",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="The first rule that fits an update holds.", verbose_name="position"
                    ),
                ),
                ("severities", models.JSONField(blank=True, default=list, verbose_name="severities")),
                (
                    "audience",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Whoever it goes to"),
                            ("notify", "If people are written to"),
                            ("page", "If only the status page changes"),
                        ],
                        default="",
                        max_length=8,
                        verbose_name="audience",
                    ),
                ),
                (
                    "approvers",
                    models.PositiveSmallIntegerField(
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(5),
                        ],
                        verbose_name="people who approve",
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=ROLES,
                        help_text="Empty: whoever may approve.",
                        max_length=32,
                        verbose_name="from the role",
                    ),
                ),
                (
                    "escalate_minutes",
                    models.PositiveSmallIntegerField(
                        default=10, help_text="0: never.", verbose_name="ask deputies after (minutes)"
                    ),
                ),
                (
                    "prepared",
                    models.BooleanField(
                        default=False,
                        help_text="Words that come unchanged from an approved template need no second person.",
                        verbose_name="approved templates suffice",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="approvals",
                        to="incidents.communicationplan",
                    ),
                ),
            ],
            options={
                "verbose_name": "approval rule",
                "verbose_name_plural": "approval rules",
                "ordering": ["position", "id"],
            },
        ),
        *(
            migrations.AddField(model_name=f"{prefix}messagetemplate", name=name, field=field)
            for prefix in ("", "historical")
            for name, field in template_approval(prefix).items()
        ),
        migrations.AlterModelOptions(
            name="incidentupdate",
            options={
                "ordering": ["-number"],
                "permissions": [
                    ("write_incidentupdate", "Can write updates"),
                    ("approve_incidentupdate", "Can approve updates"),
                    ("publish_incidentupdate", "Can publish approved updates"),
                    ("break_glass", "Can let out an update without a second person, to be reviewed afterwards"),
                ],
                "verbose_name": "incident update",
                "verbose_name_plural": "incident updates",
            },
        ),
        migrations.AddField(
            model_name="incidentupdate",
            name="corrects",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="corrections",
                to="incidents.incidentupdate",
            ),
        ),
        migrations.AddField(model_name="incidentupdate", name="policy", field=models.JSONField(blank=True, null=True)),
        migrations.AddField(
            model_name="incidentupdate",
            name="waiver",
            field=models.CharField(
                blank=True,
                choices=[("glass", "Break-glass"), ("prepared", "Approved templates")],
                max_length=12,
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="decision",
            name="verb",
            field=models.CharField(choices=VERBS, max_length=12, verbose_name="what"),
        ),
        migrations.RemoveConstraint(model_name="incidentupdate", name="update_sent_only_as_approved"),
        migrations.AddConstraint(
            model_name="incidentupdate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status__in", ["approved", "published"]), _negated=True),
                    ("imported", True),
                    models.Q(
                        models.Q(("approved_by__isnull", False), ("waiver__isnull", False), _connector="OR"),
                        models.Q(("approved_hash", ""), _negated=True),
                        ("approved_hash", models.F("content_hash")),
                    ),
                    _connector="OR",
                ),
                name="update_sent_only_as_approved",
            ),
        ),
        migrations.RunPython(versions.put_back, versions.set_aside),
        migrations.RunPython(create, drop),
    ]
