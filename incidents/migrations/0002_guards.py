"""What the application promises, the database holds: for raw SQL, a shell and a bug alike.

- A decision is never changed or deleted.
- Nobody who wrote a word of an update is recorded as its approver.
- An update is approved step by step; what waits for approval or has it changes only by becoming a draft again.
- What is published stays as it was approved.
- A dispatch exists only for an update that is published, and is a message of what was approved; it is frozen.
- It goes through its own channel, or moves once to the fallback of that.
"""

from django.db import migrations

WORDS = ("subject", "issue", "impact", "outlook", "action", "sms", "post")
APPROVAL = ("approved_hash", "approved_by_id", "approved_at", "approved_count")
FACTS = ("stage", "component_states", "next_update_at", "expected_resolution_at", "notify", "ask_feedback")


def changed(*columns):
    return "(" + " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns) + ")"


WORDS_CHANGED = changed("update_id", "locale", *WORDS)
# The message of the manifest that this dispatch is, as each database reads JSON.
MESSAGE = {
    "postgresql": """SELECT 1 FROM jsonb_array_elements(u.manifest -> 'messages') AS m(value)
        WHERE m.value -> 'content' = NEW.content AND m.value -> 'audience' = NEW.audience
        AND (m.value ->> 'channel')::bigint = NEW.channel_id
        AND m.value ->> 'locale' = NEW.locale AND m.value ->> 'purpose' = NEW.purpose""",
    "sqlite": """SELECT 1 FROM json_each(u.manifest, '$.messages') AS m
        WHERE json_extract(m.value, '$.content') = json(NEW.content)
        AND json_extract(m.value, '$.audience') = json(NEW.audience)
        AND json_extract(m.value, '$.channel') = NEW.channel_id
        AND json_extract(m.value, '$.locale') = NEW.locale AND json_extract(m.value, '$.purpose') = NEW.purpose""",
}
# A dispatch's source is "update:42". Looked up by key: comparing it with that of every update reads all of them.
UPDATE_ID = {
    "postgresql": "CASE WHEN NEW.source ~ '^update:[0-9]{1,18}$' THEN substr(NEW.source, 8)::bigint END",
    "sqlite": "CAST(substr(NEW.source, 8) AS integer)",
}
# An INSERT OR REPLACE of SQLite deletes what is in its way without asking a rule. PostgreSQL has none, and its own
# constraints refuse the same; there this look at other rows made an import take quadratic time.
ON_SQLITE_ONLY = {"update_no_replace", "picture_no_replace"}
PUBLISHED = "EXISTS (SELECT 1 FROM incidents_incidentupdate u WHERE u.id = {row}.update_id AND u.status = 'published')"

RULES = [
    # name, when, table, condition under which it is refused, message
    ("decision_no_update", "UPDATE", "incidents_decision", "true", "decisions are append-only"),
    ("decision_no_delete", "DELETE", "incidents_decision", "true", "decisions are append-only"),
    (
        # SQLite's INSERT OR REPLACE deletes what is in its way without asking the rule above.
        "decision_no_replace",
        "INSERT",
        "incidents_decision",
        "EXISTS (SELECT 1 FROM incidents_decision d WHERE d.id = NEW.id)",
        "decisions are append-only",
    ),
    (
        "decision_four_eyes",
        "INSERT",
        "incidents_decision",
        """NEW.verb = 'approve' AND (
            EXISTS (SELECT 1 FROM incidents_decision d WHERE d.update_id = NEW.update_id
                    AND d.by_id = NEW.by_id AND d.verb IN ('draft', 'edit'))
            OR EXISTS (SELECT 1 FROM incidents_incidentupdate u WHERE u.id = NEW.update_id
                       AND u.author_id = NEW.by_id))""",
        "an update is never approved by somebody who wrote it",
    ),
    (
        "update_no_replace",
        "INSERT",
        "incidents_incidentupdate",
        """EXISTS (SELECT 1 FROM incidents_incidentupdate u
            WHERE u.id = NEW.id OR (u.incident_id = NEW.incident_id AND u.number = NEW.number))""",
        "this number is taken by another update",
    ),
    (
        "update_begins_as_draft",
        "INSERT",
        "incidents_incidentupdate",
        """NOT NEW.imported AND (NEW.status <> 'draft' OR NEW.author_id IS NULL OR NEW.approved_by_id IS NOT NULL)
        OR NEW.imported AND NOT EXISTS (
            SELECT 1 FROM incidents_incident i WHERE i.id = NEW.incident_id AND i.imported_from IS NOT NULL)""",
        "an update begins as the draft of its author; only imported incidents have imported updates",
    ),
    (
        "update_identity",
        "UPDATE",
        "incidents_incidentupdate",
        changed("id", "incident_id", "number", "author_id", "imported"),
        "an update keeps its incident, number, author and origin",
    ),
    (
        "update_four_eyes",
        "UPDATE",
        "incidents_incidentupdate",
        """NEW.approved_by_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM incidents_decision d WHERE d.update_id = NEW.id
            AND d.by_id = NEW.approved_by_id AND d.verb IN ('draft', 'edit'))""",
        "an update is never approved by somebody who wrote it",
    ),
    (
        "update_step_by_step",
        "UPDATE",
        "incidents_incidentupdate",
        """NEW.status = 'approved' AND OLD.status NOT IN ('in_review', 'approved')
        OR NEW.status = 'published' AND OLD.status <> 'published' AND (OLD.status <> 'approved'
            OR NOT EXISTS (SELECT 1 FROM incidents_decision d WHERE d.update_id = NEW.id AND d.verb = 'approve'
                           AND d.by_id = NEW.approved_by_id AND d.content_hash = NEW.approved_hash))""",
        "an update is reviewed, approved by a recorded decision, and then published",
    ),
    (
        "update_frozen_for_review",
        "UPDATE",
        "incidents_incidentupdate",
        f"""OLD.status IN ('in_review', 'approved') AND NEW.status IN ('in_review', 'approved', 'published')
        AND ({changed(*FACTS, "manifest", "content_hash")}
             OR OLD.status = 'approved' AND {changed(*APPROVAL)})""",
        "what waits for approval or has it is changed only by making it a draft again",
    ),
    (
        "update_published_is_final",
        "UPDATE",
        "incidents_incidentupdate",
        "OLD.status = 'published' AND "
        + changed("status", *FACTS, "manifest", "content_hash", *APPROVAL, "published_by_id", "published_at"),
        "a published update is final",
    ),
    (
        "update_published_stays",
        "DELETE",
        "incidents_incidentupdate",
        "OLD.status = 'published' AND NOT OLD.imported",
        "a published update is final",
    ),
    (
        "words_published_are_final",
        "UPDATE",
        "incidents_rendition",
        f"{WORDS_CHANGED} AND ({PUBLISHED.format(row='OLD')} OR {PUBLISHED.format(row='NEW')})",
        "a published update is final",
    ),
    (
        "words_published_get_no_more",
        "INSERT",
        "incidents_rendition",
        PUBLISHED.format(row="NEW"),
        "a published update is final",
    ),
    (
        "words_published_stay",
        "DELETE",
        "incidents_rendition",
        PUBLISHED.format(row="OLD"),
        "a published update is final",
    ),
    (
        "dispatch_only_as_approved",
        "INSERT",
        "channels_dispatch",
        """EXISTS (SELECT 1 FROM channels_dispatch d WHERE d.id = NEW.id)
        OR NOT EXISTS (SELECT 1 FROM incidents_incidentupdate u JOIN incidents_incident i ON i.id = u.incident_id
            WHERE u.id = {update_id} AND 'update:' || u.id = NEW.source
            AND 'incident-' || i.uid = NEW.thread AND u.status = 'published'
            AND NOT u.imported AND u.approved_hash = NEW.approved_hash AND EXISTS ({message}))""",
        "a dispatch needs a published update with the approved content",
    ),
    (
        "dispatch_content_is_frozen",
        "UPDATE",
        "channels_dispatch",
        changed("id", "content", "audience", "approved_hash", "channel_id", "source", "thread", "purpose", "locale"),
        "the content of a dispatch is frozen",
    ),
    (
        "dispatch_begins_at_home",
        "INSERT",
        "channels_dispatch",
        "NEW.via_id IS DISTINCT FROM NEW.channel_id",
        "a dispatch begins at its own channel",
    ),
    (
        "dispatch_moves_to_the_fallback_only",
        "UPDATE",
        "channels_dispatch",
        changed("via_id")
        + """ AND NOT EXISTS (SELECT 1 FROM channels_channel c
            WHERE c.id = NEW.channel_id AND OLD.via_id = c.id AND c.fallback_id = NEW.via_id)""",
        "a dispatch moves only from its own channel to the fallback of that",
    ),
    ("dispatch_stays", "DELETE", "channels_dispatch", "true", "what was dispatched stays on record"),
]

# Whoever changes the words, by whatever way: the update is a draft again.
VOID = """UPDATE incidents_incidentupdate SET status = 'draft', manifest = NULL, content_hash = '', approved_hash = '',
    approved_by_id = NULL, approved_at = NULL, approved_count = 0
    WHERE id IN ({ids}) AND status IN ('in_review', 'approved')"""
VOIDS = [
    # name, when, condition, whose update
    ("words_changed", "UPDATE", WORDS_CHANGED, "OLD.update_id, NEW.update_id"),
    ("words_added", "INSERT", "true", "NEW.update_id"),
    ("words_removed", "DELETE", "true", "OLD.update_id"),
]


def create(apps, schema_editor):
    create_guards(schema_editor, RULES, VOIDS, "incidents_rendition")


def drop(apps, schema_editor):
    drop_guards(schema_editor, RULES, VOIDS, "incidents_rendition")


def create_guards(schema_editor, rules, voids, words):
    """`words` is the table at which `voids` look."""
    vendor = schema_editor.connection.vendor
    for name, event, table, condition, message in rules:
        if vendor != "sqlite" and name in ON_SQLITE_ONLY:
            continue
        condition = condition.replace("{message}", MESSAGE[vendor]).replace("{update_id}", UPDATE_ID[vendor])
        if vendor == "postgresql":
            result = "OLD" if event == "DELETE" else "NEW"
            body = f"""IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF;
                RETURN {result};"""
            _create_on_postgresql(schema_editor, name, f"BEFORE {event}", table, body)
        else:
            _create_on_sqlite(
                schema_editor, name, f"BEFORE {event}", table, condition, f"SELECT RAISE(ABORT, '{message}')"
            )
    for name, event, condition, ids in voids:
        void = VOID.format(ids=ids)
        if vendor == "postgresql":
            body = f"IF {condition} THEN {void}; END IF; RETURN NULL;"
            _create_on_postgresql(schema_editor, name, f"AFTER {event}", words, body)
        else:
            _create_on_sqlite(schema_editor, name, f"AFTER {event}", words, condition, void)


def _create_on_postgresql(schema_editor, name, when, table, body):
    schema_editor.execute(
        f"CREATE FUNCTION guard_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$", params=None
    )
    schema_editor.execute(
        f"CREATE TRIGGER guard_{name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION guard_{name}()", params=None
    )


def _create_on_sqlite(schema_editor, name, when, table, condition, action):
    condition = condition.replace("IS DISTINCT FROM", "IS NOT")  # which older ones do not know
    schema_editor.execute(
        f"CREATE TRIGGER guard_{name} {when} ON {table} WHEN {condition} BEGIN {action}; END", params=None
    )


def drop_guards(schema_editor, rules, voids, words):
    tables = [(name, table) for name, _event, table, _condition, _message in rules]
    for name, table in tables + [(name, words) for name, *_rest in voids]:
        if schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(f"DROP TRIGGER IF EXISTS guard_{name} ON {table}")
            schema_editor.execute(f"DROP FUNCTION IF EXISTS guard_{name}()")
        else:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS guard_{name}")


class Migration(migrations.Migration):
    dependencies = [("incidents", "0001_initial"), ("channels", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
