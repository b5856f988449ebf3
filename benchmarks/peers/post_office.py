"""django-post-office: queued by send_many (one bulk insert), sent by what its own command calls."""

import logging
import os
import time

import django

from benchmarks import world
from benchmarks.answering import answer_lines

django.setup()

from django.core.management import call_command  # noqa: E402 - Django first
from django.db import connection  # noqa: E402
from post_office import mail  # type: ignore[import-untyped]  # noqa: E402
from post_office.models import STATUS, Email  # type: ignore[import-untyped]  # noqa: E402

logging.getLogger("post_office").setLevel(logging.ERROR)  # it sets its own up, whatever the settings say


def send(count: int, processes: int) -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE post_office_email CASCADE")
    people = list(world.people(count))
    started = time.monotonic()
    mail.send_many(
        {
            "recipients": [address],
            "subject": world.SUBJECT,
            "message": world.filled(world.TEXT, n),
            "html_message": world.filled(world.HTML, n),
            "headers": {"List-Unsubscribe": f"<{world.unsubscribe_url(n)}>"},
        }
        for n, (address, _name) in enumerate(people)
    )
    queued = time.monotonic()
    mail.send_queued_mail_until_done(os.path.join(os.environ["DATA_DIR"], "post_office"), processes, log_level=0)
    ended = time.monotonic()
    assert Email.objects.filter(status=STATUS.sent).count() == count
    return {"seconds": ended - started, "queue_seconds": queued - started}


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    answer_lines({"send": send})
