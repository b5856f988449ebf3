"""Entry points for the queue: ids in, nothing out. Running one twice is harmless."""

from . import awareness, people, report_mail
from .social import spikes, watching
from .social.models import SocialPost


def count_people(incident_id: int) -> None:
    """Count the different people whom a large incident reached."""
    people.count(incident_id)


def sweep_awareness() -> None:
    """Receipts that came since: how soon people knew."""
    awareness.sweep()


def sweep_social() -> None:
    """What is said in public: ask the networks that are due, propose what it speaks for, forget what is old."""
    watching.watch_due()
    spikes.look()
    SocialPost.forget()


def sweep_reports() -> None:
    """Reports by email whose day has come."""
    report_mail.sweep()
