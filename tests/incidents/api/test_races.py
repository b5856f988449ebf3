"""The same thing asked twice at the same moment, as programs do that did not hear the answer in time."""

import threading

import pytest
from django.db import connections

from incidents.models import ApiAnswer, Incident
from tests import make

from .program import Program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres_only]


def test_the_same_key_at_the_same_moment_makes_one_incident():
    make.plan(make.channel())
    make.scenario()
    component = make.component("Checkout")
    program = Program(make.incident_manager())
    body = {"components": {component.uid: "major_outage"}, "even_if_open": True}
    start, answers = threading.Barrier(6), []

    def ask() -> None:
        try:
            start.wait(20)
            answers.append(program.post("/incidents", body, Idempotency_Key="once"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert [one.status_code for one in answers] == [201] * 6, [one.content for one in answers]
    assert len({one.json()["id"] for one in answers}) == 1
    assert sorted("Idempotency-Replayed" in one for one in answers) == [False, *[True] * 5]
    assert (Incident.objects.count(), ApiAnswer.objects.count()) == (1, 1)
