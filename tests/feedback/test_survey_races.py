"""The survey, answered twice at once: with real transactions, which a shared world has not."""

import threading

import pytest
from django.db import connections

from feedback import surveys
from feedback.models import SurveyAnswer
from tests.feedback.test_survey import link, resolved


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_of_two_answers_at_once_one_is_kept():
    token = link(resolved()).split("/")[2]
    start = threading.Barrier(8)
    kept: list[bool] = []

    def answer(score: int) -> None:
        try:
            invitation = surveys.read(token)
            start.wait(10)
            kept.append(invitation.record({"clear": score, "timely": 1, "useful": 1}, {}, "en"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=answer, args=(1 + n % 5,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False] * 7 + [True]
    assert SurveyAnswer.objects.count() == 1
