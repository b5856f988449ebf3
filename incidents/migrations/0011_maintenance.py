"""Planned maintenance: notices that go out by themselves, and what the database holds of that.

- When it goes out is part of what is approved: it changes only by making the notice a draft again.
- It goes out by itself only in the name of somebody whose decision about exactly this content is recorded.
- Whoever changes its words or its picture takes that back with the approval.
"""

from importlib import import_module

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

guards = import_module("incidents.migrations.0002_guards")
pictures = import_module("incidents.migrations.0005_pictures")

FACTS = (*guards.FACTS, "publish_at")
CONTENT = guards.changed(*FACTS, "manifest", "content_hash")
UPDATE = "incidents_incidentupdate"
REPLACED = ("update_frozen_for_review", "update_published_is_final")
STAGES = [
    ("investigating", "Investigating"),
    ("identified", "Identified"),
    ("monitoring", "Monitoring"),
    ("resolved", "Resolved"),
    ("scheduled", "Scheduled"),
    ("in_progress", "In progress"),
    ("completed", "Completed"),
]
VERBS = [
    ("declare", "declared the incident"),
    ("plan", "planned the maintenance"),
    ("draft", "started a draft"),
    ("edit", "edited the draft"),
    ("submit", "asked for approval"),
    ("approve", "approved"),
    ("reject", "sent back"),
    ("publish", "published"),
    ("withdraw", "withdrew the draft"),
    ("retry", "retried failed deliveries"),
    ("dismiss", "closed it as declared by mistake"),
    ("stop", "stopped the sending"),
    ("release", "let it go out by itself at its time"),
    ("cancel", "cancelled the maintenance"),
]

RULES = [
    # name, when, table, condition under which it is refused, message
    (
        "update_frozen_for_review",
        "UPDATE",
        UPDATE,
        f"""OLD.status IN ('in_review', 'approved') AND NEW.status IN ('in_review', 'approved', 'published')
        AND ({CONTENT} OR OLD.status = 'approved' AND {guards.changed(*guards.APPROVAL)})""",
        "what waits for approval or has it is changed only by making it a draft again",
    ),
    (
        "update_published_is_final",
        "UPDATE",
        UPDATE,
        "OLD.status = 'published' AND "
        + guards.changed(
            "status",
            *FACTS,
            "manifest",
            "content_hash",
            *guards.APPROVAL,
            "published_by_id",
            "published_at",
            "released_by_id",
        ),
        "a published update is final",
    ),
    (
        "update_released_by_decision",
        "UPDATE",
        UPDATE,
        """NEW.released_by_id IS NOT NULL AND (NEW.status NOT IN ('approved', 'published') OR NEW.publish_at IS NULL
            OR NOT EXISTS (SELECT 1 FROM incidents_decision d WHERE d.update_id = NEW.id AND d.verb = 'release'
                           AND d.by_id = NEW.released_by_id AND d.content_hash = NEW.approved_hash))""",
        "a notice goes out by itself only in the name of somebody who let exactly this content go",
    ),
    (
        "update_begins_unreleased",
        "INSERT",
        UPDATE,
        "NEW.released_by_id IS NOT NULL",
        "a notice goes out by itself only in the name of somebody who let exactly this content go",
    ),
]
VOID_NOW = guards.VOID.replace("status = 'draft',", "status = 'draft', released_by_id = NULL, hold_reason = NULL,")
assert VOID_NOW != guards.VOID
VOIDS = [(guards.VOIDS, "incidents_rendition"), (pictures.VOIDS, pictures.TABLE)]


def create(apps, schema_editor):
    guards.drop_guards(schema_editor, [rule for rule in RULES if rule[0] in REPLACED], [], "")
    guards.create_guards(schema_editor, RULES, [], "")
    _voids(schema_editor)


def drop_all(apps, schema_editor):
    """Going back, SQLite builds the table anew without the column, which no guard may look at meanwhile."""
    guards.drop_guards(schema_editor, RULES, [], "")
    for module in (guards, pictures):
        module.drop(apps, schema_editor)


def create_old(apps, schema_editor):
    """The last step of going back: every guard as it was before."""
    for module in (guards, pictures):
        module.create(apps, schema_editor)


def _voids(schema_editor):
    """The triggers that make an update a draft again, so that they take the release back as well."""
    before = guards.VOID
    for voids, table in VOIDS:
        guards.drop_guards(schema_editor, [], voids, table)
        guards.VOID = VOID_NOW
        try:
            guards.create_guards(schema_editor, [], voids, table)
        finally:
            guards.VOID = before


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("incidents", "0009_subscriber_import"),
    ]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, create_old),
        migrations.AddField(
            model_name="incidentupdate",
            name="publish_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="goes out on"),
        ),
        migrations.AddField(
            model_name="incidentupdate",
            name="released_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="incidentupdate",
            name="hold_reason",
            field=models.TextField(blank=True, null=True, verbose_name="held back because"),
        ),
        migrations.AddField(
            model_name="scenario",
            name="maintenance",
            field=models.BooleanField(
                default=False,
                help_text="Its words announce planned work, its start and its end.",
                verbose_name="planned maintenance",
            ),
        ),
        migrations.AlterField(
            model_name="messagetemplate",
            name="stage",
            field=models.CharField(choices=STAGES, max_length=16, verbose_name="stage"),
        ),
        migrations.AlterField(
            model_name="historicalmessagetemplate",
            name="stage",
            field=models.CharField(choices=STAGES, max_length=16, verbose_name="stage"),
        ),
        migrations.AlterField(
            model_name="decision",
            name="verb",
            field=models.CharField(choices=VERBS, max_length=12, verbose_name="what"),
        ),
        migrations.RemoveConstraint(model_name="incidentupdate", name="update_one_pending_per_incident"),
        migrations.AddConstraint(
            model_name="incidentupdate",
            constraint=models.UniqueConstraint(
                condition=models.Q(status__in=["draft", "in_review", "approved"], publish_at__isnull=True),
                fields=("incident",),
                name="update_one_pending_per_incident",
            ),
        ),
        migrations.AddConstraint(
            model_name="incidentupdate",
            constraint=models.UniqueConstraint(
                condition=models.Q(status__in=["draft", "in_review", "approved"], publish_at__isnull=False),
                fields=("incident", "publish_at"),
                name="update_one_planned_per_time",
            ),
        ),
        migrations.RunPython(create, drop_all),
    ]
