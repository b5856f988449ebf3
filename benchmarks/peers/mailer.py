"""django-mailer: queued through its backend (one bulk insert), sent by send_all."""

import time

import django

from benchmarks import world
from benchmarks.answering import answer_lines

django.setup()

from django.core.mail import EmailMultiAlternatives, get_connection  # noqa: E402 - Django first
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from mailer.engine import send_all  # type: ignore[import-untyped]  # noqa: E402
from mailer.models import Message  # type: ignore[import-untyped]  # noqa: E402


def send(count: int) -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE mailer_message, mailer_messagelog")
    people = list(world.people(count))
    started = time.monotonic()
    messages = []
    for n, (address, _name) in enumerate(people):
        headers = {"List-Unsubscribe": f"<{world.unsubscribe_url(n)}>"}
        one = EmailMultiAlternatives(world.SUBJECT, world.filled(world.TEXT, n), to=[address], headers=headers)
        one.attach_alternative(world.filled(world.HTML, n), "text/html")
        messages.append(one)
    get_connection().send_messages(messages)
    queued = time.monotonic()
    send_all()
    ended = time.monotonic()
    assert not Message.objects.exists()
    return {"seconds": ended - started, "queue_seconds": queued - started}


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    answer_lines({"send": send})
