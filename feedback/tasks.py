"""Entry points for the queue: ids in, nothing out. Running one twice is harmless."""

from . import awareness, people


def count_people(incident_id: int) -> None:
    """Count the different people whom a large incident reached."""
    people.count(incident_id)


def sweep_awareness() -> None:
    """Receipts that came since: how soon people knew."""
    awareness.sweep()
