"""The anchor: one smtplib connection, messages that were built before the clock starts. Nothing is recorded."""

import smtplib
import sys
import time
from email.message import EmailMessage

from benchmarks import world
from benchmarks.answering import answer_lines


def send(count: int) -> dict[str, float]:
    template = EmailMessage()
    template["From"], template["To"], template["Subject"] = world.SENDER, "[[address]]@x.invalid", world.SUBJECT
    template.set_content(world.TEXT, cte="8bit")
    template.add_alternative(world.HTML, subtype="html", cte="8bit")
    text = template.as_bytes().decode().replace("[[address]]@x.invalid", "[[address]]").replace("\n", "\r\n")
    people = [(address, world.filled(text, n)) for n, (address, _name) in enumerate(world.people(count))]
    messages = [(address, body.replace("[[address]]", address).encode()) for address, body in people]
    started = time.monotonic()
    with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as smtp:
        for address, data in messages:
            smtp.sendmail(world.SENDER, [address], data)
    return {"seconds": time.monotonic() - started}


if __name__ == "__main__":
    answer_lines({"send": send})
