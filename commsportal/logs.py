"""What the log keeps."""

import logging


class NoTraceOfBadInput(logging.Filter):
    """A request that was refused (4xx) is one line: a traceback tells where we went wrong, but it was not us."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = record.exc_text = None
        return True
