"""Answers of before there were designed surveys: every score and every word is still there afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# In a database and a process of its own: migrations do not run backwards.
SCRIPT = """
import json
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

def migrate(*target):
    executor = MigrationExecutor(connection)
    executor.migrate([target])
    return MigrationExecutor(connection).loader.project_state([target]).apps.get_model

model, now = migrate("feedback", "0001_initial"), timezone.now()
one = model("incidents", "Incident").objects.create(uid="bcdfghjkmnpq", title="Old", started_at=now, declared_at=now)
channel = model("channels", "Channel").objects.create(name="Mail", provider="outbox_email")
people = [
    model("channels", "Recipient").objects.create(medium="email", address=f"a{n}@example.com", address_hash=f"{n}")
    for n in range(2)
]
sent = model("channels", "Dispatch").objects.create(
    source="update:1", thread="incident-bcdfghjkmnpq", purpose="survey", channel=channel, via=channel, locale="en",
    content={}, approved_hash="x",
)
model("channels", "Delivery").objects.create(dispatch=sent, recipient=people[0], status="sent", at=now)
for n, (person, comment) in enumerate([(people[0], 'è "così"'), (people[1], ""), (None, "gone")], 1):
    model("feedback", "SurveyAnswer").objects.create(
        incident=one, recipient=person, clear=n, timely=n + 1, useful=n + 2, comment=comment, locale="it"
    )
model = migrate("feedback", "0002_surveys")
print(json.dumps({
    "answers": [
        [a.given, a.texts, a.locale, a.channel and a.channel.name, a.recipient_id is None, a.version.number]
        for a in model("feedback", "SurveyAnswer").objects.order_by("at", "id")
    ],
    "days": model("feedback", "Survey").objects.get().open_days,
}))
"""


@pytest.mark.once
def test_answers_of_before_are_carried_over(tmp_path):
    env = {"PATH": os.environ["PATH"], "SECRET_KEY": "x", "DATA_DIR": str(tmp_path), "SURVEY_OPEN_DAYS": "21"}
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", SCRIPT]
    said = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    assert found["answers"] == [
        [{"clear": 1, "timely": 2, "useful": 3}, {"comment": 'è "così"'}, "it", "Mail", False, 1],
        [{"clear": 2, "timely": 3, "useful": 4}, {}, "it", None, False, 1],
        [{"clear": 3, "timely": 4, "useful": 5}, {"comment": "gone"}, "it", None, True, 1],
    ]
    assert found["days"] == 21
