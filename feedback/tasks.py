"""Entry points for the queue: running one twice is harmless."""

from . import report_mail


def sweep_reports() -> None:
    """Reports by email whose day has come."""
    report_mail.sweep()
